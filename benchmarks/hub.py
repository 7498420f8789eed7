"""Is source `hub` flat in the number of rows? Peak resident memory of builds from parquet with embedded audio.

    python benchmarks/hub.py [--rows 500 5000] [--row-group N] [--hub] [--json]

Noise of 4 s (128 kB a row), captioner `labels`. The file is written as `datasets` writes it, or in row groups of N
rows by pyarrow, whose pages hold 1,024 rows however large: a page is the least that can be read, so with N in the
thousands the peak is some four pages (525 MB). `--hub` serves the set by the loopback Hub of tests/hub_server.py
instead of reading a folder; compare sets of several row groups there, as a page is fetched in one piece. The peak is
VmHWM of the process that builds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import wave
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from hub_server import HubServer

PEAK = """
import json, sys
from pathlib import Path
from datagen.build import Config, build
counts = build(Config(source="hub", annotations=Path(sys.argv[1]), out=Path(sys.argv[2]), captioner="labels"))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({**counts, "peak_mb": int(peak.split()[1]) / 1024}))
"""


def noise(number: int) -> bytes:
    """A WAV file, another one for each number."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(np.random.default_rng(number).integers(-9_000, 9_000, 64_000, dtype="<i2").tobytes())
    return file.getvalue()


def write_set(folder: Path, rows: int, row_group: int | None) -> int:
    """A set of `rows` rows in one file; returns its bytes."""
    from datasets import Audio, Dataset, Features, Value

    folder.mkdir()
    kind = Features({"audio": Audio(), "label": Value("string")}).arrow_schema
    items = [{"audio": {"bytes": noise(i), "path": f"{i}.wav"}, "label": f"sound {i % 50}"} for i in range(rows)]
    file = folder / "train.parquet"
    table = pa.Table.from_pylist(items, schema=kind)
    if row_group:
        pq.write_table(table, file, row_group_size=row_group, compression="none")
    else:
        Dataset(table).to_parquet(file)
    return file.stat().st_size


def measure(rows: int, folder: Path, row_group: int | None, hub: HubServer | None) -> dict[str, Any]:
    """Peak, seconds and rows of one build."""
    size = write_set(folder / f"set{rows}", rows, row_group)
    name, environment = str(folder / f"set{rows}"), {**os.environ, "USE_TORCH": "0"}
    if hub:
        name, environment = f"me/set{rows}", environment | hub.environment()
        hub.write(name, {"train.parquet": folder / f"set{rows}" / "train.parquet"})
    command = [sys.executable, "-c", PEAK, name, str(folder / f"run{rows}")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environment)
    counts = json.loads(done.stdout)
    groups = pq.read_metadata(folder / f"set{rows}" / "train.parquet").num_row_groups
    return {"set_mb": round(size / 1e6), "row_groups": groups} | {
        key: counts[key] for key in ("clips", "questions", "seconds", "peak_mb")
    }


def main() -> None:
    """Prints the peaks; exit 1 when the larger build needs over 60 MB more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, nargs=2, default=[500, 5000])
    parser.add_argument("--row-group", type=int, help="rows of a row group; left out: as `datasets` writes")
    parser.add_argument("--hub", action="store_true", help="over HTTP")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        hub = stack.enter_context(HubServer(Path(folder) / "hub")) if args.hub else None
        runs = [measure(rows, Path(folder), args.row_group, hub) for rows in args.rows]
    found = {"runs": runs, "difference_mb": runs[1]["peak_mb"] - runs[0]["peak_mb"], "limit_mb": 60}
    print(json.dumps(found) if args.json else "\n".join(map(str, [*runs, found["difference_mb"]])))
    sys.exit(found["difference_mb"] > found["limit_mb"])


if __name__ == "__main__":
    main()
