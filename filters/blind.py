"""Filter `blind`: how often is the answer guessed by a reader that has neither audio nor captions?

A column, and no drop unless a threshold is given: what can be told from the text may be just what text-only training
teaches, so whether to drop it is a question for a study (`raw`, `clean`, `clean + audio-dependent`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.errors import PermanentError, TransientError
from datagen.filters.readings import Plan, asked_of, number, reached, readings, share, unread
from datagen.records import Caption, Failure, Question, Verdict

if TYPE_CHECKING:
    from datagen.plugins import Context

__all__ = ["Blind"]


class Blind:
    """How often the reader is right that sees question and choices alone, in permuted orders.

    A column; with `blind=0.9` what is right from that share up is dropped as `guessed`. `low` and `high`: Wilson's
    interval. An answer that names no choice is not right.
    """

    role = "reader"
    takes = "the share of right guesses from which a question is dropped"

    def __init__(self, context: Context) -> None:
        self._reader = asked_of(context.reader, "blind", "--reader-model ID or --model ID")
        self._most = number("blind", context.value)
        self._context = context

    def plan(self, captions: int) -> dict[str, Plan]:
        """Calls for one question."""
        return {"guess": Plan("reader", self._context.readings, self._context.prompts.tokens("guess") + 60)}

    async def probe(self, question: Question, captions: Sequence[Caption]) -> Verdict | Failure:
        """A verdict on one question; the captions are not looked at."""
        try:
            found = await readings(self._reader, self._context, question, "guess")
        except (PermanentError, TransientError) as error:
            return unread(question, error)
        dropped = self._most is not None and reached(found.share, self._most)
        return share("blind", question, found, "guessed" if dropped else "")
