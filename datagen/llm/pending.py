"""Which requests are under way in which batch: two tables in the ledger's file, written before anything is sent.

    batches(token, id, server, model, run, made)          batch_rows(key, max_tokens, token, line, status, reply)

`token` is ours and goes along as the batch's metadata, so that a batch whose id never arrived here can be found on the
server. A row leaves once its answer stands in `answers`, or once it is to be asked again; a batch with its last row.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from datagen.errors import LedgerError
from datagen.llm.ledger import Ledger
from datagen.llm.ledger_file import connect, cure, reading

__all__ = ["Name", "Open", "Pending", "Place", "under_way"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    token TEXT PRIMARY KEY, id TEXT, server TEXT NOT NULL, model TEXT NOT NULL, run TEXT NOT NULL, made REAL NOT NULL);
CREATE TABLE IF NOT EXISTS batch_rows (
    key TEXT NOT NULL, max_tokens INTEGER NOT NULL, token TEXT NOT NULL, line INTEGER NOT NULL, status INTEGER,
    reply TEXT, PRIMARY KEY (key, max_tokens));
CREATE INDEX IF NOT EXISTS batch_rows_of ON batch_rows (token);
"""
FIND = """
SELECT token, status, reply FROM batch_rows JOIN batches USING (token)
WHERE key = ? AND max_tokens = ? AND server = ? AND model = ?
"""
SETTLE = """
DELETE FROM batch_rows WHERE token IN (SELECT token FROM batches WHERE server = ? AND model = ?) AND EXISTS (
    SELECT 1 FROM answers WHERE answers.key = batch_rows.key AND answers.max_tokens = batch_rows.max_tokens
    AND answers.error IS NULL)
"""
UNDER_WAY = """
SELECT count(*) FROM batch_rows JOIN batches USING (token) WHERE model = ? AND NOT EXISTS (
    SELECT 1 FROM answers WHERE answers.key = batch_rows.key AND answers.max_tokens = batch_rows.max_tokens)
"""
EMPTY = "DELETE FROM batches WHERE token NOT IN (SELECT token FROM batch_rows)"

Name = tuple[str, int]
"""Key and `max_tokens`, as in `answers`."""


class Place(NamedTuple):
    """Where a request is: in a batch, which may have brought a reply already that nobody has taken."""

    token: str
    status: int | None
    reply: str | None


class Open(NamedTuple):
    """A batch that is under way; without an id where the process ended before the server's word came."""

    token: str
    id: str | None
    run: str
    made: float
    """Seconds since 1970, by this machine's clock."""


class Pending:
    """The batches of one model on one server. Raises LedgerError when the file cannot be read or written."""

    def __init__(self, ledger: Ledger, server: str, model: str) -> None:
        self.path = Path(ledger.path)
        self.run, self.server, self.model = ledger.run, server, model
        self._connection = connect(self.path)
        with self._told():
            self._connection.executescript(SCHEMA)

    def add(self, token: str, names: Iterable[Name]) -> None:
        """A batch is about to be made, of these requests in this order."""
        rows = [(*name, token, line) for line, name in enumerate(names, 1)]
        with self._transaction() as now:
            now.execute(
                "INSERT INTO batches (token, server, model, run, made) VALUES (?, ?, ?, ?, ?)",
                (token, self.server, self.model, self.run, time.time()),
            )
            now.executemany(
                "INSERT OR REPLACE INTO batch_rows (key, max_tokens, token, line) VALUES (?, ?, ?, ?)", rows
            )

    def created(self, token: str, id: str) -> None:
        """The server calls it `id`."""
        with self._transaction() as now:
            now.execute("UPDATE batches SET id = ? WHERE token = ?", (id, token))

    def find(self, name: Name) -> Place | None:
        """Where a request is."""
        with self._told():
            found = self._connection.execute(FIND, (*name, self.server, self.model)).fetchone()
        return Place(*found) if found else None

    def open(self) -> list[Open]:
        """The batches with a row that has neither a reply here nor an answer, oldest first."""
        self.settle()
        query = """SELECT token, id, run, made FROM batches WHERE server = ? AND model = ? AND token IN
                   (SELECT token FROM batch_rows WHERE reply IS NULL) ORDER BY made, token"""
        with self._told():
            return [Open(*row) for row in self._connection.execute(query, (self.server, self.model)).fetchall()]

    def rows(self, token: str) -> list[Name]:
        """The requests of a batch that have neither a reply here nor an answer, in the order of its file, from 1."""
        query = "SELECT key, max_tokens FROM batch_rows WHERE token = ? AND reply IS NULL ORDER BY line"
        with self._told():
            return [(key, limit) for key, limit in self._connection.execute(query, (token,)).fetchall()]

    def lines(self, token: str) -> dict[int, Name]:
        """Line of the file → its request, of those that are left."""
        query = "SELECT line, key, max_tokens FROM batch_rows WHERE token = ?"
        with self._told():
            return {line: (key, limit) for line, key, limit in self._connection.execute(query, (token,)).fetchall()}

    def keep(self, replies: Mapping[Name, tuple[int, str]], missing: Iterable[Name]) -> None:
        """A batch ended: `replies` (status, body) that nobody waits for stay until they are asked for."""
        with self._transaction() as now:
            now.executemany(
                "UPDATE batch_rows SET status = ?, reply = ? WHERE key = ? AND max_tokens = ?",
                [(*reply, *name) for name, reply in replies.items()],
            )
            now.executemany("DELETE FROM batch_rows WHERE key = ? AND max_tokens = ?", list(missing))

    def drop(self, names: Iterable[Name]) -> None:
        """These are asked again, or never more."""
        self.keep({}, names)

    def settle(self) -> None:
        """Let go of the rows whose answers are committed, and of the batches without a row."""
        with self._transaction() as now:
            now.execute(SETTLE, (self.server, self.model))
            now.execute(EMPTY)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"ledger {self.path}: {error}: {cure(error, self.path)}; what is committed stands"
            ) from None


def under_way(ledger: Ledger, model: str) -> int:
    """Requests to `model` that are in batches and have no answer yet, for a call that is about to ask otherwise."""
    with contextlib.closing(reading(ledger.path)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'batch_rows'").fetchone():
            return 0
        return int(connection.execute(UNDER_WAY, (model,)).fetchone()[0])
