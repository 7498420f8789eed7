"""Captions → questions: one way of writing a file. Adding one = a file, a line in WRITERS, a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from datagen.records import Caption, Clip, Failure, Question

__all__ = ["WRITERS", "Writer"]


class Writer(Protocol):
    """Made by `factory(context: Context)`."""

    async def write(self, clip: Clip, captions: Sequence[Caption]) -> Sequence[Question | Failure]:
        """Questions about one clip in a fixed order, and a Failure, with the raw answer, for each that is no question.

        Lets ServerLost, Denied and OverBudget through.
        """
        ...


WRITERS: dict[str, str] = {
    "rules": "datagen.questions.rules:Rules",
    "llm": "datagen.questions.llm:LLM",
    "human": "datagen.questions.human:Human",
}
