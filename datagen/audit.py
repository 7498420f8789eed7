"""`datagen audit DATASET`: what is wrong with any multiple-choice set, and what can be had from it without listening.

    audit("mmau-test-mini.json") -> the object of `datagen audit --json`

    read ─▶ findings   rows with no right answer, of odd form, or that a filter of a build would drop
         ├▶ baselines  position, length, overlap and a model of the choices, with intervals; by domain, task and skill
         ├▶ gates      what of it is too much (`datagen.gates`)
         ├▶ variety    how few forms of question and answers there are
         ├▶ leakage    what is in a benchmark too (`--against`)
         └▶ review     what people said of a run (`datagen review`), where somebody did

Baselines, gates, variety and filters are of the sound rows: a question, two choices and more, an answer among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen import leakage
from datagen.audit_view import page
from datagen.baselines import WORTH, baselines
from datagen.errors import UsageError
from datagen.filters.answer_frequency import answers
from datagen.filters.templates import distinct
from datagen.findings import Finding, filters_for, findings, sound_rows
from datagen.gates import gates, worth
from datagen.language import word_lists
from datagen.mcq import McqSet, examined
from datagen.report import lengths
from datagen.review import report
from datagen.review.verdicts import FILE as REVIEW
from datagen.rows import Rows, load
from datagen.run import replace_text
from datagen.seeds import draws
from datagen.statistics import chi_square, entropy, share

if TYPE_CHECKING:
    import polars as pl

__all__ = ["GROUPS", "audit"]

GROUPS = ("task", "category", "sub_category", "skill", "difficulty", "language", "dataset", "split")
"""Columns whose values are looked at apart. `task` is the domain of our own sets."""
VALUES = 60
"""Values of a column that are looked at, those with most rows."""
TOP = 10
"""Answers and forms of question that are named."""
COMMON_WORD = 0.01
"""Share of the questions from which a word counts as part of a form; what is rarer is what a form is filled with."""
FEWEST_EXPECTED = 5
"""Rows expected in each cell from which a chi-square can be relied on (Cochran 1954)."""
EXAMPLES = 3
"""Rows of a finding that the page shows."""


def audit(
    data: str | Path,
    *,
    against: Sequence[str] = (),
    against_audio: Path | None = None,
    html: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Audits a run, a dataset folder, a Hub id or a benchmark's file.

    `against`, `against_audio`: benchmarks to compare with, and the folder of their audio (`datagen.leakage.read`);
    `html`: the page to write. Raises UsageError for what cannot be read, is no multiple-choice set, or holds no row.
    """
    if html is not None and not html.absolute().parent.is_dir():
        raise UsageError(f"--html {html}: its folder is not there: name a file in one that is")
    benchmarks = leakage.read(against, against_audio) if against or against_audio else None
    source = load(data)
    items = examined(source)
    if not items.table.height:
        raise UsageError(f"{data}: holds no multiple-choice item: give a file with questions and choices")
    found = findings(items, provenance(source, items))
    table = clustered(items.table[sound_rows(items.table)])
    guesses = worth(table)
    result = {
        **described(items),
        "filters": list(filters_for(items)),
        "baselines": {**baselines(table, guesses), "without_gold": items.table.height - table.height},
        "longest_first_of_ties": first_longest(table),
        "gates": gates(table, guesses, seed),
        "positions": positions(table),
        "variety": variety(table, seed),
        "groups": groups(table, guesses),
        "leakage": None,
        "review": report(Path(data)) if (Path(data) / REVIEW).is_file() else None,
    }
    if benchmarks is not None:
        met = leakage.compare(with_audio(items.table, Path(data)), benchmarks).with_columns(items.table["id"])
        found |= leaks(met)
        result["leakage"] = compared(met, benchmarks)
    result["findings"] = {name: finding_shown(one, items.table) for name, one in found.items()}
    if html is not None:
        some = {name: items.table[one.rows.head(EXAMPLES)] for name, one in found.items()}
        replace_text(html, page(result, some, lengths(table)))
    return result


