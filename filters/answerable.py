"""Filter `answerable`: every choice is an answer, and the question has one.

"Cannot be determined", "all of the above" and their like teach a model to guess from the form of the choices, and no
matcher can tell what they mean once the choices stand in another order. The lists stand in `wordlists.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datagen.filters.wording import Rule, broken_rule, found_reason, verdicts
from datagen.filters.wordlists import EMPTY_CHOICES, EMPTY_QUESTIONS, pattern, unlisted

if TYPE_CHECKING:
    import polars as pl

    from datagen.plugins import Context
    from datagen.records import Question

__all__ = ["Answerable", "problem"]

RULES = (
    *(
        Rule(reason, "choices", pattern(lists, whole=True), pattern(lists, whole=True, ascii=True))
        for reason, lists in EMPTY_CHOICES.items()
    ),
    Rule("unanswerable_question", "question", pattern(EMPTY_QUESTIONS), pattern(EMPTY_QUESTIONS, ascii=True)),
)


class Answerable:
    """Choices that are no answers ("all of the above", "cannot be determined") and questions that have none.

    Reasons: all_of_the_above, none_of_the_above, both_of_the_above, cannot_be_determined, unanswerable_question. Exact:
    no score.
    """

    def __init__(self, context: Context) -> None:
        self.notes = {"no_word_list_for": context.language} if unlisted(context.language) else {}

    def judge(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `datagen.filters.Filter`."""
        return verdicts(table, found_reason(table, RULES))


def problem(question: Question) -> str | None:
    """The reason for which a question is dropped, None when it can be answered."""
    return broken_rule(question, RULES)
