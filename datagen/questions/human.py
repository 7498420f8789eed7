"""Writer `human`: the corpus's own questions, checked and put into the form of ours (`--questions human`).

AVQA's rule, as R1-AQA (arXiv 2503.11197) and Omni-R1 (arXiv 2505.09439) use it: 'video' becomes 'audio' in the
question. Here it does so in whole words only, with its case, and "a video" becomes "an audio".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from datagen.plugins import Context
from datagen.records import Caption, Clip, Failure, Question, RawQuestion, canonical, fold

__all__ = ["SKILLS", "Human", "about_audio"]

SKILLS = {
    "Which": "identification", "Come From": "source", "Happening": "event", "Where": "scene",
    "Why": "cause", "Before Next": "order", "When": "time", "Used For": "function",
}  # fmt: skip
"""AVQA's `question_type` → skill; any other is "other"."""


class Human:
    """Takes `Clip.questions`; captions are not looked at. What cannot be asked is a Failure with the raw question."""

    def __init__(self, context: Context) -> None: ...

    async def write(self, clip: Clip, captions: Sequence[Caption]) -> Sequence[Question | Failure]:
        """A row for each of the corpus's questions, in its order."""
        return [_checked(clip, raw) for raw in clip.questions]


def about_audio(text: str) -> str:
    """`text` with the word 'video' as 'audio': "In a Video, the VIDEOS" becomes "In an Audio, the AUDIOS"."""

    def swap(match: re.Match[str]) -> str:
        article, noun = match["article"] or "", match["noun"]
        if article:
            article = article[0] + ("N" if noun.isupper() and article[0].isupper() else "n") + article[1:]
        audio = "AUDIO" if noun.isupper() else "Audio" if noun[0].isupper() else "audio"
        return article + audio + match["plural"]

    return re.sub(r"\b(?P<article>a\s+)?(?P<noun>video)(?P<plural>s?)\b", swap, text, flags=re.IGNORECASE)


def _checked(clip: Clip, raw: RawQuestion) -> Question | Failure:
    def failed(reason: str, error: str) -> Failure:
        return Failure("write", reason, clip.id, f"question {raw.id}: {error}", canonical(asdict(raw)))

    if not isinstance(raw.question, str) or not raw.question.strip():
        return failed("question_missing", f"its text is {raw.question!r}")
    if not isinstance(raw.choices, Sequence) or isinstance(raw.choices, str):
        return failed("choices_missing", f"its choices are {raw.choices!r}")
    if type(raw.answer_index) is not int or not 0 <= raw.answer_index < len(raw.choices):
        return failed("answer_missing", f"answer {raw.answer_index!r} is no index of its {len(raw.choices)} choices")
    texts = [_text(choice) for choice in raw.choices]
    answer, choices = texts[raw.answer_index], [text for text in texts if text]
    if not answer:
        return failed("answer_lost", f"its answer is {raw.choices[raw.answer_index]!r}")
    if not 2 <= len(choices) <= 10:
        return failed("too_few_choices" if len(choices) < 2 else "too_many_choices", f"{len(choices)} choices are left")
    if len({fold(choice) for choice in choices}) < len(choices):
        return failed("duplicate_choices", f"equal choices among {choices}")
    return Question.make(
        clip.id, about_audio(" ".join(raw.question.split())), choices, answer,
        domain="sound", skill=SKILLS.get(raw.attributes.get("question_type", ""), "other"), generator="human",
        provenance={"writer": "human", "source_question": raw.id, "attributes": dict(raw.attributes), "keys": []},
    )  # fmt: skip


def _text(choice: Any) -> str:
    """A choice as text: a number as it is written, nothing for null and for what is no plain value."""
    if isinstance(choice, bool) or not isinstance(choice, str | int | float):
        return ""
    return " ".join(str(choice).split())
