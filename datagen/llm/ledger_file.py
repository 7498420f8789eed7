"""The file of a ledger: opened or made, told apart from any other file, mended when it is damaged."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from datagen.errors import UsageError
from datagen.llm import salvage

__all__ = ["UPSERT", "connect", "cure", "mend", "reading", "unchanging"]

BUSY = 30.0
"""Seconds to wait for another process's commit."""
VERSION = 1
APPLICATION = 0x6461_7467  # "datg": PRAGMA application_id tells a ledger from any other SQLite file
# Numbers first: a sum over all rows then never reads the long texts. A rowid table, because a clustered one would
# move the texts about at every insert of a random key.
SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT NOT NULL, max_tokens INTEGER NOT NULL, run TEXT NOT NULL, finish TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, cost REAL, attempts INTEGER NOT NULL,
    error TEXT, text TEXT NOT NULL, request TEXT NOT NULL, PRIMARY KEY (key, max_tokens))
"""
UPSERT = """
ON CONFLICT (key, max_tokens) DO UPDATE SET finish = excluded.finish, prompt_tokens = excluded.prompt_tokens,
    completion_tokens = excluded.completion_tokens, cost = excluded.cost, attempts = excluded.attempts,
    error = excluded.error, text = excluded.text, run = excluded.run
WHERE answers.error IS NOT NULL
"""


def cure(error: Exception, path: Path) -> str:
    """What to do about an error of the ledger at `path`. A damaged one is marked, so that `mend` mends it."""
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return "free some disk and run again"
    if "locked" in text:
        return f"another process has held it for {BUSY:g} s; end that one and run again"
    if "malformed" in text or "not a database" in text:
        salvage.mark(path)
        return "the same command again keeps every answer that can be read, and asks for the rest"
    return "check the file and its folder, and run again"


def unchanging(path: Path) -> sqlite3.Connection:
    """A connection without locks or a file of its own beside `path`: a WAL cannot be shared between machines."""
    return _only_read(path, "immutable=1")


def _only_read(path: Path, how: str) -> sqlite3.Connection:
    name = f"file:{quote(str(path.absolute()))}?{how}"
    return sqlite3.connect(name, timeout=BUSY, uri=True, check_same_thread=False)


def reading(path: Path) -> sqlite3.Connection:
    """A connection that writes nothing to the ledger at `path`, and finds nothing where there is none.

    Raises UsageError.
    """
    if not path.exists() or not path.stat().st_size:
        nothing = sqlite3.connect(":memory:", check_same_thread=False)
        nothing.executescript(SCHEMA)
        return nothing
    if salvage.is_marked(path):
        raise UsageError(f"ledger {path} is damaged: the same command without --dry-run mends it")
    # A log is there while a process works in the ledger, or when one was killed; else SQLite would leave one behind.
    logged = salvage.with_ending(path, "-wal").exists()
    try:
        return _checked(_only_read(path, "mode=ro") if logged else unchanging(path), path, _check)
    except sqlite3.Error as error:
        raise UsageError(f"ledger {path} cannot be read ({error}): give --ledger a file that can be read") from None


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the ledger at `path`, which is made where there is none. Raises UsageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            path, timeout=BUSY, isolation_level=None, check_same_thread=False, cached_statements=256
        )
    except (OSError, sqlite3.Error) as error:
        raise UsageError(
            f"ledger {path} cannot be opened ({error}): give --ledger a file that can be written"
        ) from None
    return _checked(connection, path, _prepared)


def _checked(
    connection: sqlite3.Connection, path: Path, check: Callable[[sqlite3.Connection, Path], object]
) -> sqlite3.Connection:
    """The connection, unless `check` raises. Raises UsageError."""
    try:
        check(connection, path)
    except sqlite3.Error as error:
        connection.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB and not salvage.is_ours(path):
            raise UsageError(f"ledger {path} is no ledger ({error}): give --ledger another file") from None
        raise UsageError(f"ledger {path} is not usable ({error}): {cure(error, path)}") from None
    except UsageError:
        connection.close()
        raise
    return connection


def _prepared(connection: sqlite3.Connection, path: Path) -> None:
    """`_prepare`, again while another process makes the file: SQLite does not wait by itself for a change to WAL."""
    end = time.monotonic() + BUSY
    while True:
        try:
            return _prepare(connection, path)
        except sqlite3.OperationalError as error:
            if connection.in_transaction:
                connection.rollback()
            if (
                error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                or time.monotonic() > end
            ):
                raise
            time.sleep(0.01)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file is ours, or make it so. Raises UsageError, sqlite3.Error."""
    tables = _check(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    if not tables:
        connection.executescript(
            f"BEGIN IMMEDIATE; {SCHEMA}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT"
        )


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file holds tables, which are ours. Raises UsageError, sqlite3.Error."""
    connection.execute("BEGIN")  # one look at all three: another process may be making the file at this moment
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.execute("COMMIT")
    if application != APPLICATION and tables:
        raise UsageError(f"ledger {path} is some other SQLite file: give --ledger another file")
    if application == APPLICATION and version != VERSION:
        raise UsageError(
            f"ledger {path} has schema {version}, this version reads {VERSION}: give --ledger another file"
        )
    return bool(tables)


def mend(path: Path) -> None:
    """Where the ledger is marked as damaged, puts one in its place that holds every answer that can be read.

    The damaged file stays beside it. Says so on standard error. Raises UsageError when another process has it open, or
    the disk is full; killed at any instant and called again, it begins again or goes on.
    """
    if not salvage.is_marked(path):
        return
    with salvage.alone(path):
        if not salvage.with_ending(path, ".mended").exists():
            _salvaged(path)
        kept = salvage.put_in_place(path)
    with contextlib.closing(connect(path)) as connection:
        (answers,) = connection.execute("SELECT count(*) FROM answers").fetchone()
    text = f"ledger {path} was damaged: {answers} answers could be read and are kept; the damaged file is {kept}"
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def _salvaged(path: Path) -> None:
    """Writes what can be read to FILE.mended, which is whole once it has that name."""
    new = salvage.with_ending(path, ".mending")
    for ending in ("", "-wal", "-shm", "-journal"):  # of an attempt that was killed
        salvage.with_ending(new, ending).unlink(missing_ok=True)
    made, beside = salvage.beside(path)
    try:
        with contextlib.closing(connect(new)) as connection:
            connection.execute("BEGIN")
            _insert(connection, "answers", UPSERT, salvage.answers(path))
            for statement in made:
                connection.execute(statement)
            for table, rows in beside.items():
                _insert(connection, table, "ON CONFLICT DO NOTHING", rows)
            connection.execute("COMMIT")
            connection.execute("PRAGMA journal_mode = DELETE")  # into one file
    except sqlite3.Error as error:
        raise UsageError(f"ledger {path} is damaged and cannot be mended ({error}): {cure(error, path)}") from None
    new.rename(salvage.with_ending(path, ".mended"))


def _insert(connection: sqlite3.Connection, table: str, conflict: str, rows: Iterable[tuple[Any, ...]]) -> None:
    for row in rows:
        marks = ", ".join("?" * len(row))
        connection.execute(f'INSERT INTO "{table}" VALUES ({marks}) {conflict}', row)
