"""From items to predictions: asked under a condition in every arrangement, read, and judged by both matchers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import orjson

from datagen.errors import PermanentError, TransientError
from datagen.eval import Benchmark
from datagen.eval.asking import HEARING, Asking, Context, Item, Lost, arrangements
from datagen.eval.judging import judged
from datagen.eval.outputs import Prediction
from datagen.llm import Answer, Client, Request
from datagen.multiple_choice import LABELS
from datagen.multiple_choice import read as read_answer
from datagen.pool import in_order
from datagen.progress import Progress
from datagen.records import fold
from datagen.rows import clean

__all__ = ["AHEAD", "AHEAD_WITH_AUDIO", "Predicting"]

AHEAD = 512
"""Prompts under way at once."""
AHEAD_WITH_AUDIO = 64
"""Items under way at once where each holds its audio in memory."""
IN_BATCHES = 16
"""Times as many where they gather into batches: a few hundred MB of text or audio."""


@dataclass(frozen=True, slots=True)
class Predicting:
    """One model on one benchmark."""

    benchmark: Benchmark
    asking: Asking
    orders: Sequence[str]
    client: Client
    judge: Client | None
    has_gold: bool
    """Whether the file says what is right."""

    @property
    def total(self) -> int:
        """Predictions of one condition."""
        return sum(len(self.shown(item)) for item in self.asking.items) * self.asking.samples

    async def write(self, conditions: Sequence[str], out: Path, progress: Progress) -> None:
        """predictions.jsonl, line by line in its final order, and latency.jsonl, in the folder `out`.

        Raises ServerLost, Denied, OverBudget and LedgerError, which stop a run; an item that the model refuses, or that
        cannot be asked, is a line with an error.
        """
        more = IN_BATCHES if self.client.endpoint.batch else 1
        prompts = max(1, more * AHEAD * len(self.asking.items) // self.total)
        with (out / "predictions.jsonl").open("wb") as file, appended(out / "latency.jsonl") as clock:
            for condition in conditions:
                ahead = min(prompts, more * AHEAD_WITH_AUDIO) if condition in HEARING else prompts
                work = partial(self._item, condition, clock)
                async with contextlib.aclosing(in_order(work, self.asking.items, ahead)) as done:
                    async for rows in done:
                        file.writelines(row.line() for row in rows)
                        lost = sum(row.text is None for row in rows)
                        progress.answers(len(rows) - lost, lost)

    def shown(self, item: Item) -> list[tuple[str, int, list[int]]]:
        """(order, number, places) of each arrangement. A broken item without choices is a row too, and wrong."""
        return [
            (order, number, places)
            for order in self.orders
            for number, places in enumerate(arrangements(order, item, self.asking.seed) or [[]])
        ]

    async def _item(self, condition: str, clock: BinaryIO, item: Item) -> list[Prediction]:
        """Every row of an item under a condition; its audio is decoded once."""
        context: Context | Lost
        try:
            context = await self.asking.context(condition, item)
        except Lost as error:
            context = error
        rows = [self._asked(condition, clock, item, context, *shown) for shown in self.shown(item)]
        return [row for part in await asyncio.gather(*rows) for row in part]

    async def _asked(
        self, condition: str, clock: BinaryIO, item: Item, context: Context | Lost, order: str, number: int,
        shown: list[int],
    ) -> list[Prediction]:  # fmt: skip
        """The samples of one arrangement."""

        def row(sample: int, answer: Answer | None, error: str | None, judge: bool | None) -> Prediction:
            heard = None if isinstance(context, Lost) else context.heard
            text, finish, key = (clean(answer.text), answer.finish, answer.key) if answer else (None, None, None)
            reading, official, strict = self._read(item, shown, text)
            return Prediction(
                item.row, item.id, condition, order, number, sample, shown, heard, text, finish, error, reading,
                official, strict, judge, key,
            )  # fmt: skip

        if isinstance(context, Lost):
            return [row(sample, None, str(context), None) for sample in range(self.asking.samples)]
        requests = self.asking.requests(item, context, shown)
        said = await asyncio.gather(*(self._answer(request, clock) for request in requests))
        judges = await asyncio.gather(*(self._judged(item, shown, answer) for answer in said))
        return [
            row(sample, None, str(answer), None) if isinstance(answer, Lost) else row(sample, answer, None, verdict)
            for sample, (answer, verdict) in enumerate(zip(said, judges, strict=True))
        ]

    async def _answer(self, request: Request, clock: BinaryIO) -> Answer | Lost:
        started = time.monotonic()
        try:
            answer = await self.client.ask(request)
        except (PermanentError, TransientError) as error:
            return Lost(clean(f"{error.reason}: {error}"))
        if not answer.cached:
            seconds = round(time.monotonic() - started, 6)
            clock.write(orjson.dumps({"key": answer.key, "seconds": seconds}, option=orjson.OPT_APPEND_NEWLINE))
        return answer

    async def _judged(self, item: Item, shown: Sequence[int], answer: Answer | Lost) -> bool | None:
        if self.judge is None or item.answer is None or isinstance(answer, Lost):
            return None
        return await judged(self.judge, item, shown, answer.text)

    def _read(self, item: Item, shown: Sequence[int], text: str | None) -> tuple[int | None, bool | None, bool | None]:
        """The choice that `text` answers with, and the verdicts of both matchers."""
        choices = [item.choices[place] for place in shown]
        at = None if text is None or not choices else read_answer(text, choices, LABELS[self.asking.style])
        reading = None if at is None else _first(item, shown[at])
        if not self.has_gold:
            return reading, None, None
        official = bool(item.answer and text is not None and self.benchmark.official(item.answer, text, choices))
        return reading, official, reading is not None and reading == item.gold


def _first(item: Item, place: int) -> int:
    """Of choices that are equal the right one, or else the first: which of them was shown first tells nothing."""
    alike = [other for other, choice in enumerate(item.choices) if fold(choice) == fold(item.choices[place])]
    return item.gold if item.gold in alike and item.gold is not None else alike[0]


def appended(path: Path) -> BinaryIO:
    """A file to append lines to; one that a kill cut off is ended first."""
    file = path.open("ab+")
    if file.tell():
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file
