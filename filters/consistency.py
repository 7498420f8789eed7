"""Consistency: does a reader that has only the captions choose the answer, wherever it stands?

READINGS times the question is put with its choices in another order, the answer each time at another place. A reader
of the writer's own model family makes this circular: both may share one mistake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.errors import PermanentError, TransientError, UsageError
from datagen.llm import Request, Sampling
from datagen.multiple_choice import read, render
from datagen.prompts import describe
from datagen.records import Caption, Failure, Question, Verdict
from datagen.seeds import generator

if TYPE_CHECKING:
    from datagen.llm import Answer
    from datagen.plugins import Context

__all__ = ["READINGS", "THRESHOLD", "Consistency", "orders"]

READINGS = 3
THRESHOLD = 2 / 3
"""Least share of right readings: one slip is forgiven, a guess among four passes one time in six."""
TOKENS = 512
"""A letter takes one; the rest is for models that think first."""


class Consistency:
    """A model reads the captions and answers under permuted choices; kept from two right readings of three.

    Reasons: inconsistent, unreadable (no reading named a choice). Score: the share of right readings; one that names no
    choice, or says "unknown", is not right. Failure (stage "read"): refused, transient, no_captions. What the
    rules measured stands in the captions, so their questions are read too. Human ones are kept unread, score null: who
    wrote them had heard more than the captions tell.
    """

    def __init__(self, context: Context) -> None:
        if context.reader is None:
            raise UsageError("filter 'consistency' asks a model and none is named: add --reader-model ID or --model ID")
        self._client = context.reader
        self._context = context

    async def probe(self, question: Question, captions: Sequence[Caption]) -> Verdict | Failure:
        """A verdict on one question; see the class."""
        if question.generator == "human":
            return Verdict(question.id, "consistency", True)
        if not captions:
            error = "no caption that could be read"
            return Failure("read", "no_captions", question.clip_id, error, question_id=question.id)
        texts = describe(captions)
        permuted = orders(question, self._context.seed)
        try:
            answers = await asyncio.gather(*(self._ask(question, texts, order) for order in permuted))
        except (PermanentError, TransientError) as error:
            return Failure("read", error.reason, question.clip_id, str(error), error.raw, question.id, error.key)
        readings = [_reading(question, order, answer) for order, answer in zip(permuted, answers, strict=True)]
        score = sum(reading == question.answer_index for reading in readings) / READINGS
        keep = score >= THRESHOLD
        reason = "" if keep else "unreadable" if set(readings) == {None} else "inconsistent"
        return Verdict(question.id, "consistency", keep, reason, score, tuple(answer.key for answer in answers))

    async def _ask(self, question: Question, captions: str, order: Sequence[int]) -> Answer:
        asked = render(question.question, [question.choices[index] for index in order], "letters")
        text, name = self._context.prompts.fill("read", captions=captions, question=asked)
        request = Request([{"role": "user", "content": text}], name, sampling=Sampling(max_tokens=TOKENS))
        return await self._client.ask(request)


def orders(question: Question, seed: int) -> list[list[int]]:
    """READINGS orders of the indices of the choices, drawn for the question; the answer's places differ.

    With fewer choices than readings places come again, as seldom as can be.
    """
    size = len(question.choices)
    rng = generator(seed, "consistency", question.id)
    places: list[int] = []
    while len(places) < READINGS:
        places += rng.sample(range(size), size)
    drawn = []
    for place in places[:READINGS]:
        order = [index for index in rng.sample(range(size), size) if index != question.answer_index]
        drawn.append([*order[:place], question.answer_index, *order[place:]])
    return drawn


def _reading(question: Question, order: Sequence[int], answer: Answer) -> int | None:
    """The index, in the question's own order, of the choice that an answer names."""
    place = read(answer.text, [question.choices[index] for index in order], "letters")
    return None if place is None else order[place]
