"""How many copies of a recording are found after MP3, gain, cuts and noise, and how often two recordings are mistaken.

    python benchmarks/fingerprints.py --json                 made clips: the package's recordings at random speeds
    python benchmarks/fingerprints.py --audio DIR --json     any folder of different recordings

Every clip is indexed, then looked up in each changed form. `recall` by length of the clip; `false_alarms` counts pairs
of different clips that are called the same in any form, of `pairs` in all. Made clips that use one recording at nearly
one speed (within 3 %) do share audio and are no pair.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

import datagen
from datagen.audio import load
from datagen.fingerprint import RATE, Index, landmarks
from datagen.seeds import generator
from datagen.sources.files import walk

Samples = np.ndarray
LENGTHS = ((0.0, 1.5), (1.5, 4.0), (4.0, 1e9))


def mp3(samples: Samples, level: float) -> Samples:
    """After an MP3 encoder at constant bit rate; level 0 is the best, 1 the worst."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    buffer.seek(0)
    return soundfile.read(buffer, dtype="float32")[0]


def cut(samples: Samples, share: float, seed: int) -> Samples:
    """A stretch of so much of it, beginning anywhere."""
    size = int(share * len(samples))
    start = np.random.default_rng(seed).integers(0, len(samples) - size + 1)
    return samples[start : start + size]


def noisy(samples: Samples, decibels: float, seed: int) -> Samples:
    """With white noise so far below it."""
    level = np.sqrt(np.mean(samples**2)) * 10 ** (-decibels / 20)
    return (samples + level * np.random.default_rng(seed).normal(size=len(samples))).astype(np.float32)


FORMS: dict[str, Callable[[Samples, int], Samples]] = {
    "unchanged": lambda x, seed: x,
    "gain_-20_dB": lambda x, seed: x * 0.1,
    "mp3_middle": lambda x, seed: mp3(x, 0.5),
    "mp3_low": lambda x, seed: mp3(x, 0.85),
    "cut_to_70_%": lambda x, seed: cut(x, 0.7, seed),
    "cut_to_50_%_quiet_mp3": lambda x, seed: mp3(cut(x, 0.5, seed) * 0.3, 0.5),
    "noise_20_dB": lambda x, seed: noisy(x, 20, seed),
    "noise_10_dB": lambda x, seed: noisy(x, 10, seed),
}


def made(number: int) -> tuple[dict[str, Samples], set[tuple[str, str]]]:
    """Clips of 10 s from the package's recordings at random speeds, and the pairs of them that share audio."""
    folder = Path(datagen.__file__).parent / "sources" / "demo_clips"
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    recorded = {row["media_id"]: load(folder / row["file"]).mono for row in rows if row["kind"] == "recorded"}
    clips: dict[str, Samples] = {}
    used: list[tuple[str, float, str]] = []
    for i in range(number):
        rng, name = generator(0, "fingerprints", str(i)), f"made/{i}"
        pieces: list[Samples] = []
        while sum(map(len, pieces)) < 10 * RATE:
            media, speed = rng.choice(sorted(recorded)), rng.uniform(0.6, 1.6)
            places = np.arange(0, len(recorded[media]) - 1, speed)
            pieces.append(np.interp(places, np.arange(len(recorded[media])), recorded[media]).astype(np.float32))
            pieces.append(np.zeros(int(rng.random() * 0.3 * RATE), np.float32))
            used.append((media, speed, name))
        clips[name] = np.concatenate(pieces)[: 10 * RATE]
    pairs = itertools.combinations(used, 2)
    return clips, {tuple(sorted((a[2], b[2]))) for a, b in pairs if a[0] == b[0] and abs(a[1] / b[1] - 1) < 0.03}


def measure(clips: dict[str, Samples], related: set[tuple[str, str]]) -> dict[str, object]:
    """Recall of each form, and the pairs that are no pairs."""
    started = time.perf_counter()
    marks = {name: landmarks(samples) for name, samples in clips.items()}
    took = time.perf_counter() - started
    index = Index(list(marks.items()))
    seconds = sum(map(len, clips.values())) / RATE
    recall: dict[str, dict[str, str]] = {}
    wrong: set[tuple[str, str]] = set()
    for form, change in FORMS.items():
        found = {bounds: [0, 0] for bounds in LENGTHS}
        for number, (name, samples) in enumerate(clips.items()):
            matches = {match.name for match in index.matches(landmarks(change(samples, number)))}
            bounds = next(b for b in LENGTHS if b[0] <= len(samples) / RATE < b[1])
            found[bounds][0] += name in matches
            found[bounds][1] += 1
            wrong |= {tuple(sorted((name, other))) for other in matches - {name}}
        recall[form] = {f"from {low} s": f"{hit}/{n}" for (low, _), (hit, n) in found.items() if n}
    return {
        "clips": len(clips),
        "seconds": round(seconds),
        "hashes_per_s": round(sum(len(hashes) for hashes, _ in marks.values()) / seconds),
        "times_real_time": round(seconds / took),
        "recall": recall,
        "false_alarms": len(wrong - related),
        "pairs": len(clips) * (len(clips) - 1) // 2 - len(related),
        "mistaken": sorted(wrong - related)[:10],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, help="a folder of different recordings (10 s of each are used)")
    parser.add_argument("--clips", type=int, default=200, help="clips to make")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.audio:
        result = measure({name: load(options.audio / name).mono[: 10 * RATE] for name in walk(options.audio)}, set())
    else:
        result = measure(*made(options.clips))
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
