"""Which questions people are asked: a sample that says something of the kept ones and of those each filter dropped.

A question's *fate* is `kept`, the filter that dropped it, or `target` (beyond `--target`). Half of a sample is kept
questions; the fates of the others take turns. Within a fate the questions stand in order of domain and skill and are
taken at even distances, from a place drawn by the seed: so each has the same chance, and every domain and skill comes
as often as it does among all, to within one question where few were taken (systematic sampling, Cochran 1977, §8).
A smaller sample of the same seed is part of a larger one, so that a review can be gone on with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from datagen.errors import UsageError
from datagen.run import finished
from datagen.seeds import derive, generator

if TYPE_CHECKING:
    import polars as pl

__all__ = ["KEPT", "TARGET", "drawn", "population", "shown_choices"]

KEPT, TARGET = "kept", "target"


def population(run: Path) -> pl.DataFrame:
    """Every question of a finished run: the columns of questions.parquet less `provenance`, and `fate`.

    Raises UsageError for what is no run, or one that is not done.
    """
    import polars as pl

    folder = finished(run).path
    try:
        dropped = (
            pl.scan_parquet(folder / "verdicts.parquet")
            .filter(~pl.col("keep"))
            .select(id="question_id", dropped_by="filter")
        )
        kept = pl.scan_parquet(sorted((folder / "dataset" / "data").glob("*.parquet"))).select("id", kept=True)
        return (
            pl.scan_parquet(folder / "questions.parquet")
            .drop("provenance")
            .join(dropped.unique("id", keep="first", maintain_order=True), on="id", how="left", maintain_order="left")
            .join(kept, on="id", how="left", maintain_order="left")
            .with_columns(
                fate=pl.when(pl.col("kept")).then(pl.lit(KEPT)).otherwise(pl.coalesce("dropped_by", pl.lit(TARGET)))
            )
            .drop("kept", "dropped_by")
            .collect()
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        why = str(error).split("\n")[0]
        raise UsageError(f"{run}: a table cannot be read: {why}: start the build again to write it anew") from None


def drawn(questions: pl.DataFrame, n: int, seed: int) -> pl.DataFrame:
    """`n` rows of `population` (all of them where there are fewer), in an order that tells nothing of their fates.

    Raises UsageError without questions or for an `n` below 1.
    """
    import polars as pl

    if n < 1:
        raise UsageError(f"--sample {n}: give 1 or more")
    if not questions.height:
        raise UsageError("the run holds no question: see its rejected.parquet for why")
    placed = questions.with_row_index("row").with_columns(
        # Two draws: those chosen lie at even distances in the order that they were chosen from, fate by fate.
        **{name: pl.Series([derive(seed, "review", name, id) for id in questions["id"]]) for name in ("draw", "show")}
    )
    fates = placed.sort("domain", "skill", "draw").group_by("fate").agg("row").sort("fate")
    rows = {
        fate: spread_out(held, generator(seed, "review", fate).random())
        for fate, held in zip(fates["fate"], fates["row"].to_list(), strict=True)
    }
    chosen = list(islice(turns(rows), n))
    return placed[chosen].sort("show").drop("row", "draw", "show")


def turns(rows: dict[str, Iterator[int]]) -> Iterator[int]:
    """Rows of the fates: a kept one before each other, for as long as there are both."""
    others = [rows[fate] for fate in sorted(rows) if fate != KEPT]
    return round_robin([rows.get(KEPT, iter(())), round_robin(others)])


def round_robin(queues: Sequence[Iterator[int]]) -> Iterator[int]:
    """One of each in turn, until all are empty."""
    waiting = list(queues)
    while waiting:
        for queue in tuple(waiting):
            item = next(queue, None)
            if item is None:
                waiting.remove(queue)
            else:
                yield item


def spread_out(rows: Sequence[int], start: float) -> Iterator[int]:
    """All of `rows`, every first part of them at even distances: van der Corput's sequence, moved by `start` in 0..1.

    Moving it by 1 / len(rows) takes the next row each time, so a uniform `start` gives every row the same chance.
    """
    taken, bits = set[int](), max(1, (len(rows) - 1).bit_length())
    for k in range(2**bits):
        corput = int(f"{k:0{bits}b}"[::-1], 2) / 2**bits
        place = int((corput + start) % 1 * len(rows)) % len(rows)
        if place not in taken:
            taken.add(place)
            yield rows[place]
    yield from (row for place, row in enumerate(rows) if place not in taken)


def shown_choices(question_id: str, choices: Sequence[str], seed: int) -> list[str]:
    """The choices in an order drawn by (seed, id): their place in the set would tell which were balanced, so kept."""
    order = list(choices)
    generator(seed, "review", question_id, "choices").shuffle(order)
    return order
