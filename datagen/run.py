"""A run directory: its lock, its fingerprints, its tables. DESIGN.md §3 lists the files.

Every file is written under a temporary name and renamed, so that a run killed at any instant holds whole files only.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import json
import os
import shutil
import signal
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from datagen.columns import arrow, table_of
from datagen.errors import Busy, DatagenError, Interrupted, UsageError
from datagen.records import Caption, Clip, Failure, Question, Verdict, canonical, schema
from datagen.signals import heeding

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = [
    "TABLES", "Run", "Spool", "at_once", "finished", "opened", "rare_collections", "replace_text", "replacing",
    "run_to_end",
]  # fmt: skip

TABLES: dict[type, str] = {
    Clip: "clips", Caption: "captions", Question: "questions", Verdict: "verdicts", Failure: "rejected",
}  # fmt: skip
ROWS_A_GROUP = 20_000
ROWS_SPOOLED = 1_000
T = TypeVar("T")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that becomes `path` when the block ends: a reader finds the old one or the whole new one, also after a
    power cut. After an error the old one stays, and nothing beside it.
    """
    temporary = path.with_name(path.name + ".tmp")
    file = temporary.open("wb")
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Writes `text` in UTF-8 in place of what `path` held."""
    with replacing(path) as file:
        file.write(text.encode())


def run_to_end(work: Coroutine[Any, Any, T], place: Path) -> T:
    """`uvloop.run` whose work SIGTERM and Ctrl-C cancel. Raises Interrupted then: it goes on in `place`."""
    import uvloop

    async def cancelled_by_sigterm() -> T:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():  # only that one may say what signals do
            return await task
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        try:
            return await task
        finally:  # uvloop would leave it behind, and nothing would heed SIGTERM any more
            loop.remove_signal_handler(signal.SIGTERM)

    try:
        with unhurried():
            return uvloop.run(cancelled_by_sigterm())  # a tenth less of the processor a call than on asyncio's own loop
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Interrupted(f"interrupted; the same command goes on where it was ({place})") from None


@contextmanager
def unhurried() -> Iterator[None]:
    """Tells Linux that this thread, and those it starts, do batch work: one that is woken does not interrupt another.

    Else each reply has the HTTP client's thread interrupt the loop that it is for, and one after another they take
    turns; so they work through what has come. Half the switches, a tenth less of the processor (`docs/LOG.md`).
    """
    if not hasattr(os, "sched_setscheduler") or os.sched_getscheduler(0) != os.SCHED_OTHER:  # or somebody knows better
        yield
        return
    nothing_more = os.sched_param(0)
    try:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, nothing_more)
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, nothing_more)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Has Python look for unreachable cycles once in 100,000 new objects instead of 700.

    Requests under way are many objects that live for a moment, with hardly a cycle among them, and looking through them
    takes 8 % of a build's processor time, and a quarter of an evaluation's, whose items stay in memory. Up to a tenth
    more memory is in use where many requests fail.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def at_once() -> AbstractContextManager[None]:
    """Ctrl-C and SIGTERM end the block where it is, which awaits nothing and so would not see them: as
    KeyboardInterrupt, of which `run_to_end` makes Interrupted."""
    return heeding(signal.default_int_handler)


def opened(path: Path) -> Run:
    """The run in the folder `path`. Raises UsageError where there is none."""
    if not (path / "run.json").is_file():
        raise UsageError(f"{path}: holds no run.json: give the folder that `datagen build --out` wrote")
    return Run(path)


def finished(path: Path) -> Run:
    """The run in the folder `path`, its state read. Raises UsageError where there is none, or none that is done."""
    run = opened(path)
    run.state = run.earlier() or {}
    if run.state.get("status") == "shard":
        raise UsageError(f"{path}: one shard of a run: bring all of them together by `datagen merge`")
    if run.state.get("status") != "done":
        raise UsageError(f"{path}: the run is not done: give the same `datagen build` again, which goes on with it")
    return run


class Run:
    """The folder of one run, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shards = path / ".shards"
        """Where those of a cluster are built."""
        self.state: dict[str, Any] = {}

    @contextmanager
    def held(self, begun: str = "run.json") -> Iterator[Run]:
        """Makes the folder and locks it. Raises UsageError when another process works in it, naming its pid.

        What was made for a call that turns out to be wrong is taken away again, unless the file `begun` says that work
        has begun.
        """
        try:
            made = [p for p in (self.path, self.path / ".lock", self.path / "ledger.sqlite") if not p.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("a+")
        except (OSError, ValueError) as error:  # the latter: a NUL in the name
            why = getattr(error, "strerror", None) or error
            raise UsageError(f"--out {self.path}: {why}: choose a folder that can be written") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise Busy(
                    f"--out {self.path}: process {holder} is working in it: wait for it, or choose another folder"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            try:
                yield self
            except UsageError:
                for path in reversed([] if (self.path / begun).exists() else made):
                    with suppress(OSError):  # it was not made after all, or the folder holds something else by now
                        path.rmdir() if path == self.path else path.unlink()
                raise

    def earlier(self) -> dict[str, Any] | None:
        """What an earlier run left in run.json, or None. Raises UsageError when that is no run of ours."""
        file = self.path / "run.json"
        if not self.path.exists():
            return None
        if not file.exists():
            strangers = sorted(
                p.name
                for p in self.path.iterdir()
                if p.name not in (".lock", ".spool", ".shards", "run.json.tmp")
                and not p.name.startswith("ledger.sqlite")
            )
            if strangers:
                raise UsageError(f"--out {self.path}: holds {strangers[0]!r} but no run.json: choose an empty folder")
            return None
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise UsageError(f"{file}: {error}: it is no run.json of ours; move the folder away") from None
        if not isinstance(state, dict) or not isinstance(state.get("fingerprints"), dict):
            raise UsageError(f"{file}: holds no fingerprints of a run: it is no run.json of ours; move the folder away")
        return state

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Raises UsageError when the folder holds a run of other inputs, naming the first key and both values."""
        state = self.earlier()
        before = (state or {}).get("fingerprints", {}).get("inputs")
        if not isinstance(before, dict):
            return
        for key in [*inputs, *(k for k in before if k not in inputs)]:
            was, now = before.get(key), inputs.get(key)
            if was != now:
                raise UsageError(
                    f"--out {self.path}: holds a run of other inputs: {key} was {_short(was)}, now {_short(now)}: "
                    "choose another --out, or go back to the old inputs"
                )

    def save(self, **state: Any) -> None:
        """Updates run.json with `state` (JSON-ready)."""
        self.state.update(state)
        replace_text(self.path / "run.json", json.dumps(self.state, indent=2, ensure_ascii=False) + "\n")

    def read(self, record: type) -> pl.DataFrame:
        """One table of the run, whole."""
        import polars as pl

        return pl.read_parquet(self.path / f"{TABLES[record]}.parquet")

    def rows(self, record: type) -> int:
        """How many rows one table has, from its footer."""
        import pyarrow.parquet as pq

        return int(pq.read_metadata(self.path / f"{TABLES[record]}.parquet").num_rows)

    def write(self, record: type, tables: Iterable[pl.DataFrame]) -> None:
        """Replaces one table of the run by `tables`, one after another; columns and types as in `schema(record)`."""
        import pyarrow.parquet as pq

        kind = schema(record)
        final = self.path / f"{TABLES[record]}.parquet"
        temporary = final.with_name(final.name + ".tmp")
        with pq.ParquetWriter(temporary, kind, compression="zstd") as out:
            for group in _in_groups(tables):
                out.write_table(arrow(group.select(kind.names).rechunk(), kind), row_group_size=ROWS_A_GROUP)
        temporary.replace(final)


def _in_groups(tables: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The rows of all tables, as many as a row group holds at a time."""
    import polars as pl

    waiting = pl.DataFrame()
    for table in tables:
        waiting = pl.concat([waiting, table], how="vertical_relaxed") if waiting.height else table
        while waiting.height > ROWS_A_GROUP:
            yield waiting.head(ROWS_A_GROUP)
            waiting = waiting.slice(ROWS_A_GROUP)
    if waiting.height:
        yield waiting


def _short(value: Any) -> str:
    text = canonical(value)
    return text if len(text) <= 80 else text[:77] + "..."


class Spool:
    """Takes rows as clips are done, in order, and turns them into the run's tables: flat in the number of clips.

    Rows wait in files of one segment each under RUN/.spool; `--target` closes a segment to look at what it has so far.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.folder = run.path / ".spool"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.segment = 0
        self._rows: dict[type, list[Any]] = {record: [] for record in TABLES}
        self._files: dict[type, pq.ParquetWriter] = {}

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._let_go()

    def add(self, rows: Iterable[Clip | Caption | Question | Verdict | Failure]) -> None:
        """Takes the rows of one clip."""
        for row in rows:
            waiting = self._rows[type(row)]
            waiting.append(row)
            if len(waiting) >= ROWS_SPOOLED:
                self._write(type(row))

    def extend(self, record: type, files: Iterable[Path]) -> None:
        """Takes the tables that other runs left, in order, and writes what `add` would have written of their rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        waiting = table_of(record, [])
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(ROWS_SPOOLED):
                waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(schema(record))])
                if waiting.num_rows >= ROWS_SPOOLED:
                    self._put(record, waiting.slice(0, ROWS_SPOOLED))
                    waiting = waiting.slice(ROWS_SPOOLED)
        if waiting.num_rows or record not in self._files:
            self._put(record, waiting)

    def _write(self, record: type) -> None:
        self._put(record, table_of(record, self._rows[record]))
        self._rows[record].clear()

    def _put(self, record: type, table: pa.Table) -> None:
        import pyarrow.parquet as pq

        if record not in self._files:
            name = self.folder / f"{TABLES[record]}-{self.segment:05d}.parquet"
            self._files[record] = pq.ParquetWriter(name, schema(record), compression="zstd")
        self._files[record].write_table(table.combine_chunks())

    def close_segment(self) -> None:
        """Writes what waits, so that `scan` sees every row added."""
        try:
            for record in TABLES:
                if self._rows[record] or not (self.segment or record in self._files):
                    self._write(record)
            for file in self._files.values():
                file.close()
        finally:
            self._let_go()
        self.segment += 1

    def read(self, record: type) -> pl.DataFrame:
        """Every row of the closed segments, in order."""
        import polars as pl

        return pl.read_parquet(sorted(self.folder.glob(f"{TABLES[record]}-*.parquet")))

    def scan(self, record: type) -> pl.LazyFrame:
        """Likewise, read when it is collected."""
        import polars as pl

        return pl.scan_parquet(sorted(self.folder.glob(f"{TABLES[record]}-*.parquet")))

    def keep(self, record: type) -> None:
        """Makes the rows of the closed segments the run's table."""
        segments = sorted(self.folder.glob(f"{TABLES[record]}-*.parquet"))
        final = self.run.path / f"{TABLES[record]}.parquet"
        if len(segments) == 1:
            segments[0].replace(final)
            return
        import pyarrow.parquet as pq

        temporary = final.with_name(final.name + ".tmp")
        with pq.ParquetWriter(temporary, schema(record), compression="zstd") as out:
            for segment in segments:
                for batch in pq.ParquetFile(segment).iter_batches():
                    out.write_batch(batch)
        temporary.replace(final)

    def _let_go(self) -> None:
        """Closes every file, whole or not."""
        for file in self._files.values():
            with suppress(OSError):
                file.close()
            file.is_open = False  # else it is written to once more when it is collected, and complains
        self._files.clear()

    def discard(self) -> None:
        """Closes and removes the files."""
        self._let_go()
        shutil.rmtree(self.folder, ignore_errors=True)


def disk_free(path: Path, least: int) -> None:
    """Raises DatagenError when fewer than `least` bytes are free where `path` is."""
    free = shutil.disk_usage(path).free
    if free < least:
        raise DatagenError(f"{path}: {free / 1e6:.0f} MB free, at least {least / 1e6:.0f} MB are needed: make room")
