"""Disk, ledger, clock, signals and servers that fail in the middle of a build: one line, nothing lost, goes on."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest
import world
from kill import digests, write_clips
from model_server import ModelServer

from datagen.build import Config, build
from datagen.errors import DatagenError, UsageError
from datagen.llm import Ledger
from datagen.llm.pending import Pending

COMMAND = [sys.executable, "-c", "from datagen.cli import main; main()"]
PAGE = 4096


@pytest.fixture(scope="module")
def served():
    with ModelServer(world.respond, latency=0.002) as server:
        yield server


@pytest.fixture(scope="module")
def config(served, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "clips"
    write_clips(folder, 10)
    return Config(
        "folder", audio=folder, model="stub", base_url=served.url, captions_per_clip=2, questions_per_clip=2, readings=1
    )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """A finished run; its ledger in one file."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    build(replace(config, out=run))
    assert not (run / "ledger.sqlite-wal").exists()
    return run


def rows(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM answers").fetchall()


# ── a damaged ledger ─────────────────────────────────────────────────────────────────────────────────────────────────


def leaf(data):
    """The number, from 0, of a page that holds rows."""
    return next(n for n in range(3, len(data) // PAGE) if data[n * PAGE] == 0x0D)


def torn(data, number):
    """One page written half: noise in its first half, as of another time."""
    noise = random.Random(number).randbytes(PAGE // 2)
    return data[: number * PAGE] + noise + data[number * PAGE + PAGE // 2 :]


def zeroed(data, number):
    return data[: number * PAGE] + bytes(PAGE) + data[(number + 1) * PAGE :]


DAMAGES = {
    "schema": (lambda data: zeroed(data, 0), 0),
    "root of the table": (lambda data: torn(data, 1), 0),
    "root of the index": (lambda data: torn(data, 2), 0),
    "rows": (lambda data: torn(data, leaf(data)), 8),
    "cut": (lambda data: data[: len(data) * 9 // 10 + 100], None),
}


@pytest.mark.parametrize("where", DAMAGES)
def test_a_damaged_ledger_is_told_in_a_line_and_what_can_be_read_is_not_asked_again(
    where, config, whole, served, tmp_path, capsys
):
    damage, most = DAMAGES[where]
    run, before = tmp_path / "run", {row[0]: row for row in rows(whole / "ledger.sqlite")}
    shutil.copytree(whole, run)
    data = damage((run / "ledger.sqlite").read_bytes())
    (run / "ledger.sqlite").write_bytes(data)
    with pytest.raises(DatagenError, match=r"ledger .*run/ledger\.sqlite.*again keeps every answer") as caught:
        build(replace(config, out=run))
    assert "\n" not in str(caught.value)

    served.reset()
    counts = build(replace(config, out=run))
    assert f"{len(before) - counts['calls']} answers could be read and are kept" in capsys.readouterr().err
    assert counts["calls"] == served.stats()["requests"] <= (len(before) // 2 if most is None else most)
    assert digests(run) == digests(whole)
    assert {row[0]: (*row[:2], *row[3:]) for row in rows(run / "ledger.sqlite")} == {
        key: (*row[:2], *row[3:]) for key, row in before.items()
    }
    assert (run / "ledger.sqlite.damaged-1").read_bytes() == data
    assert build(replace(config, out=run))["calls"] == 0


DIES = """
import os, sys
from pathlib import Path
from datagen.llm import Ledger, ledger_file, salvage
moments = {"making": (salvage, "beside"), "salvaged": (salvage, "put_in_place"), "linked": (Path, "replace")}
place, name = moments[sys.argv[1]]
setattr(place, name, lambda *_: os._exit(9))
Ledger(Path(sys.argv[2]))
"""


@pytest.mark.parametrize("moment", ["making", "salvaged", "linked"])
def test_a_mending_that_is_killed_begins_again_or_goes_on(moment, whole, tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(torn((whole / "ledger.sqlite").read_bytes(), 1))
    with pytest.raises(DatagenError, match="malformed"), closing(Ledger(path)) as ledger:
        ledger.totals()
    assert subprocess.run([sys.executable, "-c", DIES, moment, path], timeout=60, check=False).returncode == 9
    Ledger(path).close()
    assert sorted(rows(path)) == sorted(rows(whole / "ledger.sqlite"))
    left = {file.name.removeprefix("ledger.sqlite") for file in tmp_path.iterdir()}
    assert {".malformed", ".mended", ".mending"}.isdisjoint(left) and ".damaged-1" in left


HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT 1 FROM answers").fetchone()
print("open")
input()
"""


def test_a_damaged_ledger_that_another_process_has_open_is_not_mended(whole, tmp_path):
    path = tmp_path / "ledger.sqlite"
    shutil.copy(whole / "ledger.sqlite", path)
    holds = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM answers'); print(1); input()"
    )
    command = [sys.executable, "-u", "-c", holds, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        path.with_name("ledger.sqlite.malformed").touch()
        with pytest.raises(UsageError, match="another process has it open"):
            Ledger(path)
        other.communicate(b"\n", timeout=30)
    Ledger(path).close()
    assert sorted(rows(path)) == sorted(rows(whole / "ledger.sqlite"))


def test_batches_under_way_are_kept_too(whole, tmp_path):
    path = tmp_path / "ledger.sqlite"
    shutil.copy(whole / "ledger.sqlite", path)
    with (
        closing(Ledger(path, "run")) as ledger,
        closing(Pending(ledger, "url", "stub")) as pending,
    ):
        pending.add("token", [("k1", 16), ("k2", 16)])
        pending.created("token", "batch-7")
    path.write_bytes(torn(path.read_bytes(), 1))
    path.with_name("ledger.sqlite.malformed").touch()
    with (
        closing(Ledger(path, "run")) as ledger,
        closing(Pending(ledger, "url", "stub")) as pending,
    ):
        assert [batch.id for batch in pending.open()] == ["batch-7"]
        assert pending.rows("token") == [("k1", 16), ("k2", 16)]
        assert ledger.totals().answers == len(rows(whole / "ledger.sqlite"))


LEAVES_A_LOG = """
import asyncio, os, sys
from datagen.llm import Ledger, Row
from datagen.llm.request import digest
ledger = Ledger(sys.argv[1])
async def main():
    for i in range(60):
        request = f'{{"number": {i}}}'
        await ledger.put(Row(digest(request.encode()), 1, "stop", 1, 1, 0.5, 1, None, "x" * 6000, request))
asyncio.run(main())
os._exit(9)
"""


def test_answers_in_the_log_of_a_damaged_ledger_are_read_too(tmp_path):
    path, log = tmp_path / "ledger.sqlite", tmp_path / "ledger.sqlite-wal"
    assert subprocess.run([sys.executable, "-c", LEAVES_A_LOG, path], timeout=60, check=False).returncode == 9
    data = log.read_bytes()
    middle = len(data) // 2
    log.write_bytes(data[:middle] + bytes(8) + data[middle + 8 :])  # SQLite reads a log up to its first torn frame
    path.with_name("ledger.sqlite.malformed").touch()
    with closing(Ledger(path)) as ledger:
        found = ledger.totals()
    assert 58 <= found.answers <= 60 and found.cost == 0.5 * found.answers
    assert {len(row[9]) for row in rows(path)} == {6000}


def test_a_torn_log_alone_loses_what_stands_behind_the_tear(tmp_path):
    path, log = tmp_path / "ledger.sqlite", tmp_path / "ledger.sqlite-wal"
    assert subprocess.run([sys.executable, "-c", LEAVES_A_LOG, path], timeout=60, check=False).returncode == 9
    data = log.read_bytes()
    log.write_bytes(data[: len(data) // 2 + 100])  # as a power cut leaves it
    with closing(Ledger(path)) as ledger:
        assert 20 <= ledger.totals().answers < 60
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
