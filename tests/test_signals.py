"""Ctrl-C once and twice and SIGTERM, at each stage of a build: exit 130, one line, and it goes on to the same bytes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import world
from kill import BUILD, committed, digests, write_clips
from model_server import ModelServer

from datagen.llm import Ledger
from datagen.run import run_to_end
from datagen.signals import heeding

SLOW = """
import os, time
from pathlib import Path
import polars as pl
class Slow:
    def __init__(self, context): ...
    def judge(self, table):
        Path(os.environ["BEGUN"]).touch()
        while os.environ["HOLDS"]:
            time.sleep(0.01)
        return table.select(question_id="id", keep=True, reason=pl.lit(""), score=pl.lit(None, pl.Float64))
"""
FILTERS = "wellformed,consistency,slow:Slow"
OPTIONS = ["--captions-per-clip", "2", "--questions-per-clip", "2", "--readings", "1", "--filters", FILTERS]
CLIPS = 10
KILLS = {"once": [signal.SIGINT], "twice": [signal.SIGINT, signal.SIGINT], "term": [signal.SIGTERM]}


def popen(command, environment=None):
    """A process that heeds Ctrl-C, also where the tests run in the background of a shell, which has it ignored."""
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=heed)


class Place:
    """Clips, a plug-in, and an undisturbed run."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        write_clips(folder / "clips", CLIPS)
        (folder / "slow.py").write_text(SLOW)

    def start(self, run: Path, holds: bool = False, ledger: Path | None = None) -> subprocess.Popen[str]:
        paths = os.pathsep.join(filter(None, [str(self.folder), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": paths, "BEGUN": f"{run}.begun", "HOLDS": "1" if holds else ""}
        command = [*BUILD, "--audio", str(self.folder / "clips"), "--base-url", self.url, "--out", str(run), *OPTIONS]
        command += ["--ledger", str(ledger)] if ledger else []
        return popen(command, environment)


def ended(job):
    job.communicate(timeout=60)
    return job.returncode


@pytest.fixture(scope="module")
def served():
    with ModelServer(world.respond, latency=0.02) as server:
        yield server


@pytest.fixture(scope="module")
def place(served, tmp_path_factory):
    return Place(tmp_path_factory.mktemp("signals"), served.url)


@pytest.fixture(scope="module")
def whole(place):
    assert ended(place.start(place.folder / "whole")) == 0
    return place.folder / "whole"


def interrupt(job, signals):
    for number, name in enumerate(signals):
        time.sleep(0.03 * number)
        job.send_signal(name)
    began = time.monotonic()
    _, said = job.communicate(timeout=30)
    return said, time.monotonic() - began


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def heard(once, *sent):
    """What the handler of the block got, and what the one before it."""
    inner: list[int] = []
    outer: list[int] = []
    with heeding(lambda number, frame: outer.append(number)):
        with heeding(lambda number, frame: inner.append(number), once=once):
            for number in sent:
                os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM)
    return inner, outer


@pytest.fixture
def known():
    """Both signals as a fresh process has them: a shell may have Ctrl-C ignored for the tests."""
    fresh = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {name: signal.signal(name, handler) for name, handler in fresh.items()}
    yield fresh
    for name, handler in before.items():
        signal.signal(name, handler)


def test_signals_are_heeded_in_the_block_and_put_back(known):
    both = [signal.SIGINT, signal.SIGTERM]
    assert heard(False, *both, *both) == (both + both, [signal.SIGTERM])
    assert heard(True, *both) == ([signal.SIGINT], [signal.SIGTERM, signal.SIGTERM])
    assert {name: signal.getsignal(name) for name in both} == known


def test_a_run_that_has_ended_takes_no_signal(known, tmp_path):
    run_to_end(asyncio.sleep(0), tmp_path)
    assert {name: signal.getsignal(name) for name in known} == known
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(run_to_end, asyncio.sleep(0, "in a thread"), tmp_path).result() == "in a thread"


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="Linux alone")
def test_a_run_and_the_threads_it_starts_are_batch_work_and_its_caller_is_not(tmp_path, monkeypatch):
    async def policies():
        return os.sched_getscheduler(0), await asyncio.to_thread(os.sched_getscheduler, 0)

    assert run_to_end(policies(), tmp_path) == (os.SCHED_BATCH, os.SCHED_BATCH)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER

    def forbidden(*_):
        raise PermissionError("a sandbox")

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    assert run_to_end(policies(), tmp_path) == (os.SCHED_OTHER, os.SCHED_OTHER)
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_IDLE)
    assert run_to_end(asyncio.sleep(0, "as it was"), tmp_path) == "as it was"


def test_what_is_ignored_stays_so_and_a_thread_changes_nothing(known):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert heard(False, signal.SIGTERM) == ([], [])

    def in_thread():
        with heeding(print):
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(in_thread).result() is signal.SIG_IGN


@pytest.mark.parametrize(
    ("stage", "signals"),
    [
        ("asking", "twice"),
        ("judging", "once"),
        ("judging", "term"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("asking", "term"), ("judging", "twice"))),
    ],
)
def test_a_signal_ends_a_build_soon_and_it_goes_on(stage, signals, place, whole, served, tmp_path):
    run = tmp_path / "run"
    served.reset()
    served.latency = 1.0 if stage == "asking" else 0.02
    job = place.start(run, holds=stage == "judging")
    until(lambda: Path(f"{run}.begun").exists() if stage == "judging" else served.stats()["answered"] >= 5)
    said, seconds = interrupt(job, KILLS[signals])
    assert job.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("datagen: interrupted; the same command goes on"), said
    assert seconds < 10
    kept, unique = committed(run), committed(whole)
    assert (kept == unique) == (stage == "judging")
    served.reset()
    served.latency = 0.02
    assert ended(place.start(run)) == 0
    assert served.stats()["requests"] == unique - kept
    assert digests(run) == digests(whole)


def test_a_signal_while_clips_are_decoded(tmp_path):
    write_clips(tmp_path / "clips", 200)
    command = [*BUILD[:6], "--audio", str(tmp_path / "clips"), "--out", str(tmp_path / "run")]
    job = popen(command)
    until((tmp_path / "run/.spool").exists)
    time.sleep(0.2)
    said, seconds = interrupt(job, KILLS["once"])
    assert (job.returncode, "Traceback" in said) == (130, False), said
    assert seconds < 10
    Ledger(tmp_path / "run/ledger.sqlite").close()


def test_a_run_has_one_process_and_a_ledger_may_have_two(place, whole, served, tmp_path):
    shared = tmp_path / "shared.sqlite"
    served.latency = 1.0
    jobs = [place.start(tmp_path / name, ledger=shared) for name in ("a", "b")]
    until((tmp_path / "a/run.json").exists)
    again = place.start(tmp_path / "a", ledger=shared)
    _, said = again.communicate(timeout=60)
    cure = "wait for it, or choose another folder"
    assert said == f"datagen: --out {tmp_path / 'a'}: process {jobs[0].pid} is working in it: {cure}\n"
    served.latency = 0.02
    assert [again.returncode, *(ended(job) for job in jobs)] == [2, 0, 0]
    assert digests(tmp_path / "a") == digests(tmp_path / "b") == digests(whole)
    with closing(Ledger(shared)) as ledger:
        assert ledger.totals().answers == committed(whole)
