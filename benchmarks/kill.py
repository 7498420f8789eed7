"""Kill -9 at random moments, then run again: are the bytes those of an undisturbed run, is an answer asked twice?

    python benchmarks/kill.py [--kills 20] [--clips 24] [--json] [-- OPTIONS of the build]

A model server on loopback, in a process of its own, answers equal requests equally (tests/world.py). Each round starts
`datagen build` on generated clips, ends it by SIGKILL at a moment drawn by seed from the length of an undisturbed run
(the writing of tables and dataset included), counts the answers committed in the ledger, and runs it again to its end.

    reasked_committed   requests after the restart beyond those that the ledger lacked; must be 0
    lost_in_flight      answers that the server gave and the kill kept from the ledger, the most of any round
    equal               rounds after which every table and every file of dataset/ is that of the undisturbed run
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from model_server import counters, serving

BUILD = [sys.executable, "-c", "from datagen.cli import main; main()", "build", "--source", "folder", "--model", "stub"]


def write_clips(folder: Path, number: int) -> None:
    """`number` different clips of 0.2 s of noise."""
    folder.mkdir(parents=True)
    for index in range(number):
        noise = np.random.default_rng(index).standard_normal(3200).astype(np.float32)
        soundfile.write(folder / f"clip{index:05d}.wav", 0.1 * noise, 16_000, subtype="PCM_16")


def digests(run: Path) -> dict[str, str]:
    """SHA-256 of every table and of every file of the dataset."""
    files = [*run.glob("*.parquet"), *(path for path in (run / "dataset").rglob("*") if path.is_file())]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def committed(run: Path) -> int:
    """Answers in the ledger."""
    if not (run / "ledger.sqlite").exists():
        return 0
    with contextlib.closing(sqlite3.connect(run / "ledger.sqlite", timeout=10)) as ledger:
        try:
            return int(ledger.execute("SELECT count(*) FROM answers").fetchone()[0])
        except sqlite3.OperationalError:  # killed before the table was made
            return 0


def build(run: Path, clips: Path, url: str, options: Sequence[str] = (), kill_after: float | None = None) -> float:
    """Runs one build and returns its seconds; with `kill_after`, ends it by SIGKILL then if it is still running."""
    command = [*BUILD, "--audio", str(clips), "--base-url", url, "--out", str(run), "--captions-per-clip", "2"]
    started = time.monotonic()
    command += ["--questions-per-clip", "2", "--workers", "3", *options]
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        _, said = job.communicate(timeout=kill_after if kill_after is not None else 300)
    except subprocess.TimeoutExpired:
        job.send_signal(signal.SIGKILL)
        job.communicate()
        return time.monotonic() - started
    if job.returncode:
        raise SystemExit(f"the build ended with {job.returncode}: {said}")
    return time.monotonic() - started


def measure(kills: int, clips: int, seed: int, folder: Path, options: Sequence[str] = ()) -> dict[str, Any]:
    """One undisturbed run, then `kills` disturbed ones, all with the same `options`."""
    write_clips(folder / "clips", clips)
    with serving("world:respond", latency_ms=120) as url:
        length = build(folder / "whole", folder / "clips", url, options)
        unique, whole = counters(url)["unique"], digests(folder / "whole")
        moments = random.Random(seed)
        rounds = []
        for number in range(kills):
            run = folder / f"run{number}"
            counters(url, "reset")
            build(run, folder / "clips", url, options, kill_after=moments.uniform(0.1, 1.0) * length)
            before, kept = counters(url), committed(run)
            counters(url, "reset")
            build(run, folder / "clips", url, options)
            after = counters(url)
            rounds.append(
                {
                    "committed": kept,
                    "equal": digests(run) == whole,
                    "reasked_committed": after["requests"] - (unique - kept),
                    "lost_in_flight": before["answered"] - kept,
                    "paid_twice": before["answered"] + after["answered"] - unique,
                }
            )
    return {
        "kills": kills,
        "unique": unique,
        "files": len(whole),
        "committed_at_kill": sorted(r["committed"] for r in rounds),
        "equal": sum(r["equal"] for r in rounds),
        "reasked_committed": sum(abs(r["reasked_committed"]) for r in rounds),
        "lost_in_flight": max(r["lost_in_flight"] for r in rounds),
        "paid_twice": max(r["paid_twice"] for r in rounds),
    }


def main() -> None:
    """Prints the figures; exit 1 when a round differs or a committed answer was asked again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.kills, args.clips, args.seed, Path(folder), args.options)
    print(json.dumps(found) if args.json else "\n".join(f"{name:<20} {value}" for name, value in found.items()))
    sys.exit(found["equal"] != found["kills"] or found["reasked_committed"] != 0)


if __name__ == "__main__":
    main()
