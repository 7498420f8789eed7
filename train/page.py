"""DIR/report.html: a training run to look at while it goes on and when it is done. One file; it asks for nothing.

    write_page(DIR)    from run.json and train.jsonl, whole or not at all

Curves are drawn from one value a step (thin) and its mean over the WINDOW steps that alarms look at (bold). Of a long
run neighbouring steps are drawn as their mean, so that a page has a few hundred kilobytes at most.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.dataset import environment
from datagen.run import replace_text
from datagen.train.alarms import WINDOW
from datagen.train.log import asked, raised, read_log, steps

__all__ = ["Plot", "write_page"]

WIDE, HIGH = 1000.0, 100.0
"""Of the drawing's own coordinates; the page stretches them."""
MOST = 400
"""Points of a curve."""
SPOTS = 50
"""Places of a curve that say their value to a pointer."""
COLOURS = 5
"""Kinds of line that style.css tells apart."""
Row = Mapping[str, Any]
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """What is drawn of one number of a row."""

    column: str
    title: str
    share: bool = False
    """Whether it lies in 0 to 1, and is shown as percent."""
    alarm: str = ""
    """The alarm that looks at it."""


FIGURES = (
    Figure("accuracy", "Right answers", share=True, alarm="zero-reward"),
    Figure("reward", "Reward"),
    Figure("no_signal", "Groups without signal", share=True, alarm="no-signal"),
    Figure("length", "Tokens of an answer", alarm="length-collapse"),
    Figure("clipped", "Answers cut off", share=True, alarm="clipped"),
    Figure("entropy", "Entropy, nats a token", alarm="entropy-collapse"),
    Figure("log_p", "Log-probability of what is right"),
    Figure("refilled", "Groups replaced"),
    Figure("grad_norm", "Norm of the gradient"),
    Figure("kl", "Divergence from the reference"),
    Figure("seconds", "Seconds a step"),
)


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a plot, as SVG paths."""

    kind: str
    label: str
    line: str
    thin: str = ""
    band: str = ""
    dots: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """What the macro `curve` of plots.html draws."""

    title: str
    now: str
    """The last value, in words."""
    low: str
    high: str
    first: int
    last: int
    series: Sequence[Series]
    marks: Sequence[tuple[float, str, str]] = ()
    """(x, class, text) of alarms."""
    rules: Sequence[tuple[float, str]] = ()
    """(y, what it is) of lines across."""
    spots: Sequence[tuple[float, float, str]] = field(default=())
    """(x, width, text) of places that say their value."""


def write_page(out: Path, peak_bytes: int | None = None) -> None:
    """Writes report.html of the run in `out`. `peak_bytes`: most memory held so far, if known."""
    state = json.loads((out / "run.json").read_text(encoding="utf-8"))
    log = read_log(out / "train.jsonl")
    rows = steps(log)
    last = max((row["step"] for row in log), default=0)
    page = environment().get_template("train.html").render(
        run=state, last=last, rows=rows, window=WINDOW, alarms=raised(log), answers=answers(log),
        peak_bytes=state.get("peak_bytes") or peak_bytes,
        recent={name: mean_of(rows[-WINDOW:], name) for name in ("accuracy", "no_signal", "length", "seconds")},
        held_out=asked(log), plots=list(plots(log, last, state.get("chance"))), places=places(rows[-WINDOW:]),
    )  # fmt: skip
    replace_text(out / "report.html", page)


def answers(log: Sequence[Row]) -> tuple[int, list[Row]] | None:
    """(step, rows with id, condition, text, right) of the last asking that kept some answers."""
    return next(((row["step"], row["samples"]) for row in reversed(log) if row.get("samples")), None)


def mean_of(rows: Sequence[Row], name: str) -> float | None:
    """Of the rows that hold it."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return sum(values) / len(values) if values else None


# ── plots ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def plots(log: Sequence[Row], last: int, chance: float | None) -> Iterable[Plot]:
    """The held-out set first, then every figure that the log holds, then the letters."""
    alarms, rows = raised(log), steps(log)
    rule = [(chance, "chance")] if chance is not None else []
    if found := asked(log):
        yield held_out_plot(found, last, rule, marks(alarms, last, ""))
    for figure in FIGURES:
        values = [(row["step"], row[figure.column]) for row in rows if row.get(figure.column) is not None]
        if values:
            rules = rule if figure.column == "accuracy" else []
            yield figure_plot(figure, values, last, rules, marks(alarms, last, figure.alarm))
    if any(row.get("picked") for row in rows):
        yield letters_plot(rows, last, marks(alarms, last, "position"))


def figure_plot(
    figure: Figure,
    values: Points,
    last: int,
    rules: Sequence[tuple[float, str]],
    marked: Sequence[tuple[float, str, str]],
) -> Plot:
    """One number of each step."""
    smooth = running(values)
    low, high = (0.0, 1.0) if figure.share else span([value for _, value in values])
    scale = Scale(last, low, high)
    series = Series("c0", "", scale.path(thinned(smooth)), thin=scale.path(thinned(values)))
    said = percent if figure.share else number
    return Plot(
        figure.title, said(smooth[-1][1]), said(low), said(high), 0, last, [series], marked,
        [(scale.y(value), f"{what} {said(value)}") for value, what in rules], spots(smooth, last, said),
    )  # fmt: skip


