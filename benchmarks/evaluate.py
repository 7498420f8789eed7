"""`datagen eval` against an instant model server: answers a second, memory, and kill -9.

    python benchmarks/evaluate.py [--items 2000 20000] [--audio 500] [--kills 5] [--json]

The server (benchmarks/model_server.py, answering by tests/quiz.py) runs in a process of its own. `text` and `audio` are
whole runs with a ledger on disk; answers a second are of the asking and reading, `seconds` of all; `peak_mb` is the
VmHWM of the process that evaluates, `more_mb` what many answers to the same items, and ten times the items, add.
`per_cpu_second` is 1 over what a further item takes of the processor, figures included: it does not move with what else
the machine does. A `kill` ends a run by SIGKILL once a number of answers, drawn by seed, is committed, and runs it
again to its end:

    reasked_committed   requests after the restart beyond those that the ledger lacked; must be 0
    killed_between      rounds in which the kill fell after the first answer and before the last
    equal               rounds after which predictions.jsonl, items.parquet and result.json are those of a whole run
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kill import committed
from model_server import TESTS, counters, serving

sys.path.append(str(TESTS))
import quiz

FILES = ("predictions.jsonl", "items.parquet", "result.json")
RUN = """
import json, sys, time
from pathlib import Path
from datagen.eval.evaluate import Config, evaluate
options = json.loads(sys.argv[1])
options["out"] = Path(options["out"])
if "audio" in options:
    options["audio"] = Path(options["audio"])
found = evaluate(Config(benchmark="mmau", model="stub", **options))
cpu = time.process_time()
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
keys = ("spent", "seconds", "asking_seconds", "unanswered")
print(json.dumps({**{key: found[key] for key in keys}, "peak_mb": int(peak.split()[1]) / 1024, "cpu": cpu}))
"""


def started(url: str, data: Path, out: Path, **options: Any) -> subprocess.Popen[str]:
    """The process of one evaluation."""
    call = json.dumps({"base_url": url, "data": str(data), "out": str(out), "condition": "none", **options})
    return subprocess.Popen(
        [sys.executable, "-c", RUN, call], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(job: subprocess.Popen[str]) -> dict[str, Any]:
    """Its figures. Raises SystemExit where it failed."""
    out, err = job.communicate(timeout=900)
    if job.returncode:
        raise SystemExit(f"the evaluation ended with {job.returncode}: {err[-2000:]}")
    return dict(json.loads(out))


def speed(url: str, folder: Path, items: int, orders: str = "original", *, audio: bool = False) -> dict[str, Any]:
    """One whole run."""
    name = f"{items}-{orders}-{audio}"
    data = quiz.write(folder / f"quiz{name}", items, audio=audio)
    options = {"condition": "audio", "audio": str(data.parent / "audio")} if audio else {}
    found = finished(started(url, data, folder / f"run{name}", orders=orders, **options))
    calls = found["spent"]["calls"]
    return {
        "items": items, "answers": calls, "per_second": calls / found["asking_seconds"], "seconds": found["seconds"],
        "cpu_seconds": found["cpu"], "peak_mb": found["peak_mb"],
        "page_mb": (folder / f"run{name}/report.html").stat().st_size / 1e6,
    }  # fmt: skip


def kills(rounds: int, items: int, folder: Path, seed: int = 0) -> dict[str, Any]:
    """One undisturbed run, then `rounds` disturbed ones."""
    data, draw = quiz.write(folder / "quiz", items, audio=False), random.Random(seed)
    with serving("quiz:mixed", latency_ms=30) as url:
        finished(started(url, data, folder / "whole"))
        unique, whole, seen = counters(url)["unique"], digests(folder / "whole"), []
        for number in range(rounds):
            out = folder / f"run{number}"
            counters(url, "reset")
            job = started(url, data, out)
            wanted = draw.randrange(1, items)
            while job.poll() is None and committed(out) < wanted:
                time.sleep(0.002)
            job.kill()
            job.communicate()
            before, kept = counters(url), committed(out)
            counters(url, "reset")
            finished(started(url, data, out))
            after = counters(url)
            seen.append({
                "kept": kept, "between": 0 < kept < unique, "equal": digests(out) == whole,
                "reasked": after["requests"] - (unique - kept), "lost": before["answered"] - kept,
            })  # fmt: skip
    return {
        "rounds": rounds, "unique": unique, "committed_at_kill": sorted(r["kept"] for r in seen),
        "killed_between": sum(r["between"] for r in seen), "equal": sum(r["equal"] for r in seen),
        "reasked_committed": sum(abs(r["reasked"]) for r in seen), "lost_in_flight": max(r["lost"] for r in seen),
    }  # fmt: skip


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of what must not differ."""
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in FILES}


def main() -> None:
    """Prints the figures; exit 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--items", type=int, nargs=2, default=[2000, 20000])
    parser.add_argument("--audio", type=int, default=500)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    few, many = args.items
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving("quiz:mixed") as url:
            text = [speed(url, folder, few), speed(url, folder, few, "circular,shuffle:8"), speed(url, folder, many)]
            heard = speed(url, folder, args.audio, audio=True)
        killed = kills(args.kills, 200, folder / "kills")
    peaks = [run["peak_mb"] for run in text]
    cpu = 1000 * (text[2]["cpu_seconds"] - text[0]["cpu_seconds"]) / (many - few)
    found = {
        "text": text, "audio": heard, "cpu_ms_an_item": cpu, "per_cpu_second": 1000 / cpu, "least": 500,
        "more_mb": {"answers": peaks[1] - peaks[0], "items": peaks[2] - peaks[0]},
        "kb_an_item": 1024 * (peaks[2] - peaks[0]) / (many - few), "most_mb_of_answers": 100, "most_kb_an_item": 10,
        "kill": killed,
    }  # fmt: skip
    print(json.dumps(found) if args.json else "\n".join(f"{key:<15} {value}" for key, value in found.items()))
    wrong = killed["equal"] != killed["rounds"] or killed["reasked_committed"]
    large = found["more_mb"]["answers"] > found["most_mb_of_answers"] or found["kb_an_item"] > found["most_kb_an_item"]
    sys.exit(bool(wrong or large or 1000 / cpu < found["least"]))


if __name__ == "__main__":
    main()
