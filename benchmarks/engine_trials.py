"""What `benchmarks/engine.py` puts datagen's engine through beside speed: kills, sizes, limits, faults.

Each function is one trial on a loopback server and returns plain figures; `ok` says whether what the engine promises
holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine import cores, finish, once, start
from model_server import counters, serving

WINDOW = 0.02
"""Seconds that an answer may wait for its commit, by the ledger's contract."""
FAULTS = {
    "429": "429=0.05", "429 without Retry-After": "429-bare=0.05", "500": "500=0.05", "503": "503=0.05",
    "reset in the body": "reset=0.05", "truncated JSON": "truncated=0.05", "HTML": "html=0.05",
    "no choices": "empty=0.05", "wrong schema": "schema=0.05", "not the form asked for": "letter=0.05",
    "content filter": "filter=0.05", "hang": "hang=0.01", "30 s": "slow=0.002",
    "truncated and 500": "truncated=0.02,500=0.02",
}  # fmt: skip
ANSWERED = ("wrong schema", "not the form asked for", "content filter")
"""What the model says: after one repair turn, or at once where it refuses, the row is rejected with its reason."""
HANG = 3.0
"""Timeout of a request where the server hangs."""


@contextlib.contextmanager
def server(**options: float | str) -> Iterator[str]:
    """The loopback server on a core of its own; 50 ms unless told otherwise."""
    with serving("model_server:item", core=cores()[0], **{"latency_ms": 50, **options}) as url:
        yield url


def kill(prompts: int, in_flight: int) -> dict[str, Any]:
    """SIGKILL once half is answered, then again to the end.

    `in_flight` requests are under way at the kill: `unheard` of their answers came when nobody listened, others were
    on their way to the client. What it had read and not committed is at most what comes in one commit window
    (`window_rows`, by the rate so far), so `paid_twice` is at most `in_flight` + `window_rows`.
    """
    with server() as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        finish(start("datagen", sys.executable, url, prompts, in_flight, folder / "whole"))
        counters(url, "reset")
        job, begun = start("datagen", sys.executable, url, prompts, in_flight, folder / "run"), time.monotonic()
        while counters(url)["answered"] < prompts / 2:
            time.sleep(0.005)
            if job.poll() is not None:
                raise RuntimeError("it ended before the kill: give it more prompts")
        job.send_signal(signal.SIGKILL)
        job.communicate()
        rate = counters(url)["answered"] / (time.monotonic() - begun)
        time.sleep(0.2)  # what the server was at
        first, kept = counters(url), _committed(folder / "run/ledger.sqlite")
        counters(url, "reset")
        told = finish(start("datagen", sys.executable, url, prompts, in_flight, folder / "run"))
        second = counters(url)
        equal = _digest(folder / "run/rows.jsonl") == _digest(folder / "whole/rows.jsonl")
    paid_twice = first["requests"] + second["requests"] - prompts
    figures = {
        "prompts": prompts,
        "in_flight": in_flight,
        "committed_at_kill": kept,
        "paid_twice": paid_twice,
        "unheard": first["unheard"],
        "window_rows": round(rate * WINDOW + 0.5),
        "reasked_committed": second["requests"] - (prompts - kept),
        "same_bytes": equal,
        "good": told["good"],
    }
    bound = in_flight + figures["window_rows"]
    return figures | {"ok": paid_twice <= bound and not figures["reasked_committed"] and equal}


def _committed(ledger: Path) -> int:
    with contextlib.closing(sqlite3.connect(ledger, timeout=10)) as opened:
        return int(opened.execute("SELECT count(*) FROM answers").fetchone()[0])


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def scale(small: int, large: int, in_flight: int) -> dict[str, Any]:
    """Peak memory of two sizes; flat is at most 10 MB more."""
    with server(latency_ms=5) as url:
        peaks = [once("datagen", sys.executable, url, size, in_flight)["rss_mb"] for size in (small, large)]
    return {
        "prompts": [small, large],
        "rss_mb": [round(peak, 1) for peak in peaks],
        "ok": max(peaks) < 110 and peaks[1] - peaks[0] < 10,
    }


RESUME = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
from task import ITEM, MODEL, prompts
from datagen.llm import Client, Endpoint, Ledger, Request, Sampling
from datagen.llm.ledger import Row
path, rows, missing = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ledger = Ledger(path)
client = Client(Endpoint(MODEL, "http://127.0.0.1:9"), ledger)
sampling = Sampling(max_tokens=256)
def requests():
    for prompt in prompts(rows + missing):
        yield Request([{"role": "user", "content": prompt}], "write#1", schema=ITEM, sampling=sampling)
