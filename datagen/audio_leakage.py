"""Which clips hold the sound of a benchmark's files: equal when decoded, or by landmarks (`datagen.fingerprint`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.audio import Audio, load, sha256
from datagen.errors import AudioError, UsageError
from datagen.fingerprint import Index, Landmarks, landmarks

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Recordings"]


class Recordings:
    """The audio files below a folder, read at the first question about them; answers are remembered."""

    def __init__(self, folder: Path) -> None:
        """Raises UsageError for what is no folder, or holds no file."""
        self.folder = folder
        found = folder.rglob("*") if folder.is_dir() else ()
        self.files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
        if not self.files:
            raise UsageError(f"--against-audio {folder}: holds no file: name the folder of the benchmark's audio")
        self.unread: list[str] = []
        """Names of files and of clips that cannot be decoded: they were not compared."""
        self._index: Index | None = None
        self._equal: dict[str, str] = {}
        self._known: dict[str, tuple[float, str] | None] = {}

    @property
    def identity(self) -> str:
        """A hash of the files' names and sizes."""
        listing = "\n".join(f"{file.relative_to(self.folder)} {file.stat().st_size}" for file in self.files)
        return hashlib.sha256(listing.encode(errors="backslashreplace")).hexdigest()

    def met(self, clips: pl.DataFrame) -> dict[str, tuple[float, str]]:
        """SHA-256 of a clip → (share of its landmarks, what it is the sound of), of those of `clips` that are.

        `clips`: path, cut_start and cut_end (seconds into the file, null for its begin and end), sha256 (see
        `datagen.audio.sha256`).
        """
        if self._index is None:
            self._read()
        new = clips.filter(~clips["sha256"].is_in(list(self._known))).unique(
            "sha256", keep="first", maintain_order=True
        )
        rows = new.select("path", "cut_start", "cut_end", "sha256").rows()
        for (path, *_, key), answer in zip(rows, _in_threads(self._look_up, rows), strict=True):
            if isinstance(answer, AudioError):
                self.unread.append(path)
            self._known[key] = None if isinstance(answer, AudioError) else answer
        return {key: known for key in clips["sha256"].unique() if (known := self._known.get(key)) is not None}

    def _read(self) -> None:
        named: list[tuple[str, Landmarks]] = []
        for file, read in zip(self.files, _in_threads(_read_file, self.files), strict=True):
            name = file.relative_to(self.folder).as_posix()
            if isinstance(read, AudioError):
                self.unread.append(name)
                continue
            self._equal.setdefault(read[0], name)
            named.append((name, read[1]))
        if not named:
            raise UsageError(f"--against-audio {self.folder}: none of its {len(self.files)} files is audio")
        self._index = Index(named)

    def _look_up(self, row: tuple[str, float | None, float | None, str]) -> tuple[float, str] | AudioError | None:
        path, start, end, key = row
        if key in self._equal:
            return 1.0, f"{self._equal[key]}: equal audio"
        try:
            marks = landmarks(load(path, start=start, end=end).mono)
        except AudioError as error:
            return error
        assert self._index is not None
        for match in self._index.matches(marks)[:1]:
            return match.share, f"{match.name}: {match.shared} landmarks at {match.shift:+.1f} s"
        return None


def _read_file(file: Path) -> tuple[str, Landmarks] | AudioError:
    try:
        audio: Audio = load(file)
    except AudioError as error:
        return error
    return sha256(audio), landmarks(audio.mono)


def _in_threads(work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What `work` says of each item, in order; decoding and numpy let other threads run."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, items))
