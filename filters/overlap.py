"""Filter `overlap`: the question shares no word with its answer that it does not share with a wrong choice.

"Which instrument plays the guitar solo?", and only one choice has "guitar": the choice is found by matching words.
Words are the content words of `content.py`, so endings do not matter and stop words do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.filters.content import EMPTY, content
from datagen.filters.readings import number
from datagen.filters.wording import folded, verdicts
from datagen.filters.wordlists import ASKING
from datagen.language import word_lists

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context

__all__ = ["SHARED", "Overlap", "shared"]

SHARED = 0.5
"""Share of the answer's own words that may not stand in the question, when no wrong choice has them."""
UNASKED = frozenset().union(*map(content, ASKING.values()))
BEGINNING = 3
"""Letters by which a word of the answer is first looked for in the question."""


class Overlap:
    """Questions that hold half of the answer's words and more, and fewer of any wrong choice's.

    Words that two choices have do not count. Reason `shared_words`. Score: the share of the answer's words that the
    question has, less that of the wrong choice of which it has most.
    """

    takes = "the share of the answer's words from which a question is dropped"

    def __init__(self, context: Context) -> None:
        given = number("overlap", context.value)
        self.threshold = SHARED if given is None else given

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        import polars as pl

        rows = candidates(table)
        some = table.select("question", "choices", "answer")[rows]
        scores = pl.zeros(table.height, dtype=pl.Float64, eager=True)
        scores = scores.scatter(rows, pl.Series([shared(*row) for row in some.iter_rows()], dtype=pl.Float64))
        reason = pl.when(scores >= self.threshold).then(pl.lit("shared_words")).otherwise(pl.lit(""))
        return verdicts(table, reason, scores)


def candidates(table: pl.DataFrame) -> pl.Series:
    """Rows whose question has the beginning of some word of the answer: all that may share one, and few others."""
    import polars as pl

    words = word_lists(pl.col("answer")).alias("word")
    long = table.select(words, text=folded(pl.col("question"))).with_row_index("row").drop_nulls()
    long = long.explode("word", empty_as_null=False, keep_nulls=False)
    begun = pl.col("text").str.contains(pl.col("word").str.slice(0, BEGINNING), literal=True)
    long = long.filter(~pl.col("word").is_in(sorted(EMPTY)))
    return long.filter(begun)["row"].unique().sort()


def shared(question: str, choices: Sequence[str], answer: str) -> float:
    """The share of the answer's words that the question has, less the most that it has of a wrong choice's.

    Of each choice only those words count that no other choice has.
    """
    found = content(question) - UNASKED
    words = {choice: content(choice or "") for choice in [answer, *choices]}
    shares = {}
    for choice, own in words.items():
        only = own.difference(*(others for other, others in words.items() if other != choice))
        only = frozenset(word for word in only if len(word) > 1 or not word.isascii())
        shares[choice] = len(only & found) / len(only) if only else 0.0
    return max(0.0, shares.pop(answer) - max(shares.values(), default=0.0))
