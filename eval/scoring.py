"""Predictions → figures: both matchers, both ways of counting, with intervals and the baselines of that very file.

    score(data, predictions, benchmark) -> the object of `datagen score --json`
    baselines(data, benchmark)          -> the object of `datagen baselines --json`

`as_published` counts as the benchmark's own script does, on the rows that the predictions file has; `missing_as_wrong`
counts every item of the benchmark file, and an item without an answer is wrong. Format loss is what the strict reader
does not grant on the same items: official less strict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.baselines import baselines as baselines_of
from datagen.errors import UsageError
from datagen.eval import BENCHMARKS, Benchmark
from datagen.eval.predictions import Predictions, read_predictions
from datagen.mcq import McqSet, read
from datagen.multiple_choice import Labels
from datagen.multiple_choice import read as read_answer
from datagen.plugins import resolve
from datagen.rows import some
from datagen.statistics import share

if TYPE_CHECKING:
    import polars as pl

__all__ = ["baselines", "benchmark_items", "score", "tally"]

IDS = 20
"""Ids of a defect that the result names."""


def score(
    data: str | Path,
    predictions: str | Path,
    benchmark: str = "file",
    *,
    matcher: str = "official",
    labels: str = "both",
    allow_broken: bool = False,
) -> dict[str, Any]:
    """Scores a file of predictions; `matcher` picks the headline, `labels` says what the prompt put before the choices.

    Raises UsageError for what cannot be read, for another benchmark's file, and, unless `allow_broken`, for items
    without a right answer and for predictions that were made on another version of the file.
    """
    if matcher not in ("official", "strict"):
        raise UsageError(f"--matcher {matcher!r}: use official or strict")
    shown = _labels(labels)
    kind, items = benchmark_items(data, benchmark)
    if not allow_broken:
        items.refuse_broken("mend the file, or score it as it is with --allow-broken")
    given = read_predictions(predictions, items, kind)
    others = given.defects.get("other_version", ())
    if others and not allow_broken:
        raise UsageError(
            f"{predictions}: {len(others)} rows ({some(others)}) hold another question, other choices or "
            f"another answer than {data}: score them against their own file, or against this one with --allow-broken"
        )
    return {**figures(items, given, kind, benchmark, matcher, shown), "baselines": file_baselines(items)}


def _labels(name: str) -> Labels:
    known: dict[str, Labels] = {"letters": "letters", "text": "text", "both": "both"}
    if name not in known:
        raise UsageError(f"--choice-labels {name!r}: use {', '.join(known)}")
    return known[name]


def baselines(data: str | Path, benchmark: str = "file") -> dict[str, Any]:
    """What can be had from a benchmark file without its audio and without its questions."""
    _, items = benchmark_items(data, benchmark)
    return {**described(items, benchmark), **file_baselines(items), "defects": counted(items.defects)}


def benchmark_items(data: str | Path, benchmark: str) -> tuple[Benchmark, McqSet]:
    """The benchmark called so, and its items. Raises UsageError for another one's file and for one without answers."""
    kind: Benchmark = resolve("benchmark", benchmark, BENCHMARKS, "official")()
    items = read(data)
    if kind.formats and items.format not in kind.formats:
        raise UsageError(f"--benchmark {benchmark}: {data} is in the form {items.format}: name its benchmark, or file")
    if not items.table.height:
        raise UsageError(f"{data}: holds no multiple-choice item: give a file with questions and choices")
    if items.table["answer_index"].null_count() == items.table.height:
        raise UsageError(
            f"{data}: holds no answers to score against: give the file that has them (MMAU's test set is scored by its "
            "authors, see docs/benchmarks.md)"
        )
    return kind, items


def described(items: McqSet, benchmark: str) -> dict[str, Any]:
    """Which benchmark and which file figures are of."""
    return {
        "benchmark": benchmark, "data": items.name, "version": items.version, "sha256": items.sha256,
        "items": items.table.height, "set_aside": dict(items.set_aside),
    }  # fmt: skip


