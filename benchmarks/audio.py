"""Clips a second of `datagen.audio` beside librosa and the limit: 10 s, 48 kHz, stereo, 16 bit, to 16 kHz.

    python benchmarks/audio.py --json

Readers, taking turns within one run on warm files, so that a busy machine troubles all alike; medians of the rounds:

    datagen     decode_ahead: both channels kept, each resampled (twice the resampling of all the others)
    librosa     librosa.load(sr=16000): mono
    bound       soundfile.read, mean(axis=1), soxr.resample HQ: mono; the limit, on one thread
    bound_fast  the same, its mean taken as half the sum of two columns, which numpy does ten times as fast

`ratios` are datagen at `threads` threads ÷ (threads × the other on one thread), and plainly ÷ librosa at as many
threads. `cpu_ms` is the processor's time for a clip on one thread, which other work on the machine hardly disturbs.
Takes about half a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import soxr

from datagen.audio import RATE, Audio, decode_ahead
from datagen.records import Clip

SECONDS, CLIPS = 22.0, 12
"""Time for all rounds; clips decoded by a reader at its turn."""


def write(path: Path) -> Path:
    """Noise under a slow envelope: as hard to decode as a loud recording."""
    n = np.arange(480_000)
    noise = np.random.default_rng(0).standard_normal((480_000, 2)) * 0.1
    soundfile.write(path, noise * (0.6 + 0.4 * np.sin(n / 9000))[:, None], 48_000, subtype="PCM_16")
    return path


def datagen(path: Path, threads: int) -> None:
    async def consume() -> None:
        clips = (Clip(f"bench/{i}", "bench", str(path)) for i in range(CLIPS))
        async with contextlib.aclosing(decode_ahead(clips, threads=threads, ahead=2 * threads)) as pairs:
            async for _, audio in pairs:
                assert isinstance(audio, Audio) and audio.channels.shape == (2, 10 * RATE)

    asyncio.run(consume())


def pooled(read: Callable[[Path], np.ndarray]) -> Callable[[Path, int], None]:
    """`read` by as many threads, each clip dropped once it is there."""

    def run(path: Path, threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            assert all(pool.map(lambda _: read(path).shape == (10 * RATE,), range(CLIPS)))

    return run


def by_librosa(path: Path) -> np.ndarray:
    return librosa.load(path, sr=RATE)[0]


def bound(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), rate, RATE, quality="HQ")


def bound_fast(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample((samples[:, 0] + samples[:, 1]) * np.float32(0.5), rate, RATE, quality="HQ")


READERS: dict[str, Callable[[Path, int], None]] = {
    "datagen": datagen,
    "librosa": pooled(by_librosa),
    "bound": pooled(bound),
    "bound_fast": pooled(bound_fast),
}


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        files = {form: write(Path(folder) / f"noise.{form}") for form in ("wav", "flac")}
        turns = [(form, threads, name) for form in files for threads in (1, 2) for name in READERS]
        rates: dict[tuple[str, int, str], list[float]] = {turn: [] for turn in turns}
        for form, threads, name in turns:
            READERS[name](files[form], threads)  # imports, page cache
        spent: dict[tuple[str, int, str], list[float]] = {turn: [] for turn in turns}
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for turn in turns:
                form, threads, name = turn
                began, used = time.perf_counter(), time.process_time()
                READERS[name](files[form], threads)
                rates[turn].append(CLIPS / (time.perf_counter() - began))
                spent[turn].append((time.process_time() - used) / CLIPS * 1000)
    cpu: dict[str, Any] = {form: {} for form in files}
    for (form, threads, name), values in spent.items():
        if threads == 1:
            cpu[form][name] = round(statistics.median(values), 2)
    medians = {turn: statistics.median(values) for turn, values in rates.items()}
    return {**report(medians), "cpu_ms": cpu, "rounds": len(rates[turns[0]]), "cores": os.cpu_count()}


def report(rates: dict[tuple[str, int, str], float]) -> dict[str, Any]:
    clips: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    for (form, threads, name), rate in rates.items():
        clips.setdefault(form, {}).setdefault(str(threads), {})[name] = round(rate, 1)
    for form, by_threads in clips.items():
        for threads, by_name in by_threads.items():
            one = by_threads["1"]
            ratios.setdefault(form, {})[threads] = {
                "bound": round(by_name["datagen"] / (int(threads) * one["bound"]), 2),
                "bound_fast": round(by_name["datagen"] / (int(threads) * one["bound_fast"]), 2),
                "librosa": round(by_name["datagen"] / by_name["librosa"], 2),
            }
    return {"clips_per_second": clips, "ratios": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description="Clips decoded a second: datagen, librosa and the limit.")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    result = measure()
    if arguments.json:
        print(json.dumps(result))
        return
    for form, by_threads in result["clips_per_second"].items():
        for threads, by_name in by_threads.items():
            figures = "  ".join(f"{name} {rate:7.1f}" for name, rate in by_name.items())
            print(f"{form:5}{threads} threads  {figures}  ratios {result['ratios'][form][threads]}")


if __name__ == "__main__":
    main()
