"""How long do the filters take on N generated questions with planted defects, and how much memory?

    python benchmarks/filters.py [--rows 1000000] [--only length,overlap] [--json]

Prints {rows, seconds, rss_mb, filters: {name: seconds}, cpu_seconds}; on a machine that others use, `cpu_seconds` (of
all cores) says what a quiet one would take. Every filter that asks no model judges the whole table (in a build each
gets only what is left; `leakage` compares with 10,000 items), so `seconds` is more than a build's. `rss_mb` is the peak
of this process, the table included. Bounds: 1,000,000 rows in 120 s and 3,000 MB, 200,000 in 30 s and 2,000 MB; exit 1
beyond them. `near_200k`: [seconds, cpu_seconds] of the near-duplicates of 200,000 questions, bound 8 s. What fits
models has bounds of its own and is not in `seconds`: `artefacts` on all rows in 60 s, `artefacts=aflite` on at most
100,000 of them in 180 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import replace
from typing import Any

import polars as pl
from generated import questions

from datagen.filters import FILTERS
from datagen.filters.duplicates import Duplicates
from datagen.filters.positions import reletter
from datagen.leakage import Benchmarks
from datagen.plugins import Context, resolve
from datagen.prompts import Prompts

BOUNDS = {1_000_000: (120.0, 3_000), 200_000: (30.0, 2_000)}
"""Rows up to which a bound holds → seconds and MB."""
APART = {"artefacts": 60.0, "artefacts=aflite": 180.0}
"""Filters that fit models → seconds, up to 1,000,000 rows."""
AFLITE_ROWS = 100_000
NAMES = (*(name for name in FILTERS if name != "semantic"), "artefacts=aflite")  # `semantic` asks a model of its own
"""What is measured: every filter that asks no model. `test_benchmark_filters.py` holds that no default is missing."""


def measure(rows: int, names: list[str], seed: int = 0) -> dict[str, Any]:
    """One run over all `names`."""
    table = questions(rows, seed).drop("defect")
    near = near_200k(table.head(200_000)) if "duplicates" in names else {}
    items = questions(10_000, seed + 9, defects=False).select("question", "choices", name="id")
    context = Context(seed=seed, prompts=Prompts(), against=Benchmarks(items, media_ids(10_000)))
    seconds: dict[str, float] = {}
    begun = time.process_time()
    for item in names:
        name, _, value = item.partition("=")
        part = table.head(AFLITE_ROWS) if item == "artefacts=aflite" else table
        started = time.perf_counter()
        found = resolve("filter", name, FILTERS, "judge")(replace(context, value=value or None)).judge(part)
        seconds[item] = round(time.perf_counter() - started, 2)
        assert found.height == part.height
        print(f"{item:<18}{seconds[item]:8.2f} s  {part.height - found['keep'].sum():>8} dropped", file=sys.stderr)
    started = time.perf_counter()
    reletter(table, seed)
    seconds["reletter"] = round(time.perf_counter() - started, 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    cpu = round(time.process_time() - begun, 2)
    total = round(sum(spent for item, spent in seconds.items() if item not in APART), 2)
    return {"rows": rows, "seconds": total, "rss_mb": peak, "filters": seconds, "cpu_seconds": cpu, **near}


def media_ids(number: int) -> dict[str, str]:
    """Ids of the form of YouTube's, none of which the table has."""
    return {f"youtube:x{i:09}A": "a video" for i in range(number)}


def near_200k(table: pl.DataFrame) -> dict[str, object]:
    """Seconds for the near-duplicates of 200,000 questions: 4 a clip, and 100 a clip. Bound: 8 s."""
    hundred = table.with_columns(sha256=(pl.int_range(pl.len()) // 100).cast(pl.String))
    found = {}
    for name, rows in (("4_a_clip", table), ("100_a_clip", hundred)):
        started, begun = time.perf_counter(), time.process_time()
        Duplicates(Context(seed=0, prompts=Prompts())).judge(rows)
        found[name] = [round(time.perf_counter() - started, 2), round(time.process_time() - begun, 2)]
    return {"near_200k": {"rows": table.height, **found}}


def main() -> None:
    """Prints the figures; exit 1 beyond a bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(NAMES))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = measure(args.rows, args.only.split(","))
    print(json.dumps(found) if args.json else found)
    seconds, megabytes = next((BOUNDS[n] for n in sorted(BOUNDS) if args.rows <= n), (float("inf"),) * 2)
    late = [name for name, most in APART.items() if found["filters"].get(name, 0.0) > most]
    sys.exit(bool(late) or found["seconds"] > seconds or found["rss_mb"] > megabytes)


if __name__ == "__main__":
    main()
