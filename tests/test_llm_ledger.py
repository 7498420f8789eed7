"""The ledger: real SQLite files, real processes."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvloop

from datagen.errors import LedgerError, UsageError
from datagen.llm import Ledger, Row


def row(key: str = "k", limit: int = 100, finish: str = "stop", made: int = 10, error: str | None = None, text="t"):
    return Row(key, limit, finish, 5, made, 0.5, 1, error, text, "{}")


def put(ledger: Ledger, *rows: Row) -> list[Row]:
    async def run():
        return await asyncio.gather(*(ledger.put(one) for one in rows))

    return asyncio.run(run())


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite", run="a")
    yield ledger
    ledger.close()


def test_what_is_put_is_there_when_the_file_is_opened_again(tmp_path, ledger):
    put(ledger, *(row(f"k{i}") for i in range(250)))
    ledger.close()
    again = Ledger(tmp_path / "ledger.sqlite")
    assert again.get("k249", 100) == row("k249")
    assert again.get("nothing", 100) is None
    assert again.totals().answers == 250
    again.close()


@pytest.mark.parametrize(
    ("stored", "limit", "serves"),
    [
        (row(), 100, True),
        (row(), 200, True),  # more room changes nothing for an answer that ended by itself
        (row(made=10), 10, True),
        (row(made=11), 10, False),  # would have been cut off
        (row(made=0), 99, False),  # a server that reports no usage
        (row(made=0), 101, True),
        (row(finish="length", made=100), 100, True),  # asking again would cut it off again
        (row(finish="length", made=100), 101, False),
        (row(finish="length", made=100), 99, False),  # a smaller limit would have brought less
        (row(error="refused"), 100, True),
        (row(error="refused"), 99, False),  # the limit may be what was refused
    ],
)
def test_an_answer_serves_only_limits_that_would_bring_it(ledger, stored, limit, serves):
    put(ledger, stored)
    assert (ledger.get("k", limit) is not None) == serves


def test_answers_with_two_limits_stand_side_by_side(ledger):
    long, short = row(limit=100, finish="length", text="long"), row(limit=50, finish="length", text="short")
    put(ledger, long, short)
    assert [ledger.get("k", limit).text for limit in (100, 50)] == ["long", "short"]


def test_the_first_answer_stands_and_an_error_gives_way(ledger, tmp_path):
    other = Ledger(tmp_path / "ledger.sqlite")
    assert put(ledger, row(text="first")) == [row(text="first")]
    assert put(other, row(text="second"), row("new")) == [row(text="first"), row("new")]
    put(ledger, row("bad", error="refused"))
    assert put(other, row("bad", text="well")) == [row("bad", text="well")]
    assert ledger.get("bad", 100).text == "well"
    other.close()


def test_an_answer_is_described_with_its_request(ledger):
    put(ledger, row(error="refused"), row(limit=9)._replace(request='{"model": "m"}'))
    assert ledger.describe("k") == {
        "model": "m", "max_tokens": 9, "finish": "stop", "prompt_tokens": 5, "completion_tokens": 10, "cost": 0.5,
        "attempts": 1, "error": None, "text": "t",
    }  # fmt: skip
    assert ledger.describe("absent") is None


def test_totals_over_all_keys_and_runs(ledger, tmp_path):
    put(ledger, *(row(f"k{i}") for i in range(3)), row("free")._replace(cost=None))
    other = Ledger(tmp_path / "ledger.sqlite", run="b")
    put(other, row("b0"))
    total = other.totals()
    assert (total.answers, total.cost, total.unpriced, total.prompt_tokens) == (5, 2.0, 1, 25)
    assert other.totals([f"k{i}" for i in range(2)] + ["absent"] * 2000).cost == 1.0
    assert other.totals(run="b").answers == 1
    assert other.totals([]).answers == 0
    other.close()


def look_up(ledger: Ledger, *names: tuple[str, int]) -> list[Row | None]:
    async def run():
        return await asyncio.gather(*(ledger.look_up(*name) for name in names))

    return asyncio.run(run())


def test_what_is_looked_up_in_one_turn_is_one_statement_and_finds_what_get_finds(tmp_path, ledger):
    put(ledger, *(row(f"k{i}", limit, finish=("stop", "length")[i % 2]) for i in range(400) for limit in (50, 100)))
    put(ledger, *(row(f"bad{i}", error="refused") for i in range(9)))
    names = [(f"{kind}{i}", limit) for kind in ("k", "bad", "none'\"é") for i in range(400) for limit in (50, 60, 100)]
    statements: list[str] = []
    ledger._read.set_trace_callback(statements.append)
    found = look_up(ledger, *names, *names)
    assert len(statements) == 1
    assert found == [one and one._replace(request="") for one in (ledger.get(*name) for name in names)] * 2
    assert 0 < found.count(None) < len(found)


def test_what_another_process_committed_and_what_the_base_holds_is_looked_up(tmp_path):
    base, other = Ledger(tmp_path / "base.sqlite"), Ledger(tmp_path / "ledger.sqlite")
    put(base, row("both", text="base"), row("base"))
    base.close()
    ledger = Ledger(tmp_path / "ledger.sqlite", base=tmp_path / "base.sqlite")
    found = look_up(ledger, ("both", 100), ("base", 100))
    assert found == [one._replace(request="") for one in (row("both", text="base"), row("base"))]
    put(other, row("both", text="ours"))
    found = look_up(ledger, ("both", 100), ("base", 100), ("none", 100))
    assert [one and one.text for one in found] == ["ours", "t", None]
    ledger.close()
    other.close()


def test_a_ledger_that_is_only_read_is_neither_made_nor_written(tmp_path):
    (tmp_path / "empty.sqlite").touch()
    for name in ("none", "empty"):
        ledger = Ledger(tmp_path / f"{name}.sqlite", read_only=True)
        assert ledger.find([("k", 100)]) == [None] and ledger.holds(["k"], 100) == set()
        ledger.close()
    written = Ledger(tmp_path / "ledger.sqlite")
    put(written, row())
    for _ in range(2):  # while another has it open, and after
        ledger = Ledger(tmp_path / "ledger.sqlite", read_only=True)
        assert ledger.holds(["k", "other"], 100) == {"k"}
        with pytest.raises(LedgerError, match="readonly"):
            put(ledger, row("other"))
        ledger.close()
        written.close()
    assert {file.name: file.stat().st_size > 0 for file in tmp_path.iterdir()} == {
        "empty.sqlite": False, "ledger.sqlite": True,
    }  # fmt: skip


def test_a_look_up_takes_one_turn_of_the_loop_and_may_be_cancelled(ledger):
    put(ledger, row())

    async def run():
        gone, found = ledger.look_up("k", 100), ledger.look_up("k", 100)
        gone.cancel()
        await asyncio.sleep(0)
        assert found.done() and gone.cancelled()
        return await ledger.look_up("k", 100)

    assert asyncio.run(run()) == row()._replace(request="")


def test_a_look_up_that_cannot_read_says_so_to_each_that_waits(ledger):
    ledger.close()

    async def run():
        return await asyncio.gather(ledger.look_up("a", 1), ledger.look_up("b", 1), return_exceptions=True)

    assert all(isinstance(error, LedgerError) and str(ledger.path) in str(error) for error in asyncio.run(run()))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_a_closed_loop_left_behind_holds_up_no_later_one(ledger, new_loop):
    def leave():
        ledger.look_up("left", 100)
        ledger.put(row("left"))
        loop.stop()

    loop = new_loop()
    loop.call_soon(leave)
    loop.run_forever()
    loop.close()

    async def again():
        async with asyncio.timeout(5):
            await ledger.put(row())
            return [await ledger.look_up(key, 100) for key in ("left", "k")]

    assert [found.key for found in asyncio.run(again())] == ["left", "k"]


def test_rows_are_committed_in_groups(ledger):
    statements: list[str] = []
    ledger._connection.set_trace_callback(statements.append)
    put(ledger, *(row(f"k{i}") for i in range(1000)))
    assert 1000 / 32 <= len(statements) <= 40  # each size of a group is a statement that SQLite keeps, with its rows


@pytest.mark.parametrize("wrong", [row(made=2**63), row(text="\ud800")])
def test_what_no_column_takes_ends_the_run_in_place_of_waiting_for_ever(ledger, wrong):
    with pytest.raises(LedgerError, match=r"ledger\.sqlite: .*what is committed stands"):
        asyncio.run(asyncio.wait_for(asyncio.to_thread(put, ledger, wrong), 20))


def test_a_cancelled_put_is_committed(ledger):
    trouble: list[object] = []

    async def run():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: trouble.append(context))
        ledger.put(row()).cancel()
        await asyncio.sleep(0.1)

    asyncio.run(run())
    assert ledger.get("k", 100) == row() and not trouble


def test_close_commits_what_waits_after_the_loop_has_ended(ledger, tmp_path):
    async def run():
        await ledger.put(row("k"))
        for i in range(4):  # wait for the window after the first commit
            ledger.put(row(f"k{i}"))

    asyncio.run(run())
    ledger.close()
    assert Ledger(tmp_path / "ledger.sqlite").totals().answers == 5


def make_other(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()


def make_newer(path: Path) -> None:
    Ledger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_text("not a database, only text that is long enough " * 50), "not a database"),
        (make_other, "some other SQLite file"),
        (make_newer, "schema 99"),
        (lambda path: path.mkdir(), "cannot be opened"),
        (lambda path: path.parent.joinpath("file").touch() or path.symlink_to(path.parent / "file/x"), "opened"),
    ],
)
def test_a_file_that_is_no_ledger_is_left_alone_and_named(tmp_path, make, says):
    path = tmp_path / "x.sqlite"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(UsageError, match=says) as caught:
        Ledger(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_a_ledger_held_by_another_process_is_named(tmp_path, ledger):
    ledger._connection.execute("PRAGMA busy_timeout = 50")
    holder = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match=r"locked.*another process"):
        put(ledger, row())
    holder.close()


DISK_FULL = """
import asyncio, resource, signal, sys
from datagen.errors import LedgerError
from datagen.llm import Ledger, Row
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = Ledger(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
async def main():
    for i in range(1000):
        await ledger.put(Row(f"k{i}", 1, "stop", 1, 1, None, 1, None, "x" * 2000, "{}"))
        print(i, flush=True)
try:
    asyncio.run(main())
except LedgerError as error:
    print(error)
"""


def test_a_full_disk_stops_the_run_and_loses_nothing_committed(tmp_path):
    path = tmp_path / "ledger.sqlite"
    out = subprocess.run([sys.executable, "-c", DISK_FULL, str(path)], capture_output=True, text=True, timeout=60)
    *committed, error = out.stdout.splitlines()
    assert "free some disk" in error, (error, out.stderr)
    assert len(committed) > 10
    ledger = Ledger(path)
    assert all(ledger.get(f"k{i}", 1) is not None for i in committed)
    ledger.close()


WRITER = """
import asyncio, sys
from datagen.llm import Ledger, Row
ledger = Ledger(sys.argv[1])
async def one(i):
    await ledger.put(Row(f"{sys.argv[2]}{i}", 1, "stop", 1, 1, None, 1, None, "text", "{}"))
    print(i, flush=True)
async def main():
    for start in range(0, int(sys.argv[3]), 16):
        await asyncio.gather(*(one(i) for i in range(start, start + 16)))
asyncio.run(main())
ledger.close()
"""


def writer(path: Path, name: str, rows: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(rows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("after", [0.01, 0.05, 0.2])
def test_what_was_said_to_be_committed_survives_sigkill(tmp_path, after):
    path = tmp_path / "ledger.sqlite"
    with writer(path, "k", 10**6) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after)
        process.kill()
        committed = [0, *(int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n"))]
    assert process.returncode == -signal.SIGKILL
    ledger = Ledger(path)
    assert all(ledger.get(f"k{i}", 1) is not None for i in committed)
    assert ledger.totals().answers <= len(committed) + 32  # what was on its way when it was killed
    ledger.close()


def test_a_file_that_several_make_at_once_serves_them_all(tmp_path):
    for number in range(10):
        path, ready = tmp_path / f"{number}.sqlite", threading.Barrier(4)

        def make(path=path, ready=ready):
            ready.wait()
            Ledger(path, "run").close()

        with ThreadPoolExecutor(4) as pool:
            for made in [pool.submit(make) for _ in range(4)]:
                made.result(timeout=60)


def test_two_processes_share_a_file(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with writer(path, "a", 320) as one, writer(path, "b", 320) as two:
        one.communicate(timeout=60)
        two.communicate(timeout=60)
    assert (one.returncode, two.returncode) == (0, 0)
    ledger = Ledger(path)
    assert ledger.totals().answers == 640
    ledger.close()


def test_the_engine_imports_neither_polars_nor_pyarrow():
    code = (
        "import sys, datagen.llm; print({'polars', 'pyarrow', 'genai_prices', 'pydantic', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
