"""The memory of every answer: one SQLite file from request key to response.

    answers(key, max_tokens, run, finish, prompt_tokens, completion_tokens, cost, attempts, error, text, request)

WAL, a writer thread with its own connection, and group commit: the first row of a quiet time is committed at once,
the rows that follow within 5 ms or up to 32 of them together. Reads come from the loop's thread, and what is looked
up in one turn of the loop is one statement. Several processes may share a file; of two answers to one question the
first one committed stands. A damaged file is mended when it is opened next (`datagen.llm.ledger_file`).

`max_tokens` stands beside the key. An answer that ended by itself serves any limit that it fits; one that was cut off,
or refused, serves only the limit that it was asked with. Both stay, so runs with two limits never pay in turns.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from datagen.errors import LedgerError
from datagen.llm.ledger_file import UPSERT, connect, cure, mend, reading, unchanging

__all__ = ["Ledger", "Row", "Totals"]

WINDOW = 0.005
"""Seconds that a row may wait for others before it is committed."""
BATCH = 32
"""Rows of one commit at most: SQLite keeps a statement, and the last rows it wrote, for each number of them."""
COLUMNS = "key, max_tokens, finish, prompt_tokens, completion_tokens, cost, attempts, error, text, request"
INSERT = f"INSERT INTO answers ({COLUMNS}, run) VALUES "
PLACES = "(" + ", ".join("?" * 11) + ")"
SELECT = f"SELECT {COLUMNS} FROM answers WHERE key = ?"
# The keys come as a list in JSON: one statement for any number of them, which is prepared once.
KEYS = "(SELECT key AS place, value FROM json_each(?)) CROSS JOIN answers ON key = value"
FIND = f"SELECT {COLUMNS.removesuffix('request')} '' FROM {KEYS}"
HELD = f"SELECT json_group_array(place) FROM {KEYS} AND max_tokens = ?"
TOTALS = "SELECT count(*), sum(prompt_tokens), sum(completion_tokens), sum(cost), count(cost) FROM answers"


class Row(NamedTuple):
    """One committed answer, or the error that the server gave for good."""

    key: str
    max_tokens: int
    """The limit with which it was asked."""
    finish: str
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """USD at list price; None when the price is unknown."""
    attempts: int
    error: str | None
    """None for an answer; else one line, and `text` is what the server said."""
    text: str
    request: str
    """The canonical request (JSON, audio by hash), for whoever inspects a run."""

    def serves(self, limit: int) -> bool:
        """Whether it is what a call with `max_tokens=limit` would bring."""
        if self.max_tokens == limit:
            return True
        ended = self.error is None and self.finish != "length"
        return ended and (self.max_tokens < limit or 0 < self.completion_tokens <= limit)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over answers."""

    answers: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    """USD at list price, of those whose price is known."""
    unpriced: int


@dataclass(slots=True)
class _Put:
    row: Row
    done: asyncio.Future[Row]


class _Sought(NamedTuple):
    name: tuple[str, int]
    row: asyncio.Future[Row | None]


