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

__all__ = ["COMMON", "LEAST_RUNS", "OVERLAP", "overlaps"]

OVERLAP, LEAST_RUNS = 0.5, 3
"""An item is met when more than this share of its runs of 8 words is there, at least so many, one with a choice."""
COMMON = 10
"""What more clips of the set, or more items, than this have is a wording, and counts nowhere."""
SLICE = 100_000
"""Rows whose words are in memory together."""


def overlaps(table: pl.DataFrame, clip: pl.Series, items: pl.DataFrame) -> pl.DataFrame:
    """(row, item, reason, score) of pairs of a row and an item, numbers from 0, that share words.

    Reason `exact_question` (the same words in the question and in the choices, in any order), `text_overlap`, or ""
    for a lesser share; score is the share of the item's runs. `table`, `items`: question, choices; `clip` names the
    audio of each row.
    """
    import polars as pl

    theirs, ours = _runs(items), []
    known = {kind: np.unique(part["hash"].to_numpy()) for (kind,), part in theirs.group_by("kind")}
    for start in range(0, table.height, SLICE):
        ours.append(_runs(table.slice(start, SLICE), known).with_columns(pl.col("row") + start))
    mine = pl.concat([theirs.clear(), *ours])
    return _judged(*_met(mine.with_columns(clip=clip.gather(mine["row"]).hash()), theirs), items)


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


def _judged(pairs: pl.DataFrame, totals: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    is_ = {kind: (pl.col("kind") == kind) for kind in ("asked", "ending", "long", "whole")}
    count = pairs.group_by("row", "item").agg(**{kind: flag.sum() for kind, flag in is_.items()})
    total = totals.filter(is_["asked"] | is_["ending"]).group_by("item").agg(pl.col("runs").sum())
    size = items.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("item"), size=pl.col("choices").list.len())
    count = count.join(total, on="item", how="left").join(size, on="item")
    shared = pl.col("asked") + pl.col("ending")
    count = count.with_columns(score=pl.when(pl.col("whole") > 0).then(1.0).otherwise(shared / pl.col("runs")))
    overlap = (pl.col("score") > OVERLAP) & (shared >= LEAST_RUNS) & (pl.col("ending") > 0)
    long = (pl.col("long") >= 2) & (2 * pl.col("long") >= pl.col("size"))
    partly = pl.when(overlap | long).then(pl.lit("text_overlap")).otherwise(pl.lit(""))
    reason = pl.when(pl.col("whole") > 0).then(pl.lit("exact_question")).otherwise(partly)
    return count.select("row", "item", reason=reason, score=pl.col("score").fill_null(0.0))
