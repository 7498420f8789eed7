"""Measured facts and labels → questions, without a model. The answer is what was measured; the forms: `forms.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from datagen.errors import UsageError
from datagen.language import code
from datagen.questions.drawing import Draft, View
from datagen.questions.forms import FORMS, Form
from datagen.questions.vocabulary import domain
from datagen.records import Caption, Clip, Failure, Question
from datagen.seeds import generator

if TYPE_CHECKING:
    from datagen.plugins import Context

__all__ = ["Rules"]


class Rules:
    """Questions whose answers are measured facts or the corpus's labels. No model."""

    def __init__(self, context: Context) -> None:
        if code(context.language) != "en":
            raise UsageError(
                f"--language {context.language}: generator 'rules' asks in English only: add --model ID, "
                "and a language model writes"
            )
        self.context = context

    async def write(self, clip: Clip, captions: Sequence[Caption]) -> Sequence[Question | Failure]:
        """Up to `questions_per_clip` questions, of as many skills as there are facts for."""
        facts = {fact.name: fact for caption in reversed(captions) for fact in caption.facts}
        view = View(facts, clip.labels, self.context)
        made: list[Question] = []
        for form in self._order(clip):
            if len(made) == self.context.questions_per_clip:
                break
            rng = generator(self.context.seed, "rules", clip.id, form.id)
            draft = form.draw(view, rng)
            if draft is not None:
                made.append(_question(clip, form, draft, rng))
        return made

    def _order(self, clip: Clip) -> Iterator[Form]:
        """The forms allowed for this clip in an order drawn for it: one of each skill, then the rest."""
        rng = generator(self.context.seed, "rules", clip.id)
        drawn = [form for form in FORMS if rng.random() < form.share]
        rng.shuffle(drawn)
        first = {form.skill: form for form in reversed(drawn)}
        yield from (form for form in drawn if first[form.skill] is form)
        yield from (form for form in drawn if first[form.skill] is not form)


def _question(clip: Clip, form: Form, draft: Draft, rng: Random) -> Question:
    others = draft.others if len(draft.others) <= 3 else rng.sample(draft.others, 3)
    choices = [draft.answer, *others]
    rng.shuffle(choices)
    provenance = {"writer": "rules", "form": form.id, "facts": list(draft.facts), "keys": []}
    return Question.make(
        clip.id, rng.choice(form.wordings), choices, draft.answer,
        domain=domain(clip.labels), skill=form.skill, generator="rules", provenance=provenance,
    )  # fmt: skip
