"""`datagen build --engine ray`: the clips in shards, each a Ray task with a ledger of its own, joined in one run.

The machine that was asked lists the clips and sends shards out; they lie in RUN/.shards/, on a disk that every node
sees, and are built as by `--shard i/n`. Where a node dies, Ray runs its shards again on another one, and each goes on
from its own ledger. What they share is told from here: the list of clips, the answers of earlier runs, the part of
`--workers` and `--in-flight` that each may use, and, by an actor, the money (`datagen.admission`).
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datagen.admission import Admission
from datagen.clipwork import ASKING_WORKERS, BATCH_WORKERS
from datagen.config import Config
from datagen.errors import Busy, DatagenError, Interrupted, LedgerError, UsageError
from datagen.llm import Client, Ledger, Stats, Usage
from datagen.llm.local import LocalEndpoint
from datagen.merge import Shard, gathered, join
from datagen.parts import Parts, Site, Survey
from datagen.plugins import needs
from datagen.progress import Progress
from datagen.records import canonical
from datagen.run import Run, Spool
from datagen.sources import Listed, Source

__all__ = ["Fleet", "check_cluster", "generate_on_ray"]

SHARD_CLIPS = 2_000
"""At most, and at least four shards for each slot: what is lost with a node is small, and slots end together."""
AGAIN = 10
"""Times that a shard is run again when its node or its process is gone."""
SEND_OFF = 60.0
"""Seconds for which a shard waits until the process that a dead node left behind is gone."""

Build = Callable[[Config, Site | None], dict[str, Any]]


@dataclass(frozen=True)
class Fleet:
    """What is sent out, and by which function a shard of it is built."""

    config: Config
    parts: Parts
    clients: Mapping[str, Client]
    survey: Survey
    run: Run
    ledger: Ledger
    build: Build

    @property
    def folder(self) -> Path:
        """Where the shards lie."""
        return self.run.shards


async def generate_on_ray(fleet: Fleet, spool: Spool, meter: Usage, progress: Progress) -> str:
    """Builds all shards and joins them; returns why it stopped early, or ''. Raises what a shard raised."""
    ray = connected()
    gpu = any(isinstance(client.endpoint, LocalEndpoint) for client in fleet.clients.values())
    gpu = gpu and ray.cluster_resources().get("GPU", 0) >= 1
    slots = max(1, int(ray.cluster_resources().get("GPU" if gpu else "CPU", 1)))
    number = shards_of(fleet.survey.clips, slots)
    configs = shard_configs(fleet, number, min(slots, number), len(ray.nodes()))
    keep_what_fits(fleet, configs)
    fleet.ledger.checkpoint()
    site = ray.put(Site(fleet.survey, fleet.ledger.path.absolute(), gate(ray, fleet)))
    task = ray.remote(run_shard).options(
        num_cpus=1, num_gpus=int(gpu), max_retries=AGAIN, retry_exceptions=[Interrupted, LedgerError]
    )
    refs = [task.remote(str(Path.cwd()), config, site, fleet.build) for config in configs]
    before = fleet.ledger.totals(run=fleet.ledger.run)
    progress.stats.append(Stats())
    results = [asyncio.ensure_future(result_of(ref)) for ref in refs]
    try:
        for result in asyncio.as_completed(results):
            progress.shard(await result)
    finally:
        for ref in refs:
            ray.cancel(ref)
        ray.wait(refs, num_returns=len(refs), timeout=30)
        for waiting in results:
            waiting.cancel()
        await asyncio.gather(*results, return_exceptions=True)
    shards = list(until_stopped(gathered([config.run for config in configs])))
    join(shards, fleet.ledger, spool, meter)
    total = fleet.ledger.totals(run=fleet.ledger.run)  # with what a shard had paid before its node died
    progress.stats[-1].calls, progress.stats[-1].cost = total.answers - before.answers, total.cost - before.cost
    return str(shards[-1].state["stopped"])


def check_cluster(config: Config, source: Source) -> None:
    """Raises UsageError where there is no cluster, or where only one process can have the audio."""
    if isinstance(source, Listed):
        name = config.source
        raise UsageError(f"--source {name}: its audio is streamed, to one process: use --engine local, or --shard i/n")
    connected()


def connected() -> Any:
    """Ray, connected to the cluster of $RAY_ADDRESS, else to the one that runs here, else to one that is started."""
    needs("ray", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if not ray.is_initialized():
        where = os.environ.get("RAY_ADDRESS", "")
        try:
            if found := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", where):  # Ray itself tries for minutes
                socket.create_connection((found[1], int(found[2])), timeout=5).close()
            ray.init(log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            why = " ".join(str(error).split())[:200]
            raise UsageError(
                f"--engine ray: no cluster at {where or 'this machine'}: {why}: see `ray status`"
            ) from None
    return ray


def shards_of(clips: int, slots: int) -> int:
    """Into how many shards the clips go."""
    return max(1, min(clips, 4 * slots), -(-clips // SHARD_CLIPS))


def shard_configs(fleet: Fleet, number: int, at_once: int, nodes: int) -> list[Config]:
    """What each shard is asked for: the whole, less what it is given by Site, and its part of what is shared."""
    config = fleet.config
    most = BATCH_WORKERS if "batch" in config.transports.values() else ASKING_WORKERS
    clips = config.workers or (most * nodes if fleet.parts.asks else 2 * at_once)
    shared = replace(
        config, engine="local", ledger=None, max_cost=None,
        workers=max(1, clips // at_once), in_flight=max(1, config.in_flight // at_once),
    )  # fmt: skip
    return [
        replace(shared, shard=f"{index}/{number}", out=fleet.folder / f"{index:05d}-of-{number:05d}")
        for index in range(number)
    ]


def keep_what_fits(fleet: Fleet, configs: list[Config]) -> None:
    """Leaves the shards of a run that was broken off where they are what is wanted, else takes only their answers."""
    wanted = {config.run: config.shard for config in configs}
    for folder in sorted(fleet.folder.iterdir()) if fleet.folder.is_dir() else []:
        state = Run(folder).earlier() or {}
        of = dict(fleet.run.state["fingerprints"])
        of["inputs"] = {**of["inputs"], "shard": wanted.get(folder)}
        if canonical(state.get("fingerprints")) != canonical(of):
            fleet.ledger.absorb(folder / "ledger.sqlite", [state.get("id", "")])
            shutil.rmtree(folder)


def gate(ray: Any, fleet: Fleet) -> RemoteGate | None:
    """The way to an actor that admits clips, on this node: it lives as long as the build does."""
    if not isinstance(fleet.parts.gate, Admission):
        return None
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    actor = ray.remote(Admission).options(num_cpus=0, max_concurrency=1_000_000, scheduling_strategy=here)
    return RemoteGate(actor.remote(*fleet.parts.gate.terms))


@dataclass(frozen=True)
class RemoteGate:
    """A Gate that asks the actor."""

    actor: Any

    async def enter(self, clip: int) -> bool:
        """Waits until it is known whether there is money for the clip."""
        return bool(await self.actor.enter.remote(clip))

    async def leave(self, clip: int, cost: int) -> None:
        """The clip is done."""
        await self.actor.leave.remote(clip, cost)


def run_shard(folder: str, config: Config, site: Site, build: Build) -> dict[str, Any]:
    """One shard, on whatever node; paths mean there what they mean in `folder` here."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(f"--engine ray: {folder}: {error.strerror} on node {os.uname().nodename}: share it") from None
    end = time.monotonic() + SEND_OFF
    while True:
        try:
            return build(config, site)
        except Busy:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


async def result_of(ref: Any) -> dict[str, Any]:
    """What a shard returned. Raises what it raised, or DatagenError where Ray gave it up."""
    from ray.exceptions import RayError, RayTaskError

    try:
        return dict(await ref)
    except RayTaskError as error:
        if isinstance(error.cause, DatagenError):
            raise error.cause from None
        raise
    except RayError as error:
        why = " ".join(str(error).split())[:200]
        raise DatagenError(
            f"--engine ray: a shard was lost {AGAIN + 1} times: {why}; the same command goes on"
        ) from None


def until_stopped(shards: list[Shard]) -> Iterator[Shard]:
    """The shards up to the one in which the money ended: what one machine would have come to."""
    for shard in shards:
        yield shard
        if shard.state["stopped"]:
            return
