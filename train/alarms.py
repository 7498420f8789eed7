"""When a run of GRPO is going wrong, told from the rows of its log. Each alarm looks at the last WINDOW steps.

zero-reward       not one right answer
no-signal         more than 95 % of the groups are all right or all wrong, so that no answer is better than another
clipped           more than half of the completions end at the limit
length-collapse   completions a quarter as long as in the first WINDOW steps, and no more often right
entropy-collapse  a tenth of the first entropy is left while a tenth or more of the answers are wrong: no other
                  answer is tried any more
position          answers prefer a place among the choices, by 20 points beyond chance at the lower end of the
                  interval; the choices are permuted, so no place is right more often
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from datagen.statistics import wilson

__all__ = ["ALARMS", "WINDOW", "alarms"]

WINDOW = 20
"""Steps that an alarm looks at."""
NO_SIGNAL, CLIPPED, SHORTER, PREFERENCE = 0.95, 0.5, 0.25, 0.2
"""Share of groups, share of completions, share of the first length, share beyond what no preference would give."""
SURER, LEARNT = 0.1, 0.9
"""Share of the first entropy, and of right answers from which little entropy is what is wanted."""
ALARMS = ("zero-reward", "no-signal", "clipped", "length-collapse", "entropy-collapse", "position")

Row = Mapping[str, Any]


def alarms(rows: Sequence[Row], first: Sequence[Row]) -> dict[str, str]:
    """Alarm → its line, for the last WINDOW steps; nothing before there are so many. `first`: the run's first."""
    if len(rows) < WINDOW:
        return {}
    mean, begun = _means(rows), _means(first)
    found = {}
    if not mean["accuracy"]:
        found["zero-reward"] = f"not one right answer in {WINDOW} steps: nothing is learnt; look at prompt and answers"
    if mean["no_signal"] > NO_SIGNAL:
        found["no-signal"] = f"{mean['no_signal']:.0%} of the groups are all right or all wrong: they teach nothing"
    if mean["clipped"] > CLIPPED:
        found["clipped"] = f"{mean['clipped']:.0%} of the completions end at --max-tokens: allow more"
    if mean["length"] < SHORTER * begun["length"] and mean["accuracy"] <= begun["accuracy"]:
        found["length-collapse"] = (
            f"completions shrank from {begun['length']:.0f} to {mean['length']:.1f} tokens for no gain"
        )
    if mean["entropy"] < SURER * begun["entropy"] and mean["accuracy"] < LEARNT:
        found["entropy-collapse"] = (
            f"entropy fell from {begun['entropy']:.3g} to {mean['entropy']:.3g} nats a token with "
            f"{mean['accuracy']:.0%} right: no other answer is tried"
        )
    if preferred := _preferred(rows):
        found["position"] = preferred
    return found


def _means(rows: Sequence[Row]) -> dict[str, float]:
    """Of the rows that hold the figure, which those of answers used again do not; else nan, which raises nothing."""
    found = {}
    for name in ("accuracy", "no_signal", "clipped", "length", "entropy"):
        values = [row[name] for row in rows if row.get(name) is not None]
        found[name] = sum(values) / len(values) if values else math.nan
    return found


def _preferred(rows: Sequence[Row]) -> str:
    picked: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for row in rows:
        picked.update(row.get("picked", {}))
        expected.update(row.get("expected", {}))
    answers = sum(picked.values())
    for place, count in picked.most_common(1):
        chance = expected[place] / answers
        if wilson(count, answers)[0] > chance + PREFERENCE:
            return f"{count / answers:.0%} of the answers are the choice at place {place}, chance is {chance:.0%}"
    return ""
