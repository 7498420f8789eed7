"""Filter `positions`: the answer stands at every place equally often. Nothing is dropped: choices are reordered.

On MMAU test-mini "always the first" is right in 39.5 % of the questions, where chance is 25.5 %. `reletter` runs when
all dropping is over (for this filter and for `balance`), so the verdicts keep every question.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagen.filters.wording import verdicts
from datagen.seeds import derive, draws, spread

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["Positions", "reletter"]

SLICE = 100_000
"""Questions put in order at a time: their choices stand one a row meanwhile."""


class Positions:
    """Drops nothing: choices are reordered by seed, so that every place holds the answer equally often.

    Score: how much more often than by chance the answer stood at this question's place, among questions of as many
    choices (0.15 where 40 % of four-choice answers stood first).
    """

    def __init__(self, context: Context) -> None: ...

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import polars as pl

        size = pl.col("choices").list.len()
        at = pl.len().over(size, "answer_index") / pl.len().over(size)
        return verdicts(table.with_columns(reason=pl.lit("")), pl.col("reason"), at - 1 / size)


def reletter(table: pl.DataFrame, seed: int) -> pl.DataFrame:
    """`table` with the choices of each question in a new order, in which every place holds the answer equally often.

    Within each split and number of choices the counts of `answer_index` differ by at most 1. The order is a function
    of the seed, the question ids and the sets of choices alone, so neither rows nor choices may arrive in another order
    and change it. Needs `id`, `choices`, `answer`, `answer_index`, and `split` where there is one.
    """
    import polars as pl

    places = places_of(table, seed)
    drawn = pl.Series(draws(seed, "choices", table["id"]), dtype=pl.UInt64)
    rows = table.select("choices", "answer").with_columns(place=places, drawn=drawn)
    ordered = [_ordered(part) for part in rows.iter_slices(SLICE)]
    return table.with_columns(
        pl.concat(ordered).rename("choices") if ordered else table["choices"],
        places.cast(table.schema["answer_index"]).alias("answer_index"),
    )


def places_of(table: pl.DataFrame, seed: int) -> pl.Series:
    """The place that each answer gets: those of one split and number of choices take turns, in a drawn order."""
    import polars as pl

    split = pl.col("split") if "split" in table.columns else pl.lit("")
    named = table.select("id", part=split, size=pl.col("choices").list.len())
    named = named.with_columns(drawn=pl.Series(draws(seed, "place", table["id"]), dtype=pl.UInt64))
    firsts = named.select("part", "size").unique()
    first = [derive(seed, "first place", part, size) % max(size, 1) for part, size in firsts.iter_rows()]
    firsts = firsts.with_columns(first=pl.Series(first, dtype=pl.Int64))
    ranked = named.join(firsts, on=["part", "size"], how="left", maintain_order="left", nulls_equal=True)
    turn = pl.struct("drawn", "id").rank("ordinal").over("part", "size").cast(pl.Int64) - 1
    return ranked.select(place=(pl.col("first") + turn) % pl.col("size"))["place"]


def _ordered(part: pl.DataFrame) -> pl.Series:
    """The choices of each row with the answer at `place` and the others shuffled by `drawn`.

    Columns `choices`, `answer`, `place`, `drawn`. A row whose answer is no choice keeps its order.
    """
    import numpy as np
    import polars as pl

    part = part.with_columns(pl.col("choices").list.eval(pl.element().sort())).with_row_index("row")
    sizes = part["choices"].list.len().fill_null(0).to_numpy().astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    long = part.explode("choices", empty_as_null=False, keep_nulls=False)
    row = long["row"].to_numpy()
    step = np.arange(len(row)) - starts[row]
    equal = (long["choices"] == long["answer"]).fill_null(False).to_numpy()
    nth = np.cumsum(equal)
    right = equal & (nth - (nth - equal)[starts[row]] == 1)
    shuffled = spread(long["drawn"].to_numpy(), step)
    keys = pl.DataFrame({"row": row, "right": right, "shuffled": shuffled})  # the answer comes last of its row
    order = keys.select(pl.arg_sort_by("row", "right", "shuffled")).to_series().to_numpy()
    place, known = long["place"].to_numpy(), np.bincount(row[right], minlength=part.height)[row] > 0
    at = np.where(right[order], place, step + (step >= place))
    source = np.empty(len(row), dtype=np.int64)
    source[starts[row] + np.where(known, at, step)] = np.where(known, order, np.arange(len(row)))
    flat = long["choices"].gather(source).to_frame().with_columns(row=pl.Series(row))
    lists = flat.group_by("row", maintain_order=True).agg("choices")
    return part.select("row").join(lists, on="row", how="left", maintain_order="left")["choices"]
