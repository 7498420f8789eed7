"""Filter `self_agreement`: how many of a clip's captions alone lead the reader to the answer?

Captions are about different aspects, and a caption of the music need not know of the dog: few questions follow from
all. An answer that one caption in five gives and no other repeats is the one to look at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.errors import PermanentError, TransientError
from datagen.filters.consistency import reader_tokens
from datagen.filters.readings import (
    Plan,
    Readings,
    asked_of,
    no_captions,
    number,
    reached,
    readings,
    share,
    unread,
)
from datagen.prompts import describe
from datagen.records import Caption, Failure, Question, Verdict

if TYPE_CHECKING:
    from datagen.plugins import Context

__all__ = ["SelfAgreement"]


class SelfAgreement:
    """The share of a clip's captions each of which alone gives the answer, by one reading a caption.

    A column; with `self_agreement=0.4` what fewer captions give is dropped as `disagreed`. `low` and `high`: Wilson's
    interval.
    """

    role = "reader"
    takes = "the least share of captions"

    def __init__(self, context: Context) -> None:
        self._reader = asked_of(context.reader, "self_agreement", "--reader-model ID or --model ID")
        self._least = number("self_agreement", context.value)
        self._context = context

    def plan(self, captions: int) -> dict[str, Plan]:
        """Calls for one question of a clip with so many captions."""
        return {"read one": Plan("reader", captions, reader_tokens(self._context, 1))}

    async def probe(self, question: Question, captions: Sequence[Caption]) -> Verdict | Failure:
        """A verdict on one question."""
        if not captions:
            return no_captions(question)
        texts = list(dict.fromkeys(describe([caption]) for caption in captions))
        try:
            alone = await asyncio.gather(
                *(readings(self._reader, self._context, question, "read", number=1, captions=text) for text in texts)
            )
        except (PermanentError, TransientError) as error:
            return unread(question, error)
        keys = tuple(key for one in alone for key in one.keys)
        found = Readings(len(alone), sum(one.right for one in alone), sum(one.named for one in alone), keys)
        dropped = self._least is not None and not reached(found.share, self._least)
        return share("self_agreement", question, found, "disagreed" if dropped else "")
