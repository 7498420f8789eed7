"""`datagen inspect RUN ID`: everything that a run knows of one clip or question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.llm import Ledger
from datagen.records import Caption, Clip, Failure, Question, Verdict
from datagen.run import TABLES, Run, opened

if TYPE_CHECKING:
    import polars as pl

__all__ = ["inspect", "rendered"]


def inspect(run: Path, id: str) -> dict[str, Any]:
    """The rows of one clip (with all its questions) or of one question (with its clip), and the answers behind them.

    `id` may be the beginning of one id. Raises UsageError when nothing, or more than one thing, begins so.
    """
    folder = opened(run)
    import polars as pl

    try:
        return found_in(folder, *find(run, id))
    except pl.exceptions.PolarsError as error:
        why = str(error).split("\n")[0]
        raise UsageError(f"{run}: a table cannot be read: {why}: start the build again to write it anew") from None


def found_in(folder: Run, clip_id: str, question_id: str) -> dict[str, Any]:
    """All rows of one clip, or of one question with its clip."""
    run = folder.path
    found: dict[str, Any] = {
        "clip": rows(run, Clip, "id", clip_id)[:1],
        "captions": rows(run, Caption, "clip_id", clip_id),
    }
    questions = rows(run, Question, "clip_id", clip_id)
    found["questions"] = [q for q in questions if question_id in ("", q["id"])]
    kept = {q["id"] for q in questions if q["id"] in kept_ids(folder)}
    for question in found["questions"]:
        question["provenance"] = json.loads(question["provenance"])
        question["kept"] = question["id"] in kept
        question["verdicts"] = rows(run, Verdict, "question_id", question["id"])
    found["rejected"] = rows(run, Failure, "clip_id", clip_id)
    if question_id:
        found["rejected"] = [row for row in found["rejected"] if row["question_id"] in ("", question_id)]
    found["answers"] = answers(folder, found)
    return found


def scan(run: Path, record: type) -> pl.LazyFrame:
    """One table, unread; UsageError when the run was stopped before it was written."""
    import polars as pl

    file = run / f"{TABLES[record]}.parquet"
    if not file.exists():
        raise UsageError(f"{file}: not written yet: let the build finish, or start it again to go on")
    return pl.scan_parquet(file)


def rows(run: Path, record: type, column: str, value: str) -> list[dict[str, Any]]:
    """The rows of one table in which `column` is `value`."""
    import polars as pl

    return scan(run, record).filter(pl.col(column) == value).collect().to_dicts()


def find(run: Path, id: str) -> tuple[str, str]:
    """(clip id, question id or '') of what `id` names."""
    import polars as pl

    questions = scan(run, Question).filter(pl.col("id").str.starts_with(id)).select("clip_id", "id")
    clips = scan(run, Clip).filter(pl.col("id").str.starts_with(id)).select(clip_id="id", id=pl.lit(""))
    failed = scan(run, Failure).filter(pl.col("clip_id").str.starts_with(id)).select("clip_id", id=pl.lit(""))
    matches = sorted(set(pl.concat([questions, clips, failed]).collect().rows()))
    exact = [match for match in matches if id in (match[1] or match[0],)]
    if len(exact or matches) != 1:
        some = ", ".join(question or clip for clip, question in matches[:5]) or "none of its clips or questions does"
        raise UsageError(f"{run}: {len(matches)} ids begin with {id!r}: {some}: give one whole id")
    return (exact or matches)[0]


def kept_ids(run: Run) -> set[str]:
    """Ids of the questions in the dataset."""
    import polars as pl

    files = sorted((run.path / "dataset" / "data").glob("*.parquet"))
    return set(pl.read_parquet(files, columns=["id"])["id"]) if files else set()


def answers(run: Run, found: dict[str, Any]) -> dict[str, Any]:
    """Ledger key → request and raw answer, for every key that the rows name."""
    keys = [caption["key"] for caption in found["captions"]] + [row["key"] for row in found["rejected"]]
    keys += [key for question in found["questions"] for key in question["provenance"].get("keys", [])]
    keys += [key for q in found["questions"] for verdict in q["verdicts"] for key in verdict["keys"] or ()]
    state = run.earlier() or {}
    file = Path(state.get("config", {}).get("ledger") or run.path / "ledger.sqlite")
    if not file.exists():
        return {}
    ledger = Ledger(file)
    try:
        return {key: ledger.describe(key) for key in dict.fromkeys(filter(None, keys))}
    finally:
        ledger.close()


def rendered(found: dict[str, Any]) -> str:
    """`inspect`'s result as text for a terminal."""
    lines: list[str] = []
    for clip in found["clip"]:
        lines += [f"clip {clip['id']}", *(f"  {key}: {value}" for key, value in clip.items() if value and key != "id")]
    lines += [f"caption {c['captioner']}/{c['aspect']} #{c['index']}: {c['text']}" for c in found["captions"]]
    for question in found["questions"]:
        lines += [
            "",
            f"question {question['id']}  ({'kept' if question['kept'] else 'dropped'})  {question['question']}",
        ]
        lines += [f"  {'*' if choice == question['answer'] else ' '} {choice}" for choice in question["choices"]]
        lines += [
            f"  {question['domain']} · {question['skill']} · {json.dumps(question['provenance'], ensure_ascii=False)}"
        ]
        for verdict in question["verdicts"]:
            score = "" if verdict["score"] is None else f"  score {verdict['score']:.3f}"
            if verdict["low"] is not None:
                score += f" ({verdict['low']:.3f} to {verdict['high']:.3f})"
            lines.append(
                f"  {verdict['filter']:<12} {'keep' if verdict['keep'] else 'drop: ' + verdict['reason']}{score}"
            )
    for row in found["rejected"]:
        lines += ["", f"rejected at {row['stage']}: {row['reason']}  {row['error']}"]
        lines += [f"  raw: {row['raw']}"] if row["raw"] else []
    for key, answer in found["answers"].items():
        lines += ["", f"answer {key}", *(f"  {name}: {value}" for name, value in (answer or {}).items())]
    return "\n".join(lines)
