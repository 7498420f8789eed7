"""Filter `length`: neither the longest nor the shortest choice is right more often than by chance.

Writers say more about what is true: on MMAU test-mini the longest choice is right in 37 to 39 % where chance is 25.5 %.
As many questions are dropped as bring both baselines through their gate, and no more; which ones is drawn.

The gate is one of equivalence: the upper end of the 95 % interval of (accuracy - chance), clustered by clip, is at most
2 points; half a point is left at most. Where there are too few questions for any set to pass it, the accuracy itself is
brought to 2 points; below 50 questions it says nothing, and none is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagen.filters.wording import verdicts
from datagen.gates import LIMIT
from datagen.seeds import draws

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from datagen.plugins import Context

__all__ = ["Length", "clusters", "credits", "excess", "passed", "surplus"]

NEAR = 0.005
"""Accuracy above chance that is left at most: a model of all lengths adds up what longest and shortest leave."""
FEWEST = 50
"""Questions below which nothing is dropped."""
Z = 1.959964
"""Half the width of a 95 % interval in standard errors."""
EXTREMES = ("longest", "shortest")


class Length:
    """Questions whose answer is the longest choice, or the shortest, as far as these are right too often.

    Reasons `answer_longest`, `answer_shortest` (in characters). Score: 1 where the answer is the only longest, -1 where
    it is the only shortest, between for ties, 0 else. Notes: accuracy above chance of both baselines, before and after,
    and `gate` where the questions are too few to tell.
    """

    def __init__(self, context: Context) -> None:
        self.seed = context.seed
        self.notes: dict[str, str] = {}

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import polars as pl

        credit, chance = credits(table)
        clips = clusters(table)
        dropped = surplus(credit - chance[:, None], clips, draws(self.seed, "length", table["id"]))
        kept = dropped == 0
        for column, name in enumerate(EXTREMES):
            above = credit[:, column] - chance
            before, after = (100 * excess(above[rows], clips[rows])[0] for rows in (slice(None), kept))
            self.notes[name] = f"{before:+.1f} → {after:+.1f} points above chance"
        if too_few(excess(credit[kept, 0] - chance[kept], clips[kept])[1]):
            self.notes["gate"] = "too few questions to tell"
        reason = pl.Series(["", "answer_longest", "answer_shortest"]).gather(dropped)
        return verdicts(table, reason, pl.Series(credit[:, 0] - credit[:, 1], dtype=pl.Float64))


def credits(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """What choosing the longest and the shortest choice is worth in each row, (rows, 2), and what chance is, (rows,).

    Length is in characters; equal ones share the point. Rows without choices are worth nothing.
    """
    import numpy as np
    import polars as pl

    sizes = table["choices"].list.len().fill_null(0).to_numpy().astype(np.int64)
    some = sizes > 0
    flat = table["choices"].filter(pl.Series(some)).explode()
    lengths = flat.str.len_chars().fill_null(0).to_numpy().astype(np.int64)
    gold = table["answer"].filter(pl.Series(some)).str.len_chars().fill_null(-1).to_numpy().astype(np.int64)
    starts = np.cumsum(sizes[some]) - sizes[some]
    credit, chance = np.zeros((table.height, 2)), np.zeros(table.height)
    chance[some] = 1 / sizes[some]
    for column, extreme in enumerate((np.maximum, np.minimum)):
        best = extreme.reduceat(lengths, starts) if len(starts) else lengths
        ties = np.add.reduceat(lengths == np.repeat(best, sizes[some]), starts) if len(starts) else best
        credit[some, column] = (gold == best) / np.maximum(ties, 1)
    return credit, chance


def clusters(table: pl.DataFrame) -> np.ndarray:
    """A number for the clip of each row, (rows,)."""
    import polars as pl

    return table["clip_id"].fill_null("").rank("dense").fill_null(0).cast(pl.Int64).to_numpy()


def excess(above: np.ndarray, clips: np.ndarray) -> tuple[float, float]:
    """Mean of `above` and its standard error with the rows of one clip as one; (0, 0) without rows."""
    import numpy as np

    if not len(above):
        return 0.0, 0.0
    mean = float(above.mean())
    sums, k = np.bincount(clips, weights=above - mean), int(np.count_nonzero(np.bincount(clips)))
    return mean, float(np.sqrt((sums**2).sum() * k / max(1, k - 1)) / len(above))


def surplus(above: np.ndarray, clips: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """1 for rows to drop so that the longest is right no more often than allowed, 2 likewise for the shortest, else 0.

    `above`: credit less chance, (rows, 2); `clips`: a number a clip, (rows,); `drawn`: which rows go first, (rows,).
    """
    import numpy as np

    dropped, before = np.zeros(len(above), dtype=np.int8), -1
    if len(above) < FEWEST:
        return dropped
    while before != (before := int(np.count_nonzero(dropped))):
        for column in range(len(EXTREMES)):
            alive = np.flatnonzero(dropped == 0)
            dropped[alive[_fewest(above[alive, column], clips[alive], drawn[alive])]] = column + 1
    return dropped


def _fewest(above: np.ndarray, clips: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The rows without which the gate is passed: those that are worth the most first, equal ones as drawn."""
    import numpy as np

    worth = np.flatnonzero(above > 0)
    order = worth[np.lexsort((drawn[worth], -np.round(above[worth], 6)))]
    kept = np.ones(len(above), dtype=bool)

    def passes(dropped: int) -> bool:
        kept[:] = True
        kept[order[:dropped]] = False
        return passed(*excess(above[kept], clips[kept]))

    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle + 1, high)
    return order[:low]


def passed(mean: float, error: float) -> bool:
    """Whether a baseline is through its gate; where no set so small could be, whether its accuracy itself is."""
    return mean <= LIMIT if too_few(error) else mean <= min(NEAR, LIMIT - Z * error)


def too_few(error: float) -> bool:
    """Whether a baseline that is right as often as by chance would not pass."""
    return Z * error > LIMIT
