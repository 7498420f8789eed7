"""`datagen build`: clips → captions → questions → verdicts → dataset, read from top to bottom in `pipeline`.

Clips are worked on by a bounded pool, each by one coroutine, with no barrier between stages; their rows leave the pool
in the order of the source, so that the tables do not depend on the number of workers. The ledger remembers every answer
of a model; everything else is computed again, so a run killed at any instant goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.clipwork import work_in_order
from datagen.config import Config, public
from datagen.estimate import estimate
from datagen.finishing import Spent, about, done_before, finish, leave_shard, load_ahead
from datagen.judging import judge
from datagen.llm import Ledger, Usage
from datagen.parts import Parts, Site, derivation, fingerprint, make_clients, make_parts, survey_source
from datagen.plugins import SourceOptions, resolve
from datagen.progress import Progress
from datagen.run import Run, Spool, at_once, disk_free, rare_collections, run_to_end
from datagen.sources import SOURCES

if TYPE_CHECKING:
    from datagen.sources import Source

__all__ = ["Config", "build"]


def build(config: Config, site: Site | None = None) -> dict[str, Any]:
    """Runs (or goes on with) one build and returns its counts, the shape of `datagen build --json`.

    Raises UsageError (exit 2) before any work is done, other DatagenErrors (exit 1) or Interrupted (exit 130) with the
    run left resumable. `site`: what `datagen.cluster` gives a shard along.
    """
    run = Run(config.run)
    if config.dry_run:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.closing(Ledger(Path(folder) / "empty.sqlite")) as ledger,
        ):
            return asyncio.run(pipeline(config, run, ledger))
    with run.held():
        disk_free(run.path, 50_000_000)
        run.state = {"id": (run.earlier() or {}).get("id") or uuid.uuid4().hex}
        file, base = config.ledger or run.path / "ledger.sqlite", site.base if site else None
        with contextlib.closing(Ledger(file, run.state["id"], base=base)) as ledger, rare_collections():
            return run_to_end(pipeline(config, run, ledger, site), run.path)


async def pipeline(config: Config, run: Run, ledger: Ledger, site: Site | None = None) -> dict[str, Any]:
    """The whole data flow."""
    started = time.monotonic()
    clients = make_clients(config, ledger)
    try:
        if site is None:  # else it was done there; a server that is lost since is waited for
            await asyncio.gather(*(client.preflight() for client in set(clients.values())))
        source: Source = resolve("source", config.source, SOURCES, "clips")(
            SourceOptions(config.annotations, config.audio, None if config.dry_run else run.path / "audio")
        )
        survey = site.survey if site else survey_source(source, config)
        parts = make_parts(config, source, survey, clients, site.gate if site else None)
        inputs = fingerprint(config, survey, parts.context, clients)
        run.check_inputs(inputs)
        if config.dry_run:
            return estimate(config, len(parts.part), parts.probes, clients)
        fingerprints = {"inputs": inputs, "derivation": derivation(config, parts.context)}
        if config.shard and (counts := done_before(config, run, fingerprints)):
            return counts
        if config.engine == "ray":
            from datagen.cluster import check_cluster

            check_cluster(config, source)
        told = about(config, source, clients, fingerprints)
        run.save(status="running", config=public(config), fingerprints=fingerprints, about=told)

        meter = Usage()
        with Spool(run) as spool, Progress(total=len(parts.part), clients=clients) as progress:
            if config.engine == "ray":
                from datagen.cluster import Fleet, generate_on_ray

                fleet = Fleet(config, parts, clients, survey, run, ledger, build)
                run.state["stopped"] = await generate_on_ray(fleet, spool, meter, progress)
            else:
                run.state["stopped"] = await generate(config, parts, spool, meter, progress)
        with at_once():
            spool.close_segment()
            judged = None if config.shard else judge(config, parts.context, spool)
    finally:
        for client in set(clients.values()):
            await client.close()
    stats = progress.stats
    spent = Spent(sum(s.calls for s in stats), sum(s.cost for s in stats), meter, started)
    with at_once():
        if judged is None:
            return leave_shard(config, run, spool, spent)
        counts = finish(config, run, spool, judged, spent)
        shutil.rmtree(run.shards, ignore_errors=True)  # they are in the run
        return counts


async def generate(config: Config, parts: Parts, spool: Spool, meter: Usage, progress: Progress) -> str:
    """Works on the clips until the list, the target or the money ends; returns why it stopped early, or ''."""
    survivors, need = 0, config.target
    loading: asyncio.Future[None] | None = None
    async with contextlib.aclosing(work_in_order(config, parts)) as results:
        async for done in results:
            if loading is None:  # not before: at first the models wait for the processor
                loading = asyncio.get_running_loop().run_in_executor(None, load_ahead)
            spool.add(done.rows)
            meter.add(done.usage)
            survivors += done.survivors
            progress.clip(done.rows)
            if done.over_budget:
                return f"--max-cost {config.max_cost}: the money ended before the clips did"
            if need is not None and survivors >= need and config.target:
                spool.close_segment()
                kept = judge(config, parts.context, spool).kept.height
                if kept >= config.target:
                    return ""
                need = survivors + max(1, (config.target - kept) * survivors // max(kept, 1))
    return ""
