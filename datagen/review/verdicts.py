"""RUN/review.jsonl: what people said, one act a line, on the disk before anything else happens.

    {"question_id", "reviewer", "act": "answer", "value": text of the choice, "heard": whether the clip could be played}
    {"question_id", "reviewer", "act": "judge", "value": true or false}
    {"question_id", "reviewer", "act": "undo"}                        and "at" (UTC, ISO 8601) in each

Nothing is ever rewritten. A line that a power cut tore is counted and left out; the next act starts a line of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datagen.errors import DatagenError, UsageError

__all__ = ["FILE", "Opinion", "Verdicts", "opinions", "read"]

FILE = "review.jsonl"


@dataclass
class Opinion:
    """What one reviewer says of one question, after all acts."""

    question_id: str
    reviewer: str
    first: str | None = None
    """The answer given before the marked one was ever shown: taking it back does not unsee it."""
    heard: bool = True
    """Whether the clip could be played when that was given; else it was read from the captions."""
    stands: list[tuple[str, Any]] = field(default_factory=list)
    """(act, value) of what was not taken back, in order."""

    @property
    def answer(self) -> str | None:
        """Text of the choice."""
        return next((value for act, value in reversed(self.stands) if act == "answer"), None)

    @property
    def valid(self) -> bool | None:
        """Whether the marked answer is the one right answer of a fair question."""
        return next((value for act, value in reversed(self.stands) if act == "judge"), None)

    def take(self, act: str, value: Any = None, heard: bool = True) -> None:
        """One more act."""
        if act == "answer" and self.first is None:
            self.first, self.heard = value, heard
        if act != "undo":
            self.stands.append((act, value))
        elif self.stands:
            self.stands.pop()


def read(run: Path) -> tuple[list[dict[str, Any]], int]:
    """The acts in order, and how many lines are none. Raises UsageError for a file that cannot be read."""
    try:
        lines = (run / FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise UsageError(f"{run / FILE}: {error.strerror or error}: give a file that can be read") from None
    acts = [act for line in lines if line.strip() and (act := _act(line)) is not None]
    return acts, sum(bool(line.strip()) for line in lines) - len(acts)


def _act(line: bytes) -> dict[str, Any] | None:
    try:
        act = json.loads(line)
    except ValueError:
        return None
    named = isinstance(act, dict) and isinstance(act.get("question_id"), str) and isinstance(act.get("reviewer"), str)
    kinds = {"answer": str, "judge": bool, "undo": type(None)}
    if not named or act.get("act") not in kinds or not isinstance(act.get("value"), kinds[act["act"]]):
        return None
    return dict(act)


def opinions(acts: Iterable[dict[str, Any]]) -> dict[tuple[str, str], Opinion]:
    """(reviewer, question id) → what that reviewer says now."""
    found: dict[tuple[str, str], Opinion] = {}
    for act in acts:
        key = (act["reviewer"], act["question_id"])
        opinion = found.setdefault(key, Opinion(act["question_id"], act["reviewer"]))
        opinion.take(act["act"], act.get("value"), bool(act.get("heard", True)))
    return found


@dataclass
class Verdicts:
    """The file of one run, written by one reviewer; others may write to it at the same time."""

    run: Path
    reviewer: str
    own: dict[str, Opinion] = field(default_factory=dict)
    """Question id → opinion of this reviewer."""
    history: list[str] = field(default_factory=list)
    """Question ids of the reviewer's acts that are not undone, in order."""

    def __post_init__(self) -> None:
        if not self.reviewer.strip() or not self.reviewer.isprintable() or len(self.reviewer) > 80:
            raise UsageError(f"--reviewer {self.reviewer!r}: give a name of at most 80 characters")
        for act in read(self.run)[0]:
            if act["reviewer"] == self.reviewer:
                self._take(act["question_id"], act["act"], act.get("value"), bool(act.get("heard", True)))
        try:
            self._file = os.open(self.run / FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise UsageError(
                f"{self.run / FILE}: {error.strerror or error}: verdicts are saved there: make it writable"
            ) from None

    def opinion(self, question_id: str) -> Opinion:
        """What the reviewer says of a question so far."""
        return self.own.get(question_id) or Opinion(question_id, self.reviewer)

    def answer(self, question_id: str, choice: str, *, heard: bool) -> None:
        """Saves the reviewer's answer, the text of a choice."""
        if self.opinion(question_id).answer != choice:
            self._save(question_id, "answer", choice, heard=heard)

    def judge(self, question_id: str, valid: bool) -> None:
        """Saves whether the question is valid."""
        if self.opinion(question_id).valid is not valid:
            self._save(question_id, "judge", valid)

    def undo(self) -> str | None:
        """Takes the reviewer's last act back, from an earlier call too; its question id, None when there is none."""
        if not self.history:
            return None
        question_id = self.history[-1]
        self._save(question_id, "undo")
        return question_id

    def _save(self, question_id: str, act: str, value: Any = None, **more: Any) -> None:
        """Appends a line, by one write, and waits for the disk. Raises DatagenError when it cannot."""
        row = {"question_id": question_id, "reviewer": self.reviewer, "act": act}
        row |= {} if act == "undo" else {"value": value, **more}
        row["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(row, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
        try:
            size = os.fstat(self._file).st_size
            torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
            written = os.write(self._file, b"\n" + line if torn else line)
            os.fsync(self._file)
        except OSError as error:
            raise DatagenError(f"{self.run / FILE}: {error.strerror or error}: the last act is not saved") from None
        if written != len(line) + torn:
            raise DatagenError(f"{self.run / FILE}: the disk took a part of a line: make room; the last act is lost")
        self._take(question_id, act, value, bool(more.get("heard", True)))

    def _take(self, question_id: str, act: str, value: Any, heard: bool) -> None:
        self.own.setdefault(question_id, Opinion(question_id, self.reviewer)).take(act, value, heard)
        if act != "undo":
            self.history.append(question_id)
        elif self.history:
            self.history.pop()

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)
