"""Does an export stay flat in the number of rows? Peak resident memory and seconds of two sizes, in one run.

    python benchmarks/export.py [--rows 10000 1000000] [--format ms-swift] [--json]

Made-up questions with four captions each, in the shards that `build` writes. The peak is VmHWM of the process that
exports; `cpu_seconds` is its processor time, which other work on the machine hardly disturbs. `copy_seconds` is the
time to read the exported file and write it elsewhere: what the disk takes at best.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from datagen.dataset import published, write_shards
from datagen.run import replace_text

EXPORT = """
import json, sys, time
from pathlib import Path
from datagen.export import export
run, name, out = sys.argv[1:]
started, used = time.monotonic(), time.process_time()
found = export(Path(run), name, Path(out))
seconds = time.monotonic() - started
cpu = time.process_time() - used
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"rows": found["rows"], "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2),
                  "peak_mb": round(int(peak.split()[1]) / 1024)}))
"""
CHOICES = ["a dog barks", "a bell rings twice", "rain on a tin roof", "somebody speaks, far away"]


def make_run(folder: Path, rows: int) -> Path:
    """A finished run of `rows` questions."""
    (folder / "dataset/data").mkdir(parents=True)
    number = pl.int_range(rows, eager=True)
    place = number % len(CHOICES)
    table = pl.DataFrame(
        {
            "id": number.cast(pl.String).str.zfill(16),
            "question": "Which sound is heard first in recording number " + number.cast(pl.String) + "?",
            "choices": pl.Series([CHOICES]).new_from_index(0, rows),
            "answer": pl.Series(CHOICES).gather(place),
            "answer_index": place,
            "domain": pl.Series(["sound"]).new_from_index(0, rows),
            "skill": pl.Series(["order"]).new_from_index(0, rows),
            "captions": pl.Series([[f"In caption {text}." for text in CHOICES]]).new_from_index(0, rows),
            "source": pl.Series(["made"]).new_from_index(0, rows),
            "clip_id": "made/" + (number // 4).cast(pl.String),
            "media_id": pl.Series([""]).new_from_index(0, rows),
            "start": pl.Series([None], dtype=pl.Float64).new_from_index(0, rows),
            "end": pl.Series([None], dtype=pl.Float64).new_from_index(0, rows),
            "audio_dependence": pl.Series([None], dtype=pl.Float64).new_from_index(0, rows),
            "provenance": '{"keys":["' + number.cast(pl.String) + '"]}',
        }
    )  # fmt: skip
    write_shards(table, number, folder / "dataset/data", "train", published())
    replace_text(folder / "run.json", json.dumps({"status": "done", "fingerprints": {}}))
    return folder


def measure(rows: int, name: str, folder: Path) -> dict[str, Any]:
    """Rows, seconds and peak of one export, and the seconds of a plain copy of its file."""
    run, out = make_run(folder / f"run{rows}", rows), folder / f"{rows}.jsonl"
    command = [sys.executable, "-c", EXPORT, str(run), name, str(out)]
    found: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    started = time.monotonic()
    shutil.copy(out, folder / "copy")
    return {**found, "mb": round(out.stat().st_size / 1e6), "copy_seconds": round(time.monotonic() - started, 2)}


def main() -> None:
    """Prints both; exit 1 when the larger export needs over 100 MB more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, nargs=2, default=[10_000, 1_000_000])
    parser.add_argument("--format", default="ms-swift")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        exports = [measure(rows, args.format, Path(folder)) for rows in args.rows]
    found = {"exports": exports, "difference_mb": exports[1]["peak_mb"] - exports[0]["peak_mb"], "limit_mb": 100}
    print(json.dumps(found) if args.json else "\n".join(map(str, [*exports, found["difference_mb"]])))
    sys.exit(found["difference_mb"] > found["limit_mb"])


if __name__ == "__main__":
    main()
