"""Right answers in eight phrasings, read by both matchers: how much of a score is form?

    python benchmarks/phrasings.py [--data ../shared/data/mmau-test-mini.json] [--json]

Every answer names the gold choice of its item; what is not counted as right is lost to the form alone. `strict` is told
that it is not known how the prompt labelled the choices (`both`).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

from datagen.mcq import read
from datagen.multiple_choice import letter, string_match
from datagen.multiple_choice import read as read_answer
from datagen.statistics import share

SHARED = Path(os.environ.get("DATAGEN_SHARED") or Path(__file__).parents[2] / "shared")
PHRASINGS: dict[str, Callable[[str, str], str]] = {
    "x": lambda gold, label: gold,
    "(A) x": lambda gold, label: f"({label}) {gold}",
    "The answer is x.": lambda gold, label: f"The answer is {gold}.",
    "<answer>x</answer>": lambda gold, label: f"<answer>{gold}</answer>",
    "A": lambda gold, label: label,
    "['x']": lambda gold, label: str([gold]),
    "one sentence of reasoning": lambda gold, label: f"Listening to the audio, the most likely answer is {gold}.",
    "UPPER CASE": lambda gold, label: gold.upper(),
}
"""Name → (text of the gold choice, its letter) → an answer."""


def measure(data: str | Path) -> dict[str, dict[str, object]]:
    """Phrasing → matcher → correct, n, accuracy and interval."""
    items = read(data)
    items.refuse_broken("give a file with a right answer in each row")
    found = {}
    for name, phrase in PHRASINGS.items():
        official = strict = 0
        for choices, gold, index in items.table.select("choices", "answer", "answer_index").iter_rows():
            text = phrase(gold, letter(index))
            official += string_match(gold, text, choices)
            strict += read_answer(text, choices, "both") == index
        n = items.table.height
        found[name] = {"official": share(official, n), "strict": share(strict, n)}
    return found


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data/mmau-test-mini.json")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(args.data)
    if args.json:
        print(json.dumps({"data": args.data.name, "phrasings": found}))
        return
    for name, shares in found.items():
        print(f"{name:<28}", *(f"{matcher} {s['correct']:>5} of {s['n']}   " for matcher, s in shares.items()))


if __name__ == "__main__":
    main()
