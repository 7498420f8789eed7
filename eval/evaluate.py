"""`datagen eval`: a model's answers to a benchmark under each condition and order, and what they are worth.

    items ─▶ condition (clip, caption, nothing) ─▶ orders × samples ─▶ ledger? model ─▶ both matchers ─▶ predictions
                                                                                                           └─▶ cells

Every answer comes from the ledger or, once it is committed there, from the model, so a run killed at any instant goes
on where it was. `outputs` says what is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from datagen.errors import UsageError
from datagen.eval.asking import Lost
from datagen.eval.checking import batch_check, check_hearing
from datagen.eval.estimate import estimate
from datagen.eval.figures import cells, unanswered
from datagen.eval.outputs import scan
from datagen.eval.preparing import Config, Parts, described, make_parts
from datagen.eval.report import write_report
from datagen.eval.scoring import counted, file_baselines
from datagen.eval.submission import write_submission
from datagen.llm import Ledger, Request, Usage, metered
from datagen.llm.local import LocalSender
from datagen.progress import Progress
from datagen.records import canonical
from datagen.run import Run, rare_collections, replace_text, run_to_end

__all__ = ["Config", "evaluate"]

CHECKED = 8
"""Items of the check of a local model's batches, unless the call names a number."""


def evaluate(config: Config) -> dict[str, Any]:
    """Runs (or goes on with) one evaluation; returns result.json with `out`, `spent` and `seconds` of this call.

    With `dry_run` it returns what `estimate` says, and sends and writes nothing.

    Raises UsageError (exit 2) before the first item is asked, other DatagenErrors (exit 1) or Interrupted (exit 130)
    with everything that was answered in the ledger.
    """
    file = config.ledger or config.out / "ledger.sqlite"
    if config.dry_run:
        with contextlib.closing(Ledger(file, read_only=True)) as ledger, rare_collections():
            return asyncio.run(pipeline(config, ledger))
    run = Run(config.out)
    with run.held("items.parquet"), contextlib.closing(Ledger(file)) as ledger, rare_collections():
        return run_to_end(pipeline(config, ledger), config.out)


async def pipeline(config: Config, ledger: Ledger) -> dict[str, Any]:
    """The whole data flow."""
    started = time.monotonic()
    parts = make_parts(config, ledger)
    try:
        if not config.dry_run:
            await asyncio.gather(*(client.preflight() for client in parts.clients.values()))
        inputs = described(config, parts)
        check_inputs(config.out, inputs)
        if config.dry_run:
            return await estimate(config, parts, ledger)
        if config.base_url and config.hearing:
            await check_hearing(parts.client, ledger)
        (config.out / "result.json").unlink(missing_ok=True)
        parts.table.write_parquet(config.out / "items.parquet")
        checked = await check(config, parts, ledger)
        rendered = await prompt_shown(config, parts)
        total = parts.predicting.total * len(config.conditions)
        asking = time.monotonic()
        with metered() as usage, Progress(total, parts.clients, "answers") as progress:
            await parts.predicting.write(config.conditions, config.out, progress)
        asked = time.monotonic() - asking
    finally:
        for client in parts.clients.values():
            await client.close()
    inputs["prompt"] |= rendered
    result = {**inputs, **figures(config, parts), "batch_check": checked, "usage": used(usage)}
    replace_text(config.out / "result.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    write_report(config.out, config.audio if config.hearing else None)
    if config.submission:
        write_submission(config.submission, config.data, config.out, parts.predicting.benchmark)
    spent = {"calls": parts.stats.calls, "cached": parts.stats.cached, "cost_usd": parts.stats.cost}
    seconds = {"seconds": time.monotonic() - started, "asking_seconds": asked}
    return {**result, "out": str(config.out), "spent": spent, **seconds}


def figures(config: Config, parts: Parts) -> dict[str, Any]:
    """What came of the predictions."""
    lines, kind, found = scan(config.out / "predictions.jsonl"), parts.predicting.benchmark, parts.set
    asked = replace(found, table=parts.table.drop("audio_files"))
    return {
        "cells": cells(lines, parts.table, kind.groups),
        "baselines": file_baselines(asked) if parts.predicting.has_gold else None,
        "unanswered": unanswered(lines),
        "defects": counted(found.defects),
        "official_is": kind.note,
    }


def used(usage: Usage) -> dict[str, Any]:
    """The answers that the result rests on, paid now or before."""
    return {
        "answers": usage.answers, "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens, "cost_usd": usage.cost_usd,
    }  # fmt: skip


def check_inputs(out: Path, inputs: Mapping[str, Any]) -> None:
    """Raises UsageError where `out` holds the result of another evaluation, naming the first difference."""
    file = out / "result.json"
    if not file.exists():
        return
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        before = None
    if not isinstance(before, dict) or "cells" not in before:
        raise UsageError(f"{file}: is no result.json of ours: choose another --out")
    for key, now in inputs.items():
        was = before.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            was = {name: was.get(name) for name in now}
        if key != "data" and was != now:
            raise UsageError(
                f"--out {out}: holds another evaluation: {key} was {canonical(was)[:80]}, now {canonical(now)[:80]}: "
                "choose another --out"
            )


async def check(config: Config, parts: Parts, ledger: Ledger) -> dict[str, Any] | None:
    """The check that a batch of mixed lengths says what its items say alone; None for a server."""
    sender = parts.client.sender
    wanted = CHECKED if config.check_batch is None else config.check_batch
    if not isinstance(sender, LocalSender) or not wanted:
        return None
    requests: list[tuple[str, Request]] = []
    for item in parts.asking.items:
        with contextlib.suppress(Lost):
            context = await parts.asking.context(config.conditions[0], item)
            requests.append((item.id, parts.asking.requests(item, context, range(len(item.choices)))[0]))
        if len(requests) == wanted:
            break
    return await batch_check(parts.client, sender, ledger, requests)


async def prompt_shown(config: Config, parts: Parts) -> dict[str, str | None]:
    """The first item's prompt as a local model reads it, and what its chat template says as the system."""
    sender, shown = parts.client.sender, None
    if not isinstance(sender, LocalSender):
        return {"rendered": None, "system_prompt": None}
    for item in parts.asking.items:
        with contextlib.suppress(Lost):
            context = await parts.asking.context(config.conditions[0], item)
            request = parts.asking.requests(item, context, range(len(item.choices)))[0]
            shown = sender.model.rendered(request.messages, request.sampling)
            break
    return {"rendered": shown, "system_prompt": sender.model.system_prompt()}
