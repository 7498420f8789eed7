"""A set of questions → what is trained on, and the prompt of each place of the run.

    load(set) ─▶ examples, and what was left out with its reason
    Deck      ─▶ place 0, 1, 2 … of the run: which example, its choices in which order, its prompt

Order and permutations are functions of (seed, place), not of what was drawn before, so a run that goes on anywhere
sees what an unbroken one does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.mcq import BROKEN, McqSet, examined
from datagen.multiple_choice import CAPTION, LABELS, STYLES, Style, render
from datagen.records import fold
from datagen.rows import Rows, load, some
from datagen.seeds import generator
from datagen.versions import UNKNOWN

if TYPE_CHECKING:
    from datagen.train.audio import Recording, Recordings

__all__ = [
    "CONDITIONS",
    "CURRICULA",
    "HEARING",
    "MODALITIES",
    "THINK",
    "Deck",
    "Example",
    "LeftOut",
    "Material",
    "conditions_of",
    "material",
    "read_set",
]

MODALITIES = ("text", "caption", "audio", "mixed")
HEARING = ("audio", "mixed")
"""Modalities for which the clips are needed."""
CONDITIONS = ("audio", "mismatched", "none")
"""Under which a held-out set that has audio is asked: its own, that of another question, none."""
CURRICULA: Mapping[str, Callable[[float], float]] = {
    "easy-first": lambda rate: -rate,
    "hard-first": lambda rate: rate,
    "signal-first": lambda rate: abs(rate - 0.5),
}
"""Order of the first epoch → what its examples are sorted by, from how often a policy is right; later epochs have none.

`signal-first`: a group of answers of which half are right is the least likely to be all right or all wrong.
"""
RATES = {"easy": 0.75, "medium": 0.5, "hard": 0.25}
"""A difficulty told in a word, as in MMAU's files, as a share of right answers."""
MOST_CHOICES = 10
"""As many letters as the reader knows."""
THINK = "Think first, inside <think> </think>; then give the answer."
"""What `--think` adds to every prompt."""
AUDIO_PLACE = re.compile(r"<audio>|<\|AUDIO\|>")


@dataclass(frozen=True, slots=True)
class Example:
    """One question that can be trained on."""

    id: str
    question: str
    choices: tuple[str, ...]
    gold: int
    """Place of the right choice; of equal choices the first."""
    captions: tuple[str, ...] = ()
    task: str | None = None
    recordings: tuple[Recording, ...] = ()
    """What is heard, where the modality has audio."""
    rate: float | None = None
    """How often a policy was right (column `difficulty`), where that is known."""

    @property
    def hashes(self) -> frozenset[str]:
        """Of what is heard."""
        return frozenset(recording.sha256 for recording in self.recordings)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that cannot be trained on."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Material:
    """What a set holds for training."""

    name: str
    sha256: str
    examples: tuple[Example, ...]
    left_out: tuple[LeftOut, ...]


def read_set(place: str | Path) -> McqSet:
    """Any set that `datagen.mcq` reads, and the exports for trl and ms-swift, whose question stands in a prompt.

    Raises UsageError for what cannot be read, and for a published benchmark.
    """
    found = examined(_with_questions(load(place)))
    if found.version != UNKNOWN:
        raise UsageError(f"{place}: is a benchmark ({found.version}): train and watch on questions of your own")
    return found


