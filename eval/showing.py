"""The results of `score` and `baselines` as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["baselines_shown", "compare_shown", "eval_shown", "score_shown"]

NAMES = {"overlap": "most words of the question", "choices_only": "choices only"}
"""Baselines whose name says too little."""


def score_shown(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The file, the headline, a row for each group, the baselines, and what was wrong in the two files."""
    from rich.table import Table
    from rich.text import Text

    yield from _file(result)
    given, head = result["predictions"], result["headline"]
    yield Text(
        f"{given['file']}: {result['answered']} answered (key {given['key']}), {result['not_read']} of them read as no "
        f"single choice (labels: {result['choice_labels']})"
    )
    yield Text(f"{head['matcher']}, missing as wrong: {_share(head)}")
    table = Table("", "n", "official, as published", "official", "strict", "format loss", box=None, pad_edge=False)
    official, strict = result["matchers"]["official"], result["matchers"]["strict"]["missing_as_wrong"]
    for name, loss in _cells(result["format_loss"]):
        cells = [_at(part, name) for part in (official["as_published"], official["missing_as_wrong"], strict)]
        difference = f"{100 * loss['difference']:+.1f}"
        table.add_row(Text(" · ".join(name)), str(loss["n"]), _of(cells[0]), *map(_share, cells[1:]), difference)
    yield table
    yield Text(f"official: {result['official_is']}")
    yield from _baselines(result["baselines"])
    yield from _defects(result["defects"]["data"], "in the benchmark file")
    yield from _defects(result["defects"]["predictions"], "in the predictions")


