"""Pages of evaluations: report.html of a folder, and that of `datagen compare --html`. They need no network.

    write_report(folder)            tables, plots, and every item with its clip, its answers and filters
    write_comparison(file, result)  pairs as a forest plot, and the parts of each gain

Texts of models are put into the page as JSON without `<`, `>` and `&`, and into the list as text nodes: none of it is
ever read as HTML. Only the page's own script may run (by its hash, in the Content-Security-Policy).
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from datagen.dataset import environment
from datagen.eval import BENCHMARKS
from datagen.eval.outputs import EvalDir, Prediction, opened, scan
from datagen.eval.showing import PARTS
from datagen.plugins import resolve
from datagen.run import replace_text

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["write_comparison", "write_report"]

NAMES = {
    "random": "at random", "always_first": "always choice 1", "last": "always the last",
    "longest": "the longest choice", "shortest": "the shortest choice", "overlap": "most words of the question",
    "choices_only": "a model of the choices",
}  # fmt: skip
"""Baselines as people read them."""
TEXT, TAIL = 2_000, 1_500
"""Characters of an answer in the page, and how many of them are its end, where the choice is."""
MOST_BYTES = 40_000_000
"""Answers in the page, about; the items beyond are left to predictions.jsonl."""
ROW_BYTES = 40
"""An answer without its text, about."""
MOST_IDS = 50
"""Ids shown of those without an answer."""
WITHOUT = ("none", "silence", "noise", "mismatched")
"""Conditions without the item's own audio: the first that was asked is set against `audio`."""

Mark = tuple[str, float, float | None, float | None, bool]
"""For the macro `drawn`: class, value, interval from, to, and whether a bar comes from zero."""


def write_report(folder: Path, audio: Path | None = None) -> None:
    """Writes report.html into a folder that `datagen eval` has finished.

    `audio`: the folder that its clips lie below, which is no part of a result; None: there are no players.
    """
    found = opened(folder)
    pages = environment_of_pages()
    script = pages.loader.get_source(pages, "items.js")[0] if pages.loader else ""
    page = pages.get_template("evaluation.html").render(
        result=found.result,
        cells=found.result["cells"],
        lines=baseline_lines(found.result["baselines"]),
        browser=browser(found, audio_address(folder, audio)),
        most_ids=MOST_IDS,
        script=safe(script),
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    replace_text(folder / "report.html", page)


def write_comparison(file: Path, result: Mapping[str, Any]) -> None:
    """Writes the page of a result of `compare`."""
    scored = [(run["name"], cell) for run in result["runs"] for cell in run["cells"] if cell.get("strict")]
    page = environment_of_pages().get_template("comparison.html").render(
        result=result, scored=scored, lines=baseline_lines(result["baselines"]),
        label=labels([run["name"] for run in result["runs"]]),
        parts={key: (what.count("·"), what.lstrip("· ")) for key, what in PARTS.items()},
    )  # fmt: skip
    replace_text(file, page)


# ── what templates call ──────────────────────────────────────────────────────────────────────────────────────────────


def environment_of_pages() -> Environment:
    """The package's templates with the filters of these pages."""
    made = environment()
    made.filters |= {"points": points, "short": short, "ends": ends, "p": p_value, "reach": reach}
    made.globals |= {"marks": marks, "names": NAMES}
    return made


def baseline_lines(found: Mapping[str, Any] | None) -> list[tuple[str, float]]:
    """(class, accuracy) of the baselines that are drawn through every plot, of those that could be told."""
    if not found:
        return []
    first = next(iter(found["position"]), None)
    values = {**found, "always_first": first}
    names = ("random", "always_first", "longest", "choices_only")
    return [(name, values[name]) for name in names if values[name] is not None]


def marks(**shares: Mapping[str, Any] | None) -> list[Mark]:
    """S of each class as a point with its interval; what there is none of is left out."""
    return [
        (kind, s["accuracy"], s["low"], s["high"], False)
        for kind, s in shares.items()
        if s is not None and s["accuracy"] is not None
    ]


def points(found: Mapping[str, Any] | None) -> str:
    """`+2.0 (−1.0 to +5.0)`, in percentage points, of a difference with or without an interval."""
    if found is None:
        return "–"
    value = found["difference"] if "difference" in found else found["value"]
    interval = "" if found.get("low") is None else f" ({_signed(found['low'])} to {_signed(found['high'])})"
    return _signed(value) + interval


def _signed(value: float) -> str:
    return f"{100 * value + 0.0:+.1f}".replace("-", "−")


def short(share: Mapping[str, Any]) -> str:
    """`39.5 (36.5–42.6)`, in percent."""
    return "–" if share["accuracy"] is None else f"{100 * share['accuracy']:.1f} ({ends(share)})"


def ends(found: Mapping[str, Any]) -> str:
    """`36.5–42.6`, in percent."""
    return "no interval" if found["low"] is None else f"{100 * found['low']:.1f}–{100 * found['high']:.1f}"


def p_value(value: float | None) -> str:
    """A p-value with three digits."""
    return "–" if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def labels(runs: Sequence[str]) -> dict[str, str]:
    """Folder → the last part of its path, or the whole path where another ends like it."""
    ends = Counter(Path(run).name for run in runs)
    return {run: Path(run).name if ends[Path(run).name] == 1 else run for run in runs}


def reach(figures: Iterable[Mapping[str, Any] | None]) -> float:
    """How far a scale of differences goes to both sides: to the widest interval, in steps of 5 points."""
    widest = max((abs(part[end]) for part in figures if part for end in ("low", "high")), default=0.0)
    return max(1, math.ceil(widest / 0.05)) * 0.05


def safe(text: str) -> Any:
    """`text` as it is: it is ours, or has no character that HTML acts on."""
    from markupsafe import Markup

    return Markup(text)


# ── the items ────────────────────────────────────────────────────────────────────────────────────────────────────────


def browser(found: EvalDir, audio: str | None) -> dict[str, Any]:
    """What the list of items needs: `data` (JSON for items.js), the choices of its filters, and how many it holds."""
    groups: Mapping[str, str] = resolve("benchmark", found.result["benchmark"], BENCHMARKS, "official")().groups
    items = found.items()
    cells = [(cell["condition"], cell["order"]) for cell in found.result["cells"]]
    conditions, orders = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True)) if cells else ([], [])
    without = next((name for name in WITHOUT if name in conditions), None) if "audio" in conditions else None
    held = fitting(found, items.height)
    texts: dict[str, int] = {}
    rows = answers(found.lines(), held, {cell: at for at, cell in enumerate(cells)}, texts)
    columns = ["id", "question", "choices", "answer_index", "audio_files", *groups.values()]
    listed = [
        [id, question, choices or [], gold, values, files, rows[row]]
        for row, (id, question, choices, gold, files, *values) in enumerate(
            items.select(columns).head(held).iter_rows()
        )
    ]
    data = {
        "cells": cells, "orders": orders, "groups": list(groups), "without": without, "audio": audio,
        "scored": items["answer"].null_count() < items.height, "judged": found.result["judge"] is not None,
        "texts": list(texts), "items": listed,
    }  # fmt: skip
    values = {name: items[column].drop_nulls().unique().sort().to_list() for name, column in groups.items()}
    return {
        "data": safe(json_in_html(data)), "without": without, "held": held, "left": items.height - held,
        "selects": {"condition": conditions, "order": orders, **values},
    }  # fmt: skip