def held_out_plot(
    found: Sequence[tuple[int, Mapping[str, Row]]], last: int, rules: Sequence[tuple[float, str]],
    marked: Sequence[tuple[float, str, str]],
) -> Plot:  # fmt: skip
    """Accuracy of each condition with its 95 % Wilson band."""
    scale = Scale(last, 0.0, 1.0)
    names = dict.fromkeys(name for _, shares in found for name in shares)
    series = [
        band(name, f"c{number_ % COLOURS}", [(step, by[name]) for step, by in found if name in by], scale)
        for number_, name in enumerate(names)
    ]
    width = WIDE / len(found)
    return Plot(
        "Held out, 95 % band", told(found[-1][1]), "0 %", "100 %", 0, last, series, marked,
        [(scale.y(value), f"{what} {percent(value)}") for value, what in rules],
        [(max(scale.x(step) - width / 2, 0), width, f"step {step}: {told(by)}") for step, by in found],
    )  # fmt: skip


def band(name: str, kind: str, shares: Sequence[tuple[int, Row]], scale: Scale) -> Series:
    """Shares at some steps, with their intervals."""
    line = [(step, share["accuracy"]) for step, share in shares]
    edge = [(step, share["low"]) for step, share in shares] + [(step, share["high"]) for step, share in shares[::-1]]
    return Series(kind, name, scale.path(line), band=scale.path(edge), dots=scale.dots(line))


def told(shares: Mapping[str, Row]) -> str:
    """`audio 71 %, none 52 %`."""
    named = len(shares) > 1
    return ", ".join(
        f"{name} {percent(s['accuracy'])}" if named else percent(s["accuracy"]) for name, s in shares.items()
    )


def letters_plot(rows: Sequence[Row], last: int, marked: Sequence[tuple[float, str, str]]) -> Plot:
    """How much more often each place is picked than if none were preferred, over the steps that an alarm looks at."""
    curves: dict[str, list[tuple[float, float]]] = {}
    size = -(-len(rows) // MOST)
    for end in range(len(rows), 0, -size)[::-1]:
        for name, count, expected, total in places(rows[max(0, end - WINDOW) : end]):
            curves.setdefault(name, []).append((rows[end - 1]["step"], (count - expected) / total))
    reach = max(0.1, max(abs(value) for curve in curves.values() for _, value in curve))
    scale = Scale(last, -reach, reach)
    series = [
        Series(f"c{number_ % COLOURS}", name, scale.path(curve))
        for number_, (name, curve) in enumerate(sorted(curves.items()))
    ]
    return Plot(
        f"Picks by letter beyond chance, over {WINDOW} steps", "", points(-reach), points(reach), 0, last, series,
        marked, [(scale.y(0), "no preference")],
    )  # fmt: skip


def places(rows: Sequence[Row]) -> list[tuple[str, int, float, int]]:
    """(letter, times picked, times expected, all picks) of some steps; letters by the place where choices stood."""
    picked: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for row in rows:
        picked.update(row.get("picked", {}))
        expected.update(row.get("expected", {}))
    total = sum(picked.values())
    return [(name, picked[name], expected[name], total) for name in sorted(expected)] if total else []


def marks(alarms: Sequence[Row], last: int, own: str) -> list[tuple[float, str, str]]:
    """Alarms on the axis; those of the plot's own alarm through its whole height."""
    return [
        (Scale(last, 0, 1).x(row["step"]), "own" if row["alarm"] == own else "", f"step {row['step']}: {row['alarm']}")
        for row in alarms
    ]


# ── numbers to coordinates ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Scale:
    """Steps from 0 to `last` and values from `low` to `high` → coordinates of the drawing."""

    last: int
    low: float
    high: float

    def x(self, step: float) -> float:
        """From the left."""
        return round(WIDE * step / max(self.last, 1), 1)

    def y(self, value: float) -> float:
        """From the top; a value beyond the scale lies at its end."""
        share = (value - self.low) / (self.high - self.low)
        return round(HIGH * (1 - min(max(share, 0.0), 1.0)), 1)

    def path(self, line: Points) -> str:
        """A line through the points."""
        return "M" + "L".join(f"{self.x(step)} {self.y(value)}" for step, value in line) if line else ""

    def dots(self, line: Points) -> str:
        """A dot at each of them: a line of no length with round ends keeps its form where the drawing is stretched."""
        return "".join(f"M{self.x(step)} {self.y(value)}h0" for step, value in line)


def running(values: Points) -> list[tuple[float, float]]:
    """The mean over the last WINDOW values at each."""
    found, total = [], 0.0
    for at, (step, value) in enumerate(values):
        total += value - (values[at - WINDOW][1] if at >= WINDOW else 0.0)
        found.append((step, total / min(at + 1, WINDOW)))
    return found


def thinned(values: Points) -> Points:
    """At most MOST points, each the mean of its neighbours."""
    size = -(-len(values) // MOST)
    parts = [values[start : start + size] for start in range(0, len(values), size or 1)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def span(values: Sequence[float]) -> tuple[float, float]:
    """A scale with round ends that holds 0 and the values."""
    low, high = min(0.0, *values), max(0.0, *values)
    return 0.0 - rounded_up(-low), rounded_up(high) or (0.0 if low else 1.0)


def rounded_up(value: float) -> float:
    """The next of 1, 2, 3, 5 and 8 times a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * lead for lead in (1, 2, 3, 5, 8, 10, 20) if power * lead >= value)


def spots(values: Points, last: int, said: Any) -> list[tuple[float, float, str]]:
    """Places along a curve that say its value there."""
    size = -(-len(values) // SPOTS)
    chosen = values[size - 1 :: size] if size else []
    width = WIDE / max(len(chosen), 1)
    scale = Scale(last, 0, 1)
    return [(max(scale.x(step) - width, 0), width, f"step {step:.0f}: {said(value)}") for step, value in chosen]


def percent(value: float) -> str:
    """`25 %`."""
    return f"{100 * value:.0f} %"


def points(value: float) -> str:
    """`+10`."""
    return f"{100 * value:+.0f}".replace("-", "−")


def number(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}".replace("-", "−")
