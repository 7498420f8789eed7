"""`datagen review RUN --report`: what the verdicts of people say of the set and of each filter.

    {"questions", "judged", "unreadable_lines", "chance",
     "accuracy", "accuracy_without_audio": S,               answers to kept questions; S as `statistics.share` gives it
     "by": {"domain" | "skill": {name: S}},                 the same, in parts
     "reviewers": {name: {"answered", "judged", "accuracy": S, "valid": S}},
     "agreement": [{"a", "b", "both_judged", "agree": S, "kappa", "both_answered", "same_answer": S}],
     "fates": {fate: {"questions", "judged", "split", "valid": S}},
     "chain": F, "filters": {name: F}}                      F = {"dropped", "passed", "judged", "false_drops": S,
                                                                 "false_keeps": S, "kappa", "unseen"}

A question counts once, whoever answered it: each of its answers by an equal part. It is valid when most of its
reviewers say so; where as many say yes as no it is `split` and left out. A false drop is a question that a filter
dropped and people find valid, a false keep one that it passed and people find not valid. Fates are sampled apart
(`sample`), so what concerns several of them is weighed by how many questions each judged one stands for; the interval
is Wilson's with Kish's effective number of rows, (Σw)² / Σw² (Survey Sampling 1965, §11.7). `unseen`: questions of
fates of which none was judged, which a weighed figure cannot speak for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.review.sample import KEPT, TARGET, population
from datagen.review.verdicts import Opinion, opinions, read
from datagen.statistics import kappa, share, wilson

if TYPE_CHECKING:
    import polars as pl

__all__ = ["report"]

UNDROPPED = (KEPT, TARGET)
"""Fates of the questions that no filter dropped."""


@dataclass(frozen=True)
class Judged:
    """One question that people said something of."""

    id: str
    answer: str
    choices: int
    domain: str
    skill: str
    fate: str
    weight: float
    """Questions of its fate for each of them that was settled; 0 where none was."""
    opinions: tuple[Opinion, ...]

    @property
    def valid(self) -> bool | None:
        """What most say; None for as many on either side."""
        return majority(self.opinions)

    def correct(self, *, heard: bool) -> float | None:
        """Share of right answers among those given with (or without) the audio; None without any."""
        given = [o.first == self.answer for o in self.opinions if o.first is not None and o.heard == heard]
        return sum(given) / len(given) if given else None


def majority(said: Iterable[Opinion]) -> bool | None:
    """Whether more say valid than not; None for as many on either side."""
    balance = sum(1 if opinion.valid else -1 for opinion in said if opinion.valid is not None)
    return balance > 0 if balance else None


def report(run: Path) -> dict[str, Any]:
    """The figures above. Raises UsageError for what is no finished run."""
    questions = population(run)
    acts, unreadable = read(run)
    known = set(questions["id"])
    said = [opinion for (_, id), opinion in opinions(acts).items() if id in known]
    rows = judged(questions, said)
    kept = [row for row in rows if row.fate == KEPT]
    return {
        "questions": questions.height,
        "judged": sum(row.valid is not None for row in rows),
        "unreadable_lines": unreadable,
        "chance": mean(1 / row.choices for row in kept if row.correct(heard=True) is not None),
        "accuracy": accuracy(kept),
        "accuracy_without_audio": accuracy(kept, heard=False),
        "by": {
            "domain": parts(kept, lambda row: row.domain),
            "skill": parts(kept, lambda row: row.skill),
        },
        "reviewers": reviewers(rows, said),
        "agreement": agreement(said),
        "fates": fates(questions, rows),
        "chain": figures(questions, rows, UNDROPPED, [fate for fate in fates(questions, []) if fate not in UNDROPPED]),
        "filters": filters(run, questions, rows),
    }


def judged(questions: pl.DataFrame, said: Sequence[Opinion]) -> list[Judged]:
    """The questions that some opinion is of, in the order of the run."""
    import polars as pl

    by_id: dict[str, list[Opinion]] = {}
    for opinion in said:
        by_id.setdefault(opinion.question_id, []).append(opinion)
    table = questions.filter(pl.col("id").is_in(list(by_id)))
    sizes = dict(questions["fate"].value_counts().iter_rows())
    settled = Counter(row["fate"] for row in table.iter_rows(named=True) if majority(by_id[row["id"]]) is not None)
    return [
        Judged(
            row["id"], row["answer"], len(row["choices"]), row["domain"], row["skill"], row["fate"],
            sizes[row["fate"]] / settled[row["fate"]] if settled[row["fate"]] else 0.0, tuple(by_id[row["id"]]),
        )
        for row in table.iter_rows(named=True)
    ]  # fmt: skip


def mean(values: Iterable[float]) -> float | None:
    """None without values."""
    held = list(values)
    return sum(held) / len(held) if held else None


def accuracy(rows: Iterable[Judged], *, heard: bool = True) -> dict[str, Any]:
    """Right answers of people, each question counted once."""
    right = [part for row in rows if (part := row.correct(heard=heard)) is not None]
    return share(sum(right), len(right))


def parts(rows: Sequence[Judged], key: Callable[[Judged], str]) -> dict[str, dict[str, Any]]:
    """`accuracy` of each group."""
    found = {name: accuracy([row for row in rows if key(row) == name]) for name in sorted({key(row) for row in rows})}
    return {name: figure for name, figure in found.items() if figure["n"]}


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def reviewers(rows: Sequence[Judged], said: Iterable[Opinion]) -> dict[str, dict[str, Any]]:
    """What each did: accuracy over all fates that it answered, unweighed, for comparing people with each other."""
    answers = {row.id: row.answer for row in rows}
    by_name: dict[str, list[Opinion]] = {}
    for opinion in said:
        by_name.setdefault(opinion.reviewer, []).append(opinion)
    found = {}
    for name, own in sorted(by_name.items()):
        heard = [o.first == answers[o.question_id] for o in own if o.first is not None and o.heard]
        valid = [o.valid for o in own if o.valid is not None]
        found[name] = {
            "answered": sum(o.first is not None for o in own), "judged": len(valid),
            "accuracy": share(sum(heard), len(heard)), "valid": share(sum(valid), len(valid)),
        }  # fmt: skip
    return found


def agreement(said: Iterable[Opinion]) -> list[dict[str, Any]]:
    """Each two reviewers on the questions that both judged, and that both answered."""
    by_name: dict[str, dict[str, Opinion]] = {}
    for opinion in said:
        by_name.setdefault(opinion.reviewer, {})[opinion.question_id] = opinion
    found = []
    for a, b in combinations(sorted(by_name), 2):
        both = [(by_name[a][id], by_name[b][id]) for id in by_name[a] if id in by_name[b]]
        valid = [(x.valid, y.valid) for x, y in both if x.valid is not None and y.valid is not None]
        first = [(x.first, y.first) for x, y in both if x.first is not None and y.first is not None]
        found.append({
            "a": a, "b": b,
            "both_judged": len(valid), "agree": share(sum(x == y for x, y in valid), len(valid)),
            "kappa": kappa([x for x, _ in valid], [y for _, y in valid]),
            "both_answered": len(first), "same_answer": share(sum(x == y for x, y in first), len(first)),
        })  # fmt: skip
    return found


# ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def fates(questions: pl.DataFrame, rows: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """How many questions each fate has, and what people say of those that they judged."""
    found = {}
    for fate, size in sorted(questions["fate"].value_counts().iter_rows()):
        own = [row for row in rows if row.fate == fate]
        valid = [row.valid for row in own if row.valid is not None]
        split = sum(any(o.valid is not None for o in row.opinions) and row.valid is None for row in own)
        found[fate] = {"questions": size, "judged": len(valid), "split": split, "valid": share(sum(valid), len(valid))}
    return found


def filters(run: Path, questions: pl.DataFrame, rows: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """The figures of each filter, over the questions that reached it, in the order of the chain."""
    import polars as pl

    reached = pl.read_parquet(run / "verdicts.parquet", columns=["question_id", "filter", "keep"])
    fate = questions.select("id", "fate")
    found = {}
    for (name,), part in reached.group_by("filter", maintain_order=True):
        passed = part.filter("keep").join(fate, left_on="question_id", right_on="id")["fate"].unique().to_list()
        found[str(name)] = figures(questions, rows, passed, [str(name)])
    return found


def figures(
    questions: pl.DataFrame, rows: Sequence[Judged], passed: Sequence[str], dropped: Sequence[str]
) -> dict[str, Any]:
    """Errors and agreement of what passed the questions of some fates and dropped those of others."""
    sizes = dict(questions["fate"].value_counts().iter_rows())
    settled = [row for row in rows if row.valid is not None]
    let_through = [row for row in settled if row.fate in passed]
    left_out = [row for row in settled if row.fate in dropped]
    seen = {row.fate for row in settled}
    both = [*let_through, *left_out]
    return {
        "dropped": sum(sizes.get(fate, 0) for fate in dropped),
        "passed": sum(sizes.get(fate, 0) for fate in passed),
        "judged": len(both),
        "false_drops": weighed([(bool(row.valid), row.weight) for row in left_out]),
        "false_keeps": weighed([(not row.valid, row.weight) for row in let_through]),
        "kappa": kappa(
            [bool(row.valid) for row in both],
            [row.fate in passed for row in both],
            weights=[row.weight for row in both],
        ),
        "unseen": sum(sizes.get(fate, 0) for fate in (*passed, *dropped) if fate not in seen),
    }


def weighed(rows: Sequence[tuple[bool, float]]) -> dict[str, Any]:
    """`share` of the rows that are true, each with its weight; `correct` and `n` are counts of rows."""
    weights = [weight for _, weight in rows]
    if not weights:
        return share(0, 0)
    rate = sum(weight for true, weight in rows if true) / sum(weights)
    effective = sum(weights) ** 2 / sum(weight**2 for weight in weights)
    low, high = wilson(rate * effective, effective)
    return {"correct": sum(true for true, _ in rows), "n": len(rows), "accuracy": rate, "low": low, "high": high}
