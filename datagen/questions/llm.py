"""Writer `llm`: all captions of a clip → questions, by a language model (the way of AVQA-GPT and VGGS-GPT).

One request a clip asks for N questions of a mix of skills that is drawn for the clip. An answer that holds no usable
question gets one repair turn; of any other the good questions are kept and each bad one becomes a Failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datagen.errors import PermanentError, TransientError, UsageError
from datagen.llm import Request, Sampling, Unparsable, ask_parsed
from datagen.prompts import CHOICES, SKILLS, Draft, Unusable, describe, draft, parse_questions, planned, schema
from datagen.records import Caption, Clip, Failure, Question
from datagen.seeds import generator

if TYPE_CHECKING:
    from datagen.llm import Parsed
    from datagen.plugins import Context

__all__ = ["LLM"]

TOKENS = 512
TOKENS_PER_QUESTION = 256
"""Limit of an answer; twice what long questions take, for models that think or that write in other scripts."""


class LLM:
    """A language model writes questions with plausible distractors from everything that the captions say of a clip.

    Failures (stage "write", with the whole raw answer): no_captions, unparsable, the reasons of `prompts.draft` for
    single questions, repeated_question, surplus_question, refused, transient.
    """

    def __init__(self, context: Context) -> None:
        if context.writer is None:
            raise UsageError("generator 'llm' asks a model and none is named: add --model ID, or use --generator rules")
        self._client = context.writer
        self._context = context

    async def write(self, clip: Clip, captions: Sequence[Caption]) -> Sequence[Question | Failure]:
        """`questions_per_clip` rows, in the order of the model's answer; fewer when it wrote fewer."""
        if not captions:
            return [Failure("write", "no_captions", clip.id, "no caption says what is heard")]
        request = self._request(clip, captions)
        try:
            parsed = await ask_parsed(self._client, request, _read)
        except Unparsable as error:
            raws = "\n\n".join(error.raws)
            return [Failure("write", error.reason, clip.id, str(error), raws, key=error.key)]
        except (PermanentError, TransientError) as error:
            return [Failure("write", error.reason, clip.id, str(error), error.raw, key=error.key)]
        return self._checked(clip, request.prompt, parsed)

    def _request(self, clip: Clip, captions: Sequence[Caption]) -> Request:
        number = self._context.questions_per_clip
        text, name = self._context.prompts.fill(
            "write",
            captions=describe(captions),
            number=number,
            skills=planned(self._plan(clip)),
            names=", ".join(SKILLS),
            wrong=CHOICES - 1,
            language=self._context.language,
        )
        sampling = Sampling(max_tokens=TOKENS + TOKENS_PER_QUESTION * number)
        return Request([{"role": "user", "content": text}], name, schema=schema(number), sampling=sampling)

    def _plan(self, clip: Clip) -> list[str]:
        """The skills to ask for, drawn for the clip; none twice before each was asked for once."""
        rng = generator(self._context.seed, "skills", clip.id)
        skills: list[str] = []
        while len(skills) < self._context.questions_per_clip:
            skills += rng.sample(list(SKILLS), len(SKILLS))
        return skills[: self._context.questions_per_clip]

    def _checked(
        self, clip: Clip, prompt: str, parsed: Parsed[tuple[str, list[Draft | Unusable]]]
    ) -> list[Question | Failure]:
        """A row for each item of the answer."""
        raw, drafts = parsed.value
        provenance = {
            "writer": "llm", "model": self._client.endpoint.public, "prompt": prompt, "seed": self._context.seed,
            "keys": list(parsed.keys), "form": "",
        }  # fmt: skip
        rows: list[Question | Failure] = []
        for number, drafted in enumerate(drafts, 1):
            try:
                if number > self._context.questions_per_clip:
                    raise Unusable("surplus_question", f"only {self._context.questions_per_clip} were asked for")
                if isinstance(drafted, Unusable):
                    raise drafted
                question = self._question(clip, drafted, provenance)
                if any(isinstance(row, Question) and row.id == question.id for row in rows):
                    raise Unusable("repeated_question", question.question)
                rows.append(question)
            except Unusable as error:
                text = f"question {number}: {error}"
                rows.append(Failure("write", error.reason, clip.id, text, raw, key=parsed.keys[-1]))
        return rows

    def _question(self, clip: Clip, draft: Draft, provenance: dict[str, Any]) -> Question:
        """The choices in an order of our own: models put the answer first, and the longest text there too."""
        choices = sorted([draft.answer, *draft.distractors])
        generator(self._context.seed, "choices", clip.id, draft.question, *choices).shuffle(choices)
        return Question.make(
            clip.id, draft.question, choices, draft.answer,
            domain=draft.domain, skill=draft.skill, generator="llm", provenance=provenance,
        )  # fmt: skip


def _read(text: str) -> tuple[str, list[Draft | Unusable]]:
    """The answer and its items. Raises ValueError, for a repair turn, when none of them is a question."""
    drafts = [_drafted(item) for item in parse_questions(text)]
    if not any(isinstance(drafted, Draft) for drafted in drafts):
        raise ValueError(str(drafts[0]))
    return text, drafts


def _drafted(item: Any) -> Draft | Unusable:
    try:
        return draft(item)
    except Unusable as error:
        return error