if sys.argv[5] == "fill":
    batch = []
    for number, request in enumerate(requests()):
        if number == rows:
            break
        key, text = request.key(MODEL), json.dumps({"question": "q" * 80, "answer": "a", "distractors": ["b", "c"]})
        batch.append(Row(key, 256, "stop", 100, 40, None, 1, None, text, request.canonical(MODEL).decode()))
        if len(batch) == 100:
            ledger._commit(batch)
            batch = []
    ledger._commit(batch) if batch else None
else:
    cpu = time.process_time()
    for _ in requests():
        pass
    making = time.process_time() - cpu
    started = time.monotonic()
    cpu = time.process_time()
    left = sum(not known for known in client.known(requests()))
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    cpu = time.process_time() - cpu
    seconds = time.monotonic() - started
    print(json.dumps({"left": left, "seconds": seconds, "cpu_seconds": cpu, "making_requests": making,
                      "rss_mb": int(peak.split()[1]) / 1024}))
ledger.close()
"""


def resume(rows: int, missing: int = 1000) -> dict[str, Any]:
    """How long it takes to find what is left to ask, with `rows` answers in the ledger.

    `making_requests` of the `cpu_seconds` are spent on prompts and Requests.
    """
    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-c", RESUME, str(Path(__file__).parent / "clients"), f"{folder}/ledger.sqlite"]
        subprocess.run([*call, str(rows), str(missing), "fill"], check=True)
        size = Path(folder, "ledger.sqlite").stat().st_size
        job = subprocess.Popen([*call, str(rows), str(missing), "resume"], stdout=subprocess.PIPE, text=True)
        told = finish(job)
    return {"rows": rows, "ledger_mb": size // 10**6, **told, "ok": told["left"] == missing and told["seconds"] < 10}


def limited(prompts: int, in_flight: int, limit: int) -> dict[str, Any]:
    """A server that refuses what is over `limit` at once, while `in_flight` are tried."""
    with server(limit=limit) as url:
        job = tempfile.TemporaryDirectory()
        with job as name:
            running, half = start("datagen", sys.executable, url, prompts, in_flight, Path(name)), None
            while running.poll() is None:
                if half is None and counters(url)["answered"] > prompts / 4:
                    half = counters(url), time.monotonic()
                time.sleep(0.02)
            told, end = finish(running), time.monotonic()
        seen = counters(url)
    assert half is not None, "too few prompts"
    refused, early = seen["outcomes"].get("over", 0), half[0]["outcomes"].get("over", 0)
    steady = (seen["answered"] - half[0]["answered"]) / (end - half[1])
    return {
        "good": told["good"],
        "refusals": refused,
        "allowed": 2 * (in_flight - limit),
        "refusals_after_a_quarter": refused - early,
        "steady_rows_per_s": round(steady),
        "server_gives": round(limit / 0.05),
        "ok": told["good"] == prompts and refused <= 2 * (in_flight - limit),
    }


def steady(prompts: int, in_flight: int) -> dict[str, Any]:
    """Times the time without faults, with 5 % of 429; clean before and after, so that load counts for both."""
    found: dict[str, Any] = {}
    for name, fault in (("429", "429=0.05"), ("429 without Retry-After", "429-bare=0.05")):
        ratios = []
        for _ in range(3):
            with server() as clean, server(fault=fault) as faulty:
                runs = [once("datagen", sys.executable, url, prompts, in_flight) for url in (clean, faulty, clean)]
            ratios.append(2 * runs[1]["seconds"] / (runs[0]["seconds"] + runs[2]["seconds"]))
        found[name] = round(sorted(ratios)[1], 2)
    return {"prompts": prompts, "slower": found, "ok": max(found.values()) <= 1.3}


def faults(prompts: int, in_flight: int) -> dict[str, Any]:
    """Fault → rows in, good, rejected, lost, paid twice.

    `rejected` rows stand with their reason where the good ones are; `lost` are in neither. `paid_twice` counts answers
    that came whole, with 200, for a prompt that had been answered so before.
    """
    table: dict[str, Any] = {}
    for name, fault in FAULTS.items():
        options = {"timeout": HANG} if "hang" in fault else {}
        with server(fault=fault) as url:
            told = once("datagen", sys.executable, url, prompts, in_flight, **options)
            seen = counters(url)
        struck = sum(seen["outcomes"].get(part.partition("=")[0], 0) for part in fault.split(","))
        table[name] = {
            "rows": prompts,
            "struck": struck,
            "good": told["good"],
            "rejected": told["failed"],
            "lost": prompts - told["good"] - told["failed"],
            "paid_twice": seen["paid_twice"],
            "seconds": round(told["seconds"], 1),
        }
    whole = [row for name, row in table.items() if name not in ANSWERED]
    ok = not any(row["lost"] or row["paid_twice"] for row in table.values())
    return {"faults": table, "ok": ok and all(row["good"] == prompts for row in whole)}
