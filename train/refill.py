"""Refill (dynamic sampling of DAPO, arXiv 2503.14476, section 3.2): groups that teach nothing give way to others.

    groups of a step ─▶ those that are all right or all wrong ─▶ replaced by groups of further places, up to K rounds

The places of a run are one stream (`data.Deck`): a refill takes the next ones, and the next step begins behind them, so
no question comes twice in an epoch. What has to be kept is how far the stream is ahead of the steps; it is written into
each checkpoint. Nothing that was sampled is kept for a later step, whose policy is another one. What is still without
signal after K rounds stays, and teaches nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["further_of", "groups_of", "keep_further", "replaced", "unlogged", "without_signal"]

FILE = "places.json"


def without_signal(rows: Sequence[Mapping[str, Any]], size: int) -> list[int]:
    """Where the groups of `size` rows begin whose answers are all right or all wrong. A row has `right`."""
    return [start for start in groups_of(rows, size) if len({row["right"] for row in rows[start : start + size]}) == 1]


def groups_of(rows: Sequence[Any], size: int) -> range:
    """Where each group begins."""
    return range(0, len(rows), size)


def replaced(
    held: Sequence[MutableSequence[Any]],
    other: Sequence[Sequence[Any]],
    into: Sequence[int],
    of: Sequence[int],
    size: int,
) -> int:
    """Puts the groups of `other` that begin at `of` where those of `held` begin at `into`, in order; how many.

    `held`, `other`: the same columns, each with a value a row.
    """
    moves = list(zip(into, of, strict=False))
    for column, values in zip(held, other, strict=True):
        for to, at in moves:
            column[to : to + size] = values[at : at + size]
    return len(moves)


@contextmanager
def unlogged(metrics: MutableMapping[str, list[Any]]) -> Iterator[None]:
    """Lengths stay those of the step's own groups: trl would count a few others as much as the whole batch.

    `metrics`: name → values, as trl gathers them for a step.
    """
    kept = {name: list(values) for name, values in metrics.items()}
    yield
    tokens = metrics["num_tokens"]
    metrics.clear()
    metrics.update(kept | {"num_tokens": tokens})


def keep_further(checkpoint: Path, further: int) -> None:
    """Writes how many places refills have used into a checkpoint that is about to be written."""
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / FILE).write_text(json.dumps({"further": further}), encoding="utf-8")


def further_of(checkpoint: Path) -> int:
    """What `keep_further` wrote."""
    return int(json.loads((checkpoint / FILE).read_text(encoding="utf-8"))["further"])
