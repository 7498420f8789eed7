"""`--repair`: a question that gives its answer away by its form is mended before it is judged, not thrown away.

    labelled   letters or numbers stand before the choices: they are taken off, and nobody is asked
    too_long   the answer is much longer than every other choice: the writer says it shorter
    too_easy   the reader guesses it every time without captions (with `blind` among the filters): the writer invents
               other distractors

Each is tried once, in this order. What was and what is stand in the provenance; the mended question goes through every
filter like any other. A try that fails is a Failure, and the question goes on as it was.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from datagen.errors import ModelError, PermanentError, TransientError, UsageError
from datagen.llm import Request, Sampling, Unparsable, ask_parsed
from datagen.prompts import Unusable, answer_schema, describe, distractors_schema, parse_answer, parse_distractors
from datagen.records import Caption, Failure, Question, Verdict

if TYPE_CHECKING:
    from datagen.plugins import Context

__all__ = ["Repair", "kinds", "too_long", "unlabelled"]

Guess = Callable[[Question, Sequence[Caption]], Awaitable[Verdict | Failure]]

LONGER, BY = 1.5, 10
"""An answer is too long from so many times the longest other choice and so many characters more."""
TOKENS = 512
LABEL = re.compile(r"\s*[\[(]?([A-Ja-j]|[1-9])[)\].:]\s+(?=\S)")


class Repair:
    """Mends one question at a time. Failures (stage "repair"): unparsable, refused, transient, still_guessed."""

    def __init__(self, context: Context, guess: Guess | None = None) -> None:
        if context.writer is None:
            raise UsageError("--repair asks the writer and none is named: add --model ID")
        self._writer = context.writer
        self._context = context
        self._guess = guess

    async def mend(self, question: Question, captions: Sequence[Caption]) -> list[Question | Failure]:
        """The question, mended or as it was, and what failed. What the rules measured is never touched."""
        if question.generator == "rules":
            return [question]
        failures: list[Question | Failure] = []
        question = unlabelled(question)
        for wrong, rewrite in ((self._is_long, self._answer), (self._is_guessed, self._distractors)):
            try:
                if await wrong(question, captions):
                    question = await rewrite(question, captions)
            except (PermanentError, TransientError, Unparsable) as error:
                failures.append(_failed(question, error))
            except StillGuessed as error:
                said = f"with {_wrong(error.mended)} it is guessed as well"
                key = error.mended.provenance["repair"][-1]["keys"][-1]
                failures.append(Failure("repair", "still_guessed", question.clip_id, said, "", question.id, key))
        return [question, *failures]

    async def _is_long(self, question: Question, captions: Sequence[Caption]) -> bool:
        return too_long(question)

    async def _is_guessed(self, question: Question, captions: Sequence[Caption]) -> bool:
        guessed = await self._guess(question, captions) if self._guess else None
        return isinstance(guessed, Verdict) and guessed.score == 1.0

    async def _answer(self, question: Question, captions: Sequence[Caption]) -> Question:
        """The same question with its answer said shorter."""
        limit = round(1.2 * max(len(choice) for choice in _wrong(question)))

        def read(text: str) -> Question:
            answer = parse_answer(text)
            mended = _with(question, [answer if c == question.answer else c for c in question.choices], answer)
            if too_long(mended):
                raise Unusable(
                    "still_too_long", f"the answer has {len(answer)} characters, at most {limit} are allowed"
                )
            return mended

        return await self._ask("too_long", "repair.answer", question, captions, read, answer_schema(), characters=limit)

    async def _distractors(self, question: Question, captions: Sequence[Caption]) -> Question:
        """The same question with other wrong choices. Raises StillGuessed where these are no better."""
        number = len(question.choices) - 1

        def read(text: str) -> Question:
            wrong = parse_distractors(text, number)
            place = question.answer_index
            mended = _with(question, [*wrong[:place], question.answer, *wrong[place:]], question.answer)
            if mended.id == question.id:
                raise Unusable("same_distractors", "these are the wrong choices that there were")
            return mended

        schema = distractors_schema(number)
        mended = await self._ask("too_easy", "repair.distractors", question, captions, read, schema, number=number)
        if await self._is_guessed(mended, captions):
            raise StillGuessed(mended)
        return mended

    async def _ask(
        self, kind: str, template: str, question: Question, captions: Sequence[Caption],
        read: Callable[[str], Question], schema: dict[str, Any], **values: int,
    ) -> Question:  # fmt: skip
        text, name = self._context.prompts.fill(
            template, captions=describe(captions), question=question.question, answer=question.answer,
            wrong="\n".join(f"- {choice}" for choice in _wrong(question)), language=self._context.language, **values,
        )  # fmt: skip
        request = Request(
            [{"role": "user", "content": text}], name, schema=schema, sampling=Sampling(max_tokens=TOKENS)
        )
        parsed = await ask_parsed(self._writer, request, read)
        said = {"model": self._writer.endpoint.public, "prompt": name, "keys": list(parsed.keys)}
        return _noted(question, parsed.value, kind, said)


class StillGuessed(Exception):
    """New distractors that do not make the question harder."""

    def __init__(self, mended: Question) -> None:
        super().__init__(mended.id)
        self.mended = mended


def too_long(question: Question) -> bool:
    """Whether the length of its answer gives it away."""
    longest = max(len(choice) for choice in _wrong(question))
    return len(question.answer) >= max(LONGER * longest, longest + BY)


def unlabelled(question: Question) -> Question:
    """The question without labels, where each choice has one of A, B, C … or 1, 2, 3 …; else as it is."""
    labels = [LABEL.match(choice) for choice in question.choices]
    said = sorted(label[1].upper() for label in labels if label)
    if len(said) < len(labels) or "".join(said) not in ("ABCDEFGHIJ"[: len(said)], "123456789"[: len(said)]):
        return question
    bare = [LABEL.sub("", choice, count=1) for choice in question.choices]
    try:
        return _noted(question, _with(question, bare, bare[question.answer_index]), "labelled", {})
    except Unusable:  # the labels were all that told two choices apart
        return question


def kinds(provenance: dict[str, Any]) -> list[str]:
    """What was mended of a question."""
    return [step["kind"] for step in provenance.get("repair", [])]


def _wrong(question: Question) -> list[str]:
    return [choice for index, choice in enumerate(question.choices) if index != question.answer_index]


def _with(question: Question, choices: Sequence[str], answer: str) -> Question:
    """The question with other choices. Raises Unusable for what can be no question."""
    try:
        return Question.make(
            question.clip_id, question.question, choices, answer, domain=question.domain, skill=question.skill,
            generator=question.generator, provenance=question.provenance,
        )  # fmt: skip
    except ValueError as error:
        raise Unusable("invalid", str(error).partition(": ")[2]) from None


def _noted(before: Question, after: Question, kind: str, said: dict[str, Any]) -> Question:
    """`after` with the step in its provenance."""
    was, now = ({"id": q.id, "choices": list(q.choices), "answer": q.answer} for q in (before, after))
    steps = [*before.provenance.get("repair", []), {"kind": kind, "before": was, "after": now, **said}]
    keys = [*before.provenance.get("keys", []), *said.get("keys", [])]
    return Question.make(
        after.clip_id, after.question, after.choices, after.answer, domain=after.domain, skill=after.skill,
        generator=after.generator, provenance={**before.provenance, "keys": keys, "repair": steps},
    )  # fmt: skip


def _failed(question: Question, error: ModelError) -> Failure:
    raw = "\n\n".join(error.raws) if isinstance(error, Unparsable) else error.raw
    return Failure("repair", error.reason, question.clip_id, str(error), raw, question.id, error.key)
