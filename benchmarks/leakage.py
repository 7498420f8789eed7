"""How many test items are found again by their words, in which disguise, and what else is taken for one?

    python benchmarks/leakage.py --data mmau-test-mini.json [--other MMAR-meta.jsonl] [--json]

`found`: items of the file that come into a set of generated questions, changed in one way each. `false_alarms`
(found, of how many): the question of an item, word for word, with choices of the other files, or with one of its own
among them; the generated questions; and the items of the other files. Items are changed where they are met as they are:
those of fewer than 8 words, and what more than 10 items share, are not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import polars as pl
from generated import questions
from planted_texts import SAME_ITEM

from datagen import mcq
from datagen.leakage import compare, read
from datagen.records import fold
from datagen.seeds import generator

Item = tuple[str, list[str]]
SAME = {
    "unchanged": 0, "capitals, choices reversed": 1, "punctuation": 2, "last choice replaced": 3,
    "first choice replaced": 4, "a sentence before it": 5, "a sentence after it": 6, "first word changed": 7,
    "last word changed": 8, "one more choice": 9,
}  # fmt: skip
"""Ways of `planted_texts.SAME_ITEM`."""


def word_changed(item: Item) -> Item:
    """One word in the middle of the question is another."""
    said = item[0].split()
    said[len(said) // 2] = "notably"
    return " ".join(said), item[1]


def half_replaced(item: Item) -> Item:
    """Half of the choices are others."""
    return item[0], [*item[1][: len(item[1]) // 2], *(f"another thing {i}" for i in range(-(-len(item[1]) // 2)))]


def with_others(items: list[Item], pool: list[list[str]], own: int) -> list[Item]:
    """Each question with choices of the `pool` that share none of its own, and `own` choices of its own before them."""
    found = []
    for number, (question, choices) in enumerate(items):
        mine = set(map(fold, choices))
        drawn = generator(0, "others", str(number)).sample(pool, len(pool))
        other = next(c for c in drawn if len(c) > own + 1 and mine.isdisjoint(map(fold, c)))
        found.append((question, [*choices[:own], *other[own:]]))
    return found


def reasons(rows: list[Item], beside: pl.DataFrame, benchmarks: object) -> list[str]:
    """What is found of `rows`, each about a clip of its own, in a set with `beside`."""
    table = pl.DataFrame(rows, schema={"question": pl.String, "choices": pl.List(pl.String)}, orient="row")
    return compare(pl.concat([table, beside]), benchmarks)["reason"].head(len(rows)).to_list()  # type: ignore[arg-type]


def measure(data: str, others: list[str]) -> dict[str, object]:
    """The figures of one benchmark file."""
    benchmarks = read([data])
    beside = questions(20_000, defects=False).select("question", "choices")
    own = [(q, c) for q, c in mcq.read(data).table.select("question", "choices").iter_rows()]
    plain = reasons(own, beside.clear(), benchmarks)
    items = [item for item, reason in zip(own, plain, strict=True) if reason]
    ways: dict[str, Callable[[Item], Item]] = {
        name: (lambda item, way=SAME_ITEM[place]: way(*item))
        for name, place in SAME.items()  # type: ignore[misc]
    } | {"a word in the middle changed": word_changed, "half of the choices replaced": half_replaced}
    found = {
        name: sum(map(bool, reasons([way(item) for item in items], beside, benchmarks))) for name, way in ways.items()
    }
    rows_of = {place: mcq.read(place).table.select("question", "choices").rows() for place in others}
    pool = [choices for rows in rows_of.values() for _, choices in rows] or beside["choices"].head(1_000).to_list()
    wrong: dict[str, list[int]] = {}
    for name, rows in {
        "its question, other choices": with_others(items, pool, 0),
        "its question, one of its choices": with_others(items, pool, 1),
        "generated": beside.rows(),
        **rows_of,
    }.items():
        wrong[name] = [sum(map(bool, reasons(rows, beside.clear(), benchmarks))), len(rows)]
    return {"items": len(own), "met_as_they_are": len(items), "found": found, "false_alarms": wrong}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a benchmark file")
    parser.add_argument("--other", action="append", default=[], help="another set, which holds none of its items")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    print(json.dumps(measure(args.data, args.other), indent=None if args.json else 2))


if __name__ == "__main__":
    main()