class Ledger:
    """Opens or creates the file at `path`; `run` marks the rows that are put, for `totals(run=…)`.

    What it lacks is looked up in the ledger `base`, which nobody may write to meanwhile. With `read_only` nothing is
    made or written, and a file that is not there holds nothing. Raises UsageError when the file is something else or
    cannot be opened.
    """

    def __init__(self, path: str | Path, run: str = "", *, base: Path | None = None, read_only: bool = False) -> None:
        self.path = Path(path)
        self.run = run
        if not read_only:
            mend(self.path)
        self._read = reading(self.path) if read_only else connect(self.path)
        self._connection = self._read if read_only else connect(self.path)
        self._base = unchanging(base) if base else None
        self._sought: list[_Sought] = []
        self._waiting: list[_Put] = []
        self._timer: asyncio.TimerHandle | None = None
        self._last_flush = 0.0
        self._broken: LedgerError | None = None
        self._closed = False
        self._queue: queue.SimpleQueue[list[_Put] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="ledger", daemon=True)
        self._thread.start()

    def get(self, key: str, max_tokens: int | None = None) -> Row | None:
        """The row that serves a call with this limit (None: any row of the key, an answer before an error)."""
        try:
            found = self._read.execute(SELECT, (key,)).fetchall()
            if self._base and not found:
                found = self._base.execute(SELECT, (key,)).fetchall()
            rows = [Row(*values) for values in found]
        except sqlite3.Error as error:
            raise self._error(error) from None
        return _serving(rows, max_tokens)

    def look_up(self, key: str, max_tokens: int) -> asyncio.Future[Row | None]:
        """`find` in the next turn of the loop, together with all else that is looked up in this one."""
        loop = asyncio.get_running_loop()
        if not self._sought or self._sought[0].row.get_loop() is not loop:
            self._sought = []  # what a loop that is closed left behind is nobody's
            loop.call_soon(self._look)
        row: asyncio.Future[Row | None] = loop.create_future()
        self._sought.append(_Sought((key, max_tokens), row))
        return row

    def find(self, names: Sequence[tuple[str, int]]) -> list[Row | None]:
        """`get` for many (key, limit) in one statement; the rows are without their requests. Raises LedgerError."""
        keys = {key for key, _ in names}
        try:
            found = _found(self._read, keys)
            if self._base and (lacking := keys - found.keys()):
                found |= _found(self._base, lacking)
        except sqlite3.Error as error:
            raise self._error(error) from None
        return [_serving(found.get(key, ()), limit) for key, limit in names]

    def holds(self, keys: Iterable[str], limit: int, *, errors: bool = True) -> set[str]:
        """Those with a row of this very limit, which serves them: the index alone is read.

        `errors=False` leaves out those that stand as an error, for which the rows are looked at, not their texts.
        """
        ordered = sorted(keys)  # neighbours share a page of the index
        statement = HELD if errors else f"{HELD} AND error IS NULL"
        try:
            ((places,),) = self._read.execute(statement, (orjson.dumps(ordered).decode(), limit)).fetchall()
        except sqlite3.Error as error:
            raise self._error(error) from None
        return {ordered[place] for place in orjson.loads(places)}

    def describe(self, key: str) -> dict[str, Any] | None:
        """What was asked and answered, ready for JSON, for whoever inspects a run; None when there is no such key."""
        if (row := self.get(key)) is None:
            return None
        return {**orjson.loads(row.request), **{k: v for k, v in row._asdict().items() if k not in ("key", "request")}}

    def put(self, row: Row) -> asyncio.Future[Row]:
        """Resolves once the row is committed, with the row that stands (another process may have been first).

        Called on the loop's thread. The future raises LedgerError when the file cannot be written.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Row] = loop.create_future()
        if self._broken or self._closed:
            done.set_exception(self._broken or LedgerError(f"ledger {self.path} is closed"))
            return done
        if self._waiting and self._waiting[0].done.get_loop() is not loop:  # a loop that is closed left them behind
            self._flush()
        self._waiting.append(_Put(row, done))
        if len(self._waiting) >= BATCH:
            self._flush()
        elif self._timer is None:
            quiet = time.monotonic() - self._last_flush
            self._timer = loop.call_later(max(0.0, WINDOW - quiet), self._flush)
        return done

    def totals(self, keys: Iterable[str] | None = None, *, run: str | None = None) -> Totals:
        """Sums over all rows, over those of `keys`, or over those that `run` put."""
        try:
            if keys is not None:
                return _sum(_read_totals(self._read, keys))
            if run is not None:
                return _sum(self._read.execute(f"{TOTALS} WHERE run = ?", (run,)).fetchall())
            return _sum(self._read.execute(TOTALS).fetchall())
        except sqlite3.Error as error:
            raise self._error(error) from None

    def checkpoint(self) -> None:
        """Puts everything into the one file, so that a ledger whose `base` it is sees it."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def absorb(self, other: Path, runs: Sequence[str]) -> None:
        """Takes every answer of another file, those of `runs` as if this ledger's had put them; what it has stands.

        In one transaction. Raises UsageError when the file is no ledger, LedgerError when this one cannot be written.
        """
        mend(other)
        connect(other).close()
        marks = ",".join("?" * len(runs))
        try:
            self._connection.execute("ATTACH ? AS other", (str(other),))
            try:
                taken = f"INSERT INTO answers ({COLUMNS}, run) SELECT {COLUMNS}, iif(run IN ({marks}), ?, run)"
                taken += f" FROM other.answers WHERE true {UPSERT}"
                self._connection.execute(taken, (*runs, self.run))
            finally:
                self._connection.execute("DETACH other")
        except sqlite3.Error as error:
            cure(error, other)  # either may be the damaged one, and mending a sound one changes nothing
            raise LedgerError(f"ledger {other} into {self.path}: {error}: {cure(error, self.path)}") from None

    def close(self) -> None:
        """Commit what waits, end the writer thread and close the file. May be called twice, and after the loop."""
        if self._closed:
            return
        self._closed = True
        if self._waiting:
            self._flush()
        self._queue.put(None)
        self._thread.join()
        self._connection.close()
        self._read.close()
        if self._base:
            self._base.close()

    def _look(self) -> None:
        sought, self._sought = [one for one in self._sought if not one.row.done()], []
        try:
            rows = self.find([one.name for one in sought])
        except LedgerError as error:
            for one in sought:
                one.row.set_exception(error)
        else:
            for one, row in zip(sought, rows, strict=True):
                one.row.set_result(row)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._last_flush = time.monotonic()
        batch, self._waiting = self._waiting, []
        self._queue.put(batch)

    def _write_all(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                rows = self._commit([put.row for put in batch])
            except (sqlite3.Error, ValueError, OverflowError) as error:  # the latter: a value that no column takes
                self._broken = self._error(error)
                self._answer(batch, None)
            else:
                self._answer(batch, rows)

    def _commit(self, rows: list[Row]) -> list[Row]:
        """All rows in one statement, hence one transaction; returns the rows that stand after it.

        One statement, because each step of SQLite gives the interpreter lock away and may wait 5 ms for it.
        """
        values = [value for row in rows for value in (*row, self.run)]
        written = self._connection.execute(_insert(len(rows)), values).rowcount
        return rows if written == len(rows) else [self._standing(row) for row in rows]

    def _standing(self, row: Row) -> Row:
        found = self._connection.execute(f"{SELECT} AND max_tokens = ?", (row.key, row.max_tokens)).fetchall()
        return Row(*found[0])

    def _answer(self, batch: list[_Put], rows: list[Row] | None) -> None:
        try:
            batch[0].done.get_loop().call_soon_threadsafe(self._resolve, batch, rows)
        except RuntimeError:  # the loop is closed: committed, but nobody waits any more
            return

    def _resolve(self, batch: list[_Put], rows: list[Row] | None) -> None:
        for number, put in enumerate(batch):
            if put.done.done():  # its waiter was cancelled
                continue
            if rows is None:
                assert self._broken is not None
                put.done.set_exception(self._broken)
            else:
                put.done.set_result(rows[number])

    def _error(self, error: Exception) -> LedgerError:
        return LedgerError(f"ledger {self.path}: {error}: {cure(error, self.path)}; what is committed stands")


def _found(connection: sqlite3.Connection, keys: Iterable[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for values in connection.execute(FIND, (orjson.dumps(list(keys)).decode(),)):
        found.setdefault(values[0], []).append(Row._make(values))
    return found


def _serving(rows: Iterable[Row], limit: int | None) -> Row | None:
    serving = [row for row in rows if limit is None or row.serves(limit)]
    return max(serving, key=lambda row: (row.error is None, row.max_tokens == limit), default=None)


@functools.cache
def _insert(rows: int) -> str:
    return INSERT + ", ".join([PLACES] * rows) + UPSERT


def _read_totals(connection: sqlite3.Connection, keys: Iterable[str]) -> Iterable[tuple[object, ...]]:
    """Sums for slices of the keys: SQLite bounds the parameters of one statement."""
    names = sorted(set(keys))
    for start in range(0, len(names), 500):
        some = names[start : start + 500]
        marks = ",".join("?" * len(some))
        yield from connection.execute(f"{TOTALS} WHERE key IN ({marks})", some).fetchall()


def _sum(rows: Iterable[tuple[object, ...]]) -> Totals:
    answers = prompt = completion = priced = 0
    cost = 0.0
    for row in rows:
        count, prompts, completions, dollars, with_price = row
        answers += int(str(count))
        prompt += int(str(prompts or 0))
        completion += int(str(completions or 0))
        cost += float(str(dollars or 0.0))
        priced += int(str(with_price))
    return Totals(answers, prompt, completion, cost, answers - priced)
