"""Is a build flat in the number of clips? Peak resident memory of builds of two sizes, in one run.

    python benchmarks/memory.py [--clips 1000 20000] [--json]

Generated clips of 0.2 s; 1 caption, 2 questions and 3 readings a question from the loopback server of tests/world.py,
in a process of its own. The peak is VmHWM of the process that builds (dataset-wide stage, dataset and report included).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from kill import write_clips
from model_server import serving

PEAK = """
import json, sys
from pathlib import Path
from datagen.build import Config, build
audio, url, out = sys.argv[1:]
counts = build(Config(source="folder", model="stub", audio=Path(audio), base_url=url, out=Path(out),
                      captions_per_clip=1, questions_per_clip=2))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({**counts, "peak_mb": int(peak.split()[1]) / 1024}))
"""


def measure(clips: int, folder: Path, url: str) -> dict[str, Any]:
    """Peak, seconds and rows of one build."""
    write_clips(folder / f"clips{clips}", clips)
    command = [sys.executable, "-c", PEAK, str(folder / f"clips{clips}"), url, str(folder / f"run{clips}")]
    counts = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return {key: counts[key] for key in ("clips", "questions", "kept", "calls", "seconds", "peak_mb")}


def main() -> None:
    """Prints the peaks; exit 1 when the larger build needs over 100 MB more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, nargs=2, default=[1000, 20000])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving("world:respond") as url:
        rows = [measure(clips, Path(folder), url) for clips in args.clips]
    found = {"runs": rows, "difference_mb": rows[1]["peak_mb"] - rows[0]["peak_mb"], "limit_mb": 100}
    print(json.dumps(found) if args.json else "\n".join(map(str, [*rows, found["difference_mb"]])))
    sys.exit(found["difference_mb"] > found["limit_mb"])


if __name__ == "__main__":
    main()
