"""A build on a Ray cluster of several nodes, one of them killed in the middle: are the bytes those of one machine?

    python benchmarks/ray_kill.py [--clips 48] [--nodes 3] [--latency-ms 100] [--json]

A head without work and `--nodes` nodes of one slot each (`ray.cluster_utils.Cluster`: real raylets, workers and stores,
on this machine) share one loopback model server, which answers equal requests equally. When it has given half of the
answers, the raylet of a node that is at work is killed by SIGKILL; its worker goes down with it, and Ray runs its shard
again.

    equal          every table and every file of dataset/ is that of an undisturbed build by --engine local
    money_equal    the same, where --max-cost ends in the middle of the clips; `money_clips` are the clips admitted
    paid_twice     answers given beyond the unique requests; at most `in_flight_cap`, what the dead node may have had
                   under way or not yet committed
    shards_broken_off   1 when the process went down that was at work on a shard; another node ended it
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
from dataclasses import replace
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
            config = replace(known, out=folder / name, **changes)
            return config.run, build(config)

        whole, counts = built("local")
        unique = counters(url)["unique"]
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE})
        try:
            for _ in range(nodes):
                cluster.add_node(num_cpus=1, object_store_memory=STORE)
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
            counters(url, "reset")
            kill = Kill(url, unique // 2, folder / "ray", cluster)
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
    """Kills a node that is at work on a shard of `run`, once the server has given `answers`."""

    def __init__(self, url: str, answers: int, run: Path, cluster: Any) -> None:
        super().__init__(daemon=True)
        self.url, self.least, self.shards, self.cluster = url, answers, run / ".shards", cluster
        self.answered, self.broken_off, self.at, self.over = 0, 0, time.monotonic(), threading.Event()
        self.start()

    def run(self) -> None:
        """Looks fifty times a second."""
        while not self.over.wait(0.02):
            self.answered = counters(self.url)["answered"]
            if self.answered >= self.least and (holder := self.at_work()):
                break
        else:
            return
        raylets = {node.all_processes["raylet"][0].process.pid: node for node in self.cluster.worker_nodes}
        self.cluster.remove_node(raylets[parent(holder)], allow_graceful=False)
        self.at = time.monotonic()
        for _ in range(100):
            self.broken_off = int(not Path(f"/proc/{holder}").exists())
            time.sleep(0 if self.broken_off else 0.05)

    def at_work(self) -> int:
        """The process of some shard that is begun and not done, or 0."""
        locks = [lock for lock in self.shards.glob("*/.lock") if running(lock.parent)]
        return int(locks[0].read_text() or 0) if locks else 0


def parent(pid: int) -> int:
    """The process that started another: of a Ray worker, the raylet of its node."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


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
