"""What can still be read of a damaged ledger: every whole row on every page, whatever became of the tree above it.

SQLite gives up a table when a page of its tree is torn. But rows stand whole on their leaf pages
(https://www.sqlite.org/fileformat2.html), so each page of the file and of its write-ahead log is looked at by itself.
A row counts when its request has the hash that is its key, which no torn row has.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from datagen.errors import UsageError
from datagen.llm.request import digest

__all__ = ["alone", "answers", "beside", "is_marked", "is_ours", "mark", "put_in_place", "with_ending"]

PAGE = 4096
"""Bytes, where the file does not say: what SQLite takes by default."""
LEAF = 0x0D
"""The first byte of a page of a table's rows."""
SHARED = (510, 0x4000_0002)
"""Length and start of the bytes of which every open connection of SQLite locks some."""
KINDS: tuple[tuple[type, ...], ...] = (
    (str,), (int,), (str,), (str,), (int,), (int,), (float, int, type(None)), (int,), (str, type(None)), (str,), (str,),
)  # fmt: skip
"""Of the columns of `answers` as the table was made: key, max_tokens, run, finish, … cost, …, error, text, request."""
SIZES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}
"""Serial type of a number, or of NULL → its bytes."""
Values = tuple[Any, ...]


def with_ending(path: Path, ending: str) -> Path:
    """A file beside the ledger."""
    return path.with_name(path.name + ending)


# ── the damage, and the file that takes the place of the damaged one ─────────────────────────────────────────────────


def mark(path: Path) -> None:
    """Notes that SQLite found the ledger damaged: who opens it next mends it."""
    with contextlib.suppress(OSError):  # nothing can be written here; the error that is told says enough
        with_ending(path, ".malformed").touch()


def is_marked(path: Path) -> bool:
    """Whether the ledger was found damaged and is not mended yet."""
    return with_ending(path, ".malformed").exists() and path.is_file()


def is_ours(path: Path) -> bool:
    """Whether a file that SQLite cannot read was a ledger: it holds an answer of one."""
    return path.is_file() and next(answers(path), None) is not None


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keeps other processes from the marked ledger meanwhile. Raises UsageError when one has it open."""
    with path.open("r+b") as file, with_ending(path, ".malformed").open("r+b") as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *SHARED)
        except OSError:
            raise UsageError(
                f"ledger {path} is damaged, and another process has it open: end that one, then run again to mend it"
            ) from None
        yield


def put_in_place(path: Path) -> Path:
    """Puts FILE.mended in place of the damaged ledger, which is kept under the name that is returned.

    Killed at any instant and called again, it goes on.
    """
    number = 1
    while (kept := with_ending(path, f".damaged-{number}")).exists():
        number += 1
    os.link(path, kept)
    with contextlib.suppress(FileNotFoundError):
        with_ending(path, "-wal").rename(with_ending(kept, "-wal"))
    with_ending(path, "-shm").unlink(missing_ok=True)
    with_ending(path, ".mended").replace(path)
    with_ending(path, ".malformed").unlink()
    return kept


# ── what SQLite still reads ──────────────────────────────────────────────────────────────────────────────────────────


def beside(path: Path) -> tuple[list[str], dict[str, list[Values]]]:
    """The statements that made the tables and indices beside `answers`, and table → rows, up to the first torn page."""
    made: list[str] = []
    rows: dict[str, list[Values]] = {}
    place = f"file:{quote(str(path.absolute()))}?mode=ro"  # closing then leaves the log as it is
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(place, uri=True)) as connection:
        query = "SELECT type, name, sql FROM sqlite_master WHERE tbl_name <> 'answers' AND sql IS NOT NULL"
        for kind, name, text in connection.execute(query).fetchall():
            made.append(text)
            if kind == "table":
                rows[name] = []
                with contextlib.suppress(sqlite3.Error):
                    rows[name].extend(connection.execute(f'SELECT * FROM "{name}"'))
    return made, rows


# ── what stands on the pages ─────────────────────────────────────────────────────────────────────────────────────────


def answers(path: Path) -> Iterator[Values]:
    """The whole rows of `answers`, first those of the file, then those of its log; one may come more than once."""
    with contextlib.ExitStack() as files:
        pages = Pages(files.enter_context(path.open("rb")).fileno())
        yield from (row for page in pages.of_file() for row in rows_of(page, pages))
        with contextlib.suppress(FileNotFoundError):
            log = files.enter_context(with_ending(path, "-wal").open("rb")).fileno()
            pages = pages.with_log(log)
            yield from (row for page in pages.of_log() for row in rows_of(page, pages))


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of a database by number, from 1; those of the log before those of the file."""

    file: int
    log: int = -1
    frames: Mapping[int, int] | None = None
    """Page → where its last frame of the log begins."""

    @property
    def size(self) -> int:
        """Bytes of a page."""
        said = int.from_bytes(os.pread(self.file, 2, 16), "big")
        return said if said in (512, 1024, 2048, 4096, 8192, 16384, 32768) else PAGE

    def of_file(self) -> Iterator[bytes]:
        """All but the first, which holds the schema."""
        size = self.size
        for start in range(size, os.fstat(self.file).st_size, size):
            yield os.pread(self.file, size, start)

    def with_log(self, log: int) -> Pages:
        """The same with the frames of the log, also those behind a torn one."""
        size, frames = self.size, {}
        for start in range(32, os.fstat(log).st_size, 24 + size):
            frames[int.from_bytes(os.pread(log, 4, start), "big")] = start + 24
        return Pages(self.file, log, frames)

    def of_log(self) -> Iterator[bytes]:
        """Every page of the log, older versions too."""
        size = self.size
        for start in range(32 + 24, os.fstat(self.log).st_size, 24 + size):
            yield os.pread(self.log, size, start)

    def get(self, number: int) -> bytes:
        """The page of this number; fewer bytes, or none, where the file ends."""
        if self.frames and number in self.frames:
            return os.pread(self.log, self.size, self.frames[number])
        return os.pread(self.file, self.size, (number - 1) * self.size) if number else b""