def with_audio(table: pl.DataFrame, run: Path) -> pl.DataFrame:
    """`table` with where the audio of each row is, as `leakage.compare` reads it, where `run` is a run of ours."""
    import polars as pl

    if not (run / "clips.parquet").is_file():
        return table
    columns = {"clip_id": "id", "path": "path", "sha256": "sha256", "cut_start": "start", "cut_end": "end"}
    clips = pl.read_parquet(run / "clips.parquet").select(**{name: pl.col(old) for name, old in columns.items()})
    known = table.join(clips, on="clip_id", how="left", maintain_order="left")
    return known.with_columns(pl.col("path", "sha256").fill_null(""))


def leaks(met: pl.DataFrame) -> dict[str, Finding]:
    """A finding for each way in which rows meet a benchmark."""
    import polars as pl

    rows = met.with_row_index("row").filter(pl.col("reason") != "").sort("reason", "row")
    return {
        f"leakage.{reason}": Finding("leakage", part["row"])
        for (reason,), part in rows.partition_by("reason", as_dict=True).items()
    }


def compared(met: pl.DataFrame, benchmarks: leakage.Benchmarks) -> dict[str, Any]:
    """{"against": files, "audio_not_read": names, "met": [{"id", "reason", "score", "met": what item}]}."""
    import polars as pl

    unread = benchmarks.recordings.unread if benchmarks.recordings else []
    rows = met.filter(pl.col("reason") != "").select("id", "reason", "score", "met").to_dicts()
    return {"against": benchmarks.sources, "audio_not_read": list(unread), "met": rows}


def provenance(source: Rows, items: McqSet) -> pl.Series | None:
    """Of a set of ours, what was noted of each question."""
    import polars as pl

    if items.format != "datagen" or source.table is None or source.table.schema["provenance"] != pl.String:
        return None
    return source.table["provenance"]


def clustered(table: pl.DataFrame) -> pl.DataFrame:
    """Without `clip_id` where it is not known of every row: then rows of one question text count as one."""
    return table.drop("clip_id") if table["clip_id"].null_count() else table


def described(items: McqSet) -> dict[str, Any]:
    """Which file it is, and what is in it."""
    sizes = items.table["choices"].list.len().value_counts().sort("choices")
    return {
        "data": items.name, "format": items.format, "version": items.version, "sha256": items.sha256,
        "items": items.table.height, "sound": sound_rows(items.table).len(), "set_aside": dict(items.set_aside),
        "letters_before_choices": items.labelled, "choices": {str(size): rows for size, rows in sizes.iter_rows()},
    }  # fmt: skip


def finding_shown(finding: Finding, table: pl.DataFrame) -> dict[str, Any]:
    """{"kind", "count", "share" (of all rows), "ids"}."""
    ids = table["id"].gather(finding.rows).to_list()
    return {"kind": finding.kind, "count": len(ids), "share": len(ids) / table.height, "ids": ids}


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def first_longest(table: pl.DataFrame) -> dict[str, Any]:
    """The longest choice once more, with the first of equally long ones taken where `baselines` splits the point."""
    import polars as pl

    lengths = pl.col("choices").list.eval(pl.element().str.len_chars())
    right = table.select((lengths.list.arg_max() == pl.col("answer_index")).sum()).item()
    return share(right, table.height)


def positions(table: pl.DataFrame) -> dict[str, Any]:
    """How often each place holds the answer, against equally often: of `all`, and for each number of choices.

    `{"items", "choices", "counts", "expected", "chi_square", "p"}`. The test takes rows for independent. Places where
    less than 5 rows are expected count with the place before; where two places do not remain, there is no test (null).
    """
    import polars as pl

    sizes = table.select(size=pl.col("choices").list.len(), place="answer_index")
    counts: list[dict[str, Any]] = [
        {"items": part.height, "choices": size, "counts": _at_each(part["place"], size)}
        for (size,), part in sorted(sizes.partition_by("size", as_dict=True).items())
        if isinstance(size, int)
    ]
    most = max((one["choices"] for one in counts), default=0)
    found = [_tested(one, [one["items"] / one["choices"]] * one["choices"]) for one in counts]
    each = [[one["expected"][place] for one in found if place < one["choices"]] for place in range(most)]
    whole = {"items": table.height, "choices": most, "counts": _at_each(table["answer_index"], most)}
    return {"all": _tested(whole, list(map(sum, each))), "by_choices": found}


