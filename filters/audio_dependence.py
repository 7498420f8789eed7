"""Filter `audio_dependence`: how much more often is the reader right with the captions than without anything?

P(right | captions) − P(right | nothing), −1 to 1: 1 where only the captions tell, 0 where they add nothing. The
readings are those of `consistency` and `blind`; where these were asked, it costs nothing. Captions stand in for the
audio, so it is no more than they hold; `audio_contribution` asks a model that listens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.errors import PermanentError, TransientError
from datagen.filters.consistency import reader_tokens
from datagen.filters.readings import Plan, asked_of, difference, no_captions, number, readings, unread
from datagen.prompts import describe
from datagen.records import Caption, Failure, Question, Verdict

if TYPE_CHECKING:
    from datagen.plugins import Context

__all__ = ["AudioDependence"]


class AudioDependence:
    """P(right | captions) − P(right | nothing) of the reader, in the same permuted orders.

    A column; with `audio_dependence=0.5` what is below is dropped as `weak`, so that rejected.parquet holds the weak
    part of a curriculum and the dataset the strong one. `low` and `high`: Newcombe's interval.
    """

    role = "reader"
    takes = "the least difference, from -1 to 1, that is kept"

    def __init__(self, context: Context) -> None:
        self._reader = asked_of(context.reader, "audio_dependence", "--reader-model ID or --model ID")
        self._least = number("audio_dependence", context.value, least=-1.0)
        self._context = context

    def plan(self, captions: int) -> dict[str, Plan]:
        """Calls for one question of a clip with so many captions."""
        n, tokens = self._context.readings, reader_tokens(self._context, captions)
        guess = Plan("reader", n, self._context.prompts.tokens("guess") + 60)
        return {"read": Plan("reader", n, tokens), "guess": guess}

    async def probe(self, question: Question, captions: Sequence[Caption]) -> Verdict | Failure:
        """A verdict on one question; human ones are measured too."""
        if not captions:
            return no_captions(question)
        try:
            told, guessed = await asyncio.gather(
                readings(self._reader, self._context, question, "read", captions=describe(captions)),
                readings(self._reader, self._context, question, "guess"),
            )
        except (PermanentError, TransientError) as error:
            return unread(question, error)
        return difference("audio_dependence", question, told, guessed, self._least)