def rows_of(page: bytes, pages: Pages) -> Iterator[Values]:
    """The whole rows of `answers` on one page; none where it is no leaf of a table."""
    if len(page) < 8 or page[0] != LEAF:
        return
    for place in range(int.from_bytes(page[3:5], "big")):
        try:
            start = int.from_bytes(page[8 + 2 * place : 10 + 2 * place], "big")
            values = record(payload(page, start, pages))
        except (LookupError, ValueError, struct.error):  # torn: it points outside, or holds no text
            continue
        if values is not None and digest(values[-1].encode()) == values[0]:
            yield values


def payload(page: bytes, start: int, pages: Pages) -> bytes:
    """The bytes of the row at `start`, those on overflow pages too. Raises IndexError, ValueError when torn."""
    length, start = varint(page, start)
    _, start = varint(page, start)  # the row's number
    size = len(page)
    least = (size - 12) * 32 // 255 - 23
    here = least + (length - least) % (size - 4)
    here = length if length <= size - 35 else here if here <= size - 35 else least
    parts, left = [page[start : start + here]], length - here
    following = int.from_bytes(page[start + here : start + here + 4], "big")
    while left > 0:
        more = pages.get(following)
        if len(more) < size:
            raise ValueError("the chain of pages breaks off")
        following = int.from_bytes(more[:4], "big")
        parts.append(more[4 : 4 + min(left, size - 4)])
        left -= len(parts[-1])
    return b"".join(parts)


def record(data: bytes) -> Values | None:
    """The values of a row; None where they are not those of `answers`. Raises ValueError, IndexError when torn."""
    end, place = varint(data, 0)
    kinds = []
    while place < end:
        kind, place = varint(data, place)
        kinds.append(kind)
    if len(kinds) != len(KINDS) or place != end:
        return None
    values: list[Any] = []
    for kind in kinds:
        size = SIZES[kind] if kind < 12 else (kind - 12) // 2
        values.append(value(kind, data[place : place + size]))
        place += size
    if place != len(data) or not all(isinstance(v, kind) for v, kind in zip(values, KINDS, strict=True)):
        return None
    return tuple(values)


def value(kind: int, data: bytes) -> str | int | float | bytes | None:
    """One value of a record by its serial type."""
    if kind >= 12:
        return data.decode() if kind % 2 else data
    if kind == 7:
        return float(struct.unpack(">d", data)[0])
    return {0: None, 8: 0, 9: 1}[kind] if kind in (0, 8, 9) else int.from_bytes(data, "big", signed=True)


def varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, and where it ends. Raises IndexError."""
    number = 0
    for byte in range(8):
        number = number << 7 | data[place + byte] & 0x7F
        if data[place + byte] < 0x80:
            return number, place + byte + 1
    return number << 8 | data[place + 8], place + 9