def _at_each(places: pl.Series, size: int) -> list[int]:
    at = dict(places.value_counts().iter_rows())
    return [at.get(place, 0) for place in range(size)]


def _tested(one: dict[str, Any], expected: list[float]) -> dict[str, Any]:
    cells: list[tuple[float, float]] = []
    for count, chance in zip(reversed(one["counts"]), reversed(expected), strict=True):
        if cells and cells[-1][1] < FEWEST_EXPECTED:
            count, chance = count + cells[-1][0], chance + cells.pop()[1]
        cells.append((count, chance))
    enough = len(cells) > 1 and cells[-1][1] >= FEWEST_EXPECTED
    statistic, p = chi_square(*zip(*cells, strict=True)) if enough else (None, None)
    return {**one, "expected": expected, "chi_square": statistic, "p": p}


def variety(table: pl.DataFrame, seed: int) -> dict[str, Any]:
    """How many questions, forms of question and answers there are, and how evenly they are used."""
    import polars as pl

    drawn = pl.Series(draws(seed, "cap", table["id"]), dtype=pl.UInt64)
    questions = {
        "distinct": table["question"].n_unique(),
        "shared": int(table["question"].is_duplicated().sum()),
        **distinct(table, drawn),
    }
    return {"questions": questions, "forms": spread(forms(table)), "answers": spread(answers(table))}


def spread(texts: pl.Series) -> dict[str, Any]:
    """Number of different texts, entropy in bits, `as_many_as` (so many equally frequent ones have it), the top 10."""
    counts = texts.rename("text").value_counts().sort("count", "text", descending=[True, False])
    bits = entropy(counts["count"].to_list())
    top = [{"text": text, "count": n, "share": n / texts.len()} for text, n in counts.head(TOP).iter_rows()]
    return {"distinct": counts.height, "entropy_bits": bits, "as_many_as": 2**bits, "top": top}


def forms(table: pl.DataFrame) -> pl.Series:
    """Each question with "…" for the words that fewer than 1 % of the questions have: the form that is filled in."""
    import polars as pl

    words = table.select(words=word_lists(pl.col("question")))
    counts = words.select(pl.col("words").list.unique()).explode("words")["words"].value_counts()
    common = counts.filter(pl.col("count") >= max(2, COMMON_WORD * table.height))["words"]
    kept = pl.when(pl.element().is_in(common.implode())).then(pl.element()).otherwise(pl.lit("…"))
    joined = pl.col("words").list.eval(kept).list.join(" ").str.replace_all(r"…(?: …)+", "…")
    return words.select(joined)["words"]


def groups(table: pl.DataFrame, guesses: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Column → value → items, random, and a share with its interval for always-first, each of WORTH and choices_only.

    Columns with one value are left out; of more than 60 values those with most rows stand here. `guesses`: see
    `datagen.gates.worth`.
    """
    import polars as pl

    names = [name for name in GROUPS if table[name].n_unique() > 1]
    first = (pl.col("gold") == 0).fill_null(False).cast(pl.Float64)
    rows = guesses.with_columns(first=first).hstack(table.select(names))
    seen = pl.col("choices_only").count().alias("seen")
    figures = (pl.len(), pl.col("random").mean(), seen, pl.col("first", *WORTH, "choices_only").sum())
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        sums = rows.drop_nulls(name).group_by(name).agg(*figures)
        top = sums.sort("len", name, descending=[True, False]).head(VALUES)
        found[name] = {
            row[name]: {"items": row["len"], "random": row["random"]}
            | {key: share(row[key], row["len"]) for key in ("first", *WORTH)}
            | {"choices_only": share(row["choices_only"], row["seen"]) if row["seen"] else None}
            for row in top.iter_rows(named=True)
        }
    return found
