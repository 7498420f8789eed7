"""A study on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from datagen.eval.report import p_value, points, short

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["commands", "transfer_shown"]


def commands(found: Mapping[str, Any]) -> Iterator[str]:
    """What would be run; `to do` or `done` before each."""
    for name, state in found["cells"].items():
        yield f"# {name}: {state['status']}"
        if "command" in state:
            yield state["command"]


def transfer_shown(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Accuracies and contrasts of each benchmark, and what failed."""
    from rich.table import Table

    for name, bench in found["benchmarks"].items():
        if not bench["base"]:
            yield f"{name}: the untrained policy was not asked"
            continue
        table = Table("arm", "chain", "seeds", *(f"{row['condition']}, {row['order']}" for row in bench["base"]),
                      title=f"{name}, {bench['items']} items: strict, %")  # fmt: skip
        table.add_row("base", "–", "–", *(short(row["strict"]) for row in bench["base"]))
        for arm in bench["arms"]:
            cells = [short(row["strict"]) for row in arm["accuracy"]] or ["not done"]
            label = f"{arm['arm']} (control)" if arm["control"] else arm["arm"]
            table.add_row(label, arm["chain"], str(len(arm["seeds"])), *cells)
        yield table
        table = Table("arm", "chain", "less", "in", "points", "p", "p Holm", title=f"{name}: gains")
        for row in bench["contrasts"]:
            p = p_value(row["p"]), p_value(row["p_holm"])
            table.add_row(row["arm"], row["chain"], row["against"], row["what"], points(row), *p)
        yield table
    for name, state in found["cells"].items():
        if state["status"] != "done":
            yield f"{name}: {state['status']}: {state['error']}"
    yield f"report: {found['out']}/report.html"
