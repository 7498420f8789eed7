"""Filter `consistency`: does a reader that has only the captions choose the answer, wherever it stands?

The question is put `--readings` times with its choices in another order, the answer each time at another place. A
reader of the writer's own model family makes this circular: both may share one mistake. `--second-reader-model` asks
another family as well, and both must agree with the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.errors import PermanentError, TransientError
from datagen.filters.readings import Plan, asked_of, no_captions, number, reached, readings, unread
from datagen.pool import together
from datagen.prompts import describe
from datagen.records import Caption, Failure, Question, Verdict

if TYPE_CHECKING:
    from datagen.plugins import Context

__all__ = ["THRESHOLD", "Consistency", "reader_tokens"]

THRESHOLD = 2 / 3
"""Least share of right readings: one slip in three is forgiven, a guess among four passes one time in six."""


class Consistency:
    """A model reads the captions and answers under permuted choices; kept from two right readings of three.

    Reasons: inconsistent, unreadable (no reading named a choice). Score: the share of right readings, with two readers
    the lower of both; a reading that names no choice, or says "unknown", is not right. Failure (stage "read"): refused,
    transient, no_captions. What the rules measured stands in the captions, so their questions are read too. Human ones
    are kept unread, score null: who wrote them had heard more than the captions tell.
    """

    role = "reader"
    takes = "the least share of right readings, 2 of 3 if not given"

    def __init__(self, context: Context) -> None:
        self._readers = [asked_of(context.reader, "consistency", "--reader-model ID or --model ID")]
        self._readers += [context.second_reader] if context.second_reader else []
        self._least = THRESHOLD if (given := number("consistency", context.value)) is None else given
        self._context = context

    def plan(self, captions: int) -> dict[str, Plan]:
        """Calls for one question of a clip with so many captions."""
        plan = Plan("reader", self._context.readings, reader_tokens(self._context, captions))
        return {"read": plan, **({"read again": plan._replace(role="second_reader")} if self._readers[1:] else {})}

    async def probe(self, question: Question, captions: Sequence[Caption]) -> Verdict | Failure:
        """A verdict on one question; see the class."""
        if question.generator == "human":
            return Verdict(question.id, "consistency", True)
        if not captions:
            return no_captions(question)
        texts = describe(captions)
        try:
            found = await together(
                readings(reader, self._context, question, "read", captions=texts) for reader in self._readers
            )
        except (PermanentError, TransientError) as error:
            return unread(question, error)
        score = min(reader.share for reader in found)
        keep = reached(score, self._least)
        named = any(reader.named for reader in found)
        reason = "" if keep else "inconsistent" if named else "unreadable"
        keys = tuple(key for reader in found for key in reader.keys)
        return Verdict(question.id, "consistency", keep, reason, score, keys)


def reader_tokens(context: Context, captions: int) -> int:
    """Estimated tokens of a prompt with so many captions."""
    return context.prompts.tokens("read") + 80 * captions + 60
