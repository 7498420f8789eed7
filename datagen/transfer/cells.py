"""One cell of a study: a command of `datagen` in a process of its own, run once and remembered.

    DIR/cells/NAME.json   {"key", "status": "done" | "failed", "command", "seconds", "error"}
    DIR/cells/NAME.log    what the command said

A process of its own gives its memory back, and where it crashes one cell has failed and not the study. `key` is what
decides the outcome; a cell whose key is another one than when it was done is of another study.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.errors import Interrupted, UsageError
from datagen.records import canonical
from datagen.run import replace_text
from datagen.signals import heeding

__all__ = ["Cell", "Cells"]

DATAGEN = [sys.executable, "-c", "from datagen.cli import main; main()"]
LISTED = 1
"""Exit code of a command that did its work and lists what failed."""
PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when the one that started it dies."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is to be run."""

    name: str
    """Like `train/text/clean/0`: unique in the study, and a path below DIR/cells."""
    words: Sequence[str]
    """Of the command, after `datagen`."""
    key: Mapping[str, Any]

    @property
    def command(self) -> str:
        """As it is typed."""
        return shlex.join(["datagen", *self.words])


@dataclass
class Cells:
    """All cells of a study, as far as they are known."""

    out: Path
    say: Any
    """Called with a line of progress."""
    dry: bool = False
    """Whether commands are only told."""
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    _child: subprocess.Popen[bytes] | None = None
    _stopped: bool = False

    def run(self, cell: Cell, *, done: Path) -> bool:
        """Whether the cell is done, now or before; `done` is the file that it leaves last.

        Raises Interrupted after Ctrl-C or SIGTERM, which the command gets too, and UsageError for a cell of another
        study.
        """
        before = self._before(cell, done)
        if before is None:
            before = {"key": dict(cell.key), "command": cell.command, "status": "to do" if self.dry else "running"}
            if not self.dry:
                before |= self._run(cell, done)
                replace_text(self._file(cell, ".json"), json.dumps(before, indent=1) + "\n")
        self.states[cell.name] = before
        return bool(before["status"] == "done")

    def skip(self, name: str, why: str) -> None:
        """A cell that cannot be run because another one failed."""
        self.states[name] = {"status": "to do" if self.dry else "not run", "error": why}

    def _file(self, cell: Cell, suffix: str) -> Path:
        return self.out / "cells" / f"{cell.name}{suffix}"

    def _before(self, cell: Cell, done: Path) -> dict[str, Any] | None:
        """What an earlier call did; None for a cell that is still to be run, a failed one among them."""
        try:
            before = json.loads(self._file(cell, ".json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UsageError(f"{self._file(cell, '.json')}: {error}: take it away to run the cell again") from None
        if before["status"] != "done" or not done.exists():
            return None
        now = json.loads(canonical(cell.key))
        if before["key"] != now:
            changed = next(name for name in {**before["key"], **now} if before["key"].get(name) != now.get(name))
            raise UsageError(
                f"--out {self.out}: {cell.name} was done with another {changed}: choose another folder, or go back"
            )
        return dict(before)

    def _run(self, cell: Cell, done: Path) -> dict[str, Any]:
        log = self._file(cell, ".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        self.say(f"{cell.name}: {cell.command}")
        started = time.monotonic()
        with log.open("wb") as file, heeding(self._pass):
            self._child = subprocess.Popen(
                [*DATAGEN, *cell.words], stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
                preexec_fn=_die_with_parent,
            )  # fmt: skip
            code = self._child.wait()
        if self._stopped:
            raise Interrupted(f"interrupted in {cell.name}; the same command goes on where it was ({self.out})")
        seconds = round(time.monotonic() - started, 1)
        if code in (0, LISTED) and done.exists():
            return {"status": "done", "seconds": seconds, "error": None}
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        error = f"exit {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        error += f": {said[-1][:300]}" if said else ""
        self.say(f"{cell.name}: failed ({error})")
        return {"status": "failed", "seconds": seconds, "error": error}

    def _pass(self, number: int, frame: Any) -> None:
        """Ctrl-C and SIGTERM are told to the command, which saves and ends."""
        self._stopped = True
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGTERM)


def _die_with_parent() -> None:
    """A study that is killed takes its command along (Linux), or the next call would find the folder at work.

    At once, since a command that is killed loses nothing: it goes on from its checkpoint or its ledger.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PDEATHSIG, signal.SIGKILL)
