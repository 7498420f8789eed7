"""A folder of audio by what its files' names mean, in some 50 bytes a file: corpora have millions of files."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from datagen.errors import UsageError
from datagen.sources.files import SUFFIXES, find, folder, printable, walk

__all__ = ["Index", "hashed"]


def hashed(key: str) -> int:
    """64 bits that are the same in every process."""
    return int.from_bytes(hashlib.blake2b(key.encode(errors="surrogateescape"), digest_size=8).digest(), "big")


class Index:
    """`key(path below root)` → the file: the first of SUFFIXES, then the first path, where several have one key.

    Raises UsageError, with `cure`, where the folder holds no audio file.
    """

    def __init__(self, root: Path, key: Callable[[str], str], cure: str) -> None:
        self.root, self.key = folder(root, "--audio"), key
        self._folders: list[str] = []
        self._names = bytearray()
        hashes, ends, parents, ranks = array("Q"), array("Q"), array("I"), array("B")
        for path in walk(self.root):
            if path != printable(path):
                continue  # no table can hold it
            parent, _, name = path.rpartition("/")
            if not self._folders or self._folders[-1] != parent:
                self._folders.append(parent)
            self._names += name.encode()
            hashes.append(hashed(key(path)))
            ends.append(len(self._names))
            parents.append(len(self._folders) - 1)
            ranks.append(SUFFIXES.index(name[name.rindex(".") :].lower()))
        if not hashes:
            raise UsageError(f"--audio {root}: no audio file below it: {cure}")
        self._order = np.lexsort((np.asarray(ranks), np.asarray(hashes))).astype(np.uint32)  # stable: then by path
        self._hashes = np.asarray(hashes)[self._order]
        self._ends, self._parents = np.asarray(ends), np.asarray(parents)

    def find(self, key: str) -> Path | str:
        """The file, or why there is none: see `files.find`."""
        path = next(self._paths(key), None)
        return "audio_missing" if path is None else find(self.root, path)

    def _paths(self, key: str) -> Iterator[str]:
        wanted = np.uint64(hashed(key))
        at = int(np.searchsorted(self._hashes, wanted))
        while at < len(self._hashes) and self._hashes[at] == wanted:
            path = self._path(int(self._order[at]))
            if self.key(path) == key:
                yield path
            at += 1

    def _path(self, number: int) -> str:
        first = int(self._ends[number - 1]) if number else 0
        name = self._names[first : int(self._ends[number])].decode()
        parent = self._folders[self._parents[number]]
        return f"{parent}/{name}" if parent else name