def material(
    found: McqSet, modality: str, split: str | None = "train", recordings: Recordings | None = None,
    *, rated: bool = False,
) -> Material:  # fmt: skip
    """The examples of one split and every other row with its reason; a set without splits is one whole.

    `recordings`: where their audio lies, for a modality that has it; nothing of it is opened here. `rated`: only rows
    whose difficulty is known.

    Raises UsageError where not two questions can be used.
    """
    table = found.table
    if split and split in table["split"].to_list():
        table = table.filter(table["split"] == split)
    broken = {id: name for name in reversed(BROKEN) for id in found.defects.get(name, ())}
    examples: list[Example] = []
    left_out: list[LeftOut] = []
    columns = ("id", "question", "choices", "answer_index", "captions", "task", "audio", "clip_id", "difficulty")
    for id, question, choices, gold, captions, task, audio, clip, difficulty in table.select(columns).iter_rows():
        heard = recordings.of(id, audio, clip) if recordings else ()
        reason = broken.get(id) or _unusable(choices, captions, modality)
        if recordings and not (reason or heard):
            reason = "audio_missing"
        rate = _rate(difficulty)
        if rated and rate is None:
            reason = reason or "difficulty_missing"
        if reason:
            left_out.append(LeftOut(id, reason))
            continue
        said = tuple(captions) if captions and modality == "caption" else ()
        examples.append(Example(id, question, tuple(choices), _first_equal(choices, gold), said, task, heard, rate))
    if len(examples) < 2:
        raise UsageError(_too_few(found.name, examples, left_out))
    return Material(found.name, found.sha256, tuple(examples), tuple(left_out))


def conditions_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """Those of CONDITIONS that a held-out set with audio can be asked under; none for one without."""
    if not any(example.recordings for example in examples):
        return ()
    several = all(any(e.hashes.isdisjoint(other.hashes) for other in examples) for e in examples)
    return CONDITIONS if several else tuple(name for name in CONDITIONS if name != "mismatched")


def _rate(difficulty: str | None) -> float | None:
    """A share of right answers, as filter `difficulty` leaves it, or the one that a word stands for."""
    if difficulty is None or difficulty.casefold() in RATES:
        return None if difficulty is None else RATES[difficulty.casefold()]
    try:
        rate = float(difficulty)
    except ValueError:
        return None
    return rate if 0 <= rate <= 1 else None


def _unusable(choices: Sequence[str], captions: Sequence[str] | None, modality: str) -> str:
    if len(choices) > MOST_CHOICES:
        return "too_many_choices"
    if len({fold(choice) for choice in choices}) < 2:
        return "choices_all_equal"
    return "caption_missing" if modality == "caption" and not captions else ""


def _first_equal(choices: Sequence[str], gold: int) -> int:
    return next(place for place, choice in enumerate(choices) if fold(choice) == fold(choices[gold]))


def _too_few(name: str, examples: Sequence[Example], left_out: Sequence[LeftOut]) -> str:
    if not left_out:
        held = "one question" if examples else "no row"
        return f"--data {name}: holds {held}: GRPO needs at least two questions, give a larger set"
    reasons: dict[str, list[str]] = {}
    for row in left_out:
        reasons.setdefault(row.reason, []).append(row.id)
    why = "; ".join(f"{reason} {len(ids)} ({some(ids)})" for reason, ids in reasons.items())
    return f"--data {name}: {len(examples)} of its rows can be trained on ({why}): mend the file"


# ── sets whose question stands in a rendered prompt ──────────────────────────────────────────────────────────────────


def _with_questions(source: Rows) -> Rows:
    """Rows of `datagen export --format trl | ms-swift` with the question that their prompt was rendered from."""
    if not ({"messages", "prompt"} & set(source.keys)) or "choices" not in source.keys or "question" in source.keys:
        return source
    rows = source.rows if source.table is None else source.table.to_dicts()
    return replace(source, rows=[_unrendered(row) if isinstance(row, Mapping) else row for row in rows], table=None)


