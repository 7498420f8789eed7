"""What came of a study: accuracies, gains over the untrained policy by part, and contrasts with the controls.

    arms        of each arm and chain: the strict and official accuracy in each condition and order, the mean over the
                seeds that are done; `gains`: the parts of `datagen compare` over `base`
    contrasts   arm less base, and arm less each control of its chain (or with questions of its own), in the headline
                cell, the benchmark's first condition and order, and in hearing; seeds that both have are paired

Intervals and p are those of `statistics.mean_over_seeds`: seeds and question texts are drawn, so that one lucky seed is
no finding. `p_holm` is Holm's over the contrasts of a benchmark.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.eval.compare import Evaluation, loaded, parts_of
from datagen.records import fold
from datagen.seeds import derive
from datagen.statistics import holm, mean_over_seeds, wilson
from datagen.transfer.cells import Cells
from datagen.transfer.study import BASE, FOREIGN, Arm, Study

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    Values = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["figures"]


@dataclass(frozen=True)
class Trained:
    """One arm and chain on one benchmark."""

    arm: str
    chain: str
    control: str
    evaluations: Mapping[int, Evaluation]
    """By seed, those that are done."""


@dataclass(frozen=True)
class Asked:
    """A benchmark whose answers of `base` are there."""

    base: Evaluation
    items: pl.DataFrame
    clusters: Sequence[str]
    headline: tuple[str, str]

    def estimate(self, values: Sequence[Values], *name: str) -> dict[str, Any]:
        """Of (items,) a seed."""
        found, p = mean_over_seeds(values, self.clusters, seed=derive(0, "transfer", *name))
        return {**asdict(found), "seeds": len(values), "p": p}


def figures(study: Study, cells: Cells, out: Path) -> dict[str, dict[str, Any]]:
    """Benchmark → its figures, as study.json has them; `base` null where it could not be asked."""
    return {name: _benchmark(study, cells, name, out / "eval" / name) for name in study.benchmarks}


def _benchmark(study: Study, cells: Cells, name: str, folder: Path) -> dict[str, Any]:
    if cells.states[f"eval/{name}/{BASE}"]["status"] != "done":
        return {"base": None, "arms": [], "contrasts": []}
    base = loaded(folder / BASE)
    items = base.folder.items()
    clusters = [fold(question or "") for question in items["question"]]
    asked = Asked(base, items, clusters, next(iter(base.verdicts)))
    trained = [_trained(study, cells, arm, chain.name, name, folder) for arm, chain in study.trained()]
    contrasts = [row for pair in _pairs(trained) for row in _contrasts(asked, *pair)]
    for row, adjusted in zip(contrasts, holm([row["p"] for row in contrasts]), strict=True):
        row["p_holm"] = adjusted
    result = base.folder.result
    return {
        **{key: result[key] for key in ("benchmark", "version", "sha256", "items", "baselines")},
        "clusters": len(set(clusters)), "headline": list(asked.headline),
        "base": _accuracies(asked, {0: base}, BASE),
        "arms": [_arm(asked, one) for one in trained], "contrasts": contrasts,
    }  # fmt: skip


def _trained(study: Study, cells: Cells, arm: Arm, chain: str, benchmark: str, folder: Path) -> Trained:
    done = {}
    for seed in study.seeds:
        place = f"{arm.name}/{chain}/{seed}"
        if cells.states[f"eval/{benchmark}/{place}"]["status"] == "done":
            done[seed] = loaded(folder / place)
    return Trained(arm.name, chain, arm.control, done)


def _arm(asked: Asked, one: Trained) -> dict[str, Any]:
    found: dict[str, Any] = {"arm": one.arm, "chain": one.chain, "control": one.control or None,
                             "seeds": list(one.evaluations), "accuracy": [], "gains": {}, "orders": {}}  # fmt: skip
    if not one.evaluations:
        return found
    parts = [parts_of(asked.base, evaluation, asked.items) for evaluation in one.evaluations.values()]
    gains = {}
    for part in parts[0][0]:
        values = [by_part[part] for by_part, _ in parts]
        known = [value for value in values if value is not None]
        gains[part] = asked.estimate(known, one.arm, one.chain, part) if len(known) == len(values) else None
    accuracy = _accuracies(asked, one.evaluations, one.arm, one.chain)
    return {**found, "accuracy": accuracy, "gains": gains, "orders": parts[0][1]}


def _accuracies(asked: Asked, evaluations: Mapping[int, Evaluation], *name: str) -> list[dict[str, Any]]:
    """A row a condition and order, of which all seeds have the same."""
    rows = []
    for condition, order in asked.base.verdicts:
        row: dict[str, Any] = {"condition": condition, "order": order}
        for matcher in ("strict", "official"):
            values = [_verdicts(one, condition, order, matcher) for one in evaluations.values()]
            told = asked.estimate(values, *name, condition, order, matcher)
            told.pop("p")
            told["low"], told["high"] = max(0.0, told["low"]), min(1.0, told["high"])  # seeds were widened
            if told["low"] == told["high"]:  # all right or all wrong: no draw differs, and others still could
                told["low"], told["high"] = wilson(told["value"] * told["clusters"], told["clusters"])
            by_seed = [float(value.mean()) for value in values]
            row[matcher] = {**told, "accuracy": told.pop("value"), "by_seed": by_seed}
        rows.append(row)
    return rows


def _verdicts(one: Evaluation, condition: str, order: str, matcher: str = "strict") -> Values:
    found = one.get(condition, order, matcher)
    if found is None:
        raise UsageError(f"{one.name}: has no answers under {condition}, {order}: take the folder away")
    return found


def _pairs(trained: Sequence[Trained]) -> Iterator[tuple[Trained, Trained | None]]:
    """(arm, base) of all, then (arm, control) of those that are no control."""
    there = [one for one in trained if one.evaluations]
    yield from ((one, None) for one in there)
    for one in there:
        for other in there:
            fits = other.chain == one.chain or other.control == FOREIGN
            if not one.control and other.control and fits:
                yield one, other


def _contrasts(asked: Asked, one: Trained, other: Trained | None) -> Iterator[dict[str, Any]]:
    seeds = [seed for seed in one.evaluations if other is None or seed in other.evaluations]
    names: dict[str, Any] = {"arm": one.arm, "chain": one.chain, "against": other.arm if other else BASE,
             "against_chain": other.chain if other else None}  # fmt: skip
    if not seeds:
        return
    befores = [other.evaluations[seed] if other else asked.base for seed in seeds]
    pairs = list(zip(befores, [one.evaluations[seed] for seed in seeds], strict=True))
    headline = [_verdicts(b, *asked.headline) - _verdicts(a, *asked.headline) for a, b in pairs]
    seen = (names["arm"], names["chain"], str(names["against"]))
    yield {**names, "what": ", ".join(asked.headline), **asked.estimate(headline, *seen, "headline")}
    hearing = [parts_of(a, b, asked.items)[0]["hearing"] for a, b in pairs]
    known = [values for values in hearing if values is not None]
    if len(known) == len(hearing):
        yield {**names, "what": "hearing", **asked.estimate(known, *seen, "hearing")}
