"""A whole build against the loopback server of tests/world.py: is it bound by its calls?

`seconds` of a build of generated clips (2 captions, 2 questions, 3 readings each) are compared with calls / rate, where
`rate` is what the engine does of bare prompts a second against a server of the same latency, before and after it.
"""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from engine import cores, once
from kill import write_clips
from model_server import counters, serving

import datagen

BUILD = """
import json, sys, time
from pathlib import Path
from datagen.build import Config, build
audio, url, out, ledger = sys.argv[1:]
counts = build(Config(source="folder", model="stub", audio=Path(audio), base_url=url, out=Path(out),
                      ledger=Path(ledger), captions_per_clip=2, questions_per_clip=2, readings=3))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({**counts, "peak_mb": int(peak.split()[1]) / 1024, "cpu_seconds": time.process_time()}))
"""


def build(clips: int, rounds: int = 3, prompts: int = 3000, in_flight: int = 256) -> dict[str, Any]:
    """Medians of `rounds` builds, each between two runs of the engine alone."""
    package = Path(datagen.__file__).parent
    for folder in (package, *filter(Path.is_dir, package.iterdir())):  # as installing does; links are not followed
        compileall.compile_dir(folder, quiet=1)
    found = [_between(clips, prompts, in_flight) for _ in range(rounds)]
    ratios = [round(one["times_calls_by_rate"], 2) for one in found]
    told = {name: median(one[name] for one in found) for name in found[0]}
    return {
        **{name: int(told[name]) for name in ("clips", "questions", "kept", "calls", "paid_twice", "rate", "peak_mb")},
        **{name: round(told[name], 3) for name in ("seconds", "cpu_ms_per_call", "server_cpu", "times_calls_by_rate")},
        "rounds": ratios,
        "ok": told["times_calls_by_rate"] <= 1.3,
    }


def _between(clips: int, prompts: int, in_flight: int) -> dict[str, Any]:
    """One build between two runs of the engine alone."""
    server, _ = cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clips(folder / "clips", clips)
        with serving("model_server:item", core=server, latency_ms=50) as url:
            before = once("datagen", sys.executable, url, prompts, in_flight)
        with serving("world:respond", core=server, latency_ms=50) as url:
            told = _run(folder, "run", url)
            seen = counters(url)
        with serving("model_server:item", core=server, latency_ms=50) as url:
            after = once("datagen", sys.executable, url, prompts, in_flight)
    rate = 2 / (1 / before["rows_per_s"] + 1 / after["rows_per_s"])
    calls = seen["requests"]
    return {
        "clips": told["clips"],
        "questions": told["questions"],
        "kept": told["kept"],
        "calls": calls,
        "paid_twice": calls - seen["unique"],
        "seconds": told["seconds"],
        "rate": rate,
        "times_calls_by_rate": told["seconds"] * rate / calls,
        "cpu_ms_per_call": 1000 * told["cpu_seconds"] / calls,
        "server_cpu": seen["cpu_seconds"] / told["seconds"],
        "peak_mb": told["peak_mb"],
    }


def again(clips: int, times: int = 3) -> dict[str, Any]:
    """Builds in new folders on the ledger of one that is done: nothing is sent, every answer is looked up."""
    with tempfile.TemporaryDirectory() as name, serving("world:respond", core=cores()[0], latency_ms=0) as url:
        folder = Path(name)
        write_clips(folder / "clips", clips)
        _run(folder, "run", url)
        calls = counters(url)["requests"]
        runs = [_run(folder, f"again{number}", url) for number in range(times)]
        sent = counters(url)["requests"] - calls
    cpu = median(run["cpu_seconds"] for run in runs)
    return {
        "clips": clips,
        "answers": calls,
        "sent": sent,
        "cpu_seconds": round(cpu, 2),
        "cpu_ms_per_answer": round(1000 * cpu / calls, 3),
        "ok": sent == 0,
    }


def _run(folder: Path, name: str, url: str) -> dict[str, Any]:
    """One build of the clips in `folder`, on a core of its own, with the one ledger there."""
    core = cores()[1]
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    call = [sys.executable, "-c", BUILD, folder / "clips", url, folder / name, folder / "ledger.sqlite"]
    out = subprocess.run([*pinned, *map(str, call)], stdout=subprocess.PIPE, check=True, text=True).stdout
    return dict(json.loads(out))
