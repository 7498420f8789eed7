"""The figures of a review as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["report_shown"]


def report_shown(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What was judged, how right people were, the reviewers, what became of the questions, and the filters."""
    from rich.text import Text

    yield Text(f"{found['judged']} of {found['questions']} questions judged")
    if found["unreadable_lines"]:
        yield Text(f"{found['unreadable_lines']} lines of review.jsonl cannot be read and are left out")
    chance = "" if found["chance"] is None else f"; by chance {100 * found['chance']:.1f} %"
    yield Text(f"people on kept questions, listening: {_share(found['accuracy'])}{chance}")
    if found["accuracy_without_audio"]["n"]:
        yield Text(f"people on kept questions, reading captions: {_share(found['accuracy_without_audio'])}")
    yield from _people(found)
    yield from _fates(found)
    yield from _filters(found)


def _people(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _table("reviewer", "answered", "judged", "right, listening", "valid")
    for name, own in found["reviewers"].items():
        table.add_row(
            _plain(name), str(own["answered"]), str(own["judged"]), _share(own["accuracy"]), _share(own["valid"])
        )
    yield table
    if found["agreement"]:
        table = _table("two reviewers", "same judgement", "kappa", "same answer")
        for pair in found["agreement"]:
            names = _plain(f"{pair['a']}, {pair['b']}")
            table.add_row(names, _share(pair["agree"]), _number(pair["kappa"]), _share(pair["same_answer"]))
        yield table


def _fates(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _table("kept or dropped by", "questions", "judged", "split", "valid")
    for fate, part in found["fates"].items():
        counts = [str(part[name]) for name in ("questions", "judged", "split")]
        table.add_row(_plain(fate), *counts, _share(part["valid"]))
    yield table


def _filters(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    table = _table("filter", "dropped", "passed", "judged", "false drops", "false keeps", "kappa", "not sampled")
    for name, part in [("all together", found["chain"]), *found["filters"].items()]:
        counts = [str(part[key]) for key in ("dropped", "passed", "judged")]
        errors = [_share(part["false_drops"]), _share(part["false_keeps"]), _number(part["kappa"])]
        table.add_row(_plain(name), *counts, *errors, str(part["unseen"]))
    yield table


def _table(*columns: str) -> Any:
    from rich.table import Table

    return Table(*columns, box=None, pad_edge=False)


def _plain(name: str) -> Any:
    """Names are data: no markup in them."""
    from rich.text import Text

    return Text(name)


def _share(part: Mapping[str, Any]) -> str:
    if part["accuracy"] is None:
        return "-"
    low, high = 100 * part["low"], 100 * part["high"]
    return f"{100 * part['accuracy']:.1f} % [{low:.1f}, {high:.1f}] of {part['n']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
