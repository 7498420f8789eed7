"""What the probes share: one question put to a model several times, its choices in another order each time.

Requests are equal wherever model, template, captions, question and order are. So what one probe asked another has from
the ledger: `audio_dependence` takes the readings of `consistency` and of `blind`, and a moved threshold asks nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from datagen.errors import ModelError, UsageError
from datagen.llm import Request, Sampling
from datagen.multiple_choice import read, render
from datagen.records import Failure, Question, Verdict
from datagen.seeds import generator
from datagen.statistics import newcombe, wilson

if TYPE_CHECKING:
    from datagen.llm import Answer, Client
    from datagen.multiple_choice import Labels
    from datagen.plugins import Context

__all__ = [
    "Plan", "Readings", "asked_of", "choice_of", "difference", "gather", "number", "orders", "reached", "readings",
    "share", "unread",
]  # fmt: skip

TOKENS = 512
"""A letter takes one; the rest is for models that think first."""
HUNDREDTH = 0.005
"""Shares are compared to the hundredth, so that 0.67 takes two of three."""


class Plan(NamedTuple):
    """Calls for one question, for a dry run. Equal names are equal requests."""

    role: str
    """reader, second_reader, captioner or policy"""
    calls: int
    prompt_tokens: int
    completion_tokens: int = 8


@dataclass(frozen=True, slots=True)
class Readings:
    """What came of asking one question n times."""

    n: int
    right: int
    named: int
    """Readings that named a choice at all; one that does not is not right."""
    keys: tuple[str, ...]

    @property
    def share(self) -> float:
        """Right ones among all."""
        return self.right / self.n


def orders(question: Question, seed: int, number: int) -> list[list[int]]:
    """`number` orders of the indices of the choices, drawn for the question; more of them begin with the same ones.

    The answer's place differs; with fewer choices than orders places come again, as seldom as can be.
    """
    size = len(question.choices)
    drawn: list[list[int]] = []
    while len(drawn) < number:
        rng = generator(seed, "consistency", question.id, len(drawn))
        for place in rng.sample(range(size), size):
            others = [index for index in rng.sample(range(size), size) if index != question.answer_index]
            drawn.append([*others[:place], question.answer_index, *others[place:]])
    return drawn[:number]


async def readings(
    client: Client, context: Context, question: Question, template: str, sound: Mapping[str, Any] | None = None,
    *, number: int | None = None, **values: str,
) -> Readings:  # fmt: skip
    """`number` (else `context.readings`) answers to `question`, asked by `template` with `values` in it, or by ear.

    An order is asked once: two choices have two readings at most, a third would be the first again. Raises
    PermanentError and TransientError of the first that fails.
    """

    async def one(order: Sequence[int]) -> Answer:
        asked = render(question.question, [question.choices[index] for index in order], "letters")
        text, name = context.prompts.fill(template, question=asked, **values)
        content = text if sound is None else [sound, {"type": "text", "text": text}]
        request = Request([{"role": "user", "content": content}], name, sampling=Sampling(max_tokens=TOKENS))
        return await client.ask(request)

    drawn = orders(question, context.seed, number or context.readings)
    permuted = [list(order) for order in dict.fromkeys(map(tuple, drawn))]
    return gather(question, permuted, await asyncio.gather(*map(one, permuted)), "letters")


def gather(
    question: Question, permuted: Sequence[Sequence[int]], answers: Sequence[Answer], labels: Labels
) -> Readings:
    """Reads one answer for each order."""
    named = [choice_of(question, order, answer, labels) for order, answer in zip(permuted, answers, strict=True)]
    right = sum(choice == question.answer_index for choice in named)
    return Readings(len(named), right, len(named) - named.count(None), tuple(answer.key for answer in answers))


def choice_of(question: Question, order: Sequence[int], answer: Answer, labels: Labels) -> int | None:
    """The index, in the question's own order, of the choice that an answer names."""
    place = read(answer.text, [question.choices[index] for index in order], labels)
    return None if place is None else order[place]


# ── verdicts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def share(name: str, question: Question, found: Readings, reason: str = "") -> Verdict:
    """A measure that is a share, with its Wilson interval; dropped where there is a reason to."""
    low, high = wilson(found.right, found.n)
    return Verdict(question.id, name, not reason, reason, found.share, found.keys, low, high)


def difference(name: str, question: Question, a: Readings, b: Readings, least: float | None) -> Verdict:
    """A measure that is a difference of shares, with Newcombe's interval; below `least` it is dropped as `weak`."""
    low, high = newcombe(a.right, a.n, b.right, b.n)
    score = a.share - b.share
    reason = "" if least is None or reached(score, least) else "weak"
    return Verdict(question.id, name, not reason, reason, score, a.keys + b.keys, low, high)


def unread(question: Question, error: ModelError) -> Failure:
    """A question that a model could not be asked."""
    return Failure("read", error.reason, question.clip_id, str(error), error.raw, question.id, error.key)


def no_captions(question: Question) -> Failure:
    """A question of a clip that has no caption."""
    error = "no caption that could be read"
    return Failure("read", "no_captions", question.clip_id, error, question_id=question.id)


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def asked_of(client: Client | None, name: str, flag: str) -> Client:
    """The model that a filter asks. Raises UsageError where none is named."""
    if client is None:
        raise UsageError(f"filter {name!r} asks a model and none is named: add {flag}")
    return client


def number(name: str, value: str | None, least: float = 0.0) -> float | None:
    """The threshold of `--filters name=VALUE`, a number from `least` to 1. Raises UsageError for anything else."""
    if value is None:
        return None
    try:
        found = float(value)
        if not least <= found <= 1:
            raise ValueError
    except ValueError:
        raise UsageError(f"--filters {name}={value}: give a number from {least:g} to 1") from None
    return found


def reached(score: float, threshold: float) -> bool:
    """Whether a score is at least a threshold."""
    return score >= threshold - HUNDREDTH
