"""What a build leaves behind: tables, the dataset with its card, the report, and what run.json says of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.baselines import baselines
from datagen.config import Config, filter_factory, public
from datagen.gates import gates, worth
from datagen.judging import Judged
from datagen.llm import Client, Usage
from datagen.llm.request import public_name
from datagen.prompts import Prompts
from datagen.questions.repair import kinds
from datagen.records import LEFT_OUT, MEASURES, Caption, Clip, Failure, Question, Verdict, canonical
from datagen.run import TABLES, Run, Spool
from datagen.statistics import clustered_mean

if TYPE_CHECKING:
    import polars as pl

    from datagen.sources import Source

__all__ = ["Spent", "about", "done_before", "finish", "leave_shard", "load_ahead"]

SHOWN = 500
"""Characters of an example of what failed: errors quote what models said, which may be a book."""


def about(
    config: Config, source: Source, clients: Mapping[str, Client], fingerprints: Mapping[str, Any]
) -> dict[str, Any]:
    """What run.json says of the parts, and the card after it: no table is needed, nor a part to read it later."""
    models = [
        {"role": role, "model": public_name(client.endpoint.model), "revision": client.endpoint.revision}
        for role, client in sorted(clients.items())
    ]
    return {
        "roles": sorted(clients),
        "models": models + local_models(config, fingerprints["inputs"]["captioner"], clients),
        "prompts": Prompts(config.prompts).hashes() if clients else {},
        "origin": source.origin,
        "reattach": source.reattach,
    }


def local_models(config: Config, identities: Sequence[str], clients: Mapping[str, Client]) -> list[dict[str, str]]:
    """The models that captioners run by themselves: the name without its folder, and the hash of the content."""
    known = dict(item.partition("=")[::2] for item in identities)
    return [
        {"role": f"captioner {name}", "model": Path(model).name, "revision": known[name]}
        if known[name] != model
        else {"role": f"captioner {name}", "model": model, "revision": ""}
        for name, model in config.captioners.items()
        if model and name not in clients
    ]


@dataclass(frozen=True)
class Spent:
    """What the answers took."""

    calls: int
    cost_usd: float
    """What this call paid, or the calls whose runs it brought together."""
    usage: Usage
    """Of all answers used, paid now or before."""
    started: float
    """`time.monotonic()` at the beginning."""


def load_ahead() -> None:
    """Loads what follows the clips: a fifth of a second that passes while models answer, or else after them."""
    import polars  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from datagen.dataset import template

    for page in ("card.md", "report.html"):
        template(page)


def finish(config: Config, run: Run, spool: Spool, judged: Judged, spent: Spent) -> dict[str, Any]:
    """Writes the tables, the dataset with its card and the report; run.json says `done` last of all."""
    import polars as pl
    import pyarrow as pa

    from datagen.dataset import write_dataset
    from datagen.report import write_report

    failures = spool.read(Failure)
    failed = failures.filter(~pl.col("reason").is_in(LEFT_OUT))
    for record in (Clip, Caption, Question):
        spool.keep(record)
    run.write(Verdict, judged.verdicts.tables())
    run.write(Failure, [failures, judged.dropped])
    judged.verdicts.clear()  # written; what follows needs the memory
    judged.dropped = failures.clear()
    pa.default_memory_pool().release_unused()  # else the system does not get it back
    card = describe(config, run, judged, spent.usage)
    write_dataset(judged.kept, run.path / "dataset", card)
    rejected = {step["filter"]: step["reasons"] for step in judged.funnel if step["reasons"]}
    counts = count(run, failed, spent, judged.kept.height, rejected)
    judged.kept = judged.kept.clear()
    run.save(**card, config=public(config), counts=counts, spent_usd=counts["cost_usd"], seconds=counts["seconds"])
    write_report(run.path)
    spool.discard()
    run.save(status="done")
    return counts


def leave_shard(config: Config, run: Run, spool: Spool, spent: Spent) -> dict[str, Any]:
    """Writes the tables as the clips left them; run.json says `shard` last of all, which `datagen merge` asks for."""
    import polars as pl

    failed = spool.read(Failure).filter(~pl.col("reason").is_in(LEFT_OUT))
    for record in TABLES:
        spool.keep(record)
    counts = count(run, failed, spent, None, {}) | {"shard": config.shard}
    usage = {name: value for name, value in asdict(spent.usage).items() if name != "keys"}
    run.save(usage=usage, counts=counts, seconds=counts["seconds"])
    spool.discard()
    run.save(status="shard")
    return counts


def done_before(config: Config, run: Run, fingerprints: Mapping[str, Any]) -> dict[str, Any] | None:
    """The counts of a shard that was built to its end already, and with which there is nothing more to try."""
    state = run.earlier() or {}
    if state.get("status") != "shard" or canonical(state["fingerprints"]) != canonical(fingerprints):
        return None
    again = config.retry_failed or state["stopped"] or set(state["counts"]["failed"]) - {"audio", "source"}
    return None if again else {**state["counts"], "calls": 0, "cost_usd": 0.0}


def count(
    run: Run, failures: pl.DataFrame, spent: Spent, kept: int | None, rejected: Mapping[str, dict[str, int]]
) -> dict[str, Any]:
    """The shape of `build --json`; of a shard, what is kept is not known yet."""
    told = failures.select("clip_id", "reason", "error").iter_rows()
    return {
        "out": str(run.path),
        "clips": run.rows(Clip),
        "captions": run.rows(Caption),
        "questions": run.rows(Question),
        "kept": kept,
        "rejected": dict(rejected),
        "failed": dict(Counter(failures["stage"].to_list())),
        "calls": spent.calls,
        "cost_usd": round(spent.cost_usd, 6),
        "seconds": round(time.monotonic() - spent.started, 2),
        "examples": [f"{clip}: {reason}: {error}"[:SHOWN] for clip, reason, error in islice(told, 10)],
    }


def describe(config: Config, run: Run, judged: Judged, usage: Usage) -> dict[str, Any]:
    """What the card says of the run: nothing of the machine, the hour, or what was paid only now."""
    from importlib.metadata import version

    items, parts = worth(judged.kept), run.state["about"]
    return {
        "version": version("datagen-audioqa"),
        "seed": config.seed,
        "captioners": list(config.captioners),
        "writers": list(config.writers),
        "filters": [f"{name}={public_name(value)}" if value else name for name, value in config.chain.items()],
        "language": config.language,
        "funnel": judged.funnel,
        "models": parts["models"],
        "prompts": parts["prompts"],
        "licenses": licenses(run),
        "baselines": baselines(judged.kept, items),
        "gates": gates(judged.kept, items),
        "measures": measures(config, judged.kept),
        "repaired": repaired(judged.kept) if config.repair else {},
        "sources": {config.source: {"origin": parts["origin"], "reattach": parts["reattach"], "clips": run.rows(Clip)}},
        "list_price_usd": usage.cost_usd,
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


def licenses(run: Run) -> dict[str, int]:
    """Licence → clips, in order of licence."""
    import polars as pl

    table = pl.scan_parquet(run.path / "clips.parquet").group_by("license").len().sort("license")
    return dict(table.collect().iter_rows())
