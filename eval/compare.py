"""Two evaluations of the same items, paired: is B better than A, and at what?

    compare([DIR, DIR, …]) -> the object of `datagen compare --json`

`pairs`: every two folders in each condition and order that both have, and, within a folder and order, audio against
each other condition (every two, where audio was not asked). Differences are b − a of the strict reader's verdicts
(`official` holds those of the benchmark's own matcher).

`gains`: what the gain of one folder over another is made of. With d(condition, order) the strict gain:

    gain      official gain in condition audio, order original = format + strict
    format    the gain in official − strict: the same answers, put so that the matcher takes them
    strict    d(audio, original) = position + d(audio, circular)
    position  d(audio, original) − d(audio, circular): over all rotations no place is worth more than another
    length    of that, what is won because the right choice is more often the longest than chance has it: strict gain
              less the gain with items weighed so that it is the longest as often as chance has it
    knowledge d(none): no audio in the prompt
    hearing   d(audio) − d(mismatched): the prompt is the same, only the recording is another one
    hearing_over_none   d(audio) − d(none): here the prompt changes too; knowledge + this = d(audio)

The last three are of order circular where both folders have it, else of the order of `strict` (`orders` says which): a
preference for a place that happens to be right leaves less to hear. One for length does so in any order.

An item that was asked several times counts by its mean. Intervals are bootstraps, p is that of the permutation test,
both clustered by question text: items that share theirs are no independent evidence. McNemar's exact test stands beside
where each item was asked once; `p_holm` is Holm's over all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.eval import BENCHMARKS
from datagen.eval.outputs import EvalDir, opened
from datagen.plugins import resolve
from datagen.records import fold
from datagen.seeds import derive
from datagen.statistics import bootstrap_mean, holm, mcnemar, permutation_test

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    Values = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["Evaluation", "compare", "loaded", "parts_of"]

MATCHERS = ("strict", "official")
LEAST_IN_GROUP = 20
"""Items of a group below which no difference is given."""


@dataclass(frozen=True)
class Evaluation:
    """One folder: for each (condition, order) and matcher the mean verdict of each item, (items,)."""

    name: str
    folder: EvalDir
    verdicts: Mapping[tuple[str, str], Mapping[str, Values]]

    def get(self, condition: str, order: str, matcher: str = "strict") -> Values | None:
        """The verdicts of one cell."""
        cell = self.verdicts.get((condition, order))
        return None if cell is None else cell[matcher]


def compare(folders: Sequence[str | Path], *, seed: int = 0) -> dict[str, Any]:
    """Compares finished evaluations of the same items.

    Raises UsageError for a folder that is not finished or has no answers to score against, for another benchmark file
    (by SHA-256), and for another choice of its items.
    """
    if not folders:
        raise UsageError("compare: no folder is named: give two that `datagen eval --out` has finished")
    evaluations = [loaded(path) for path in folders]
    first = evaluations[0].folder
    for other in evaluations[1:]:
        _same_items(first, other.folder)
    items = first.items()
    clusters = [fold(question or "") for question in items["question"]]
    pairs = [_pair(*pair, clusters, seed) for pair in _pairs(evaluations)]
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = adjusted
    return {
        "benchmark": first.result["benchmark"],
        "sha256": first.result["sha256"],
        "version": first.result.get("version"),
        "items": items.height,
        "clusters": len(set(clusters)),
        "runs": [_described(evaluation) for evaluation in evaluations],
        "baselines": first.result.get("baselines"),
        "pairs": pairs,
        "gains": [
            _gain(a, b, items, clusters, seed) for a, b in combinations(evaluations, 2)
        ],
    }  # fmt: skip


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def loaded(path: str | Path) -> Evaluation:
    """One finished evaluation. Raises UsageError as `compare` does."""
    import polars as pl

    folder = opened(path)
    answers = folder.items()["answer"]
    items = len(answers)
    if answers.null_count() == items:
        raise UsageError(f"{path}: its benchmark file holds no answers to score against: compare files that have them")
    rows = folder.predictions("row", "condition", "order", "strict", "official")
    right = [pl.col(name).fill_null(False).cast(pl.Float64).mean() for name in MATCHERS]
    means = rows.group_by("condition", "order", "row", maintain_order=True).agg(right)
    verdicts: dict[tuple[str, str], dict[str, Values]] = {}
    for (condition, order), cell in means.group_by("condition", "order", maintain_order=True):
        cell = cell.sort("row")
        if cell["row"].to_list() != list(range(items)):
            raise UsageError(f"{path}: {condition}, {order}: {cell.height} of {items} items have a row: evaluate again")
        verdicts[str(condition), str(order)] = {name: cell[name].to_numpy() for name in MATCHERS}
    return Evaluation(str(path), folder, verdicts)


def _same_items(a: EvalDir, b: EvalDir) -> None:
    hashes = a.result["sha256"], b.result["sha256"]
    if hashes[0] != hashes[1]:
        raise UsageError(
            f"{b.path}: is of another benchmark file ({hashes[1][:12]}) than {a.path} ({hashes[0][:12]}): "
            "their numbers are not put beside each other: evaluate both on one file"
        )
    if a.items()["id"].to_list() != b.items()["id"].to_list():
        counts = a.result["items"], b.result["items"]
        raise UsageError(
            f"{b.path}: asked other items of the file than {a.path} ({counts[1]} and {counts[0]}): use one --limit"
        )


def _described(evaluation: Evaluation) -> dict[str, Any]:
    """What a reader needs of one folder beside the comparison."""
    result = evaluation.folder.result
    kept = {name: result.get(name) for name in ("model", "prompt", "sampling", "seed", "official_is")}
    return {"name": evaluation.name, **kept, "cells": result["cells"]}


# ── pairs ────────────────────────────────────────────────────────────────────────────────────────────────────────────

Side = tuple[Evaluation, str, str]
"""(evaluation, condition, order)"""


def _pairs(evaluations: Sequence[Evaluation]) -> Iterator[tuple[Side, Side]]:
    """Each two folders in what both have, then, within a folder and order, audio against each other condition.

    Where audio was not asked, each two conditions: a larger family would only cost Holm's p.
    """
    for a, b in combinations(evaluations, 2):
        for condition, order in a.verdicts:
            if (condition, order) in b.verdicts:
                yield (a, condition, order), (b, condition, order)
    for one in evaluations:
        for (condition, order), (other, same) in combinations(one.verdicts, 2):
            heard = {name for name, its in one.verdicts if its == order}
            if order == same and ("audio" not in heard or "audio" in (condition, other)):
                yield (one, other, order), (one, condition, order)


def _pair(a: Side, b: Side, clusters: Sequence[str], seed: int) -> dict[str, Any]:
    """The shape of DESIGN: strict figures, with those of the official matcher under `official`."""
    found: dict[str, Any] = {
        "a": {"run": a[0].name, "condition": a[1], "order": a[2]},
        "b": {"run": b[0].name, "condition": b[1], "order": b[2]},
    }
    for matcher in MATCHERS:
        values = a[0].verdicts[a[1:]][matcher], b[0].verdicts[b[1:]][matcher]
        figures = _difference(*values, clusters, derive(seed, "compare", a[0].name, *a[1:], b[0].name, *b[1:]))
        found |= figures if matcher == "strict" else {"official": figures}
    return found


def _difference(a: Values, b: Values, clusters: Sequence[str], seed: int) -> dict[str, Any]:
    estimate = bootstrap_mean(b - a, clusters, seed=seed)
    once = bool(((a % 1) == 0).all() and ((b % 1) == 0).all())
    alone = int((a > b).sum()), int((b > a).sum())
    return {
        "n": len(a),
        "accuracy_a": float(a.mean()),
        "accuracy_b": float(b.mean()),
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p": permutation_test(b, a, clusters, seed=seed),
        "only_a": alone[0],
        "only_b": alone[1],
        "mcnemar_p": mcnemar(*alone) if once else None,
    }


# ── gains ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def parts_of(a: Evaluation, b: Evaluation, items: pl.DataFrame) -> tuple[dict[str, Values | None], dict[str, str]]:
    """Part → what b gains over a in it, (items,), None where a cell that it needs is missing; and part → its order.

    Parts are those of the module's docstring; `items`: items.parquet of either.
    """

    def d(condition: str, order: str, matcher: str = "strict") -> Values | None:
        before, after = a.get(condition, order, matcher), b.get(condition, order, matcher)
        return None if before is None or after is None else after - before

    shared = [order for condition, order in a.verdicts if condition == "audio" and d(condition, order) is not None]
    plain = "original" if "original" in shared else next(iter(shared), "original")
    neutral = {
        condition: "circular" if d("audio", "circular") is not None and d(condition, "circular") is not None else plain
        for condition in ("none", "mismatched")
    }
    strict, official = d("audio", plain), d("audio", plain, "official")
    parts: dict[str, Values | None] = {
        "gain": official,
        "format": _less(official, strict),
        "strict": strict,
        "position": _less(strict, d("audio", "circular")) if plain == "original" else None,
        "length": None if strict is None else strict * (1 - _length_weights(items)),
        "knowledge": d("none", neutral["none"]),
        "hearing": _less(d("audio", neutral["mismatched"]), d("mismatched", neutral["mismatched"])),
        "hearing_over_none": _less(d("audio", neutral["none"]), d("none", neutral["none"])),
    }
    orders = {
        "knowledge": neutral["none"],
        "hearing_over_none": neutral["none"],
        "hearing": neutral["mismatched"],
    }
    return parts, {part: orders.get(part, plain) for part in parts}


def _gain(a: Evaluation, b: Evaluation, items: pl.DataFrame, clusters: Sequence[str], seed: int) -> dict[str, Any]:
    """The parts of what b gains over a with their intervals."""
    import numpy as np

    parts, orders = parts_of(a, b, items)
    figures: dict[str, Any] = {}
    for name, values in parts.items():
        figures[name] = None
        if values is not None:
            drawn = derive(seed, "gain", name, a.name, b.name)
            p = permutation_test(values, np.zeros_like(values), clusters, seed=drawn)
            figures[name] = {**asdict(bootstrap_mean(values, clusters, seed=drawn)), "p": p}
    strict = parts["strict"]
    return {
        "a": a.name,
        "b": b.name,
        "order": orders["strict"],
        "orders": {part: orders[part] for part in ("knowledge", "hearing_over_none", "hearing")},
        "parts": figures,
        "groups": {} if strict is None else _by_group(strict, items, clusters, a.folder.result["benchmark"], seed),
    }


def _less(first: Values | None, second: Values | None) -> Values | None:
    return None if first is None or second is None else first - second


def _length_weights(items: pl.DataFrame) -> Values:
    """A weight for each item, so that the gold is the longest choice as often as chance has it.

    An item is split by how far its gold is the longest (1, or a share where it ties); the parts are weighed by what
    chance gives (mean of 1 / number of choices) over what the file has (post-stratification). All 1 where the file has
    nothing of one kind.
    """
    import numpy as np

    longest, chance = [], []
    for choices, gold in items.select("choices", "answer_index").iter_rows():
        lengths = [len(choice or "") for choice in choices or ()]
        top = [place for place, length in enumerate(lengths) if length == max(lengths)]
        longest.append((gold in top) / len(top) if top else 0.0)
        chance.append(1 / len(lengths) if lengths else 0.0)
    share, expected = np.array(longest), float(np.mean(chance))
    seen = float(share.mean())
    if not 0 < seen < 1:
        return np.ones(len(share))
    return np.asarray(share * expected / seen + (1 - share) * (1 - expected) / (1 - seen))


def _by_group(
    gain: Values, items: pl.DataFrame, clusters: Sequence[str], benchmark: str, seed: int
) -> dict[str, dict[str, Any]]:
    """The strict gain in each group of the benchmark that has LEAST_IN_GROUP items and more than one cluster."""
    import numpy as np

    found: dict[str, dict[str, Any]] = {}
    groups: Mapping[str, str] = resolve("benchmark", benchmark, BENCHMARKS, "official")().groups
    for name, column in groups.items():
        values = np.array(items[column].to_list(), dtype=object)
        for value in sorted({value for value in values if value is not None}):
            rows = np.flatnonzero(values == value)
            if len(rows) >= LEAST_IN_GROUP:
                drawn = derive(seed, "group", name, value)
                estimate = bootstrap_mean(gain[rows], [clusters[row] for row in rows.tolist()], seed=drawn)
                found.setdefault(name, {})[value] = asdict(estimate)
    return found
