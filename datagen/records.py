"""The rows that travel through the pipeline, and their table schemas.

    Clip ──▶ Caption (with Facts) ──▶ Question ──▶ Verdict
      └──────────┴───────────────────────┴──────▶ Failure   (a row of rejected.parquet)

Frozen dataclasses at the row boundary; polars tables between the dataset-wide stages. A record checks itself where
it is made and names the id and the value that is wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "DOMAINS",
    "LEFT_OUT",
    "MEASURES",
    "Caption",
    "Clip",
    "Fact",
    "Failure",
    "Question",
    "RawQuestion",
    "Verdict",
    "canonical",
    "schema",
]

LEFT_OUT = ("license_excluded", "media_excluded", "blacklisted", "still_guessed")
"""Reasons of clips that the call, or the corpus itself, leaves out, and of repairs that brought nothing: listed in
rejected.parquet, and no failure."""
DOMAINS = ("sound", "music", "speech", "mixed")
MEASURES = ("audio_dependence", "blind", "self_agreement", "audio_contribution", "difficulty")
"""Filters whose score, `low` and `high` become columns of the dataset; they drop nothing unless given a threshold."""


CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal bytes."""
    return CANONICAL.encode(value)


@dataclass(frozen=True, slots=True)
class RawQuestion:
    """A question as a corpus publishes it, unchecked: choices may be null or no strings, the answer may be absent."""

    id: str
    question: Any
    choices: Any
    answer_index: Any
    attributes: Mapping[str, str] = field(default_factory=dict)
    """The corpus's own classes, e.g. AVQA's `question_relation` and `question_type`."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One stretch of audio. `sha256` (of the decoded 16 kHz mono 16-bit PCM) is empty until the clip was decoded."""

    id: str
    """`<source>/<stable id>`"""
    source: str
    path: str
    """A file that can be opened."""
    start: float | None = None
    """Seconds into the file; None is its beginning."""
    end: float | None = None
    sha256: str = ""
    labels: tuple[str, ...] = ()
    reference_captions: tuple[str, ...] = ()
    license: str = ""
    """SPDX id where there is one, empty when unknown."""
    media_id: str = ""
    """YouTube or Freesound id, where there is one."""
    media_start: float | None = None
    """Seconds into that recording at which the file (not `start`) begins, where the file is a cut of it."""
    media_end: float | None = None
    questions: tuple[RawQuestion, ...] = ()
    """The corpus's own questions (`--questions human`)."""

    def __post_init__(self) -> None:
        if not self.id.startswith(self.source + "/"):
            raise ValueError(f"clip {self.id!r}: the id does not start with its source {self.source!r} and '/'")


