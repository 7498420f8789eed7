"""Servers that die, deny or cost, and a clock that jumps, in mid-build: nothing lost, nothing paid twice."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace

import pytest
import world
from kill import committed, digests, write_clips
from model_server import ModelServer

from datagen.build import Config, build
from datagen.errors import Denied, ServerLost, UsageError


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "clips"
    write_clips(folder, 10)
    return Config(
        "folder", audio=folder, model="stub", captions_per_clip=2, questions_per_clip=2, readings=1, in_flight=4
    )


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    with ModelServer(world.respond) as server:
        build(replace(config, out=run, base_url=server.url))
    return run


def when_half_is_answered(server, unique, act):
    def watch():
        while server.stats()["answered"] < unique // 2:
            time.sleep(0.002)
        act()

    watcher = threading.Thread(target=watch)
    watcher.start()
    return watcher


def test_a_server_that_dies_half_way_and_comes_back_is_waited_for(config, whole, serve, tmp_path):
    unique = committed(whole)
    first = serve(world.respond, latency=0.02)
    later = []

    def dies_and_comes_back():
        first.__exit__()
        time.sleep(0.5)
        later.append(serve(world.respond, port=first.port))

    watcher = when_half_is_answered(first, unique, dies_and_comes_back)
    counts = build(replace(config, out=tmp_path / "run", base_url=first.url, patience=30.0))
    watcher.join()
    assert (counts["calls"], counts["failed"]) == (unique, {})
    assert first.stats()["answered"] + later[0].stats()["answered"] <= unique + config.in_flight
    assert digests(tmp_path / "run") == digests(whole)


def test_a_server_that_dies_for_good_ends_the_run_which_goes_on(config, whole, serve, tmp_path):
    unique = committed(whole)
    first = serve(world.respond, latency=0.02)
    watcher = when_half_is_answered(first, unique, first.__exit__)
    run = replace(config, out=tmp_path / "run", base_url=first.url, patience=0.5)
    with pytest.raises(ServerLost, match=r"no answer from .* for 0\.5 s .*every committed answer is kept"):
        build(run)
    watcher.join()
    kept = committed(run.out)
    assert unique // 2 - config.in_flight <= kept < unique
    with pytest.raises(UsageError, match="no server answers"):
        build(run)
    later = serve(world.respond, port=first.port)
    assert build(run)["calls"] == later.stats()["requests"] == unique - kept
    assert digests(run.out) == digests(whole)


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_denial_half_way_stops_at_once_and_says_what_to_do(status, config, whole, serve, tmp_path):
    unique = committed(whole)
    server = serve(world.respond, latency=0.02)
    watcher = when_half_is_answered(server, unique, lambda: setattr(server, "status", status))
    run = replace(config, out=tmp_path / "run", base_url=server.url)
    with pytest.raises(Denied, match=rf"{status}.*check the credit and the key in \$OPENAI_API_KEY"):
        build(run)
    watcher.join()
    assert server.stats()["requests"] - server.stats()["answered"] <= 2 * config.in_flight
    kept, server.status = committed(run.out), 0
    server.reset()
    assert build(run)["calls"] == server.stats()["requests"] == unique - kept
    assert digests(run.out) == digests(whole)


def test_a_budget_of_nothing_sends_nothing(config, serve, tmp_path):
    server = serve(world.respond)
    counts = build(replace(config, out=tmp_path / "run", base_url=server.url, max_cost=0.0, price=(1.0, 1.0)))
    assert (counts["calls"], counts["clips"], counts["cost_usd"], server.stats()["requests"]) == (0, 0, 0.0, 0)


def test_a_clock_that_jumps_changes_nothing(config, whole, serve, tmp_path, monkeypatch):
    server = serve(world.respond, latency=0.002, faults={"429": 0.1, "503": 0.1}, limit=3)
    jumps = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: 1.8e9 + jumps.uniform(-1e9, 1e9))  # years back and forth at every look
    begun = time.monotonic()
    run = replace(config, out=tmp_path / "run", base_url=server.url, max_cost=10.0, price=(0.1, 0.1), patience=20.0)
    counts = build(run)
    assert 0 <= counts["seconds"] <= time.monotonic() - begun < 30
    assert counts["failed"] == {}
    assert server.stats()["outcomes"].keys() >= {"429", "503"}
    before = server.stats()["requests"]
    assert build(run)["calls"] == 0 and server.stats()["requests"] == before
    assert {name: digest for name, digest in digests(run.out).items() if "README" not in name} == {
        name: digest for name, digest in digests(whole).items() if "README" not in name
    }
