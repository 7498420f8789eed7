"""One reviewer at work: what a key does, and what the page shows after it. Knows nothing of the browser.

1 … 9, 0   answer with that choice (0 is the tenth); the marked answer and the captions are shown after it
y, n       valid, not valid: then the next question without a judgement comes
u          takes the last act back, and shows its question
previous, next
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.dataset import environment
from datagen.errors import DatagenError
from datagen.report import rows_by
from datagen.review.clips import Clips
from datagen.review.sample import drawn, population, shown_choices
from datagen.review.verdicts import Verdicts

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Session"]

DIGITS = tuple("1234567890")


class Session:
    """The questions of one sample, in order, with the verdicts of one reviewer."""

    def __init__(self, run: Path, sample: pl.DataFrame, seed: int, verdicts: Verdicts, clips: Clips) -> None:
        self.verdicts, self.clips = verdicts, clips
        self.rows = sample.drop("fate").to_dicts()  # what it was is never told
        for row in self.rows:
            row["choices"] = shown_choices(row["id"], row["choices"], seed)
        self.places = {row["id"]: place for place, row in enumerate(self.rows)}
        self.captions = rows_by(run, "captions", "clip_id", sample["clip_id"])
        self._lock = threading.Lock()
        self._template = environment().get_template("review.html")

    @classmethod
    def of(cls, run: Path, *, sample: int, seed: int, reviewer: str, folder: Path) -> Session:
        """A session on `sample` questions of `run`; `folder` takes what is played. Raises UsageError."""
        questions = drawn(population(run), sample, seed)
        clips = Clips(rows_by(run, "clips", "id", questions["clip_id"]), folder)
        return cls(run, questions, seed, Verdicts(run, reviewer), clips)

    def act(self, shown: str, key: str) -> str:
        """What the page shows after `key` was pressed on the question `shown`, HTML; "" opens the page."""
        with self._lock:
            place = self.places.get(shown, self.open_after(-1))
            try:
                place, said = self._act(place, key) if shown in self.places else (place, "")
            except DatagenError as error:
                said = f"Not saved: {error}"
            return self.page(place, said)

    def _act(self, place: int, key: str) -> tuple[int, str]:
        """The place of the question to show, and what to say."""
        row = self.rows[place]
        if key in ("previous", "next"):
            return min(max(place + (1 if key == "next" else -1), 0), len(self.rows) - 1), ""
        if key == "u":
            undone = self.verdicts.undo()
            if undone is None:
                return place, "Nothing to take back."
            return self.places.get(undone, place), "Taken back. The first answer stays the one that counts."
        if key in ("y", "n"):
            return self._judge(place, row, valid=key == "y")
        if key in DIGITS:
            return place, self._answer(row, DIGITS.index(key))
        return place, ""

    def _answer(self, row: dict[str, Any], index: int) -> str:
        if index >= len(row["choices"]):
            return f"There are {len(row['choices'])} choices."
        if self.verdicts.opinion(row["id"]).answer is not None:
            return "Answered already: u takes it back."
        self.verdicts.answer(row["id"], row["choices"][index], heard=self.clips.play(row["clip_id"]).silent == "")
        return ""

    def _judge(self, place: int, row: dict[str, Any], *, valid: bool) -> tuple[int, str]:
        if valid and self.verdicts.opinion(row["id"]).answer is None:
            return place, "Answer first; n alone says that there is nothing to answer."
        self.verdicts.judge(row["id"], valid)
        return self.open_after(place), ""

    def open_after(self, place: int) -> int:
        """The next place without a judgement, from the start again behind the last; `place` where there is none."""
        n = len(self.rows)
        for step in range(1, n + 1):
            if self.verdicts.opinion(self.rows[(place + step) % n]["id"]).valid is None:
                return (place + step) % n
        return max(place, 0)

    def page(self, place: int, said: str) -> str:
        """The question at `place` as HTML. Texts of corpora and models are escaped by the template."""
        row = self.rows[place]
        opinion = self.verdicts.opinion(row["id"])
        clip = self.clips.play(row["clip_id"])
        judged = sum(self.verdicts.opinion(row["id"]).valid is not None for row in self.rows)
        return self._template.render(
            row=row, place=place, total=len(self.rows), judged=judged, reviewer=self.verdicts.reviewer,
            keys=DIGITS, opinion=opinion, clip=clip, said=said, captions=self.captions.get(row["clip_id"], []),
        )  # fmt: skip
