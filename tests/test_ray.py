"""--engine ray on a real cluster of several nodes, one of which is killed; and what can be said without one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import world
from kill import digests, write_clips
from model_server import ModelServer, counters, serving

from datagen import cluster
from datagen.build import Config, build
from datagen.errors import UsageError
from datagen.llm import Ledger
from datagen.parts import Site, survey_source
from datagen.plugins import SourceOptions
from datagen.run import Run
from datagen.sources.folder import Folder

COMMAND = [sys.executable, "-c", "from datagen.cli import main; main()"]
BENCHMARK = Path(__file__).parents[1] / "benchmarks/ray_kill.py"


def killed(clips, nodes):
    """What benchmarks/ray_kill.py prints; in a process of its own, as Ray leaves threads and handlers behind."""
    command = [sys.executable, BENCHMARK, "--clips", str(clips), "--nodes", str(nodes), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_cluster_that_loses_a_node_ends_with_the_bytes_of_one_machine():
    found = killed(16, 2)
    assert found["equal"] and found["files"] >= 8 and found["shards_broken_off"] == 1, found
    assert 0 < found["answered_at_kill"] < found["unique"]
    assert found["calls"] == found["unique"]
    assert found["paid_twice"] <= found["in_flight_cap"]
    assert found["money_equal"] and 0 < found["money_clips"] < 16


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_a_larger_cluster_that_loses_a_node():
    found = killed(96, 4)
    assert found["equal"] and found["shards_broken_off"] == 1


@pytest.mark.slow
def test_ctrl_c_and_a_server_that_is_lost_leave_a_run_that_goes_on(tmp_path):
    write_clips(tmp_path / "clips", 24)
    command = [*COMMAND, "build", "--source", "folder", "--audio", tmp_path / "clips", "--model", "stub"]
    command += ["--captions-per-clip", "2", "--questions-per-clip", "2", "--in-flight", "8", "--patience", "3"]
    with serving("world:respond", latency_ms=150) as url:
        subprocess.run([*command, "--base-url", url, "--out", tmp_path / "whole"], check=True, timeout=200)
        unique = counters(url)["unique"]
        command += ["--base-url", url, "--engine", "ray", "--out", tmp_path / "r"]
        counters(url, "reset")
        job = begun(command, url, 60)
        job.send_signal(signal.SIGINT)
        _, said = job.communicate(timeout=100)
        assert (job.returncode, said.splitlines()[-1].startswith("datagen: interrupted")) == (130, True), said
        assert len(list((tmp_path / "r/.shards").iterdir())) > 1
        subprocess.run(command, check=True, timeout=200)
        assert digests(tmp_path / "r") == digests(tmp_path / "whole")
        # what was under way at the end, and what had come within a commit window (20 ms at 53 a second) before it
        assert counters(url)["requests"] <= unique + 8 + 2
        counters(url, "reset")
        job = begun([*command[:-1], tmp_path / "lost"], url, 40)
    _, said = job.communicate(timeout=100)
    assert (job.returncode, "no answer from" in said.splitlines()[-1]) == (1, True), said


def begun(command, url, answers):
    """A build that has got so many answers."""
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while counters(url)["answered"] < answers and job.poll() is None:
        time.sleep(0.05)
    return job


# ── without a cluster ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"engine": "slurm"}, "--engine 'slurm': use local or ray"),
        ({"engine": "ray", "shard": "0/2"}, "--shard 0/2: --engine ray makes its own shards"),
        ({"engine": "ray", "target": 3}, "--target 3: what is kept is known only after the merge"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, says):
    with pytest.raises(UsageError, match=says):
        Config("demo", **changes)


def test_a_cluster_that_is_not_there_is_told_in_a_line(tmp_path):
    command = [*COMMAND, "build", "--source", "demo", "--out"]
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:9"}
    command += [str(tmp_path / "r"), "--engine", "ray"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("datagen: --engine ray: no cluster at 127.0.0.1:9")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("clips", "slots", "shards"), [(1, 8, 1), (0, 8, 1), (12, 2, 8), (5, 2, 5), (1000, 2, 8), (10**6, 8, 500)]
)
def test_clips_go_into_shards_that_are_neither_few_nor_large(clips, slots, shards):
    assert cluster.shards_of(clips, slots) == shards


def test_workers_and_requests_under_way_are_shared_out():
    fleet = cluster.Fleet(
        Config("demo", engine="ray", workers=40, in_flight=64, max_cost=1.0),
        SimpleNamespace(asks=True), {}, None, Run(Path("runs/demo")), None, build,
    )  # fmt: skip
    configs = cluster.shard_configs(fleet, 8, 4, 2)
    assert {(c.workers, c.in_flight, c.engine, c.max_cost) for c in configs} == {(10, 16, "local", None)}
    assert [c.shard for c in configs] == [f"{i}/8" for i in range(8)]
    assert configs[3].run == Path("runs/demo/.shards/00003-of-00008")


def test_answers_of_shards_that_no_longer_fit_are_kept(tmp_path):
    """A build that broke off, and goes on by other shards: nothing is asked again."""
    write_clips(tmp_path / "clips", 6)
    with ModelServer(world.respond) as server:
        config = Config("folder", audio=tmp_path / "clips", model="stub", base_url=server.url, out=tmp_path / "r")
        known = {name: getattr(config, name) for name in ("source", "audio", "model", "base_url")}
        build(config)
        shards = tmp_path / "r/.shards"
        for index in range(2):
            build(Config(**known, out=shards / f"{index:05d}-of-00002", shard=f"{index}/2"))
        (tmp_path / "r/ledger.sqlite").unlink()
        state = json.loads((tmp_path / "r/run.json").read_text())
        run = Run(tmp_path / "r")
        run.state = state
        ledger = Ledger(tmp_path / "r/ledger.sqlite", state["id"])
        fleet = cluster.Fleet(config, None, {}, None, run, ledger, build)
        wanted = [Config(**known, out=shards / f"{index:05d}-of-00002", shard=f"{index}/2") for index in range(2)]
        cluster.keep_what_fits(fleet, wanted)
        assert len(list(shards.iterdir())) == 2 and ledger.totals().answers == 0
        cluster.keep_what_fits(fleet, [Config(**known, out=shards / "00000-of-00001", shard="0/1")])
        assert not list(shards.iterdir())
        ledger.close()
        before = server.stats()["requests"]
        whole = digests(tmp_path / "r")
        assert build(config)["calls"] == 0 and server.stats()["requests"] == before
        assert digests(tmp_path / "r") == whole


def test_a_shard_finds_the_answers_of_its_run_and_pays_for_none_of_them(tmp_path):
    write_clips(tmp_path / "clips", 4)
    with ModelServer(world.respond) as server:
        known = {"source": "folder", "audio": tmp_path / "clips", "model": "stub", "base_url": server.url}
        whole = build(Config(**known, out=tmp_path / "r"))
        config = Config(**known, out=tmp_path / "s", shard="1/2")
        site = Site(
            survey_source(Folder(SourceOptions(audio=tmp_path / "clips")), config), tmp_path / "r/ledger.sqlite", None
        )
        assert whole["calls"] and build(config, site)["calls"] == 0
        assert Ledger(tmp_path / "s/ledger.sqlite").totals().answers == 0