@dataclass(frozen=True, slots=True)
class Fact:
    """One typed measurement. A number carries the interval in which the truth is expected; a word stands in `text`."""

    name: str
    value: float | None = None
    text: str | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Caption:
    """A text about one clip."""

    clip_id: str
    index: int
    """0 .. k-1 within (clip, captioner)."""
    text: str
    captioner: str
    aspect: str = ""
    """events, order, speech, music, scene, acoustics, labels …"""
    facts: tuple[Fact, ...] = ()
    key: str = ""
    """Ledger key of the answer that it is, empty when no model was asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """A checked multiple-choice question. Choices are plain text; letters are added when a prompt is rendered."""

    id: str
    clip_id: str
    question: str
    choices: tuple[str, ...]
    """2..10 texts, distinct after NFKC, casefold and whitespace folding."""
    answer: str
    answer_index: int
    domain: str
    """sound, music, speech or mixed"""
    skill: str
    generator: str
    """rules, llm or human"""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """JSON-ready: model, prompt, prompt_hash, seed, keys (ledger), form, facts."""

    def __post_init__(self) -> None:
        name = f"question {self.id} of {self.clip_id}"
        if not self.question.strip():
            raise ValueError(f"{name}: the question is empty")
        if not 2 <= len(self.choices) <= 10:
            raise ValueError(f"{name}: {len(self.choices)} choices, 2 to 10 are allowed")
        if any(not choice.strip() for choice in self.choices):
            raise ValueError(f"{name}: an empty choice among {list(self.choices)}")
        if len({fold(choice) for choice in self.choices}) < len(self.choices):
            raise ValueError(f"{name}: equal choices among {list(self.choices)}")
        if not 0 <= self.answer_index < len(self.choices) or self.choices[self.answer_index] != self.answer:
            raise ValueError(
                f"{name}: answer {self.answer!r} is not choice {self.answer_index} of {list(self.choices)}"
            )
        if self.domain not in DOMAINS:
            raise ValueError(f"{name}: domain {self.domain!r} is none of {', '.join(DOMAINS)}")

    @classmethod
    def make(
        cls,
        clip_id: str,
        question: str,
        choices: Sequence[str],
        answer: str,
        *,
        domain: str,
        skill: str,
        generator: str,
        provenance: Mapping[str, Any],
    ) -> Question:
        """A question with its id; `answer` must be one of `choices`. Raises ValueError naming what is wrong."""
        identity = canonical([clip_id, question, sorted(choices)])
        question_id = hashlib.sha256(identity.encode()).hexdigest()[:16]
        if answer not in choices:
            raise ValueError(
                f"question {question_id} of {clip_id}: answer {answer!r} is not among its {len(choices)} choices"
            )
        return cls(
            question_id,
            clip_id,
            question,
            tuple(choices),
            answer,
            list(choices).index(answer),
            domain,
            skill,
            generator,
            dict(provenance),
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one filter says of one question."""

    question_id: str
    filter: str
    keep: bool
    reason: str = ""
    """Stable snake_case; empty when kept."""
    score: float | None = None
    keys: tuple[str, ...] = ()
    """Ledger keys of the answers that a probe read."""
    low: float | None = None
    """95 % interval of the score, where it is a measure (MEASURES)."""
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What did not become a clip, a caption or a question, and why. Nothing is dropped without one."""

    stage: str
    """source, audio, budget (--max-cost), caption, write or read (a filter's model call)"""
    reason: str
    """Stable snake_case."""
    clip_id: str
    error: str = ""
    """One line: what, the value."""
    raw: str = ""
    """The raw answer of the model, whole."""
    question_id: str = ""
    key: str = ""
    """Ledger key of that answer."""


def fold(text: str) -> str:
    """The form in which two choices count as equal: NFKC, casefold, single spaces."""
    if not text.isascii():
        import unicodedata

        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def schema(record: type) -> pa.Schema:
    """The arrow schema of a run's table of `record` (Clip, Caption, Question, Verdict or Failure)."""
    import pyarrow as pa

    s, f, strings = pa.string(), pa.float64(), pa.list_(pa.string())
    fact = pa.struct([("name", s), ("value", f), ("text", s), ("low", f), ("high", f), ("unit", s)])
    columns: dict[type, list[tuple[str, pa.DataType]]] = {
        Clip: [
            ("id", s),
            ("source", s),
            ("path", s),
            ("start", f),
            ("end", f),
            ("sha256", s),
            ("labels", strings),
            ("reference_captions", strings),
            ("license", s),
            ("media_id", s),
            ("media_start", f),
            ("media_end", f),
        ],
        Caption: [
            ("clip_id", s),
            ("index", pa.int32()),
            ("text", s),
            ("captioner", s),
            ("aspect", s),
            ("facts", pa.list_(fact)),
            ("key", s),
        ],
        Question: [
            ("id", s),
            ("clip_id", s),
            ("question", s),
            ("choices", strings),
            ("answer", s),
            ("answer_index", pa.int32()),
            ("domain", s),
            ("skill", s),
            ("generator", s),
            ("provenance", s),
        ],
        Verdict: [
            ("question_id", s),
            ("filter", s),
            ("keep", pa.bool_()),
            ("reason", s),
            ("score", f),
            ("keys", strings),
            ("low", f),
            ("high", f),
        ],
        Failure: [
            ("stage", s),
            ("reason", s),
            ("clip_id", s),
            ("question_id", s),
            ("question", s),
            ("choices", strings),
            ("answer", s),
            ("score", f),
            ("error", s),
            ("raw", s),
            ("key", s),
        ],
    }
    return pa.schema(columns[record])
