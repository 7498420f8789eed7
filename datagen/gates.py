"""Gates: what must not be had without the audio, each with its limit and its source, in one table.

A gate is one of equivalence: the upper end of the 95 % interval of (accuracy - chance), clustered by clip, is at most
2 points. "Too few rows to tell" is an outcome of its own: no small set is sound because nothing can be shown of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datagen.baselines import MODELS, by_item, guessed
from datagen.chooser import cluster_names
from datagen.statistics import equivalence

if TYPE_CHECKING:
    import polars as pl

__all__ = ["GATES", "LIMIT", "Gate", "gates", "worth"]

LIMIT = 0.02
"""What the upper end of the interval of (accuracy - chance) may reach."""
WRITING = "Haladyna et al. 2002, https://doi.org/10.1207/S15324818AME1503_5"
"""31 guidelines for writing multiple-choice items, from 27 textbooks and 27 studies."""
PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


@dataclass(frozen=True, slots=True)
class Gate:
    """One way to answer without the audio."""

    name: str
    measures: str
    """What is chosen, to follow "always"."""
    source: str
    """Where it is said that it must not pay."""
    limit: float = LIMIT


GATES = (
    *(Gate(name, f"the {name} choice, where there is one", WRITING) for name in PLACES),
    Gate("last", "the last choice", WRITING),
    Gate("longest", "the longest choice, in characters", WRITING),
    Gate("shortest", "the shortest choice, in characters", WRITING),
    Gate("overlap", "the choice that shares most words with the question", WRITING),
    Gate(
        "choices_only",
        "what a linear model says that sees the choices alone",
        "Balepur et al. 2024, https://arxiv.org/abs/2402.12483",
    ),
    Gate(
        "question_and_choices",
        "what a linear model says that sees question and choices",
        "Goyal et al. 2017, https://arxiv.org/abs/1612.00837",
    ),
)
"""Every gate, in order. Positions beyond the widest question of a table are left out."""


def gates(table: pl.DataFrame, items: pl.DataFrame | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """The shape of `gates` in `datagen audit --json`, for a table with `question`, `choices`, `answer`.

    Rows of one `clip_id` are one cluster; without that column, rows of one question. An answer that is no choice tells
    nothing. `value` is accuracy - chance, with `low` and `high`; `outcome` is pass, fail or too_few, and `ok` true,
    false or null. Under 50 items nothing is said
    of the models, and the figures are null. `items`: `worth(table)`, where it is at hand.
    """
    items = worth(table) if items is None else items
    clusters = cluster_names(table).rank("dense").to_numpy()
    widest = int(str(items["size"].max() or 0))
    return [
        _judged(gate, items, clusters, seed)
        for gate in GATES
        if gate.name not in PLACES or PLACES.index(gate.name) < widest
    ]


def worth(table: pl.DataFrame) -> pl.DataFrame:
    """`baselines.by_item`, and what both models are worth in each item; null where they were not asked."""
    return by_item(table).with_columns(**guessed(table, *MODELS))


def _judged(gate: Gate, items: pl.DataFrame, clusters: Any, seed: int) -> dict[str, Any]:
    above = items.select(_worth(gate.name) - _chance(gate.name)).to_series().set(items["gold"].is_null(), None)
    known = above.is_not_null().to_numpy()
    found = equivalence(above.to_numpy()[known], clusters[known], seed=seed, limit=gate.limit)
    told = found.estimate
    value, low, high = (told.value, told.low, told.high) if told.n else (None, None, None)
    return {
        "name": gate.name, "value": value, "limit": gate.limit, "ok": found.ok, "low": low, "high": high,
        "outcome": found.outcome, "n": told.n, "clusters": told.clusters, "measures": gate.measures,
        "source": gate.source,
    }  # fmt: skip


def _worth(name: str) -> pl.Expr:
    import polars as pl

    return (pl.col("gold") == PLACES.index(name)).fill_null(False).cast(pl.Float64) if name in PLACES else pl.col(name)


def _chance(name: str) -> pl.Expr:
    """What is lost by not guessing; where there is no such place, it is guessed."""
    import polars as pl

    if name not in PLACES:
        return pl.col("random")
    return pl.when(pl.col("size") > PLACES.index(name)).then("random").otherwise(0.0)