def file_baselines(items: McqSet) -> dict[str, Any]:
    """`datagen.baselines` of the file, clustered by question text: benchmarks have no clips of ours."""
    table = items.table
    return baselines_of(table.drop("clip_id") if table["clip_id"].null_count() else table)


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def figures(
    items: McqSet, given: Predictions, kind: Benchmark, benchmark: str, matcher: str, labels: Labels
) -> dict[str, Any]:
    """The result without the baselines, which take longer than the scoring."""
    rows = items.table.select("id", "choices", "answer", "answer_index").rows()
    said: list[bool | None] = []
    official, strict, unread = [], [], 0
    for id, choices, answer, gold in rows:
        text = given.texts.get(id)
        said.append(None if text is None else kind.official(answer or "", text, choices))
        official.append(bool(said[-1]) and bool(answer))
        place = None if text is None else read_answer(text, choices, labels)
        strict.append(place is not None and place == gold)
        unread += text is not None and place is None
    groups = items.table.select(**kind.groups)
    everywhere = list(range(len(rows)))
    matchers = {
        "official": {
            "as_published": tally(*published(rows, said, given, kind), groups),
            "missing_as_wrong": tally(everywhere, official, groups),
        },
        "strict": {"missing_as_wrong": tally(everywhere, strict, groups)},
    }
    return {
        **described(items, benchmark),
        "answered": len(given.texts),
        "predictions": {"file": given.name, "sha256": given.sha256, "key": given.key},
        "choice_labels": labels,
        "headline": {"matcher": matcher, **matchers[matcher]["missing_as_wrong"]["total"]},
        "matchers": matchers,
        "format_loss": format_loss(official, strict, groups),
        "not_read": unread,
        "official_is": kind.note,
        "defects": {"data": counted(items.defects), "predictions": counted(given.defects)},
        "faults": sum(map(len, given.faults.values())),
    }


def published(
    rows: Sequence[tuple[Any, ...]], said: Sequence[bool | None], given: Predictions, kind: Benchmark
) -> tuple[list[int], list[bool]]:
    """(rows of the items, right) for each row of the predictions that the benchmark's own script counts."""
    at = {id: row for row, (id, *_) in reversed(list(enumerate(rows)))}
    places, right = [], []
    for id, text in given.rows if kind.reproduced else ():
        place = at[id]
        _, choices, answer, _ = rows[place]
        verdict = said[place] if given.texts.get(id) == text else kind.official(answer or "", text, choices)
        if verdict is not None:
            places.append(place)
            right.append(verdict)
    return places, right


def tally(rows: Sequence[int], right: Sequence[bool], groups: pl.DataFrame) -> dict[str, Any]:
    """The figures of verdicts: {"total": S, group: {value: S}}, S as `statistics.share` gives it.

    `rows`: for each verdict, the row of `groups` (strings, a column a group) that it is about; a row with null there
    stands in no group of that column.
    """
    import polars as pl

    verdicts = pl.Series("right", right, dtype=pl.Boolean)
    table = groups[list(rows)].with_columns(verdicts)
    found: dict[str, Any] = {"total": share(int(verdicts.sum()), len(verdicts))}
    for name in groups.columns:
        cells = table.group_by(name).agg(pl.col("right").sum(), n=pl.len()).drop_nulls(name).sort(name)
        if cells.height:
            found[name] = {value: share(correct, n) for value, correct, n in cells.iter_rows()}
    return found


def format_loss(official: Sequence[bool], strict: Sequence[bool], groups: pl.DataFrame) -> dict[str, Any]:
    """Official less strict on the same items, in total and by group: the difference, and who alone says right."""
    rows = list(range(len(official)))
    both = [a and b for a, b in zip(official, strict, strict=True)]

    def loss(a: dict[str, Any], b: dict[str, Any], ab: dict[str, Any]) -> dict[str, Any]:
        if "n" not in a:
            return {key: loss(a[key], b[key], ab[key]) for key in a}
        alone, strictly = a["correct"] - ab["correct"], b["correct"] - ab["correct"]
        difference = (alone - strictly) / a["n"] if a["n"] else None
        return {"difference": difference, "only_official": alone, "only_strict": strictly, "n": a["n"]}

    return loss(*(tally(rows, right, groups) for right in (official, strict, both)))


def counted(defects: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Defect → how many rows have it, and the first ids."""
    return {name: {"count": len(ids), "ids": list(ids[:IDS])} for name, ids in defects.items()}
