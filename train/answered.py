"""What was answered to the questions of a run, told for the log and the report.

completions ─▶ answers: a row each ─▶ Answered ─▶ taken()     of the training groups, for a step
                                              └▶ held_out()  of the held-out set, for an asking
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datagen.multiple_choice import letter
from datagen.statistics import share
from datagen.train.rewards import answer_of

__all__ = ["Answered", "answers"]

SAMPLES, SAMPLE = 4, 400
"""Held-out answers kept at each asking, and characters of one."""


def answers(rows: Sequence[Mapping[str, Any]], completions: Sequence[Any], ids: Sequence[Any]) -> list[dict[str, Any]]:
    """What was answered at each row of the deck: place, id, condition, n (choices), pick, right, text, ids (tokens)."""
    found = []
    for row, completion, tokens in zip(rows, completions, ids, strict=True):
        pick = answer_of(completion[0]["content"], row)
        found.append({
            "place": row["place"], "id": row["id"], "condition": row["condition"], "n": len(row["choices"]),
            "pick": pick, "right": pick == row["gold"], "text": completion[0]["content"],
            "ids": list(tokens),
        })  # fmt: skip
    return found


@dataclass
class Answered:
    """What was answered since it was last cleared."""

    right: dict[int, bool] = field(default_factory=dict)
    """Place of a held-out question → whether its answer was right."""
    samples: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Place of a held-out question, of the first few → id, condition, text and right of its answer, for the report."""
    conditions: dict[int, str] = field(default_factory=dict)
    """The same place → what was heard."""
    groups: int = 0
    no_signal: float = 0
    """Groups whose answers are all right or all wrong: their raw accuracy, whatever other rewards say."""
    picked: Counter[str] = field(default_factory=Counter)
    """Letter of the place where a chosen answer was shown → how often; the choices themselves are permuted."""
    expected: Counter[str] = field(default_factory=Counter)
    """The same, if no place were preferred."""
    completions: int = 0
    correct: int = 0
    """Of these."""
    refilled: int | None = None
    """Groups without signal that others were put in the place of, where that is asked for."""
    sampled: str = ""
    """Chained SHA-256 of the token ids of every completion."""
    further: int = 0
    """Places that refills have used since the run began."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """One row a completion: place, id, n (choices), pick, right, text, ids (tokens)."""
        groups: dict[int, set[bool]] = {}
        for row in rows:
            groups.setdefault(row["place"], set()).add(row["right"])
            self.completions += 1
            self.correct += row["right"]
            self.sampled = hashlib.sha256(f"{self.sampled}{row['ids']}".encode()).hexdigest()
            if row["pick"] is not None:
                self.choose(row["pick"], row["n"])
        self.groups += len(groups)
        self.no_signal += sum(len(outcomes) == 1 for outcomes in groups.values())

    def choose(self, pick: int, n: int) -> None:
        """One answer that is the choice at place `pick` of `n`."""
        self.picked[letter(pick)] += 1
        self.expected.update({letter(place): 1 / n for place in range(n)})

    def taken(self) -> dict[str, Any]:
        """The figures of the training groups for one row of the log; counting begins anew."""
        found: dict[str, Any] = {
            "no_signal": self.no_signal / self.groups if self.groups else None,
            "answered": sum(self.picked.values()) / self.completions if self.completions else None,
            "picked": dict(sorted(self.picked.items())),
            "expected": {name: round(value, 3) for name, value in sorted(self.expected.items())},
        }
        if self.completions:  # of all that was sampled: what trl logs is of the batch, whatever it was filled with
            found |= {"accuracy": self.correct / self.completions, "sampled": self.sampled[:16]}
        if self.refilled is not None:
            found["refilled"], self.refilled = self.refilled, 0
        self.groups = self.no_signal = self.completions = self.correct = 0
        self.sampled = ""
        self.picked, self.expected = Counter(), Counter()
        return found

    def add_held_out(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The same for a held-out set, of which a place may come twice where processes share it unevenly."""
        self.right.update({row["place"]: row["right"] for row in rows})
        for row in rows:
            if row["place"] < SAMPLES:
                kept = {name: row[name] for name in ("id", "condition", "right")}
                self.samples[row["place"]] = kept | {"text": row["text"][:SAMPLE]}
        self.conditions.update({row["place"]: row["condition"] for row in rows})

    def held_out(self) -> dict[str, Any]:
        """The share that was right; by condition, where the set was asked under several. Counting begins anew."""
        names = dict.fromkeys(self.conditions[place] for place in sorted(self.right))
        found = {
            name: share(sum(answers), len(answers))
            for name in names
            if (answers := [right for place, right in self.right.items() if self.conditions[place] == name])
        }
        self.right, self.conditions = {}, {}
        return found if len(found) > 1 else next(iter(found.values()))
