"""Every prompt beside the parser of its answer.

    caption.<aspect>   one clip of audio → what is heard of one aspect        parse_caption
    write              all captions of a clip → questions as JSON             parse_questions, draft
    read               captions and one question → the letter of a choice     multiple_choice.read(…, "letters")
    guess              a question alone → the letter of a choice              the same
    listen             audio and a question → the letter of a choice          the same
    repair.answer      a question whose answer is too long → a shorter one    parse_answer
    repair.distractors a question that is guessed → other wrong choices       parse_distractors

The way (several captions a clip, then a model that writes question and choices from them) is that of Omni-R1 (arXiv
2505.09439). Its caption and question-writing prompts are not published: these are our own, and no claim is made that
they resemble them. A repair turn is worded by `datagen.llm.ask_parsed` from what the parser found wrong.

A file `<id>.txt` in the folder given by `--prompts` replaces a template; `$name` marks a value, `$$` is a dollar sign.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from string import Template
from typing import Any

from datagen.errors import UsageError
from datagen.records import DOMAINS, Caption, fold

__all__ = [
    "ASPECTS",
    "SKILLS",
    "Draft",
    "Prompt",
    "Prompts",
    "Unusable",
    "answer_schema",
    "describe",
    "distractors_schema",
    "draft",
    "parse_answer",
    "parse_caption",
    "parse_distractors",
    "parse_questions",
    "planned",
    "schema",
]

CHOICES = 4
"""Choices of a written question, as in AVQA and nearly all of MMAU."""

# ── captions ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ASPECTS: Mapping[str, str] = {
    "events": (
        "Listen to the whole recording. Name every sound event in it, in the order in which they happen: what makes "
        "each sound, how it sounds, whether it repeats and how often, and what is heard before, after or at the same "
        "time. If you are not sure what makes a sound, describe the sound instead of guessing."
    ),
    "speech": (
        "Listen to the speech in the recording. Say how many people speak, what can be heard of each voice (such as a "
        "man, a woman or a child), the language, the words that you understand, the manner and the emotion of "
        "speaking, and who speaks before whom. If nobody speaks, say only that there is no speech."
    ),
    "music": (
        "Listen to the music in the recording. Name the instruments and voices, the genre, the tempo, the rhythm, the "
        "mood, the melody and harmony as far as you can tell, and how the music changes. If there is no music, say "
        "only that there is no music."
    ),
    "scene": (
        "Judge from the sounds where this was recorded (indoors or outdoors, which kind of place), what is going on, "
        "and which sounds make you think so. Say what you are not sure of."
    ),
    "acoustics": (
        "Describe how the recording sounds, apart from what makes the sounds: what is loud and what is soft, high and "
        "low, near and far, how loudness, pitch and pace change from beginning to end, pauses, echo, background noise."
    ),
}
"""What one caption is about → its prompt."""

CAPTION = (
    "$listen\nWrite 1 to 4 plain sentences in $language, with no heading and no list. Tell only what can be heard."
)

REFUSAL = re.compile(
    r"""^\W*(?:
     (?:i'?m|i\ am)\ (?:\w+\ )?sorry\b | sorry,
    |(?:unfortunately,?\ )?(?:i|we)
     (?:\ cannot|\ can'?t|\ could\ not|\ couldn't|(?:\ am|'m|\ are|'re)\ (?:unable|not\ able)\ to)
     \ (?:directly\ |actually\ )?
     (?:listen|process|access|analy[sz]e|help|assist|provide|play|open|transcribe
     |(?:hear|perceive)\ (?:the\ |this\ )?audio)
    |as\ an?\ (?:\S+\ )?(?:ai|language\ model|text)\b
    |please\ (?:provide|upload|share|attach)
    |(?:there\ is\ )?no\ audio\ (?:file|clip|was|is|has\ been|provided|attached)
    |i\ don'?t\ (?:have\ (?:the\ (?:ability|capability)|access)|see\ (?:any|an)\ audio)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""How a model begins that does not answer what was asked."""


def parse_caption(text: str) -> str:
    """The caption, on one line. Raises Unusable: `empty_answer`, or `refused_answer` ("I'm sorry, but I cannot …")."""
    caption = " ".join(text.split()).strip()
    if not re.search(r"\w", caption):
        raise Unusable("empty_answer", f"the caption is {caption!r}")
    if REFUSAL.match(caption.replace("’", "'")):
        raise Unusable("refused_answer", f"no caption but {caption[:100]!r}")
    return caption


def describe(captions: Sequence[Caption]) -> str:
    """The captions as a language model gets them: a line each, `- [captioner/aspect] text`."""
    return "\n".join(
        f"- [{'/'.join(filter(None, (caption.captioner, caption.aspect)))}] {' '.join(caption.text.split())}"
        for caption in captions
    )


# ── questions ────────────────────────────────────────────────────────────────────────────────────────────────────────

SKILLS: Mapping[str, str] = {
    "identification": "which sound, instrument or voice is heard",
    "source": "what or who makes a certain sound",
    "order": "what is heard first, last, before or after something else",
    "counting": "how many times, or how many sources, are heard",
    "scene": "in what kind of place this is, or what is going on",
    "cause": "why a sound happens, or what most likely leads to it",
    "comparison": "how two of the sounds differ, for example in loudness, pitch or pace",
    "change": "how loudness, pitch, pace or mood changes",
    "speech": "who speaks, how, or about what",
    "music": "instruments, genre, rhythm or mood of music",
}
"""What a question asks for → how it is told to the writer."""

WRITE = """\
Below are notes on one recording, made by listeners and by measurement. They can be wrong; where they disagree, ask \
about what they agree on.

$captions

Write exactly $number multiple-choice questions for somebody who will hear the recording and does not have these notes.
Ask for these skills, one question for each line; where the notes do not support a skill, ask for another one instead:
$skills

Each question:
- can be answered by listening, and has one right answer, which the notes clearly support;
- is about this very recording, so that it cannot be answered from general knowledge;
- does not contain its answer, and asks for one thing only;
- never speaks of notes, descriptions or captions, nor of anything seen: no video, picture, image, scene on a screen.
Each answer is a short phrase of at most 12 words. Each of the $wrong wrong choices ("distractors"):
- is plausible in such a recording, of the same kind and nearly the same length and style as the answer;
- is clearly wrong: not supported by the notes, not a synonym, part or generalisation of the answer.
No choice is "all of the above", "none of the above", "both" or "cannot be determined"; no choice begins with a letter \
or number as its label.
Write question, answer and distractors in $language. Answer with JSON alone, in this form:
{"questions": [{"question": "…", "answer": "…", "distractors": ["…", "…", "…"], "skill": "…", "domain": "…"}]}
"skill" is one of: $names. "domain" is what the question is about: sound, music, speech or mixed."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One written question, checked in form; the answer stands apart from the wrong choices."""

    question: str
    answer: str
    distractors: tuple[str, ...]
    skill: str
    domain: str


class Unusable(ValueError):
    """A part of an answer that cannot be used; `reason` is stable snake_case."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def planned(skills: Sequence[str]) -> str:
    """A numbered line for each skill of the plan."""
    return "\n".join(f"{number}. {skill}: {SKILLS[skill]}" for number, skill in enumerate(skills, 1))


def schema(number: int) -> dict[str, Any]:
    """The JSON schema of an answer with `number` questions, in the subset that OpenAI's strict mode takes."""
    text = {"type": "string"}
    wrong = {"type": "array", "items": text, "minItems": CHOICES - 1, "maxItems": CHOICES - 1}
    question = _object(
        question=text, answer=text, distractors=wrong,
        skill={"type": "string", "enum": list(SKILLS)}, domain={"type": "string", "enum": list(DOMAINS)},
    )  # fmt: skip
    return _object(questions={"type": "array", "items": question, "minItems": number, "maxItems": number})


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def parse_questions(text: str) -> list[Any]:
    """The list of questions in a model's answer, each still unchecked: the first JSON list that holds an object.

    It may stand in an object, in a code fence, behind other text. Raises ValueError that says what is wrong.
    """
    decoder = json.JSONDecoder()
    for match in islice(re.finditer(r"\[", text), STARTS):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if any(isinstance(item, dict) for item in found):
            return list(found)
    raise ValueError('it holds no whole JSON list "questions" of objects')


STARTS = 64
"""Brackets at which JSON may begin; more would make an answer of brackets alone slow to refuse."""


def draft(item: Any) -> Draft:
    """One item of `parse_questions`, checked in form.

    Raises Unusable: `not_an_object`, `missing_field`, `empty_text`, `number_of_choices`, `duplicate_choices`,
    `unknown_domain`. A skill that was not asked for becomes "other".
    """
    if not isinstance(item, dict):
        raise Unusable("not_an_object", f"a question is {json.dumps(item)[:100]}")
    texts = {name: _text(item, name) for name in ("question", "answer", "skill", "domain")}
    wrong = item.get("distractors")
    if not isinstance(wrong, list) or not all(isinstance(text, str) for text in wrong):
        raise Unusable("missing_field", f"distractors {json.dumps(wrong)[:100]} is no list of texts")
    distractors = tuple(map(_tidied, wrong))
    if any(not text for text in (texts["question"], texts["answer"], *distractors)):
        raise Unusable("empty_text", "the question or a choice is empty")
    if len(distractors) != CHOICES - 1:
        raise Unusable("number_of_choices", f"{len(distractors)} distractors instead of {CHOICES - 1}")
    if len({fold(text) for text in (texts["answer"], *distractors)}) < CHOICES:
        raise Unusable("duplicate_choices", f"equal choices among {[texts['answer'], *distractors]}")
    domain = texts["domain"].casefold()
    if domain not in DOMAINS:
        raise Unusable("unknown_domain", f"domain {texts['domain']!r} is none of {', '.join(DOMAINS)}")
    skill = fold(texts["skill"])
    return Draft(texts["question"], texts["answer"], distractors, skill if skill in SKILLS else "other", domain)


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise Unusable("missing_field", f"{name} {json.dumps(value)[:100]} is no text")
    return _tidied(value)


def _tidied(text: str) -> str:
    """Single spaces; half of a surrogate pair, which JSON can hold and no table can, becomes U+FFFD: broken text."""
    text = " ".join(text.split())
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# ── readings ─────────────────────────────────────────────────────────────────────────────────────────────────────────

READ = """\
Notes on one recording:

$captions

Answer the question from these notes alone. If they do not tell, answer with the one word "unknown".

$question"""

GUESS = """\
Below is a question about a recording that you cannot hear. Choose the answer that is most likely to be right.

$question"""

LISTEN = """\
Listen to the recording, then answer the question about it.

$question"""

# ── repairs ──────────────────────────────────────────────────────────────────────────────────────────────────────────

REPAIR = """\
Below are notes on one recording, and a multiple-choice question about it.

$captions

Question: $question
Right answer: $answer
Wrong choices:
$wrong

"""

REPAIR_ANSWER = (
    REPAIR
    + """\
The right answer is longer than the wrong ones, which gives it away. Say it again in $language, with the same meaning, \
in at most $characters characters and in the style of the wrong choices. Answer with JSON alone, in this form:
{"answer": "…"}"""
)

REPAIR_DISTRACTORS = (
    REPAIR
    + """\
The right answer can be guessed without the recording. Write $number other wrong choices in $language that somebody \
who does not hear the recording would find just as likely: of the same kind, length and style as the right answer. \
Each must be clearly wrong by the notes, and no synonym, part or generalisation of the right answer. Answer with JSON \
alone, in this form:
{"distractors": ["…"]}"""
)


def answer_schema() -> dict[str, Any]:
    """The JSON schema of a shorter answer."""
    return _object(answer={"type": "string"})


def distractors_schema(number: int) -> dict[str, Any]:
    """The JSON schema of `number` wrong choices."""
    return _object(distractors={"type": "array", "items": {"type": "string"}, "minItems": number, "maxItems": number})


def parse_answer(text: str) -> str:
    """The new answer. Raises Unusable that says what is wrong."""
    answer = _text(_first_object(text, "answer"), "answer")
    if not answer:
        raise Unusable("empty_text", "the answer is empty")
    return answer


def parse_distractors(text: str, number: int) -> tuple[str, ...]:
    """The new wrong choices. Raises Unusable that says what is wrong."""
    found = _first_object(text, "distractors")["distractors"]
    if not isinstance(found, list) or not all(isinstance(choice, str) and choice.strip() for choice in found):
        raise Unusable("missing_field", f"distractors {json.dumps(found)[:100]} is no list of texts")
    if len(found) != number:
        raise Unusable("number_of_choices", f"{len(found)} distractors instead of {number}")
    return tuple(map(_tidied, found))


def _first_object(text: str, name: str) -> dict[str, Any]:
    """The first JSON object in a model's answer that has `name`; it may stand in a code fence, behind other text."""
    decoder = json.JSONDecoder()
    for match in islice(re.finditer(r"\{", text), STARTS):
        try:
            found, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if name in found:
            return dict(found)
    raise Unusable("unparsable", f'it holds no whole JSON object with "{name}"')


# ── the templates ────────────────────────────────────────────────────────────────────────────────────────────────────

TEMPLATES: Mapping[str, str] = {
    **{f"caption.{aspect}": CAPTION.replace("$listen", listen) for aspect, listen in ASPECTS.items()},
    "write": WRITE,
    "read": READ,
    "guess": GUESS,
    "listen": LISTEN,
    "repair.answer": REPAIR_ANSWER,
    "repair.distractors": REPAIR_DISTRACTORS,
}
VALUES: Mapping[str, frozenset[str]] = {
    id: frozenset(Template(text).get_identifiers()) for id, text in TEMPLATES.items()
}
ESSENTIAL = frozenset({"captions", "question", "number", "answer"})
"""Values without which a prompt of ours asks for nothing."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A template with the hash of its text, 12 hex characters of SHA-256."""

    id: str
    text: str
    hash: str


class Prompts:
    """The templates, with those that stand as `<id>.txt` in `directory` in place of ours.

    Raises UsageError for a file that is no prompt of ours, is empty or no UTF-8, or names a value that is not given.
    """

    def __init__(self, directory: Path | None = None) -> None:
        texts = {**TEMPLATES, **(_overrides(directory) if directory is not None else {})}
        self._prompts = {
            id: Prompt(id, text, hashlib.sha256(text.encode()).hexdigest()[:12]) for id, text in texts.items()
        }

    def get(self, id: str) -> Prompt:
        """The template called `id`."""
        return self._prompts[id]

    def fill(self, id: str, **values: str | int) -> tuple[str, str]:
        """The text with its values, and `id#hash`. Values that the template does not name are left out."""
        prompt = self._prompts[id]
        return Template(prompt.text).substitute(values), f"{id}#{prompt.hash}"

    def hashes(self) -> dict[str, str]:
        """Id → hash, in order of id."""
        return {id: self._prompts[id].hash for id in sorted(self._prompts)}

    def tokens(self, id: str) -> int:
        """Estimated tokens (characters / 4) of the longest template that is `id` or whose id begins with `id.`."""
        texts = [prompt.text for prompt in self._prompts.values() if f"{prompt.id}.".startswith(f"{id}.")]
        return -(-max(map(len, texts)) // 4)


def _overrides(directory: Path) -> dict[str, str]:
    if not directory.is_dir():
        raise UsageError(f"--prompts {directory}: no such folder: give one with files such as write.txt")
    files = sorted(file for file in directory.iterdir() if not file.name.startswith("."))
    return {file.stem: _override(file) for file in files}


def _override(file: Path) -> str:
    if file.suffix != ".txt" or file.stem not in TEMPLATES:
        raise UsageError(f"{file}: is no prompt: name it one of {', '.join(f'{id}.txt' for id in TEMPLATES)}")
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({error}): give a text file in UTF-8") from None
    template, known = Template(text), VALUES[file.stem]
    names = set(template.get_identifiers())
    if not template.is_valid():
        raise UsageError(f"{file}: a '$' that begins no name: write $$ for a dollar sign")
    if unknown := sorted(names - known):
        raise UsageError(
            f"{file}: ${unknown[0]} is not given here: use {', '.join(f'${name}' for name in sorted(known))}"
        )
    if missing := sorted((known & ESSENTIAL) - names):
        raise UsageError(f"{file}: lacks ${missing[0]}, without which nothing can be asked: add it")
    if not text:
        raise UsageError(f"{file}: is empty: write the prompt into it, or remove it")
    return text
