"""datagen's engine beside a bare pool, the openai SDK and its peers: one loopback server, one task, one run.

    python benchmarks/engine.py [--prompts 3000] [--in-flight 256] [--latency-ms 50] [--rounds 3] [--json]
                                [--peer NAME=PYTHON …] [--only NAME,…]

{client: {rows_per_s, cpu_ms_per_row, rss_mb, good, paid_twice, refusals}}, medians of the rounds, in which the clients
take turns. Each client is a script of clients/ in a process of its own, on a core of its own where there are two; the
server has the other. Processor time and seconds are of the asking alone, without imports; `rss_mb` is the peak of the
process and of its largest child; `paid_twice` is requests − unique prompts at the server, `refusals` its 429 and 503.

Peers run with the Python of their own environment: `--peer curator=/venvs/curator/bin/python`, or DATAGEN_PEER_CURATOR.
Those without one are left out. `server_cpu` on standard error says how much of its core the server took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from model_server import counters, serving

CLIENTS = Path(__file__).parent / "clients"
OURS = ("datagen", "aiohttp", "openai")
PEERS = ("curator", "distilabel", "data_designer", "datatrove")
FIGURES = ("rows_per_s", "cpu_ms_per_row", "rss_mb", "good", "paid_twice", "refusals")
LONGEST = 600.0
"""Seconds after which a client is ended, which is a failure."""


def cores() -> tuple[int | None, int | None]:
    """One for the server, one for the client; none where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


def start(client: str, python: str, url: str, prompts: int, in_flight: int, folder: Path, **options: Any) -> Any:
    """The process of one client; what it remembers is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    script = [str(CLIENTS / f"ask_{client}.py"), url, str(prompts), str(in_flight), str(folder), json.dumps(options)]
    core = cores()[1]
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    environment = os.environ | {"OPENAI_API_KEY": "none", "HF_DATASETS_OFFLINE": "1", "HOME": str(folder)}
    return subprocess.Popen(
        [*pinned, python, *script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    )


def finish(job: Any, timeout: float = LONGEST) -> dict[str, Any]:
    """What the client reports. Raises RuntimeError when it failed."""
    try:
        out, err = job.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        job.kill()
        job.communicate()
        raise RuntimeError(f"no end after {timeout:g} s") from None
    if job.returncode:
        raise RuntimeError(f"exit {job.returncode}: {err[-1500:]}")
    return dict(json.loads(out.strip().splitlines()[-1]))


def once(client: str, python: str, url: str, prompts: int, in_flight: int, **options: Any) -> dict[str, Any]:
    """One client from nothing to its end, and what the server saw of it."""
    counters(url, "reset")
    before = counters(url)["cpu_seconds"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        told = finish(start(client, python, url, prompts, in_flight, Path(folder), **options))
    seen = counters(url)
    refused = sum(n for outcome, n in seen["outcomes"].items() if outcome in ("over", "429", "429-bare", "503"))
    return {
        "rows_per_s": prompts / told["seconds"],
        "cpu_ms_per_row": 1000 * told["cpu_seconds"] / prompts,
        "rss_mb": told["rss_mb"],
        "good": told["good"],
        "paid_twice": seen["requests"] - seen["unique"],
        "refusals": refused,
        "seconds": told["seconds"],
        "server_cpu": (seen["cpu_seconds"] - before) / told["seconds"],
        "failed": told.get("failed", 0),
    }


def middle(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure."""
    return {name: round(median(found[name] for found in rounds), 3) for name in rounds[0]}


def environments(peers: Sequence[str]) -> dict[str, str]:
    """Client → Python to run it with."""
    given = dict(peer.partition("=")[::2] for peer in peers)
    named = {name: given.get(name) or os.environ.get(f"DATAGEN_PEER_{name.upper()}", "") for name in PEERS}
    return dict.fromkeys(OURS, sys.executable) | {name: python for name, python in named.items() if python}


def compare(clients: dict[str, str], prompts: int, in_flight: int, latency_ms: float, rounds: int) -> dict[str, Any]:
    """All clients in turns; one that fails is said on standard error and left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    failed: set[str] = set()
    with serving("model_server:item", core=cores()[0], latency_ms=latency_ms) as url:
        for _ in range(rounds):
            for client, python in clients.items():
                if client in failed:
                    continue
                try:
                    figures = once(client, python, url, prompts, in_flight)
                except (RuntimeError, ValueError, LookupError) as error:
                    failed.add(client)
                    print(f"{client}: left out: {error}", file=sys.stderr)
                else:
                    found.setdefault(client, []).append(figures)
                    print(f"{client}: {figures}", file=sys.stderr)
    return {client: middle(figures) for client, figures in found.items() if client not in failed}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--prompts", type=int, default=3000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--only", default="", help="clients, with commas")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    only = set(filter(None, args.only.split(",")))
    clients = {name: python for name, python in environments(args.peer).items() if not only or name in only}
    found = compare(clients, args.prompts, args.in_flight, args.latency_ms, args.rounds)
    shown = {client: {name: figures[name] for name in FIGURES} for client, figures in found.items()}
    print(json.dumps(shown) if args.json else "\n".join(f"{name:<14} {figures}" for name, figures in shown.items()))


if __name__ == "__main__":
    main()
