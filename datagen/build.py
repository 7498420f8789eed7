"""`datagen build`: clips → captions → questions → verdicts → dataset, read from top to bottom in `pipeline`.

Clips are worked on by a bounded pool, each by one coroutine, with no barrier between stages; their rows leave the pool
in the order of the source, so that the tables do not depend on the number of workers. The ledger remembers every answer
of a model; everything else is computed again, so a run killed at any instant goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.audio import Audio, decode_ahead, input_audio, sha256, silenced
from datagen.baselines import baselines
from datagen.config import Config, filter_factory, public
from datagen.errors import AudioError, OverBudget
from datagen.estimate import estimate
from datagen.filters import answerable, modality, wellformed
from datagen.gates import gates, worth
from datagen.judging import Judged, judge
from datagen.llm import Client, Ledger, Usage, metered
from datagen.llm.request import public_name
from datagen.parts import Parts, admitted, derivation, fingerprint, limited, make_clients, make_parts, survey_source
from datagen.plugins import SourceOptions, resolve
from datagen.progress import Progress
from datagen.prompts import Prompts
from datagen.questions.repair import Repair, kinds, unlabelled
from datagen.records import LEFT_OUT, MEASURES, Caption, Clip, Failure, Question, Verdict
from datagen.run import Run, Spool, disk_free, run_to_end
from datagen.sources import SOURCES
from datagen.statistics import clustered_mean

if TYPE_CHECKING:
    import polars as pl

    from datagen.sources import Source

__all__ = ["Config", "build"]
PROBLEMS = {"wellformed": wellformed.problem, "answerable": answerable.problem, "modality": modality.problem}
"""Filters that can judge one question alone: what they drop is not worth a probe's calls."""


