"""Whole builds by the Batch API: the bytes of the online way, nothing lost, and what is asked or paid again.

    python benchmarks/batch.py [--clips 12] [--kills 9] [--requests N] [--json]

A loopback server speaks the Batch API (batch_server.py, answering by tests/world.py). One build asks online; the others
ask by batches, one of them undisturbed, one with faults, one whose process is ended by SIGKILL again and again: when a
batch was made and its id not heard of, while batches are looked at, and while results come.

    rows          requests of the undisturbed build (equal ones are sent once)
    batches       made, and `asked_again` the requests that were sent more than once
    paid_twice    answers made more than once; those that the server made and did not hand over are `never_delivered`
    lost          answers of the online build that the ledger lacks in the end; must be 0
    equal         every table and every file of dataset/ is that of the online build
    many          with `--requests N`, so many short ones at once: batches, seconds that client and loopback server take
                  together, and MB that a thousand waiting ones take
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from batch_server import BatchServer
from kill import BUILD, digests, write_clips
from model_server import TESTS

from datagen.llm import Client, Endpoint, Ledger, Request, Stats
from datagen.llm.batch import BatchSender

sys.path.append(str(TESTS))
from world import respond

SECONDS = 0.3
"""That a batch takes."""
FAULTS = (
    "refused", "expired", "unheard", "partial", "doubled", "reset", "upload", "rate", "full", "cancelled", "failed",
)  # fmt: skip
UNDELIVERED = ("lost", "garbled", "gone")
"""Here the server has made answers that nobody can fetch: they are made again."""
MOMENTS: tuple[tuple[str, str, Callable[[BatchServer, int], bool]], ...] = (
    ("unheard of", "mute", lambda server, batches: len(server.batches) > batches),
    ("fetched", "", lambda server, batches: server.seen["GET /files/content"] > 0),
    ("looked at", "", lambda server, batches: server.looks > 2),
)
RUNS = ("plain", "faults", "killed")


def command(run: Path, clips: Path, url: str, way: Sequence[str], options: Sequence[str]) -> list[str]:
    """The build's command line."""
    ask = ["--audio", str(clips), "--base-url", url, "--out", str(run), "--captions-per-clip", "2"]
    return [*BUILD, *ask, "--questions-per-clip", "2", "--workers", "64", *way, *options]


def answers(run: Path) -> set[tuple[str, str]]:
    """(key, text) of all that the ledger has."""
    with contextlib.closing(sqlite3.connect(run / "ledger.sqlite", timeout=10)) as ledger:
        return set(ledger.execute("SELECT key, text FROM answers WHERE error IS NULL"))


def finish(job: subprocess.Popen[str]) -> None:
    """Waits for the end of a build. Raises SystemExit when it failed."""
    _, said = job.communicate(timeout=300)
    if job.returncode:
        raise SystemExit(f"the build ended with {job.returncode}: {said}")


def killed(job: subprocess.Popen[str], moment: Callable[[], bool]) -> bool:
    """Ends a build by SIGKILL when `moment` has come; False when it finished before."""
    while job.poll() is None:
        if moment():
            job.send_signal(signal.SIGKILL)
            job.communicate()
            return True
        time.sleep(0.002)
    finish(job)
    return False


def start(line: Sequence[str]) -> subprocess.Popen[str]:
    """A build of its own process."""
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True)


def measure(
    clips: int, kills: int, folder: Path, options: Sequence[str] = (), runs: Sequence[str] = RUNS
) -> dict[str, Any]:
    """One online build, then those of RUNS by batches."""
    write_clips(folder / "clips", clips)
    with BatchServer(respond) as server:
        finish(start(command(folder / "online", folder / "clips", server.url, [], options)))
        online = {"bytes": digests(folder / "online"), "answers": answers(folder / "online")}
        rows = server.stats()["unique"]
    way = ["--transport", "batch", "--batch-poll", "0.1", "--batch-rows", str(max(2, rows // 8))]
    found: dict[str, Any] = {"clips": clips, "rows": rows}
    for name in runs:
        faults = (*FAULTS, *UNDELIVERED) if name == "faults" else ()
        with BatchServer(respond, seconds=SECONDS, batch_faults=faults) as server:
            line = command(folder / name, folder / "clips", server.url, way, options)
            times = disturbed(line, server, kills if name == "killed" else 0)
            told = server.batch_stats()
        found[name] = {
            "batches": told["batches"],
            "asked_again": sum(told["rows"]) - rows,
            "paid_twice": told["paid_twice"],
            "never_delivered": told["undelivered"],
            "lost": len(online["answers"] - answers(folder / name)),
            "kills": times,
            "equal": digests(folder / name) == online["bytes"],
        }
    return found


def disturbed(line: Sequence[str], server: BatchServer, kills: int) -> dict[str, int]:
    """Runs a build to its end, ending its process `kills` times before; how often at each moment."""
    times: dict[str, int] = {}
    for number in range(kills):
        name, fault, moment = MOMENTS[number % len(MOMENTS)]
        server.batch_faults = [fault] if fault else []
        server.looks, made = 0, len(server.batches)
        server.seen.clear()
        if not killed(start(line), lambda moment=moment, made=made: moment(server, made)):
            return times
        times[name] = times.get(name, 0) + 1
    server.batch_faults = [fault for fault in server.batch_faults if fault != "mute"]
    finish(start(line))
    return times


async def ask_many(number: int, url: str, folder: Path) -> dict[str, Any]:
    """So many requests at once through one client."""
    with contextlib.closing(Ledger(folder / "many.sqlite")) as ledger:
        endpoint, stats = Endpoint("stub", url, batch=True), Stats()
        client = Client(
            endpoint, ledger, stats=stats, sender=BatchSender(endpoint, ledger, patience=60, poll=0.5, stats=stats)
        )
        before, began = resident(), time.monotonic()
        messages = [[{"role": "user", "content": f"Clip {n}: {'a dog barks. ' * 40}"}] for n in range(number)]
        answers = await asyncio.gather(*(client.ask(Request(text, "write#1")) for text in messages))
        await client.close()
        return {
            "requests": len({answer.key for answer in answers}),
            "batches": stats.batches,
            "seconds": round(time.monotonic() - began, 1),
            "mb_per_1000": round((resident() - before) / number * 1000, 1),
        }


def resident() -> float:
    """MB, the most of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def many(number: int, folder: Path) -> dict[str, Any]:
    """`ask_many` against a server in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("batch_server.py")), "--seconds", "1"]
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}) as server:
        try:
            assert server.stdout is not None
            return asyncio.run(ask_many(number, server.stdout.readline().strip(), folder))
        finally:
            server.terminate()


def right(found: dict[str, Any]) -> bool:
    """Whether all is as it must be."""
    runs = {name: found[name] for name in RUNS if name in found}
    good = all(
        run["equal"] and not run["lost"] and run["paid_twice"] == run["never_delivered"] for run in runs.values()
    )
    return good and all(not run["asked_again"] for name, run in runs.items() if name != "faults")


def main() -> None:
    """Prints the figures; exit 1 when something was lost, differs or was paid twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.clips, args.kills, Path(folder), args.options)
        if args.requests:
            found["many"] = many(args.requests, Path(folder))
    print(json.dumps(found) if args.json else "\n".join(f"{name:<8} {value}" for name, value in found.items()))
    sys.exit(not right(found))


if __name__ == "__main__":
    main()
