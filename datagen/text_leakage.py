"""Which questions of a set share their words with an item of a benchmark, and how much. See `datagen.leakage`.

Of the set only those runs of words (`datagen.ngrams`) are kept that an item has, a slice at a time, so that a million
questions need little more than their own table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datagen.ngrams import RUN, hashed

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

__all__ = ["COMMON", "OVERLAP", "overlaps"]

OVERLAP, LEAST_RUNS, CHOICES = 0.55, 3, 0.75
"""An item is met from this score, with at least so many shared runs, two of them with choices. The score is, to three
quarters, the share of its choices that come with the question's end (or with its beginning, whichever is more), and to
one the share of its question's own runs: a question alone never meets, nor does it with one choice. Runs of 13 words
with two choices and half of all make the score at least this."""
COMMON = 10
"""What more clips of the set, or more items, than this have is a wording, and counts nowhere."""
SLICE = 100_000
"""Rows whose words are in memory together."""


def overlaps(table: pl.DataFrame, clip: pl.Series, items: pl.DataFrame, least: float = OVERLAP) -> pl.DataFrame:
    """(row, item, reason, score) of pairs of a row and an item, numbers from 0, that share words.

    Reason `exact_question` (the same words in the question and in the choices, in any order), `text_overlap`, or ""
    for a score below `least` (see OVERLAP). `table`, `items`: question, choices; `clip` names the
    audio of each row.
    """
    import polars as pl

    theirs, ours = _runs(items), []
    known = {kind: np.unique(part["hash"].to_numpy()) for (kind,), part in theirs.group_by("kind")}
    for start in range(0, table.height, SLICE):
        ours.append(_runs(table.slice(start, SLICE), known).with_columns(pl.col("row") + start))
    mine = pl.concat([theirs.clear(), *ours])
    return _judged(*_met(mine.with_columns(clip=clip.gather(mine["row"]).hash()), theirs), items, least)


def _runs(table: pl.DataFrame, known: dict[str, NDArray[np.uint64]] | None = None) -> pl.DataFrame:
    """(kind, row, hash) of every run of `table`, and of `whole` texts of 8 words and more; those that are `known`."""
    import polars as pl

    texts = hashed(table)
    enough = np.flatnonzero(texts.size >= RUN)
    parts = []
    for kind, (rows, hashes) in {**texts.runs, "whole": (enough, texts.whole[enough])}.items():
        if known is not None:
            some = _among(hashes, known.get(kind, np.empty(0, np.uint64)))
            rows, hashes = rows[some], hashes[some]
        columns = {"row": rows.astype(np.uint32), "hash": hashes}
        parts.append(pl.DataFrame(columns).select(pl.lit(kind, pl.Categorical).alias("kind"), *columns).unique())
    return pl.concat(parts)


def _among(hashes: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which hashes are in `known` (sorted); nearly all that are not are told by their first 20 bits."""
    first = np.zeros(1 << 20, np.bool_)
    first[known >> np.uint64(44)] = True
    found: NDArray[np.bool_] = first[hashes >> np.uint64(44)]
    likely = hashes[found]
    place = np.minimum(np.searchsorted(known, likely), max(len(known) - 1, 0))
    found[found] = known[place] == likely if len(known) else False
    return found


def _met(mine: pl.DataFrame, theirs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(kind, row, item) of every run that both have and few have, and (kind, item, runs) of how many an item has."""
    import polars as pl

    key = ["kind", "hash"]
    clips = mine.select(*key, "clip").unique().group_by(key).len()
    rows = theirs.group_by(key).len()
    common = pl.concat([clips, rows]).filter(pl.col("len") > COMMON).select(key).unique()
    rare = theirs.rename({"row": "item"}).join(common, on=key, how="anti")
    return mine.join(rare, on=key).select("kind", "row", "item"), rare.group_by("kind", "item").agg(runs=pl.len())


def _judged(pairs: pl.DataFrame, totals: pl.DataFrame, items: pl.DataFrame, least: float) -> pl.DataFrame:
    import polars as pl

    kinds = ("asked", "ending", "beginning", "long", "whole")
    count = pairs.group_by("row", "item").agg(**{kind: (pl.col("kind") == kind).sum() for kind in kinds})
    of = {f"of_{kind}": pl.col("runs").filter(pl.col("kind") == kind).sum().replace(0, None) for kind in kinds}
    size = items.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("item"), size=pl.col("choices").list.len())
    count = count.join(totals.group_by("item").agg(**of), on="item", how="left").join(size, on="item")
    whole, asked = pl.col("whole") > 0, pl.col("asked") / pl.col("of_asked")
    chosen = pl.max_horizontal(pl.col(kind) / pl.col(f"of_{kind}") for kind in ("ending", "beginning"))
    score = CHOICES * chosen + (1 - CHOICES) * pl.coalesce(asked, chosen)
    long = (pl.col("long") >= 2) & (2 * pl.col("long") >= pl.col("size"))
    score = pl.max_horizontal(score.fill_null(0.0), pl.when(long).then(OVERLAP).otherwise(0.0))
    count = count.with_columns(
        score=pl.when(whole).then(1.0).otherwise(score), choices=pl.max_horizontal("ending", "beginning")
    )
    enough = (pl.col("choices") >= 2) & (pl.col("asked") + pl.col("choices") >= LEAST_RUNS) | long
    partly = pl.when((pl.col("score") >= least) & enough).then(pl.lit("text_overlap")).otherwise(pl.lit(""))
    return count.select("row", "item", "score", reason=pl.when(whole).then(pl.lit("exact_question")).otherwise(partly))
