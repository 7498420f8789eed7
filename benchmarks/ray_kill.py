"""A build on a Ray cluster of several nodes, one of them killed in the middle: are the bytes those of one machine?

    python benchmarks/ray_kill.py [--clips 48] [--nodes 3] [--latency-ms 100] [--json]

A head without work and `--nodes` nodes of one slot each (`ray.cluster_utils.Cluster`: real raylets, workers and stores,
on this machine) share one loopback model server, which answers equal requests equally. When it has given half of the
answers, the raylet of the first node is killed by SIGKILL; its worker goes down with it, and Ray runs its shard again.

    equal          every table and every file of dataset/ is that of an undisturbed build by --engine local
    money_equal    the same, where --max-cost ends in the middle of the clips; `money_clips` are the clips admitted
    paid_twice     answers given beyond the unique requests; at most `in_flight_cap`, what the dead node may have had
                   under way or not yet committed
    shards_broken_off   shards under way in a process that went down with its node; another one ended them
    answered_at_kill, unique, calls, seconds_local, seconds_ray, seconds_after_kill
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kill import digests, write_clips
from model_server import counters, serving

from datagen.build import Config, build

STORE = 80 * 2**20
"""Bytes of a node's object store, the least that Ray takes."""
IN_FLIGHT = 24
WORST = 0.00512
"""USD that a clip of this build may cost: two captions, a call that writes and six readings, each at its limit."""


def measure(clips: int, nodes: int, latency_ms: float, folder: Path) -> dict[str, Any]:
    """One local build, one on the cluster with a node killed, and both again with a budget."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    write_clips(folder / "clips", clips)
    with serving("world:respond", latency_ms=latency_ms) as url:
        known = Config(
            "folder", audio=folder / "clips", model="stub", base_url=url, captions_per_clip=2, questions_per_clip=2,
            in_flight=IN_FLIGHT, price=(0.0, 1.0),
        )  # fmt: skip

        def built(name: str, **changes: Any) -> tuple[Path, dict[str, Any]]:
            config = Config(**{**vars(known), "out": folder / name, **changes})
            return config.run, build(config)

        whole, counts = built("local")
        unique = counters(url)["unique"]
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
        try:
            workers = [cluster.add_node(num_cpus=1, object_store_memory=STORE) for _ in range(nodes)]
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
            counters(url, "reset")
            end = partial(cluster.remove_node, workers[0], allow_graceful=False)
            kill = Kill(url, unique // 2, nodes, folder / "ray", end)
            killed, found = built("ray", engine="ray")
            ended = time.monotonic()
            served = counters(url)
            kill.over.set()
            kill.join()
            budget = {"max_cost": 0.5 * counts["cost_usd"] + WORST}
            money, _ = built("local-money", **budget)
            money_ray, money_found = built("ray-money", engine="ray", **budget)
        finally:
            ray.shutdown()
            cluster.shutdown()
    return {
        "nodes": nodes,
        "clips": clips,
        "equal": digests(killed) == digests(whole),
        "files": len(digests(whole)),
        "unique": unique,
        "answered_at_kill": kill.answered,
        "calls": found["calls"],
        "paid_twice": served["answered"] - unique,
        "in_flight_cap": IN_FLIGHT // nodes,
        "shards_broken_off": kill.broken_off,
        "failed": found["failed"],
        "money_equal": digests(money_ray) == digests(money),
        "money_clips": money_found["clips"],
        "seconds_local": counts["seconds"],
        "seconds_ray": found["seconds"],
        "seconds_after_kill": round(ended - kill.at, 2),
    }


class Kill(threading.Thread):
    """Does `end` once the server has given `answers`, and sees which shards of `run` were broken off by it."""

    def __init__(self, url: str, answers: int, nodes: int, run: Path, end: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.url, self.least, self.nodes, self.shards, self.end = url, answers, nodes, run / ".shards", end
        self.answered, self.broken_off, self.at, self.over = 0, 0, time.monotonic(), threading.Event()
        self.start()

    def run(self) -> None:
        """Looks twenty times a second."""
        holders: list[int] = []
        while self.answered < self.least or len(holders) < self.nodes:  # every node is at work on a shard
            if self.over.wait(0.02):
                return
            self.answered = counters(self.url)["answered"]
            holders = [int(lock.read_text() or 0) for lock in self.shards.glob("*/.lock") if running(lock.parent)]
        self.end()
        self.at = time.monotonic()
        for _ in range(100):
            self.broken_off = sum(not Path(f"/proc/{pid}").exists() for pid in holders)
            time.sleep(0 if self.broken_off else 0.05)


def running(shard: Path) -> bool:
    """Whether a shard is begun and not done."""
    file = shard / "run.json"
    return file.exists() and json.loads(file.read_text())["status"] == "running"


def main() -> None:
    """Prints the figures; exit 1 when the bytes differ, or more was paid twice than was under way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=100)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.clips, args.nodes, args.latency_ms, Path(folder))
    print(json.dumps(found) if args.json else "\n".join(f"{name:<20} {value}" for name, value in found.items()))
    killed_midway = found["answered_at_kill"] < found["unique"] and found["shards_broken_off"] > 0
    good = found["equal"] and found["money_equal"] and found["paid_twice"] <= found["in_flight_cap"] and killed_midway
    sys.exit(not (good and 0 < found["money_clips"] < args.clips))


if __name__ == "__main__":
    main()
