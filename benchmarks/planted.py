"""Does every filter find what it is there for? Planted defects and clean rows, by filter.

    python benchmarks/planted.py [--only answerable,modality] [--json]

Prints {filter: {planted, found, false_alarms, clean}}; exit 1 where a filter has fewer than 20 planted, finds less than
90 % of them, or drops more than 2 % of the clean rows. To add a filter, add a function to PLANTS that returns Counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import planted_texts as texts
import polars as pl
from generated import questions

from datagen.filters import FILTERS
from datagen.plugins import Context, resolve
from datagen.prompts import Prompts

__all__ = ["PLANTS", "counts", "passes"]

Counts = dict[str, int]
"""planted, found, false_alarms, clean"""
CLEAN = 1_000
"""Generated clean rows beside the planted ones."""
CONTEXT = Context(seed=0, prompts=Prompts())


def counts(verdicts: pl.DataFrame, planted: Sequence[bool]) -> Counts:
    """What the verdicts found of `planted`, a flag a row."""
    dropped, bad = ~verdicts["keep"], pl.Series(planted, dtype=pl.Boolean)
    return {
        "planted": int(bad.sum()),
        "found": int((dropped & bad).sum()),
        "false_alarms": int((dropped & ~bad).sum()),
        "clean": int((~bad).sum()),
    }


def passes(found: Counts) -> bool:
    """At least 20 planted, 90 % of them found, at most 2 % false alarms."""
    enough = found["planted"] >= 20 and found["found"] >= 0.9 * found["planted"]
    return enough and found["false_alarms"] <= 0.02 * found["clean"]


def judged(name: str, bad: Sequence[dict[str, Any]], clean: Sequence[dict[str, Any]] = ()) -> Counts:
    """The filter `name` on planted rows, clean ones written by hand, and generated clean ones; each row a change of a
    generated one, which says what the row is about."""
    base = questions(CLEAN + len(bad) + len(clean), seed=1, defects=False).drop("defect")
    changed = [old | new for old, new in zip(base.iter_rows(named=True), [*bad, *clean], strict=False)]
    rows = [row | {"answer_index": row["choices"].index(row["answer"])} for row in changed]
    table = pl.concat([pl.DataFrame(rows, schema=base.schema), base[len(rows) :]])
    verdicts = resolve("filter", name, FILTERS, "judge")(CONTEXT).judge(table)
    return counts(verdicts, [i < len(bad) for i in range(table.height)])


def asked(items: Iterable[tuple[str, Sequence[str]]], **fields: Any) -> list[dict[str, Any]]:
    """Rows of (question, choices), the first choice being the answer."""
    return [{"question": text, "choices": list(choices), "answer": choices[0], **fields} for text, choices in items]


def with_choice(choice: str) -> dict[str, Any]:
    """A row in which one wrong choice is `choice`."""
    return {"choices": ["a barking dog", "a ringing bell", choice, "a passing car"], "answer": "a barking dog"}


def answerable() -> Counts:
    """Choices that are none, questions without an answer."""
    bad = [with_choice(choice) for choice in texts.CHOICES_THAT_ARE_NONE]
    bad += [{"question": question} for question in texts.QUESTIONS_WITHOUT_ANSWER]
    return judged("answerable", bad, asked(texts.ANSWERS_THAT_LOOK_EMPTY))


def modality() -> Counts:
    """Questions and choices of what is seen or written, answers that quote a caption."""
    bad = [{"question": question} for question in texts.QUESTIONS_OF_WHAT_IS_SEEN]
    bad += [with_choice(choice) for choice in texts.CHOICES_OF_WHAT_IS_SEEN]
    return judged("modality", bad, asked(texts.SOUND_WORDS_THAT_LOOK_LIKE_SIGHT))


PLANTS: dict[str, Callable[[], Counts]] = {
    "answerable": answerable,
    "modality": modality,
}
"""Filter → what it made of its planted rows."""


def main() -> None:
    """Prints the table; exit 1 when a filter does not pass."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", default=",".join(PLANTS))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = {name: PLANTS[name]() for name in args.only.split(",")}
    if args.json:
        print(json.dumps(found))
    else:
        for name, row in found.items():
            print(f"{name:<18}", row, "" if passes(row) else "FAILS")
    sys.exit(not all(map(passes, found.values())))


if __name__ == "__main__":
    main()
