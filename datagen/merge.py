"""`datagen merge`: the shards of one build → one run, with the bytes that one machine would have written.

A shard (`datagen build --shard i/n`) stops before the stage that looks at all questions. The merge checks that the
shards are those of one build, all there, each once and done; unions their ledgers; joins their tables in the order of
the source; and runs that stage once. Killed at any instant and given again, it begins again and ends with the same.
"""

from __future__ import annotations

import contextlib
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datagen.config import Config, restored
from datagen.errors import UsageError
from datagen.finishing import Spent, finish
from datagen.judging import judge
from datagen.llm import Ledger, Usage
from datagen.parts import benchmarks
from datagen.plugins import Context
from datagen.prompts import Prompts
from datagen.records import canonical, schema
from datagen.rows import some
from datagen.run import TABLES, Run, Spool, opened

__all__ = ["Shard", "gathered", "join", "merge"]


@dataclass(frozen=True)
class Shard:
    """What a shard left behind."""

    path: Path
    state: Mapping[str, Any]
    """Of its run.json."""

    @property
    def name(self) -> str:
        """`i/n`, or '' of a run that is no shard."""
        name = str(self.state["fingerprints"].get("inputs", {}).get("shard", ""))
        return name if re.fullmatch(r"\d+/\d+", name) else ""

    @property
    def ledger(self) -> Path:
        """Its answers."""
        return Path(self.state["config"].get("ledger") or self.path / "ledger.sqlite")


def merge(runs: Sequence[Path], out: Path) -> dict[str, Any]:
    """Joins the shards `runs`, given in any order, to the run `out`; returns its counts, the shape of `build --json`.

    `calls` and `cost_usd` are those of the shards. Raises UsageError, with nothing written, when something is wrong
    with a shard, or `out` holds anything but a merge of the same shards that was broken off.
    """
    started = time.monotonic()
    shards = gathered([Path(run) for run in runs])
    run = Run(Path(out))
    with run.held():
        begin(run, shards)
        usage = Usage()
        with contextlib.closing(Ledger(run.path / "ledger.sqlite", run.state["id"])) as ledger, Spool(run) as spool:
            join(shards, ledger, spool, usage)
            total = ledger.totals(run=ledger.run)
        spool.close_segment()
        config = replace(restored(shards[0].state["config"]), out=run.path)
        judged = judge(config, context_of(config, run.state["about"]["roles"]), spool)
        return finish(config, run, spool, judged, Spent(total.answers, total.cost, usage, started))


def join(shards: Sequence[Shard], ledger: Ledger, spool: Spool, usage: Usage) -> None:
    """Adds the answers of the shards to `ledger`, their rows to `spool` and what the answers cost to `usage`."""
    ids = [shard.state["id"] for shard in shards]
    for file in dict.fromkeys(shard.ledger for shard in shards):
        ledger.absorb(file, ids)
    for shard in shards:
        usage.add(Usage(**shard.state["usage"]))
    for record, name in TABLES.items():
        spool.extend(record, [shard.path / f"{name}.parquet" for shard in shards])


def begin(run: Run, shards: Sequence[Shard]) -> None:
    """Writes the first run.json of the merged run. Raises UsageError where there is another run already."""
    ids = [shard.state["id"] for shard in shards]
    earlier = run.earlier()
    if earlier and (earlier.get("status") == "done" or earlier.get("merged") != ids):
        raise UsageError(f"--out {run.path}: holds a run already: choose another folder, or take that one away")
    first = shards[0].state
    inputs = {key: value for key, value in first["fingerprints"]["inputs"].items() if key != "shard"}
    run.state = {"id": (earlier or {}).get("id") or uuid.uuid4().hex}
    run.save(
        status="merging", config=first["config"], fingerprints={**first["fingerprints"], "inputs": inputs},
        about=first["about"], merged=ids, stopped=next((s.state["stopped"] for s in shards if s.state["stopped"]), ""),
    )  # fmt: skip


def context_of(config: Config, roles: Sequence[str]) -> Context:
    """What the filters of whole tables are made from: no client, as no model is asked any more."""
    return Context(
        seed=config.seed, prompts=Prompts(config.prompts), language=config.language, against=benchmarks(config),
        roles=frozenset(roles),
    )  # fmt: skip


# ── the shards ───────────────────────────────────────────────────────────────────────────────────────────────────────


def gathered(runs: Sequence[Path]) -> list[Shard]:
    """The shards in order. Raises UsageError unless they are 0 to n−1 of one build, each once and done."""
    found: dict[int, Shard] = {}
    number, first = 0, None
    for path in runs:
        shard = Shard(path, opened(path).earlier() or {})
        if not shard.name:
            raise UsageError(f"{path}: is no shard: give the folders that `datagen build --shard i/n` wrote")
        index, of = map(int, shard.name.split("/"))
        first, number = first or shard, number or of
        if of != number:
            raise UsageError(f"{path}: shard {shard.name}, but {first.path} is {first.name}: give those of one build")
        if index in found:
            raise UsageError(f"{path}: shard {shard.name} once more, after {found[index].path}: give each shard once")
        if shard.state.get("status") != "shard":
            raise UsageError(f"{path}: shard {shard.name} is not done: give the same `datagen build` again, then merge")
        check_state(shard)
        check_files(shard)
        for key, (one, other) in differences(first.state, shard.state):
            raise UsageError(f"{path}: not of the build of {first.path}: {key} was {one} there, here {other}")
        found[index] = shard
    missing = [f"{index}/{number}" for index in range(number) if index not in found]
    if missing:
        raise UsageError(f"shard {some(missing)} is missing: build it, and give its folder too")
    return [found[index] for index in range(number)]


def check_state(shard: Shard) -> None:
    """Raises UsageError for a run.json that lacks what a merge takes from it, as one that was edited may."""
    state = shard.state
    try:
        restored(state["config"]), Usage(**state["usage"]), list(state["about"]["roles"])
        dict(state["fingerprints"]["derivation"]), str(state["id"]), str(state["stopped"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        file = shard.path / "run.json"
        raise UsageError(
            f"{file}: not as `datagen build` wrote it ({error!r}): copy shard {shard.name} again"
        ) from None


def check_files(shard: Shard) -> None:
    """Raises UsageError for a ledger or a table that was left behind, or arrived in part."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not shard.ledger.is_file() or not shard.ledger.stat().st_size:
        raise UsageError(f"{shard.ledger}: not there, or empty: bring the ledger of shard {shard.name} along with it")
    try:
        Ledger(shard.ledger).close()
    except UsageError as error:
        why = str(error).rpartition(": ")[0]  # less the cure, a flag that a merge does not have
        raise UsageError(f"{why}: see to it, or copy shard {shard.name} again") from None
    for record, name in TABLES.items():
        file = shard.path / f"{name}.parquet"
        try:
            whole = pq.read_schema(file).equals(schema(record))
        except (OSError, pa.ArrowInvalid):
            whole = False
        if not whole:
            raise UsageError(f"{file}: not there, or no whole table of a shard: copy shard {shard.name} again")


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Key and both values, where the fingerprints of two shards differ."""
    for kind in ("inputs", "derivation"):
        mine, theirs = one["fingerprints"][kind], other["fingerprints"][kind]
        for key in [*mine, *(key for key in theirs if key not in mine)]:
            if key != "shard" and mine.get(key) != theirs.get(key):
                yield key, (canonical(mine.get(key))[:80], canonical(theirs.get(key))[:80])
