"""What a model is asked: an item under a condition, its choices in an order, as a request.

Conditions: what is in the prompt beside question and choices.

    audio        the item's clip
    none         nothing: there is no audio part
    silence      zeros of the clip's length
    noise        white noise of the clip's length, drawn by seed and id
    mismatched   the clip of another item of the same task (of any, where that has no other), never the same audio
    caption      captions as text, and no audio part

An item whose clip cannot be had has no answer under any condition that needs it, so all of them are of the same items.

Orders: `original`; `shuffle:K`, K draws by seed and id; `circular`, every rotation.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from datagen.clips import Clip, Clips, noise, silence
from datagen.errors import AudioError, UsageError
from datagen.llm import Request, Sampling
from datagen.multiple_choice import CAPTION, STYLES, Style, render
from datagen.seeds import derive, generator
from datagen.sound import Sound

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "CAPTION",
    "CONDITIONS",
    "HEARING",
    "STYLES",
    "Asking",
    "Context",
    "Item",
    "Lost",
    "arrangements",
    "items_of",
    "parse_orders",
]

CONDITIONS = ("audio", "none", "silence", "noise", "mismatched", "caption")
HEARING = ("audio", "silence", "noise", "mismatched")
"""Conditions with an audio part, for which the clips are needed."""
TEMPERATURE = 1.0
"""Of several samples; one alone is greedy."""
MOST_DRAWS = 100
"""Clips looked at until one is another audio that can be decoded."""


class Lost(Exception):
    """There is nothing to ask, or no answer: `reason: detail`."""


@dataclass(frozen=True, slots=True)
class Item:
    """One row of the benchmark file."""

    row: int
    id: str
    question: str | None
    choices: tuple[str, ...]
    answer: str | None
    gold: int | None
    """Place of the right choice; of equal choices the first."""
    task: str | None
    captions: tuple[str, ...]
    files: tuple[str | None, ...]
    """Clips below the folder; empty without a folder."""


@dataclass(frozen=True, slots=True)
class Context:
    """What stands in the prompt beside question and choices."""

    sounds: tuple[Sound, ...] = ()
    captions: tuple[str, ...] = ()
    heard: str | None = None
    """The item whose clip it is, where that is another."""


def parse_orders(text: str) -> list[str]:
    """The orders of `--orders`. Raises UsageError."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if not re.fullmatch(r"original|circular|shuffle:[1-9]\d{0,2}", name):
            raise UsageError(f"--orders {name!r}: use original, circular or shuffle:K with K from 1 to 999")
    if not names or len(set(names)) < len(names):
        raise UsageError(f"--orders {text!r}: name each order once")
    return names


def arrangements(order: str, item: Item, seed: int) -> list[list[int]]:
    """Each arrangement of an order: the places of the item's choices, in the order in which they are shown."""
    n = len(item.choices)
    if order == "circular":
        return [[(place + turn) % n for place in range(n)] for turn in range(n)]
    kind, _, draws = order.partition(":")
    if kind == "original":
        return [list(range(n))]
    return [generator(seed, "order", item.id, str(draw)).sample(range(n), n) for draw in range(int(draws))]


def items_of(table: pl.DataFrame, clips: Clips | None) -> list[Item]:
    """The items of a `mcq.McqSet` table, in its order."""
    columns = ("id", "question", "choices", "answer", "answer_index", "task", "captions", "audio", "clip_id")
    return [
        Item(
            row, id, question, tuple(choices), answer, gold, task, tuple(captions or ()),
            clips.files(id, audio or (clip and [clip])) if clips else (),
        )
        for row, (id, question, choices, answer, gold, task, captions, audio, clip) in enumerate(
            table.select(columns).iter_rows()
        )
    ]  # fmt: skip


@dataclass
class Asking:
    """Makes the requests of one evaluation."""

    items: Sequence[Item]
    clips: Clips | None
    style: Style
    samples: int
    max_tokens: int
    seed: int

    async def context(self, condition: str, item: Item) -> Context:
        """What `condition` puts into the prompt. Raises Lost."""
        if item.question is None or not item.choices:
            raise Lost(f"not_askable: it has no {'choices' if item.question else 'question'}")
        if condition == "none":
            return Context()
        if condition == "caption":
            if not item.captions:
                raise Lost("caption_missing: no caption of it is given")
            return Context(captions=item.captions)
        return await asyncio.to_thread(self._with_audio, condition, item)

    def requests(self, item: Item, context: Context, shown: Sequence[int]) -> list[Request]:
        """One request for each sample."""
        text = render(item.question or "", [item.choices[place] for place in shown], self.style)
        if context.captions:
            text = CAPTION.format(captions=" ".join(map(str.strip, context.captions)), question=text)
        content = [*context.sounds, {"type": "text", "text": text}] if context.sounds else text
        message = {"role": "user", "content": content}
        return [
            Request([message], f"eval.{self.style}", sampling=self.sampling(sample), sample=sample)
            for sample in range(self.samples)
        ]

    def sampling(self, sample: int) -> Sampling:
        """Greedy for one sample; several are drawn."""
        if self.samples == 1:
            return Sampling(max_tokens=self.max_tokens)
        # Servers draw the same answer for the same seed: each sample has its own.
        seed = derive(self.seed, "sample", str(sample)) % 2**31
        return Sampling(temperature=TEMPERATURE, max_tokens=self.max_tokens, seed=seed)

    # ── in a thread ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _with_audio(self, condition: str, item: Item) -> Context:
        own = self._loaded(item)
        if condition == "mismatched":
            other, clips = self._another(item, own)
            return Context(tuple(Sound(clip.wav(), "wav") for clip in clips), heard=other.id)
        make: Mapping[str, Callable[[Clip], Clip]] = {
            "audio": lambda clip: clip, "silence": silence, "noise": lambda clip: noise(clip, self.seed, item.id),
        }  # fmt: skip
        return Context(tuple(Sound(make[condition](clip).wav(), "wav") for clip in own))

    def _loaded(self, item: Item) -> list[Clip]:
        assert self.clips is not None
        if None in item.files:
            raise Lost("audio_missing: no file of its name below --audio")
        try:
            return [self.clips.load(file) for file in item.files if file is not None]
        except AudioError as error:
            raise Lost(f"{error.reason}: {error}") from None

    def _another(self, item: Item, own: Sequence[Clip]) -> tuple[Item, list[Clip]]:
        """Another item and its clips, none of which is one of `own`."""
        mine, draw = {clip.sha256 for clip in own}, generator(self.seed, "mismatched", item.id)
        alike = self._with_files[item.task]
        pool = alike if any(set(other.files) != set(item.files) for other in alike) else self._all_with_files
        for other in draw.sample(pool, min(MOST_DRAWS, len(pool))):
            if other.row == item.row or set(other.files) & set(item.files):
                continue
            try:
                clips = self._loaded(other)
            except Lost:
                continue
            if not mine & {clip.sha256 for clip in clips}:
                return other, clips
        raise Lost("no_other_clip: none of the other items has another audio that can be decoded")

    @cached_property
    def _all_with_files(self) -> list[Item]:
        return [item for item in self.items if item.files and None not in item.files]

    @cached_property
    def _with_files(self) -> Mapping[str | None, list[Item]]:
        """Task → its items whose clips are there."""
        found: dict[str | None, list[Item]] = defaultdict(list)
        for item in self._all_with_files:
            found[item.task].append(item)
        return found
