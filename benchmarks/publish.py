"""Is publishing bounded by the size of a shard? Writes a set of N rows, and publishes it to the loopback Hub of tests/.

    python benchmarks/publish.py [--rows 1000000] [--json]

Generated rows of the size that a language model's questions have (3 captions, 4 choices, provenance with its keys).
Each step is a process of its own: `write` is dataset.write_dataset on a table in memory, `publish` is the command.
Growth is the peak of the resident memory in the step (VmHWM, reset at its beginning) less what was resident before.
Exit 1 when publishing grows by more than the largest shard.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))


def resident(name: str) -> float:
    """VmRSS or VmHWM of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1024


def growth(step: Callable[[], Any]) -> dict[str, float]:
    """Seconds, MB before, and how far the peak went above that."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = resident("VmRSS"), time.monotonic()
    step()
    return {"seconds": time.monotonic() - started, "before_mb": before, "growth_mb": resident("VmHWM") - before}


def write(run: Path, rows: int) -> dict[str, float]:
    """Writes a run with a set of `rows` rows."""
    from datagen.baselines import baselines
    from datagen.dataset import write_dataset

    table = made(rows)
    card: dict[str, Any] = {
        "version": "0", "seed": 0, "captioners": ["openai"], "writers": ["llm"], "filters": [], "language": "English",
        "funnel": [], "models": [], "prompts": {}, "licenses": {"": rows}, "list_price_usd": None,
        "baselines": baselines(made(1000)), "sources": {"made": {"origin": "", "reattach": "", "clips": rows // 4}},
    }  # fmt: skip
    write_dataset(made(1000), run / "dataset", card)  # loads the libraries
    found = growth(lambda: write_dataset(table, run / "dataset", card))
    counts = {"clips": rows // 4, "captions": 0, "questions": rows, "kept": rows, "rejected": {}, "failed": {}}
    state = {**card, "status": "done", "counts": counts, "config": {"source": "made"}, "fingerprints": {}}
    (run / "run.json").write_text(json.dumps(state))
    return found


def made(rows: int) -> Any:
    """A table of kept questions, each with its own words."""
    import polars as pl

    n = pl.int_range(rows)
    number = n.hash(1)
    words = [pl.format("the sound of {} and {}", n.hash(i) % 50_000, n.hash(i + 9) % 997) for i in range(4)]
    captions = [
        pl.format("A recording in which {} is heard {} times before a door number {} closes slowly.", *parts)
        for parts in ((n.hash(21 + i) % 90_000, n % 7, n.hash(31 + i) % 5_000) for i in range(3))
    ]
    keys = [n.hash(41 + i).cast(pl.String) for i in range(4)]
    head = pl.lit('{"form": "", "model": "stub", "prompt": "write", "seed": 0, "writer": "llm", "keys": ["')
    provenance = pl.concat_str(head, *keys, pl.lit('"]}'))
    return pl.select(
        id=number.cast(pl.String), question=pl.format("Which of these is heard after event {}?", number % 100_000),
        choices=pl.concat_list(words), answer=words[0], answer_index=(n * 0).cast(pl.Int32), domain=pl.lit("sound"),
        skill=pl.lit("identification"),
        captions=pl.concat_list(captions), source=pl.lit("made"), clip_id=pl.format("made/{}", n // 4),
        media_id=pl.lit(""), start=n / 10, end=n / 10 + 10, provenance=provenance,
        split=pl.when(n % 40 < 4).then(pl.lit("validation")).otherwise(pl.lit("train")),
    )  # fmt: skip


def send(run: Path) -> dict[str, float]:
    """Publishes the run; what a dry run loads is resident before."""
    from datagen.publish import publish

    publish(run, "me/set", dry_run=True)
    import huggingface_hub

    huggingface_hub.HfApi().whoami()  # loads the client
    return growth(lambda: publish(run, "me/set"))


def step(name: str, run: Path, rows: int, environment: dict[str, str]) -> dict[str, float]:
    """One step in a process of its own."""
    command = [sys.executable, __file__, "--step", name, "--run", str(run), "--rows", str(rows)]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Prints both steps' growth beside the size of the shards."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--step", choices=["write", "publish"])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.step:
        print(json.dumps(write(args.run, args.rows) if args.step == "write" else send(args.run)))
        return
    from hub_server import HubServer

    with tempfile.TemporaryDirectory() as folder, HubServer(Path(folder) / "hub") as hub:
        run = Path(folder) / "run"
        run.mkdir()
        found: dict[str, Any] = {"rows": args.rows, "write": step("write", run, args.rows, {})}
        shards = [path.stat().st_size for path in (run / "dataset/data").iterdir()]
        found |= {"shards": len(shards), "bytes": sum(shards), "largest_shard_mb": max(shards) / 2**20}
        found["publish"] = step("publish", run, args.rows, hub.environment())
        assert sum(hub.received.values()) == sum(shards)
    found["growth_over_largest_shard"] = found["publish"]["growth_mb"] / found["largest_shard_mb"]
    print(json.dumps(found) if args.json else json.dumps(found, indent=1))
    sys.exit(found["growth_over_largest_shard"] > 1)


if __name__ == "__main__":
    main()
