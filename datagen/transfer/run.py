"""`datagen transfer STUDY.toml --out DIR`: arms × chains × seeds × benchmarks. The whole flow, from top to bottom.

    DIR/  study.toml    as it was given
          sets/CHAIN/   what a chain lets through, where anything was taken away (`sets`)
          search/ARM/CHAIN/RATE/    tries of a learning rate, `datagen train`
          train/ARM/CHAIN/SEED/     `datagen train`
          eval/BENCHMARK/ARM/CHAIN/SEED/    `datagen eval`; of the arm `base` eval/BENCHMARK/base/
          cells/        what was run, with which outcome (`cells`)
          study.json    all figures; report.html: the same, to look at

A cell that is done is never run again, one that failed is shown as failed and tried again by the next call, and the
rest goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.errors import UsageError
from datagen.eval.scoring import benchmark_items
from datagen.run import Run, replace_text
from datagen.train.audio import Recordings
from datagen.train.data import HEARING, read_set
from datagen.transfer.cells import Cell, Cells
from datagen.transfer.figures import figures
from datagen.transfer.page import write_page
from datagen.transfer.sets import Made, make_set
from datagen.transfer.study import BASE, Arm, Chain, Study, flags, read_study

__all__ = ["transfer"]


def transfer(file: Path, out: Path, *, dry_run: bool = False) -> dict[str, Any]:
    """Runs, or goes on with, a study; returns study.json. `dry_run`: the cells with their commands, none of them run.

    Raises UsageError (exit 2) for a study that cannot be, Interrupted (exit 130) when it is to be gone on with.
    """
    study = read_study(file)
    cells = Cells(out, say, dry=dry_run)
    with Run(out).held("study.toml"):
        hashes = {name: benchmark_items(b["data"], b["benchmark"])[1].sha256 for name, b in study.benchmarks.items()}
        sets = {name: make_set(study, name, chain, out / "sets") for name, chain in chains(study).items()}
        held_out = read_set(study.held_out).sha256 if study.held_out else ""
        for arm, chain in study.trained():
            check_audio(study, arm, sets[set_name(arm, chain)])
        if not dry_run:
            replace_text(out / "study.toml", file.read_text(encoding="utf-8"))
        for name in study.benchmarks:
            evaluated(study, cells, name, hashes[name], BASE, study.model, {"revision": study.model_revision})
        rates: dict[str, dict[str, Any]] = {}
        for arm, chain in study.trained():
            made = sets[set_name(arm, chain)]
            rates[f"{arm.name}/{chain.name}"] = rate = searched(study, cells, arm, chain, made, held_out)
            for seed in study.seeds:
                place = f"{arm.name}/{chain.name}/{seed}"
                if rate["chosen"] is False:
                    cells.skip(f"train/{place}", "no try of a learning rate ended")
                    trained = False
                else:
                    trained = tuned(study, cells, f"train/{place}", arm, made, held_out, seed, rate["chosen"], None)
                for name in study.benchmarks:
                    if not trained:
                        cells.skip(f"eval/{name}/{place}", f"train/{place} is not there")
                        continue
                    parameters = json.loads((out / "train" / place / "run.json").read_text())["parameters_sha256"]
                    evaluated(study, cells, name, hashes[name], place, str(out / "train" / place / "model"),
                              {"parameters": parameters})  # fmt: skip
        if dry_run:
            return {"out": str(out), "cells": cells.states}
        found = {
            "study": str(file), "model": study.model, "seeds": list(study.seeds), "questions": study.questions,
            "arms": {arm.name: {"control": arm.control or None, "train": arm.train} for arm in study.arms},
            "sets": {name: {"data": made.data, "sha256": made.sha256, "questions": made.questions}
                     for name, made in sets.items()},
            "rates": rates, "benchmarks": figures(study, cells, out), "cells": cells.states,
        }  # fmt: skip
        replace_text(out / "study.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        write_page(out, found)
    return {"out": str(out), **found}


def chains(study: Study) -> dict[str, Chain]:
    """Name of a set → what it is made of."""
    return {set_name(arm, chain): chain for arm, chain in study.trained()}


def check_audio(study: Study, arm: Arm, made: Made) -> None:
    """Raises UsageError for an arm that is to hear where nothing says where the clips of its set lie."""
    if arm.train.get("modality") not in HEARING:
        return
    try:
        Recordings(made.data, Path(arm.train["audio"]) if arm.train.get("audio") else None)
    except UsageError as error:
        raise UsageError(f"{study.file}: arms.{arm.name}: {error}") from None


def set_name(arm: Arm, chain: Chain) -> str:
    """Arms share the set of a chain; the own questions of an arm have its name."""
    return arm.name if arm.data else chain.name


def searched(study: Study, cells: Cells, arm: Arm, chain: Chain, made: Made, held_out: str) -> dict[str, Any]:
    """The learning rate that is right most often on the held-out set, of equal ones the lower, and all tries.

    `chosen`: None without a search, where [train] or the default says; False where no try ended.
    """
    rates = study.search.learning_rates
    tries: list[dict[str, Any]] = []
    if len(rates) < 2:
        return {"chosen": rates[0] if rates else None, "tries": []}
    for rate in sorted(rates):
        name = f"search/{arm.name}/{chain.name}/{rate:g}"
        if tuned(study, cells, name, arm, made, held_out, study.search.seed, rate, study.search.steps):
            tries.append({"rate": rate, "held_out": held_out_share(cells.out / name)})
    best = max((t["held_out"]["accuracy"] for t in tries), default=None)
    chosen = next((t["rate"] for t in tries if t["held_out"]["accuracy"] == best), False)
    return {"chosen": (rates[0] if cells.dry else chosen), "tries": tries}


def held_out_share(run: Path) -> dict[str, Any]:
    """What a run had right at last: with its own audio, where it has any."""
    found: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))["held_out_last"]
    return dict(found.get("audio", found))


def tuned(
    study: Study, cells: Cells, name: str, arm: Arm, made: Made, held_out: str, seed: int, rate: float | None,
    steps: int | None,
) -> bool:  # fmt: skip
    """Whether the policy of one arm, set and seed is there."""
    given: dict[str, Any] = {
        **arm.train, "model_revision": study.model_revision, "seed": seed,
        **({} if rate is None else {"learning_rate": f"{rate:g}"}), **({} if steps is None else {"steps": steps}),
    }  # fmt: skip
    if study.held_out:
        given["held_out"] = study.held_out
    place = {"data": made.data, "model": study.model, "out": cells.out / name}
    key = {**given, "data": made.sha256, "held_out": held_out, "model": study.model}
    words = ["train", *flags(place), *flags(given), "--resume"]
    return cells.run(Cell(name, words, key), done=cells.out / name / "model")


def evaluated(
    study: Study, cells: Cells, benchmark: str, sha256: str, place: str, model: str, identity: Mapping[str, str]
) -> bool:
    """Whether the answers of one policy to a benchmark are there."""
    name, given = f"eval/{benchmark}/{place}", study.benchmarks[benchmark]
    words = ["eval", *flags({**given, "model": model, "out": cells.out / name})]
    if place == BASE and study.model_revision:
        words += flags({"model_revision": study.model_revision})
    key = {**given, "data": sha256, "model": study.model if place == BASE else "", **identity}
    return cells.run(Cell(name, words, key), done=cells.out / name / "result.json")


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