def json_in_html(value: Any) -> str:
    """JSON that no text in it can end or open a tag of the page it stands in."""
    text = orjson.dumps(value).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def fitting(found: EvalDir, items: int) -> int:
    """How many items, from the first, MOST_BYTES hold."""
    import polars as pl

    text = pl.col("text").str.len_bytes().fill_null(0).clip(upper_bound=TEXT)
    sizes = scan(found.path / "predictions.jsonl").group_by("row").agg(size=(text + ROW_BYTES).sum())
    within = sizes.sort("row").select(pl.col("size").cum_sum() <= MOST_BYTES).collect()["size"]
    return min(items, max(1, int(within.sum())))


def answers(
    lines: Iterable[Prediction], held: int, cells: Mapping[tuple[str, str], int], texts: dict[str, int]
) -> list[list[list[Any]]]:
    """The rows of each of the first `held` items, in the order of fields that items.js names.

    `texts` grows by what was said: equal answers stand once in the page.
    """
    found: list[list[list[Any]]] = [[] for _ in range(held)]
    for line in lines:
        if line.row < held:
            said = None if line.text is None else texts.setdefault(cut(line.text), len(texts))
            shown = None if line.shown == sorted(line.shown) else line.shown
            verdicts = (_bit(line.official), _bit(line.strict), _bit(line.judge))
            found[line.row].append([
                cells[line.condition, line.order], shown, line.sample, said, line.reading, *verdicts,
                None if line.finish == "stop" else line.finish, line.error, line.heard,
            ])  # fmt: skip
    return found


def _bit(verdict: bool | None) -> int | None:
    return None if verdict is None else int(verdict)


def cut(text: str) -> str:
    """At most TEXT characters of an answer and a word on what is left out."""
    if len(text) <= TEXT:
        return text
    return f"{text[: TEXT - TAIL]}\n[… {len(text) - TEXT} characters …]\n{text[-TAIL:]}"


def audio_address(folder: Path, audio: Path | None) -> str | None:
    """What stands before `audio_files` in the page: relative where the clips lie below the folder or beside it."""
    if audio is None:
        return None
    here, there = folder.resolve(), audio.resolve()
    if there.is_relative_to(here.parent):
        return "".join(f"{quote(part)}/" for part in Path(os.path.relpath(there, here)).parts)
    return there.as_uri() + "/"
