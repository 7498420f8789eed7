"""Filter `answer_frequency`: no answer text holds more than a share of the questions.

What is right in one question of ten can be guessed by its text. `balance` applies the same cap together with others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagen.filters.caps import kinds, limit_of, place_in_group
from datagen.filters.readings import number
from datagen.filters.wording import key, verdicts
from datagen.seeds import draws

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["FLOOR", "SHARE", "AnswerFrequency", "answers"]

SHARE, FLOOR = 0.05, 20
"""An answer text may hold this share of the kept questions; 20 are always allowed, so small sets lose none."""


class AnswerFrequency:
    """Answer texts beyond 5 % of the questions; 20 of each are always allowed.

    Reason `answer_cap`. With fewer than 32 texts the share is 1.6 / their number. Which rows go is drawn by (seed, id).
    Score: the share of all questions that the text would hold were this one the last of it to be kept.
    """

    takes = "the share of the questions that an answer may hold"

    def __init__(self, context: Context) -> None:
        given = number("answer_frequency", context.value)
        self.threshold = SHARE if given is None else given
        self.seed = context.seed

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import polars as pl

        names = answers(table)
        place = place_in_group(names, pl.Series(draws(self.seed, "cap", table["id"])))
        limit = limit_of(names, self.threshold, FLOOR, kinds(names))
        reason = pl.when(place > limit).then(pl.lit("answer_cap")).otherwise(pl.lit(""))
        return verdicts(table, reason, place / max(table.height, 1))


def answers(table: pl.DataFrame) -> pl.Series:
    """The answer of each row in the form in which answers count as equal."""
    import polars as pl

    return table.select(key(pl.col("answer")))["answer"].fill_null("")
