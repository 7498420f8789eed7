"""Where audio that is no file here (bytes in a table, a file of the Hub) becomes one: written once, named by a hash."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from datagen.errors import AudioError
from datagen.sources.files import SUFFIXES

__all__ = ["Store"]

LIMIT = 10_000_000_000
"""Bytes that a store holds; the files that were written first go first. One file may not be larger."""
NEWEST = 1_000
"""Files that are never taken away, however large: they may wait to be decoded."""


class Store:
    """A folder of audio files named by a hash; made when the first one is written, a temporary one where none is named.

    A file is written under another name and renamed, so that a run killed at any instant finds whole files only, and
    writes none of them again.
    """

    def __init__(self, folder: Path | None, *, limit: int = LIMIT, newest: int = NEWEST) -> None:
        self.folder = Path(folder or tempfile.mkdtemp(prefix="datagen-audio-")).absolute()
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.limit, self.newest = limit, newest
        self._sizes: dict[Path, int] | None = None
        self._total = 0

    def put(self, content: bytes, name: str) -> Path:
        """The file with these bytes; the ending of `name` is kept where it is one of audio."""
        return self.fetch(hashlib.sha256(content).hexdigest(), name, [content])

    def fetch(self, key: str, name: str, blocks: Iterable[bytes]) -> Path:
        """The file of `key` (hex); `blocks` are read only where it is not there yet. Raises AudioError, OSError."""
        suffix = PurePosixPath(name).suffix.lower()
        path = self.folder / key[:2] / (key + (suffix if suffix in SUFFIXES else ""))
        sizes = self._known()
        if path not in sizes:
            sizes[path] = self._write(path, blocks)
            self._total += sizes[path]
            self._make_room(sizes)
        return path

    def _known(self) -> dict[Path, int]:
        """Path → bytes of every whole file, in the order in which they were written."""
        if self._sizes is None:
            found = [(p.stat(), p) for p in self.folder.glob("*/*") if p.suffix != ".tmp"]
            found.sort(key=lambda pair: (pair[0].st_mtime_ns, pair[1]))
            self._sizes = {path: status.st_size for status, path in found}
            self._total = sum(self._sizes.values())
        return self._sizes

    def _write(self, path: Path, blocks: Iterable[bytes]) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        size = 0
        with temporary.open("wb") as file:
            for block in blocks:
                size += len(block)
                if size > self.limit:
                    break
                file.write(block)
        if size > self.limit:
            temporary.unlink()
            raise AudioError("audio_too_long", f"more than {self.limit / 1e9:g} GB, which is all that the store holds")
        temporary.replace(path)
        return size

    def _make_room(self, sizes: dict[Path, int]) -> None:
        for path in list(sizes)[: max(len(sizes) - self.newest, 0)] if self._total > self.limit else []:
            if self._total <= self.limit:
                return
            path.unlink(missing_ok=True)
            self._total -= sizes.pop(path)
