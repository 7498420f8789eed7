"""Kill -9 at random and at chosen moments, then run again: the same bytes? an answer asked twice?

    python benchmarks/kill.py [--kills 50] [--clips 24] [--json] [-- OPTIONS of the build]

A model server on loopback, in a process of its own, answers equal requests equally (tests/world.py). Each round starts
`datagen build` on generated clips, ends it by SIGKILL, counts the answers committed in the ledger, and runs it again to
its end. Of five rounds two are killed at a moment drawn by seed from the length of an undisturbed run, two as soon as a
certain file is there (AIMS: the writer, the rows that wait, each table, the renames), and one is a `datagen merge` of
two shards, killed so too.

    reasked_committed   requests after the restart beyond those that the ledger lacked; must be 0
    lost_in_flight      answers that the server gave and the kill kept from the ledger, the most of any round
    seen                moment → rounds that were killed there
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
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from model_server import counters, serving

BUILD = [sys.executable, "-c", "from datagen.cli import main; main()", "build", "--source", "folder", "--model", "stub"]


AIMS = (
    "ledger.sqlite>-1", "ledger.sqlite-wal>0", "ledger.sqlite-wal>60000", "run.json.tmp",
    ".spool/clips-00000.parquet>0", "clips.parquet", "questions.parquet", "verdicts.parquet.tmp",
    "rejected.parquet.tmp", "rejected.parquet",
    "dataset.new", "dataset.new/README.md", "dataset", "report.html.tmp", "report.html",
)  # fmt: skip
MERGE_AIMS = (
    "ledger.sqlite-wal>0", ".spool", ".spool/questions-00000.parquet>0", "verdicts.parquet.tmp", "dataset.new",
    "dataset", "report.html",
)  # fmt: skip


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


def build_command(run: Path, clips: Path, url: str, options: Sequence[str] = ()) -> list[str]:
    """A build on the clips with two captions and two questions each."""
    command = [*BUILD, "--audio", str(clips), "--base-url", url, "--out", str(run), "--captions-per-clip", "2"]
    return [*command, "--questions-per-clip", "2", "--workers", "3", *options]


def end(command: Sequence[str]) -> float:
    """Runs a command to its end and returns its seconds."""
    started = time.monotonic()
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{command[3]} ended with {done.returncode}: {done.stderr}")
    return time.monotonic() - started


def kill(command: Sequence[str], run: Path, after: float | str) -> bool:
    """Ends a command by SIGKILL after so many seconds, or once a file of AIMS is there; False where it was faster."""
    begun = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as job:
        while job.poll() is None:
            if aimed(run, after) if isinstance(after, str) else time.monotonic() - begun > after:
                job.kill()
                break
            time.sleep(0.0005)
    return job.returncode == -signal.SIGKILL


def aimed(run: Path, aim: str) -> bool:
    """Whether the file is there; of `NAME>BYTES`, whether it is that large."""
    name, _, least = aim.partition(">")
    try:
        return (run / name).stat().st_size > int(least or -1)
    except OSError:
        return False


def moments(kills: int, length: float, seed: int) -> Iterator[tuple[str, float | str]]:
    """What is killed, and when."""
    draw = random.Random(seed)
    for number in range(kills):
        if number % 5 == 4:
            yield "merge", MERGE_AIMS[number // 5 % len(MERGE_AIMS)]
        elif number % 5 in (1, 3):
            yield "build", AIMS[(number // 5 * 2 + (number % 5 == 3)) % len(AIMS)]
        else:
            yield "build", draw.uniform(0.1, 1.0) * length


def measure(kills: int, clips: int, seed: int, folder: Path, options: Sequence[str] = ()) -> dict[str, Any]:
    """One undisturbed run, then `kills` disturbed ones, all with the same `options`."""
    write_clips(folder / "clips", clips)
    with serving("world:respond", latency_ms=120) as url:
        length = end(build_command(folder / "whole", folder / "clips", url, options))
        unique, whole = counters(url)["unique"], digests(folder / "whole")
        shards = [str(folder / f"shard{index}") for index in range(2)] if kills >= 5 else []
        for index, shard in enumerate(shards):
            end(build_command(Path(shard), folder / "clips", url, [*options, "--shard", f"{index}/2"]))
        rounds = []
        for number, (what, after) in enumerate(moments(kills, length, seed)):
            run = folder / f"run{number}"
            command = build_command(run, folder / "clips", url, options)
            command = command if what == "build" else [*BUILD[:3], "merge", *shards, "--out", str(run)]
            counters(url, "reset")
            killed = kill(command, run, after)
            before, kept = counters(url), committed(run)
            counters(url, "reset")
            end(command)
            answered = counters(url)
            rounds.append(
                {
                    "seen": f"{what} {after if isinstance(after, str) else 'at random'}" if killed else "",
                    "committed": kept,
                    "equal": digests(run) == whole,
                    "reasked_committed": answered["requests"] - (unique - kept if what == "build" else 0),
                    "lost_in_flight": before["answered"] - kept if what == "build" else 0,
                    "paid_twice": before["answered"] + answered["answered"] - (unique if what == "build" else 0),
                }
            )
    return {
        "kills": kills,
        "seen": dict(sorted(Counter(r["seen"] for r in rounds if r["seen"]).items())),
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
    parser.add_argument("--kills", type=int, default=50)
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