def baselines_shown(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The file, what can be had from it without listening, and what is wrong in it."""
    yield from _file(result)
    yield from _baselines(result)
    yield from _defects(result["defects"], "in the file")


PARTS = {
    "gain": "official matcher, with audio", "format": "· format: official − strict", "strict": "· strict reader",
    "position": "· · place of the right choice", "length": "· · length of the right choice",
    "knowledge": "· · known without audio", "hearing_over_none": "· · with audio − without",
    "hearing": "· · with its audio − with another's",
}  # fmt: skip
"""Parts of a gain, as a tree: the deeper ones are ways to divide the strict gain."""


def compare_shown(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The pairs, then what each gain is made of and how it differs by group; points are percentage points."""
    from rich.table import Table
    from rich.text import Text

    yield Text(f"{result['benchmark']}: {result['items']} items with {result['clusters']} question texts")
    yield Text(f"sha256 {result['sha256']}")
    table = Table(
        "a", "b", "a, strict", "b, strict", "b − a, points", "p", "p Holm", "McNemar", box=None, pad_edge=False
    )
    for pair in result["pairs"]:
        sides = [Text(" · ".join(pair[side].values())) for side in ("a", "b")]
        accuracies = [f"{100 * pair[f'accuracy_{side}']:.1f}" for side in ("a", "b")]
        tests = [_p(pair[name]) for name in ("p", "p_holm", "mcnemar_p")]
        table.add_row(*sides, *accuracies, _points(pair), *tests)
    yield table
    for gain in result["gains"]:
        yield Text(f"{gain['b']} over {gain['a']}, order {gain['order']}")
        parts = Table("gain", "points", "p", box=None, pad_edge=False)
        for name, label in PARTS.items():
            part = gain["parts"][name]
            parts.add_row(label, _points(part and {**part, "difference": part["value"]}), _p(part and part["p"]))
        for group, values in gain["groups"].items():
            for value, part in values.items():
                shown = _points({**part, "difference": part["value"]})
                parts.add_row(Text(f"strict, {group} {value} (n {part['n']})"), shown, "")
        yield parts


def _points(found: Mapping[str, Any] | None) -> str:
    """`+2.0 [−1.0, +5.0]`, in percentage points."""
    if found is None:
        return "not asked"
    return f"{100 * found['difference']:+.1f} [{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"


def _p(value: float | None) -> str:
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def eval_shown(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The file, the model, a row for each condition and order, the baselines, and what to know of them."""
    from rich.table import Table
    from rich.text import Text

    yield from _file(result)
    model, prompt, sampling = result["model"], result["prompt"], result["sampling"]
    drawn = "greedy" if sampling["samples"] == 1 else f"{sampling['samples']} samples"
    yield Text(f"{model['name']} ({model['runner']}, {model['identity']}), prompt {prompt['style']}, {drawn}")
    if prompt["system_prompt"]:
        yield Text(f"system prompt of its chat template: {prompt['system_prompt']}")
    names = ("condition", "order", "answered", "not read", "cut", "official", "strict", "judge", "format loss")
    table = Table(*names, "consistency", box=None, pad_edge=False)
    for cell in result["cells"]:
        totals = [_share((cell[name] or {}).get("total")) for name in ("official", "strict", "judge")]
        loss, agreed = cell["format_loss"], cell["consistency"]
        table.add_row(
            cell["condition"], cell["order"], f"{cell['answered']} of {cell['rows']}", str(cell["not_read"]),
            str(cell["cut"]), *totals, f"{100 * loss['difference']:+.1f}" if loss else "–",
            "–" if agreed is None else f"{100 * agreed:.1f}",
        )  # fmt: skip
    yield table
    yield Text(f"official: {result['official_is']}")
    if checked := result["batch_check"]:
        different = ", ".join(checked["different"][:3])
        yield Text(f"alone and in one batch: {checked['equal']} of {checked['items']} answers are equal {different}")
    if result["baselines"]:
        yield from _baselines(result["baselines"])
    yield from _defects(result["defects"], "in the benchmark file")
    spent = result["spent"]
    yield Text(f"{spent['calls']} calls, ${spent['cost_usd']:.4f}, {result['seconds']:.1f} s → {result['out']}")


def _file(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    from rich.text import Text

    yield Text(f"{result['benchmark']}: {result['data']}, {result['items']} items, {result['version']}")
    yield Text(f"sha256 {result['sha256']}")
    for category, rows in result["set_aside"].items():
        yield Text(f"set aside, no multiple choice: {category} {rows}")


def _baselines(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    from rich.table import Table

    intervals = found["intervals"]
    table = Table("without listening", "right", box=None, pad_edge=False)
    if found["random"] is not None:
        table.add_row("random", f"{100 * found['random']:.1f}")
    for place, interval in enumerate(intervals["position"], start=1):
        table.add_row(f"always choice {place}", _share(interval))
    for name in ("last", "longest", "shortest", "overlap", "choices_only"):
        if intervals[name]:
            table.add_row(NAMES.get(name, name), _share(intervals[name]))
    yield table


def _defects(defects: Mapping[str, Mapping[str, Any]], where: str) -> Iterator[RenderableType]:
    from rich.text import Text

    for name, found in defects.items():
        ids = ", ".join(found["ids"][:3]) + (", …" if found["count"] > 3 else "")
        yield Text(f"{where}: {name} {found['count']} ({ids})")


def _cells(groups: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """(("total",), S) and ((group, value), S) of each value of each group."""
    yield ("total",), groups["total"]
    for group, values in groups.items():
        if group != "total":
            for value, found in values.items():
                yield (group, value), found


def _at(groups: Mapping[str, Any], name: tuple[str, ...]) -> Mapping[str, Any] | None:
    found: Any = groups
    for key in name:
        found = found.get(key, {})
    return found or None


def _share(found: Mapping[str, Any] | None) -> str:
    """`39.5 [36.5, 42.6]`, in percent."""
    if found is None or found["accuracy"] is None:
        return "–"
    return f"{100 * found['accuracy']:.1f} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"


def _of(found: Mapping[str, Any] | None) -> str:
    """`39.50 of 1000`, in percent: official scripts print two digits."""
    return "–" if found is None or found["accuracy"] is None else f"{100 * found['accuracy']:.2f} of {found['n']}"
