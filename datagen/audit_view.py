"""The result of `datagen audit` for people: tables in a terminal, and one self-contained page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datagen.dataset import environment, interval, percent
from datagen.findings import KINDS

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

__all__ = ["page", "shown"]

LABELS = {
    "last": "the last choice", "longest": "the longest choice", "shortest": "the shortest choice",
    "overlap": "most words of the question", "choices_only": "a model of the choices alone",
}  # fmt: skip
"""Baselines as people read them, in order."""
OUTCOMES = {"pass": "passed", "fail": "FAILED", "too_few": "too few rows to tell"}
IDS, TEXT, CHOICES = 50, 400, 12
"""Ids of a finding on the page, characters of a text there, choices of a row there."""
MET = 10
"""Rows that meet a benchmark, of which it is said which item."""


def shown(result: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The file, gates, baselines, findings, variety and leaks."""
    from rich.table import Table
    from rich.text import Text

    yield Text(f"{result['data']}: {result['items']} items ({result['format']}, {result['version']})")
    yield Text(f"sha256 {result['sha256']}")
    for note in notes(result):
        yield Text(note)
    table = Table("gate", "above chance", "limit", "outcome", box=None, pad_edge=False)
    for gate in result["gates"]:
        table.add_row(gate["name"], _above(gate), f"{100 * gate['limit']:.1f}", OUTCOMES[gate["outcome"]])
    yield table
    table = Table("right without listening", "", box=None, pad_edge=False)
    for label, value in baseline_rows(result):
        table.add_row(label, value if isinstance(value, str) else interval(value))
    yield table
    test = result["positions"]["all"]
    if test["p"] is not None:
        yield Text(f"places of the answer: chi-square {test['chi_square']:.1f}, p {p_value(test['p'])}")
    table = Table("finding", "kind", "rows", "share", "for example", box=None, pad_edge=False)
    for name, found in result["findings"].items():
        some = ", ".join(found["ids"][:3]) + (", …" if found["count"] > 3 else "")
        table.add_row(Text(name), found["kind"], str(found["count"]), percent(found["share"]), Text(some))
    yield table if result["findings"] else Text("no finding")
    yield from map(Text, [*variety_lines(result["variety"]), *leakage_lines(result), *review_lines(result)])


def notes(result: Mapping[str, Any]) -> list[str]:
    """What has to be known before any figure is read."""
    said = [f"set aside, no multiple choice: {name} {rows}" for name, rows in result["set_aside"].items()]
    if left := result["items"] - result["sound"]:
        said.append(f"{left} rows have no question, no two choices or no right answer; the figures are of the others")
    if result["letters_before_choices"]:
        said.append("letters such as (A) stood before the choices and were taken off")
    return said


def baseline_rows(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(label, share or text) of each baseline."""
    intervals = result["baselines"]["intervals"]
    yield "at random", percent(result["baselines"]["random"])
    for place, found in enumerate(intervals["position"], start=1):
        yield f"choice {place}", found
    for name, label in LABELS.items():
        yield label, intervals[name]
        if name == "longest":
            yield "the longest, the first of ties", result["longest_first_of_ties"]


def variety_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """One line each of questions, forms and answers."""
    asked = found["questions"]
    words = ", ".join(
        f"{name.replace('_', '-')} {asked[name]}" for name in ("distinct_1", "distinct_2") if name in asked
    )
    yield f"questions: {asked['distinct']} different texts, {asked['shared']} rows share theirs; {words or 'no words'}"
    for name in ("forms", "answers"):
        one = found[name]
        top = f"; most often {one['top'][0]['text']!r}: {percent(one['top'][0]['share'])}" if one["top"] else ""
        yield (
            f"{name}: {one['distinct']} different, {one['entropy_bits']:.1f} bits "
            f"(as {one['as_many_as']:.0f} equally frequent ones){top}"
        )


def leakage_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What was compared with, and the first rows that were met."""
    if not (found := result["leakage"]):
        return
    for source in found["against"]:
        what = f"{source['items']} items, {source['media']} recordings"
        yield f"against {source['name']} ({source['version']}, sha256 {source['sha256'][:8]}): {what}"
    if found["audio_not_read"]:
        yield f"audio that could not be read, and was not compared: {', '.join(found['audio_not_read'][:3])} …"
    for row in found["met"][:MET]:
        yield f"{row['id']} meets {row['met']} ({row['reason']}, {row['score']:.2f})"
    if len(found["met"]) > MET:
        yield f"… and {len(found['met']) - MET} rows more"


def review_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """What people said of the questions of a run."""
    if not (found := result["review"]):
        return
    chain = found["chain"]
    yield f"people judged {found['judged']} of {found['questions']} questions"
    yield f"their answers to kept questions are right: {interval(found['accuracy'])}"
    yield f"the filters' drops that people find valid: {interval(chain['false_drops'])}"
    yield f"kept questions that people do not: {interval(chain['false_keeps'])}"


def _above(gate: Mapping[str, Any]) -> str:
    """`+13.9 [10.9, 17.0]`, in points."""
    if gate["value"] is None:
        return "–"
    return f"{100 * gate['value']:+z.1f} [{100 * gate['low']:+z.1f}, {100 * gate['high']:+z.1f}]"


def p_value(p: float) -> str:
    """`0.032`, or `below 0.0001`."""
    return "below 0.0001" if p < 1e-4 else f"{p:.4f}"


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def page(result: Mapping[str, Any], examples: Mapping[str, pl.DataFrame], lengths: Mapping[str, Any]) -> str:
    """The page of an audit. `examples`: some rows of each finding; `lengths`: of `datagen.report.lengths`."""
    made = environment()
    made.filters |= {"p": p_value, "above": _above}
    return made.get_template("audit.html").render(
        audit=result, kinds=KINDS, outcomes=OUTCOMES, notes=notes(result), lengths=lengths, ids=IDS,
        baselines=[(label, value) for label, value in baseline_rows(result) if not isinstance(value, str)],
        lines=list(variety_lines(result["variety"])), leaks=list(leakage_lines(result)),
        review=list(review_lines(result)),
        examples={name: [_cut(row) for row in rows.iter_rows(named=True)] for name, rows in examples.items()},
        failed=outcomes(result["gates"]),
    )  # fmt: skip


def outcomes(gates: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Outcome → number of gates."""
    return {name: sum(gate["outcome"] == name for gate in gates) for name in OUTCOMES}


def _cut(row: Mapping[str, Any]) -> dict[str, Any]:
    choices = [_short(choice) for choice in row["choices"] or ()]
    return {
        "id": row["id"], "question": _short(row["question"]), "answer": _short(row["answer"]),
        "answer_index": row["answer_index"], "choices": choices[:CHOICES], "more": max(len(choices) - CHOICES, 0),
    }  # fmt: skip


def _short(text: str | None) -> str | None:
    return text[:TEXT] + " …" if text and len(text) > TEXT else text
