"""Predictions → the cells of result.json: `outputs` says what each figure is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from datagen.records import fold
from datagen.statistics import Estimate, bootstrap_difference, bootstrap_mean, share

if TYPE_CHECKING:
    import polars as pl

__all__ = ["cells", "unanswered"]

SEED = 0
"""Of the bootstrap: intervals are a function of the verdicts alone."""


def cells(lines: pl.LazyFrame, items: pl.DataFrame, groups: Mapping[str, str]) -> list[dict[str, Any]]:
    """One cell a condition and order, in their order in `lines` (`outputs.scan`).

    `items`: items.parquet; `groups`: what figures are given by → its column.
    """
    import polars as pl

    rows = lines.select(
        "row", "condition", "order", "shown", "reading", "official", "strict", "judge", "finish",
        answered=pl.col("text").is_not_null(),
        empty=pl.col("text").str.strip_chars() == "",
    ).collect()  # fmt: skip
    has_gold = items["answer"].null_count() < items.height
    texts = pl.Series("question", [fold(question or "") for question in items["question"]], dtype=pl.String)
    names = items.select(texts, gold=pl.col("answer_index").cast(pl.Int64), **groups)
    names = names.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    rows = rows.join(names.select("row", "gold"), on="row", how="left", maintain_order="left")
    found = []
    for cell in rows.partition_by("condition", "order", maintain_order=True):
        condition, order = cell.row(0, named=True)["condition"], cell.row(0, named=True)["order"]
        figures = _figures(cell, names, list(groups)) if has_gold else _none()
        found.append({"condition": condition, "order": order, **_counts(cell), **figures, **_agreement(cell)})
    return found


def unanswered(lines: pl.LazyFrame) -> dict[str, dict[str, list[str]]]:
    """Condition → reason → ids of the items that have no answer in at least one row."""
    import polars as pl

    lost = lines.filter(pl.col("error").is_not_null()).select(
        "condition", "id", reason=pl.col("error").str.split(":").list.first()
    )
    found: dict[str, dict[str, list[str]]] = {}
    for condition, id, reason in lost.unique(maintain_order=True).collect().iter_rows():
        found.setdefault(condition, {}).setdefault(reason, []).append(id)
    return found


def _counts(cell: pl.DataFrame) -> dict[str, Any]:
    answered = cell["answered"]
    return {
        "rows": cell.height,
        "answered": int(answered.sum()),
        "empty": int(cell["empty"].fill_null(False).sum()),
        "cut": int((cell["finish"] == "length").fill_null(False).sum()),
        "not_read": int((answered & cell["reading"].is_null()).sum()),
    }


def _figures(cell: pl.DataFrame, names: pl.DataFrame, groups: Sequence[str]) -> dict[str, Any]:
    import polars as pl

    judged = cell["judge"].null_count() < cell.height
    verdicts = ("official", "strict", *(("judge",) if judged else ()))
    means = (
        cell.group_by("row", maintain_order=True)
        .agg(pl.col(name).fill_null(False).mean() for name in verdicts)
        .join(names, on="row", how="left", maintain_order="left")
    )
    clusters = means["question"].to_list()
    loss = bootstrap_difference(means["official"].to_numpy(), means["strict"].to_numpy(), clusters, seed=SEED)
    return {
        **{name: _by_group(means, name, groups) if name in verdicts else None for name in ("official", "strict")},
        "judge": {**_by_group(means, "judge", groups), "not_judged": _not_judged(cell)} if judged else None,
        "format_loss": {"difference": loss.value, **_interval(loss)},
        "positions": _positions(cell),
    }


def _none() -> dict[str, Any]:
    return {"official": None, "strict": None, "judge": None, "format_loss": None, "positions": None}


def _by_group(means: pl.DataFrame, verdict: str, groups: Sequence[str]) -> dict[str, Any]:
    """G of one verdict: `means` has a row an item, with the share of its rows that are right."""
    found: dict[str, Any] = {"total": _share(means, verdict)}
    for name in groups:
        parts = means.drop_nulls(name).sort(name, "row").partition_by(name, maintain_order=True)
        if parts:
            found[name] = {str(part[name][0]): _share(part, verdict) for part in parts}
    return found


def _share(means: pl.DataFrame, verdict: str) -> dict[str, Any]:
    values = means[verdict].to_numpy()
    clustered = bootstrap_mean(values, means["question"].to_list(), seed=SEED)
    correct = float(values.sum())
    exact: float = round(correct) if abs(correct - round(correct)) < 1e-9 else correct
    return {**share(exact, len(values)), "clustered": {**_interval(clustered), "clusters": clustered.clusters}}


def _interval(found: Estimate) -> dict[str, float | None]:
    """One cluster alone tells nothing of others: no interval."""
    known = asdict(found)
    return {end: known[end] if found.clusters > 1 else None for end in ("low", "high")}


def _not_judged(cell: pl.DataFrame) -> int:
    return int((cell["answered"] & ~cell["empty"].fill_null(False) & cell["judge"].is_null()).sum())


def _positions(cell: pl.DataFrame) -> list[dict[str, Any]]:
    """What became of each place at which a choice was shown."""
    import polars as pl

    long = cell.select("shown", "reading", "strict", "gold").with_row_index("line").explode("shown").with_columns(
        place=pl.int_range(pl.len(), dtype=pl.Int64).over("line"), here=pl.col("shown") == pl.col("gold"),
    )  # fmt: skip
    by_place = long.drop_nulls("shown").group_by("place").agg(
        shown=pl.len(),
        picked=(pl.col("shown") == pl.col("reading")).sum(),
        gold=pl.col("here").sum(),
        right=(pl.col("here") & pl.col("strict")).sum(),
    ).sort("place")  # fmt: skip
    return [
        {"place": place, "shown": shown, "picked": picked, "gold": share(right, gold)}
        for place, shown, picked, gold, right in by_place.iter_rows()
    ]


def _agreement(cell: pl.DataFrame) -> dict[str, Any]:
    """How far the rows of an item say the same; null where every item has one row only."""
    import polars as pl

    sizes = cell.group_by("row").agg(n=pl.len(), right=pl.col("strict").fill_null(False).all())
    several = sizes.filter(pl.col("n") > 1)
    if not several.height:
        return {"consistency": None, "always_right": None}
    pairs = pl.col("len") * (pl.col("len") - 1) / 2
    same = cell.drop_nulls("reading").group_by("row", "reading").len().group_by("row").agg(same=pairs.sum())
    table = several.join(same, on="row", how="left").sort("row")
    share_same = table["same"].fill_null(0) / (table["n"].cast(pl.Float64) * (table["n"] - 1) / 2)
    has_gold = cell["strict"].null_count() < cell.height
    return {"consistency": share_same.mean(), "always_right": several["right"].mean() if has_gold else None}
