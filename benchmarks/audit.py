"""How long does `datagen audit` take on N generated questions with planted defects, and how much memory?

    python benchmarks/audit.py [--rows 1000000] [--json]

Prints {rows, seconds, cpu_seconds, rss_mb, findings: {name: count}, gates: {name: outcome}}. The questions
(`generated.py`) stand in a dataset's shards, which another process writes, so `rss_mb` is the peak of the audit alone.
Bounds, in seconds of the processor as other work may share it: 1,000,000 rows in 150 s and 3,500 MB, 200,000 in 40 s
and 1,500 MB; exit 1 beyond them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BOUNDS = {1_000_000: (150.0, 3_500), 200_000: (40.0, 1_500)}
"""Rows up to which a bound holds → seconds of the processor and MB."""
SHARD = 200_000


def make(rows: int, folder: Path) -> None:
    """Writes the shards."""
    import polars as pl
    from generated import questions

    (folder / "data").mkdir(parents=True)
    table = questions(rows).with_columns(
        provenance=pl.concat_str(pl.lit('{"writer": "'), "generator", pl.lit('"}')),
        media_id=pl.lit(""), source=pl.lit("gen"), start=pl.lit(None, pl.Float64), end=pl.lit(None, pl.Float64),
    )  # fmt: skip
    for number, part in enumerate(table.drop("defect", "generator", "sha256").iter_slices(SHARD)):
        part.write_parquet(folder / "data" / f"train-{number:05d}.parquet")


def measure(rows: int) -> dict[str, object]:
    """One audit of `rows` questions."""
    from datagen.audit import audit

    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, __file__, "--rows", str(rows), "--make", f"{folder}/dataset"]
        subprocess.run(call, check=True)
        started, worked = time.perf_counter(), time.process_time()
        found = audit(f"{folder}/dataset", html=Path(folder) / "page.html")
        seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    counts = {name: finding["count"] for name, finding in found["findings"].items()}
    outcomes = {gate["name"]: gate["outcome"] for gate in found["gates"]}
    return {
        "rows": rows, "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "rss_mb": peak, "findings": counts,
        "gates": outcomes,
    }  # fmt: skip


def main() -> None:
    """Prints the figures; exit 1 beyond a bound."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.make:
        make(args.rows, args.make)
        return
    found = measure(args.rows)
    print(json.dumps(found) if args.json else found)
    seconds, megabytes = next((BOUNDS[n] for n in sorted(BOUNDS) if args.rows <= n), (float("inf"),) * 2)
    sys.exit(found["cpu_seconds"] > seconds or found["rss_mb"] > megabytes)  # type: ignore[operator]


if __name__ == "__main__":
    main()