def build(config: Config) -> dict[str, Any]:
    """Runs (or goes on with) one build and returns its counts, the shape of `datagen build --json`.

    Raises UsageError (exit 2) before any work is done, other DatagenErrors (exit 1) or Interrupted (exit 130) with the
    run left resumable.
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
        with contextlib.closing(Ledger(config.ledger or run.path / "ledger.sqlite", run.state["id"])) as ledger:
            return run_to_end(pipeline(config, run, ledger), run.path)


async def pipeline(config: Config, run: Run, ledger: Ledger) -> dict[str, Any]:
    """The whole data flow."""
    started = time.monotonic()
    clients = make_clients(config, ledger)
    try:
        await asyncio.gather(*(client.preflight() for client in set(clients.values())))
        source: Source = resolve("source", config.source, SOURCES, "clips")(
            SourceOptions(config.annotations, config.audio, None if config.dry_run else run.path / "audio")
        )
        survey = survey_source(source, config)
        parts = make_parts(config, source, survey, clients)
        inputs = fingerprint(config, survey, parts.context, clients)
        run.check_inputs(inputs)
        if config.dry_run:
            return estimate(config, survey.clips, parts.probes, clients)
        fingerprints = {"inputs": inputs, "derivation": derivation(config, parts.context)}
        run.save(status="running", config=public(config), fingerprints=fingerprints)

        spool, meter = Spool(run), Usage()
        with Progress(total=survey.clips, clients=clients) as progress:
            run.save(stopped=await generate(config, parts, spool, meter, progress))
        spool.close_segment()
        judged = judge(config, parts.context, spool)
    finally:
        for client in set(clients.values()):
            await client.close()
    return finish(config, run, spool, judged, source, meter, clients, started)


# ── clips at work ────────────────────────────────────────────────────────────────────────────────────────────────────

Row = Clip | Caption | Question | Verdict | Failure


@dataclass
class Done:
    """What came of one clip."""

    rows: list[Row]
    usage: Usage
    survivors: int = 0
    """Questions that neither the filters of PROBLEMS nor a probe dropped."""
    over_budget: bool = False


async def generate(config: Config, parts: Parts, spool: Spool, meter: Usage, progress: Progress) -> str:
    """Works on the clips until the list, the target or the money ends; returns why it stopped early, or ''."""
    survivors, need = 0, config.target
    async with contextlib.aclosing(work_in_order(config, parts)) as results:
        async for done in results:
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


async def work_in_order(config: Config, parts: Parts) -> AsyncGenerator[Done, None]:
    """What came of each clip, in the order of the source, whatever the number of workers.

    At most `workers` clips are held in memory with their audio, and 16 times as many finished ones without it while
    they wait for a slow one before them.
    """
    cores = os.cpu_count() or 1
    workers = config.workers or (128 if parts.asks else 2 * cores)
    slots = asyncio.Semaphore(workers)
    pending: deque[asyncio.Task[Done]] = deque()
    items = limited(admitted(parts.source.clips(), config), config.limit)
    try:
        async with contextlib.aclosing(decode_ahead(items, threads=cores, ahead=2 * cores)) as decoded:
            async for item, audio in decoded:
                await slots.acquire()
                task = asyncio.create_task(work(config, parts, item, audio))
                task.add_done_callback(lambda _: slots.release())
                pending.append(task)
                del audio
                while pending and (pending[0].done() or len(pending) >= 16 * workers):
                    yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def work(config: Config, parts: Parts, item: Clip | Failure, audio: Audio | AudioError | None) -> Done:
    """One clip: captions, then questions, then the probes of each question."""
    if isinstance(item, Failure):
        return Done([item], Usage())
    if not isinstance(audio, Audio):
        reason = audio.reason if isinstance(audio, AudioError) else "audio_missing"
        return Done([Failure("audio", reason, item.id, str(audio))], Usage())
    clip = replace(item, sha256=await asyncio.to_thread(sha256, audio))
    with metered() as usage:
        done = Done([clip], usage)
        stage = "caption"
        try:
            captions = take(
                done, Caption, await asyncio.gather(*(c.caption(clip, audio) for c in parts.captioners.values()))
            )
            heard = await sounds(parts, audio)
            del audio
            stage = "write"
            questions = take(
                done, Question, await asyncio.gather(*(w.write(clip, captions) for w in parts.writers.values()))
            )
            if parts.repair:
                stage = "repair"
                questions = await mended(config, parts.repair, done, questions, captions)
            stage = "read"
            await probe(config, parts, done, questions, captions, heard)
        except OverBudget as error:
            done.over_budget = True
            done.rows.append(Failure(stage, error.reason, clip.id, str(error)))
    return done


def take(done: Done, kind: type, batches: Iterable[Sequence[Any]]) -> list[Any]:
    """Keeps every row that a plug-in gave, and returns those of `kind`; an id that comes twice is kept once."""
    rows = [row for batch in batches for row in batch]
    if kind is Question:
        rows = list({getattr(row, "id", None) or (i, "failure"): row for i, row in enumerate(rows)}.values())
    done.rows += rows
    return [row for row in rows if isinstance(row, kind)]


async def mended(
    config: Config, repair: Repair, done: Done, questions: list[Question], captions: list[Caption]
) -> list[Question]:
    """The questions, each mended where it can be; the mended one takes the place of what was."""

    async def one(question: Question) -> Sequence[Question | Failure]:
        # Only the labels are worth anything where the wording is dropped all the same; these cost nothing.
        return [question] if hopeless(config, unlabelled(question)) else await repair.mend(question, captions)

    found = await asyncio.gather(*map(one, questions))
    done.rows = [row for row in done.rows if not isinstance(row, Question)]
    return take(done, Question, found)


def hopeless(config: Config, question: Question) -> bool:
    """Whether a filter of PROBLEMS drops the question by its wording."""
    return any(problem(question) for name, problem in PROBLEMS.items() if name in config.chain)


async def sounds(parts: Parts, audio: Audio) -> tuple[Any, ...]:
    """The clip and silence of its length as a model gets them; nothing where no filter listens."""
    if not any(hasattr(filter, "hear") for filter in parts.probes.values()):
        return ()
    return await asyncio.to_thread(lambda: (input_audio(audio), input_audio(silenced(audio))))


async def probe(
    config: Config, parts: Parts, done: Done, questions: list[Question], captions: list[Caption],
    heard: tuple[Any, ...],
) -> None:  # fmt: skip
    """Puts every probe to every question that the filters of PROBLEMS let through."""
    questions = [question for question in questions if not hopeless(config, question)]

    def put(filter: Any, question: Question) -> Any:
        return filter.hear(question, *heard) if hasattr(filter, "hear") else filter.probe(question, captions)

    asked = [asyncio.gather(*(put(filter, question) for filter in parts.probes.values())) for question in questions]
    for results in await asyncio.gather(*asked):
        done.rows += results
        done.survivors += all(
            result.keep if isinstance(result, Verdict) else name in MEASURES
            for name, result in zip(parts.probes, results, strict=True)
        )


# ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────────


def finish(
    config: Config, run: Run, spool: Spool, judged: Judged, source: Source, meter: Usage, clients: Mapping[str, Client],
    started: float,
) -> dict[str, Any]:  # fmt: skip
    """Writes the tables, the dataset with its card and the report; run.json says `done` last of all."""
    import polars as pl

    from datagen.dataset import write_dataset
    from datagen.report import write_report

    failures = spool.read(Failure)
    failed = failures.filter(~pl.col("reason").is_in(LEFT_OUT))
    for record in (Clip, Caption, Question):
        spool.keep(record)
    run.write(Verdict, judged.verdicts)
    run.write(Failure, pl.concat([failures, judged.dropped], how="vertical_relaxed"))
    judged.verdicts = judged.dropped = failures.clear()  # written; what follows needs the memory
    card = describe(config, run, judged, source, meter, clients)
    write_dataset(judged.kept, run.path / "dataset", card)
    counts = count(run, judged, failed, clients, started)
    judged.kept = judged.kept.clear()
    run.save(**card, config=public(config), counts=counts, spent_usd=counts["cost_usd"], seconds=counts["seconds"])
    write_report(run.path)
    spool.discard()
    run.save(status="done")
    return counts


def count(
    run: Run, judged: Judged, failures: pl.DataFrame, clients: Mapping[str, Client], started: float
) -> dict[str, Any]:
    """The shape of `build --json`; calls and cost are those of this process, not of the runs before it."""
    stats = [client.stats for client in set(clients.values())]
    told = failures.select("clip_id", "reason", "error").iter_rows()
    return {
        "out": str(run.path),
        "clips": run.rows(Clip),
        "captions": run.rows(Caption),
        "questions": run.rows(Question),
        "kept": judged.kept.height,
        "rejected": {step["filter"]: step["reasons"] for step in judged.funnel if step["reasons"]},
        "failed": dict(Counter(failures["stage"].to_list())),
        "calls": sum(s.calls for s in stats),
        "cost_usd": round(sum(s.cost for s in stats), 6),
        "seconds": round(time.monotonic() - started, 2),
        "examples": [f"{clip}: {reason}: {error}" for clip, reason, error in islice(told, 10)],
    }


def describe(
    config: Config, run: Run, judged: Judged, source: Source, meter: Usage, clients: Mapping[str, Client]
) -> dict[str, Any]:
    """What the card says of the run: nothing of the machine, the hour, or what was paid only now."""
    from importlib.metadata import version

    items = worth(judged.kept)
    return {
        "version": version("datagen-audioqa"),
        "seed": config.seed,
        "captioners": list(config.captioners),
        "writers": list(config.writers),
        "filters": [f"{name}={public_name(value)}" if value else name for name, value in config.chain.items()],
        "language": config.language,
        "funnel": judged.funnel,
        "models": [
            {"role": role, "model": public_name(client.endpoint.model), "revision": client.endpoint.revision}
            for role, client in sorted(clients.items())
        ]
        + local_models(config, run, clients),
        "prompts": Prompts(config.prompts).hashes() if clients else {},
        "licenses": licenses(run),
        "baselines": baselines(judged.kept, items),
        "gates": gates(judged.kept, items),
        "measures": measures(config, judged.kept),
        "repaired": repaired(judged.kept) if config.repair else {},
        "sources": {config.source: {"origin": source.origin, "reattach": source.reattach, "clips": run.rows(Clip)}},
        "list_price_usd": meter.cost_usd if clients else 0.0,
    }


def measures(config: Config, kept: pl.DataFrame) -> dict[str, Any]:
    """Measure → what it is, and its mean over the questions that could be measured, with its interval by clip."""
    found: dict[str, Any] = {}
    for name in (name for name in MEASURES if name in config.chain):
        rows = kept.select("clip_id", name).drop_nulls()
        told: dict[str, Any] = {"meaning": (filter_factory(name).__doc__ or "").split("\n")[0], "n": rows.height}
        if rows.height:
            mean = clustered_mean(rows[name], rows["clip_id"].to_list(), seed=config.seed)
            told |= {"mean": mean.value, "low": mean.low, "high": mean.high}
        found[name] = told
    return found


def repaired(kept: pl.DataFrame) -> dict[str, int]:
    """What was mended → kept questions of which it was, in order of name."""
    provenances = kept["provenance"].filter(kept["provenance"].str.contains('"repair":', literal=True))
    return dict(sorted(Counter(kind for text in provenances for kind in kinds(json.loads(text))).items()))


def local_models(config: Config, run: Run, clients: Mapping[str, Client]) -> list[dict[str, str]]:
    """The models that captioners run by themselves: the name without its folder, and the hash of the content."""
    known = dict(item.partition("=")[::2] for item in run.state["fingerprints"]["inputs"]["captioner"])
    return [
        {"role": f"captioner {name}", "model": Path(model).name, "revision": known[name]}
        if known[name] != model
        else {"role": f"captioner {name}", "model": model, "revision": ""}
        for name, model in config.captioners.items()
        if model and name not in clients
    ]


def licenses(run: Run) -> dict[str, int]:
    """Licence → clips, in order of licence."""
    import polars as pl

    table = pl.scan_parquet(run.path / "clips.parquet").group_by("license").len().sort("license")
    return dict(table.collect().iter_rows())
