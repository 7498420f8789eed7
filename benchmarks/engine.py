"""datagen's engine beside a bare pool, the openai SDK and its peers: one loopback server, one task, one run.

    python benchmarks/engine.py [--prompts 3000] [--in-flight 256] [--latency-ms 50] [--rounds 3] [--json]
                                [--peer NAME=PYTHON …] [--only NAME,…]
    python benchmarks/engine.py --kill | --scale | --resume | --limit | --steady | --faults | --build | --again [--json]
    python benchmarks/engine.py … --write docs/engine.md        puts the figures into the page

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
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

from model_server import counters, serving

CLIENTS = Path(__file__).parent / "clients"
OURS = ("datagen", "aiohttp", "openai")
PEERS = ("curator", "distilabel", "data_designer", "datatrove")
FIGURES = ("rows_per_s", "cpu_ms_per_row", "rss_mb", "good", "paid_twice", "refusals")
HEADS = {"rows_per_s": "rows/s", "cpu_ms_per_row": "CPU ms/row", "rss_mb": "RSS MB", "paid_twice": "paid twice"}
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


def compared(args: argparse.Namespace) -> dict[str, Any]:
    """The table of clients, and on standard error what datagen is beside the others."""
    only = set(filter(None, args.only.split(",")))
    clients = {name: python for name, python in environments(args.peer).items() if not only or name in only}
    found = compare(clients, args.prompts, args.in_flight, args.latency_ms, args.rounds)
    return {client: {name: figures[name] for name in FIGURES} for client, figures in found.items()}


def trials(args: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """The trials by their flags."""
    import engine_build
    import engine_trials as on

    prompts, flying = args.prompts, args.in_flight
    return {
        "kill": lambda: both(on.kill(prompts, flying), on.kill(max(prompts // 3, 300), 16)),
        "scale": lambda: on.scale(prompts, prompts * 100 // 3, flying),
        "resume": lambda: on.resume(args.rows),
        "limit": lambda: on.limited(4 * prompts, flying, flying // 4),
        "steady": lambda: on.steady(4 * prompts, flying),
        "faults": lambda: on.faults(prompts, flying),
        "build": lambda: engine_build.build(args.clips, args.rounds),
        "again": lambda: engine_build.again(args.clips),
    }


def both(many: dict[str, Any], few: dict[str, Any]) -> dict[str, Any]:
    """Two kills: many in flight, and few."""
    return {"many": many, "few": few, "ok": many["ok"] and few["ok"]}


def write(found: dict[str, Any], file: Path, name: str) -> None:
    """Puts the figures of a trial, or of the clients, between the marks in a page."""
    flags = " ".join(word for word in sys.argv[1:] if "=" not in word and word not in ("--json", "--peer"))
    flags = flags.partition(" --write")[0]
    load = f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
    lines = [
        f"`python benchmarks/engine.py {flags}`, {date.today()}, load of the machine {load}:",
        "",
        *table(found, name),
    ]
    before, mark, rest = file.read_text().partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    file.write_text(before + mark + "\n" + "\n".join(lines) + "\n\n" + end + after)


def table(found: dict[str, Any], name: str) -> list[str]:
    """The lines of a markdown table: a row a client, a fault, or a figure."""
    if name in ("clients", "faults"):
        rows = found.get("faults", found)
        columns = list(next(iter(rows.values())))
        shown = [(key, *(_text(row[column]) for column in columns)) for key, row in rows.items()]
        heads = ("client" if name == "clients" else "fault", *(HEADS.get(column, column) for column in columns))
    elif name == "kill":
        heads, many, few = ("figure", "many in flight", "few"), found["many"], found["few"]
        shown = [(HEADS.get(key, key), str(many[key]), str(few[key])) for key in many if key != "ok"]
    else:
        heads = ("figure", "value")
        shown = [(HEADS.get(key, key), _text(value)) for key, value in found.items() if key != "ok"]
    return ["| " + " | ".join(row) + " |" for row in (heads, ("---",) * len(heads), *shown)]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
    return f"{value:,}"


def main() -> None:
    """Prints the figures; a trial whose promise does not hold ends with 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--prompts", type=int, default=3000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--latency-ms", type=float, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="answers in the ledger of --resume")
    parser.add_argument("--clips", type=int, default=1000, help="of --build and --again")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--only", default="", help="clients, with commas")
    parser.add_argument("--write", type=Path, help="page that takes the figures, as docs/engine.md")
    parser.add_argument("--json", action="store_true")
    for name in ("kill", "scale", "resume", "limit", "steady", "faults", "build", "again"):
        parser.add_argument(f"--{name}", action="store_const", const=name, dest="trial")
    args = parser.parse_args()
    found = trials(args)[args.trial]() if args.trial else compared(args)
    if args.write:
        write(found, args.write, args.trial or "clients")
    print(json.dumps(found) if args.json else "\n".join(f"{name:<24} {figures}" for name, figures in found.items()))
    sys.exit(found.get("ok") is False)


if __name__ == "__main__":
    main()
