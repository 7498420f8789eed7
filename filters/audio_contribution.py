"""Filter `audio_contribution`: how much more often is a model that listens right with the audio than with silence?

The idea is AudioMCQ's audio-contribution filter (arXiv 2509.21060), which asks three models with silence in place of
the audio and calls a question weak where two are right. Here it is one model under permuted choices, and a number with
its interval in place of the vote: P(right | audio) − P(right | silence of the same length).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datagen.errors import PermanentError, TransientError
from datagen.filters.readings import Plan, asked_of, difference, number, readings, unread
from datagen.llm.hearing import stop_if_deaf
from datagen.records import Failure, Question, Verdict

if TYPE_CHECKING:
    from datagen.plugins import Context

__all__ = ["AudioContribution"]

AUDIO_TOKENS = 250
"""Of a clip of 10 s."""


class AudioContribution:
    """P(right | audio) − P(right | silence) of the captioner's model, in the same permuted orders.

    A column; with `audio_contribution=0.5` what is below is dropped as `weak`. `low` and `high`: Newcombe's interval.
    Failure (stage "read"): refused, transient. Raises Denied, one line, when the model takes no audio.
    """

    role = "captioner"
    takes = "the least difference, from -1 to 1, that is kept"

    def __init__(self, context: Context) -> None:
        self._ears = asked_of(context.captioner, "audio_contribution", "--captioner-model ID")
        self._least = number("audio_contribution", context.value, least=-1.0)
        self._context = context

    def plan(self, captions: int) -> dict[str, Plan]:
        """Calls for one question."""
        tokens = self._context.prompts.tokens("listen") + 60 + AUDIO_TOKENS
        return {"listen": Plan("captioner", 2 * self._context.readings, tokens)}

    async def hear(self, question: Question, sound: Mapping[str, Any], silence: Mapping[str, Any]) -> Verdict | Failure:
        """A verdict on one question. `sound`, `silence`: parts of a message, as `datagen.audio.input_audio` makes."""
        try:
            heard, unheard = await asyncio.gather(
                readings(self._ears, self._context, question, "listen", sound),
                readings(self._ears, self._context, question, "listen", silence),
            )
        except (PermanentError, TransientError) as error:
            stop_if_deaf(error, self._ears.identity)
            return unread(question, error)
        return difference("audio_contribution", question, heard, unheard, self._least)