def _unrendered(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with `question`, and with the place of the answer alone where it has one: `solution` may be in tags."""
    kept = {key: value for key, value in row.items() if key not in ("messages", "prompt")}
    if kept.get("answer_index") is not None:
        kept.pop("solution", None)
    turns = row.get("messages") or row.get("prompt")
    asked = turns if isinstance(turns, str) else next((t["content"] for t in turns or () if t["role"] == "user"), None)
    if not isinstance(asked, str):
        return kept
    asked = AUDIO_PLACE.sub("", asked).strip()
    tails = [render("", row["choices"] or (), style) for style in STYLES]
    tail = next((tail for tail in sorted(tails, key=len, reverse=True) if asked.endswith(tail)), "")
    return {**kept, "question": asked.removesuffix(tail)}


# ── the order of the run ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Deck:
    """Examples in the order of the run; place n is the n-th group that is sampled.

    Every epoch is shuffled anew, and the choices of every group are drawn anew, all of one group alike.
    """

    examples: Sequence[Example]
    seed: int
    style: Style = "omni-r1"
    think: bool = False
    shuffled: bool = True
    """Whether examples are shuffled; a held-out set keeps its order and one permutation of its choices."""
    audio_share: float = 0.0
    """Share of the places that have audio, drawn by seed and place."""
    conditions: tuple[str, ...] = ()
    """Of a held-out set that has audio: all examples under the first one, then all under the next."""
    curriculum: str = ""
    """Order of the first epoch, of CURRICULA; all examples have a rate then."""

    @property
    def places(self) -> int:
        """Of one epoch; of a held-out set all of them."""
        return len(self.examples) * max(1, len(self.conditions))

    def condition(self, place: int) -> str:
        """What is heard at a place, of CONDITIONS."""
        if self.conditions:
            return self.conditions[place // len(self.examples)]
        return "audio" if generator(self.seed, "audio", place).random() < self.audio_share else "none"

    def row(self, place: int) -> dict[str, Any]:
        """`prompt` (messages), `choices` as shown, `gold` among them, `labels`, `style`, `think`, `id`, `condition`."""
        epoch, which = self._which(place)
        example = self.examples[which]
        n = len(example.choices)
        shown = generator(self.seed, "choices", example.id, epoch).sample(range(n), n)
        choices = [example.choices[index] for index in shown]
        return {
            "place": place, "id": example.id, "condition": (condition := self.condition(place)),
            "prompt": self.prompt(example, choices, self._heard(example, condition)), "choices": choices,
            "gold": _first_equal(choices, shown.index(example.gold)), "labels": LABELS[self.style],
            "style": self.style, "think": self.think,
        }  # fmt: skip

    def heard(self, places: range) -> list[Recording]:
        """What is heard at these places, as far as there are so many."""
        last = places.stop if self.shuffled else min(places.stop, self.places)
        found: list[Recording] = []
        for place in range(places.start, last):
            example = self.examples[self._which(place)[1]]
            found += self._heard(example, self.condition(place))
        return found

    def prompt(self, example: Example, choices: Sequence[str], heard: Sequence[Recording] = ()) -> list[dict[str, Any]]:
        """One user turn; what a chat template says as the system is its own, the same in every modality."""
        text = render(example.question, choices, self.style)
        if example.captions:
            text = CAPTION.format(captions=" ".join(map(str.strip, example.captions)), question=text)
        text = f"{text}\n{THINK}" if self.think else text
        parts = [{"type": "audio", "recording": recording} for recording in heard]
        return [{"role": "user", "content": [*parts, {"type": "text", "text": text}] if parts else text}]

    def _heard(self, example: Example, condition: str) -> tuple[Recording, ...]:
        if condition == "none":
            return ()
        return example.recordings if condition == "audio" else self._another(example).recordings

    def _another(self, example: Example) -> Example:
        """Another example of the same task (of any, where that has no other) with another sound."""
        others = [other for other in self.examples if example.hashes.isdisjoint(other.hashes)]
        alike = [other for other in others if other.task == example.task] or others
        return generator(self.seed, "mismatched", example.id).choice(alike)

    def _which(self, place: int) -> tuple[int, int]:
        """(epoch, number of the example)"""
        epoch, offset = divmod(place, len(self.examples))
        if not self.shuffled:
            return 0, offset
        if self.curriculum and not epoch:
            return 0, self._first_epoch[offset]
        return epoch, _shuffled(len(self.examples), self.seed, epoch)[offset]

    @cached_property
    def _first_epoch(self) -> list[int]:
        """Numbers of the examples by the curriculum, equal ones shuffled."""
        key = CURRICULA[self.curriculum]
        return sorted(_shuffled(len(self.examples), self.seed, 0), key=lambda at: key(self.examples[at].rate or 0.0))


@lru_cache(maxsize=2)
def _shuffled(n: int, seed: int, epoch: int) -> list[int]:
    return generator(seed, "epoch", epoch).sample(range(n), n)
