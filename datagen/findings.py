"""What is wrong, or looks wrong, in a multiple-choice set: name → rows, by its reader's defects and by the filters.

    findings(items) -> {"duplicate_choices": Finding, "modality.seen_in_question": Finding, …}

Names without a dot are of the form of rows and sets; `filter.reason` is what a filter of `datagen.filters` would drop a
row for. Filters judge the sound rows alone: those with a question, two choices and a right answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datagen.filters import FILTERS
from datagen.filters.wording import key
from datagen.mcq import BROKEN, McqSet
from datagen.plugins import Context, resolve
from datagen.prompts import Prompts

if TYPE_CHECKING:
    import polars as pl

__all__ = ["KINDS", "MOST_CHOICES", "Finding", "as_questions", "filters_for", "findings", "sound_rows"]

MOST_CHOICES = 10
"""Letters go from A to J."""
KINDS = {
    "broken": "no right answer, or more than one meaning",
    "form": "can be read, but is not as it should be",
    "repeated": "stands in another row too: no fault about another clip, but such rows are not independent",
    "wording": "a filter of a build would drop it",
    "leakage": "a benchmark has it, or its recording, too",
}
"""Kind of finding → what it means for the rows that have it."""
FORMS = {"conflicting_answers": "broken", "repeated_item": "repeated", "shared_question": "repeated"}
"""Kind of what is seen in the whole table, where it is not `form`."""
AUDITED = ("wellformed", "answerable", "modality", "distractors", "overlap")
"""Filters that judge a row by itself; `relation` (AVQA's rule), `grounded` and `duplicates` come where they apply."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Rows of one kind."""

    kind: str
    """One of KINDS."""
    rows: pl.Series
    """Their numbers, ascending."""


def findings(items: McqSet, provenance: pl.Series | None = None) -> dict[str, Finding]:
    """Every finding that some row has: broken ones first, then by name. `provenance`: of ours, a row each."""
    found = dict(_defects(items))
    for name, rows in _form(items.table):
        if rows.len():
            found[name] = Finding(FORMS.get(name, "form"), rows)
    rows = sound_rows(items.table)
    table = as_questions(items, provenance)[rows]
    for name in filters_for(items):
        for reason, at in _judged(name, table):
            found[f"{name}.{reason}"] = Finding("wording", rows.gather(at))
    order = list(KINDS)
    return dict(sorted(found.items(), key=lambda pair: (order.index(pair[1].kind), pair[0])))


def _defects(items: McqSet) -> Iterator[tuple[str, Finding]]:
    """What the reader noted."""
    import polars as pl

    numbered = items.table.select("id").with_row_index("row")
    for name, ids in items.defects.items():
        rows = numbered.filter(pl.col("id").is_in(list(ids)))["row"]
        yield name, Finding("broken" if name in BROKEN else "form", rows)


def _form(table: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
    """What the reader cannot see in one row: (name, rows)."""
    import polars as pl

    folded = table.select(
        "question", clip=clips(table), answer=key(pl.col("answer")),
        choices=pl.col("choices").list.eval(key(pl.element())).list.sort(), asked=key(pl.col("question")),
    )  # fmt: skip
    folded = folded.with_columns(
        size=pl.col("choices").list.len(),
        offered="\x1f" + pl.col("choices").list.join("\x1f\x1f") + "\x1f",
    )
    equal = pl.col("offered").str.count_matches("\x1f" + pl.col("answer") + "\x1f", literal=True)
    item = pl.struct("asked", "offered")
    same_clip = pl.col("clip").is_not_null() & (pl.col("answer").n_unique().over("clip", "asked", "offered") > 1)
    asked = pl.col("question").is_not_null() & (pl.col("question") != "")
    masks = {
        "gold_among_duplicates": equal > 1,
        "too_many_choices": pl.col("size") > MOST_CHOICES,
        "conflicting_answers": asked & (pl.col("size") > 1) & same_clip,
        "repeated_item": asked & (pl.col("size") > 1) & item.is_duplicated(),
        "shared_question": asked & pl.col("question").is_duplicated(),
    }
    for name, mask in masks.items():
        yield name, folded.select(mask.fill_null(False).arg_true()).to_series()


def clips(table: pl.DataFrame) -> pl.Series:
    """What names the audio of each row: its clip, its files, its recording; null where nothing does."""
    import polars as pl

    files = pl.when(pl.col("audio").list.len() > 0).then(pl.col("audio").list.join("\x1f"))
    return table.select(clip=pl.coalesce("clip_id", files, "media_id"))["clip"]


def sound_rows(table: pl.DataFrame) -> pl.Series:
    """Numbers of the rows that a filter can judge."""
    import polars as pl

    asked = pl.col("question").fill_null("").str.strip_chars() != ""
    sound = asked & (pl.col("choices").list.len() >= 2) & pl.col("answer_index").is_not_null()
    return table.select(sound.fill_null(False).arg_true()).to_series()


def as_questions(items: McqSet, provenance: pl.Series | None = None) -> pl.DataFrame:
    """The table as filters read it. Of sets that are not ours, every question counts as the corpus's own (human)."""
    import polars as pl

    table = items.table
    if provenance is None:
        relation = pl.struct(attributes=pl.struct(question_relation="category")).struct.json_encode()
        provenance = table.select(relation).to_series()
    writer = pl.col("provenance").str.json_path_match("$.writer").fill_null("human")
    return table.select(
        "id", "question", "choices", "answer", "answer_index", clip_id=clips(table).fill_null(table["id"]),
        domain=pl.col("task").fill_null(""), skill=pl.col("skill").fill_null(""),
        provenance=provenance.fill_null("{}"), captions=pl.col("captions").fill_null([]),
    ).with_columns(generator=writer)  # fmt: skip


def filters_for(items: McqSet) -> tuple[str, ...]:
    """The filters that say something of this set."""
    table = items.table
    where = {
        "relation": items.format == "avqa",
        "grounded": items.format == "datagen" and table["captions"].null_count() < table.height,
        "duplicates": clips(table).null_count() < table.height,
    }
    return (*AUDITED, *(name for name, applies in where.items() if applies))


def _judged(name: str, table: pl.DataFrame) -> Iterator[tuple[str, pl.Series]]:
    """(reason, rows) of everything that a filter would drop."""
    import polars as pl

    found = resolve("filter", name, FILTERS, "judge")(Context(seed=0, prompts=Prompts())).judge(table)
    dropped = found.with_row_index("row").filter(~pl.col("keep"))
    for (reason,), part in dropped.partition_by("reason", as_dict=True).items():
        yield str(reason), part["row"]
