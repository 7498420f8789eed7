"""Caps, shared by the filters that use them: no group of questions may hold more than a share of what is kept.

Which rows go is drawn by (seed, question id), so neither the order of the table nor other rows' ids decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

__all__ = ["LOOSER", "cap", "capped", "kinds", "limit_of", "place_in_group"]

LOOSER = 1.6
"""With k groups the share is at least 1.6 / k: what 4 forms make up cannot be at 20 % each."""


def cap(counts: pl.Series, total: int, share: float) -> int:
    """The most rows that each group may keep so that none has more than `share` of all that are left.

    `counts`: rows of each group; `total`: rows in all, those of no group too. At least 1, below which nothing is
    left to balance.
    """
    import numpy as np

    sizes = counts.to_numpy().astype(np.int64)
    rest = total - int(sizes.sum())
    low, high = 1, int(sizes.max(initial=1))
    while low < high:  # allowed limits are an unbroken run from 1 up: what is left is a concave function of the limit
        middle = (low + high + 1) // 2
        left = rest + int(np.minimum(sizes, middle).sum())
        low, high = (middle, high) if middle <= share * left + 1e-9 else (low, middle - 1)
    return low


def kinds(names: pl.Series) -> int:
    """How many groups there are; a row without a name ("") is a group of its own."""
    named = names.filter(names != "")
    return named.n_unique() + names.len() - named.len()


def limit_of(names: pl.Series, share: float, floor: int, kinds: int) -> int:
    """The most rows a group of `names` may keep, of `kinds` groups at first; rows without a name are never too many."""
    counts = names.filter(names != "").value_counts()["count"]
    return max(floor, cap(counts, names.len(), max(share, LOOSER / max(kinds, 1))))


def capped(names: pl.Series, drawn: pl.Series, limit: int) -> pl.Series:
    """Which rows stand beyond the first `limit` of their group, in the order of `drawn`."""
    return place_in_group(names, drawn) > limit


def place_in_group(names: pl.Series, drawn: pl.Series) -> pl.Series:
    """1, 2, … within the rows of one name in the order of `drawn`; 0 for rows without a name."""
    import polars as pl

    table = pl.DataFrame({"name": names, "drawn": drawn})
    place = pl.col("drawn").rank("ordinal").over("name")
    return table.select(pl.when(pl.col("name") == "").then(0).otherwise(place))["literal"]
