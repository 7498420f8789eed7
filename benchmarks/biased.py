"""Does the default chain make a biased set sound, and at what cost in rows?

    python benchmarks/biased.py [--rows 20000] [--json]

Plants what writers do: the answer first in 40 % of the questions, the longest choice in 40 %, and in a second set also,
in 20 %, a word that only answers have. Prints of each raw set, after the default chain, and after it with
`artefacts=aflite` before `balance`: rows, the share that went, the gates always-first, longest and choices-only, and
which gates do not pass; and of the rows without any planted artefact how many AFLite took: what it costs in valid
questions. Exit 1 when one of the three does not pass after the default chain, with AFLite where words are planted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import polars as pl
from generated import questions

from datagen.filters import DEFAULT, FILTERS
from datagen.filters.positions import reletter
from datagen.gates import gates
from datagen.parts import asks, make_filter
from datagen.plugins import Context
from datagen.prompts import Prompts

ALWAYS = ("first", "longest", "choices_only")
TELLTALE, OTHERS = ("gently", "loudly", "calmly", "firmly"), ("inside", "nearby", "abroad", "around")
"""Words that answers alone have, and that their distractors have instead; none is longer."""
RULES = tuple(name for name in DEFAULT if name in FILTERS)
CHAINS = {"raw": (), "default": RULES, "default with artefacts=aflite": (*RULES[:-1], "artefacts=aflite", RULES[-1])}


CASES = (
    (0.0, "raw"),
    (0.0, "default"),
    (0.2, "raw"),
    (0.2, "default"),
    (0.2, "default with artefacts=aflite"),
)
"""Share of questions with a word that only answers have, and the chain; the last of each share must pass."""


def biased(rows: int, words: float, seed: int = 0) -> pl.DataFrame:
    """Clean generated questions with the three artefacts; `planted` says which rows have one."""
    rng = np.random.default_rng(seed)
    table = questions(2 * rows, seed, defects=False).drop("defect")
    others = table.select(pl.col("choices").list.set_difference(pl.concat_list("answer"))).to_series()
    table = table.with_columns(others=others).filter(others.list.len() == 3)
    long = table.select(
        pl.col("answer").str.len_chars() > pl.col("others").list.eval(pl.element().str.len_chars()).list.max()
    ).to_series()
    # Which answers are long is drawn from what there is, so that no word and no length tells more than "the longest".
    chosen = [
        rng.permutation(part.arg_true().to_numpy())[: int(share * rows)] for part, share in ((long, 0.4), (~long, 0.6))
    ]
    at = np.sort(np.concatenate(chosen))
    table, long = table[at], long.gather(at)
    first, worded = (pl.Series(rng.random(table.height) < share) for share in (0.2, words))
    marks = rng.integers(0, 4, (4, table.height))
    texts = [table["answer"], *(table["others"].list.get(i) for i in range(3))]
    texts = [
        text.zip_with(~worded, text + " " + pl.Series(TELLTALE if i == 0 else OTHERS).gather(marks[i]))
        for i, text in enumerate(texts)
    ]
    answer = texts[0]
    place = table["answer_index"].zip_with(~first, pl.zeros(table.height, dtype=pl.Int32, eager=True))
    orders = [[*texts[1 : i + 1], answer, *texts[i + 1 :]] for i in range(4)]
    columns = [pl.Series(f"{i}", orders[0][i]) for i in range(4)]
    for at in (1, 2, 3):
        columns = [column.zip_with(place != at, orders[at][i]) for i, column in enumerate(columns)]
    choices = pl.DataFrame(columns).select(pl.concat_list(pl.all())).to_series()
    return table.drop("others").with_columns(
        choices=choices, answer=answer, answer_index=place, planted=first | long | worded
    )


def judged(table: pl.DataFrame, chain: tuple[str, ...], seed: int = 0) -> tuple[pl.DataFrame, dict[str, Any]]:
    """What the chain keeps, re-lettered as a build does, and what it said."""
    context, said = Context(seed=seed, prompts=Prompts()), {}
    for item in chain:
        name, _, value = item.partition("=")
        if not asks(name, context):
            continue
        made = make_filter(name, value or None, context)
        keep = made.judge(table)["keep"]
        said[item] = {"dropped": int((~keep).sum()), "notes": getattr(made, "notes", {})}
        if item == "artefacts=aflite":
            clean = ~table["planted"]
            said[item]["clean"], said[item]["clean_dropped"] = int(clean.sum()), int((clean & ~keep).sum())
        table = table.filter(keep)
    return (reletter(table, seed) if chain else table), said


def measure(rows: int, words: float, chain: str) -> dict[str, Any]:
    """Rows, cost and gates after one chain."""
    table = biased(rows, words)
    started = time.perf_counter()
    kept, said = judged(table, CHAINS[chain])
    every = {gate["name"]: gate for gate in gates(kept)}
    return {
        "set": f"first 40 %, longest 40 %, words {100 * words:.0f} %", "chain": chain, "rows": kept.height,
        "cost": round(1 - kept.height / table.height, 4),
        "gates": {name: {key: every[name][key] for key in ("value", "low", "high", "outcome")} for name in ALWAYS},
        "not_passed": [name for name, gate in every.items() if gate["outcome"] != "pass"],
        "filters": {item: row for item, row in said.items() if row["dropped"]},
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def main() -> None:
    """Prints the table; exit 1 when what must pass does not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = [measure(args.rows, *case) for case in CASES]
    if args.json:
        print(json.dumps(found))
    else:
        for row in found:
            told = ", ".join(f"{name} {100 * g['value']:+.1f} {g['outcome']}" for name, g in row["gates"].items())
            print(f"{row['set']}; {row['chain']}: {row['rows']} rows, {100 * row['cost']:.1f} % went: {told}")
            for item, said in row["filters"].items():
                print(f"    {item:<20}{said}")
    last = {row["set"]: row for row in found}
    sys.exit(any(gate["outcome"] != "pass" for row in last.values() for gate in row["gates"].values()))


if __name__ == "__main__":
    main()
