"""How long does scoring 9,000 items take, once everything is imported?

    python benchmarks/score.py [--items 9000] [--json]

A made benchmark in MMAU's form with 9,000 items and a file of predictions in six phrasings. Measured in one process
after a first, small call: the whole of `score` without the baselines (both files read, both matchers, every group and
interval), in seconds by the clock and of the processor, and the baselines of the file beside it. Medians of 5.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datagen.eval.predictions import read_predictions
from datagen.eval.scoring import benchmark_items, figures, file_baselines

LIMIT = 1.0
"""Seconds."""
WORDS = (
    "dog", "cat", "rain", "piano", "violin", "siren", "engine", "child", "woman", "man", "laughter", "thunder", "drum",
    "guitar", "bell", "whistle", "crowd", "train", "door", "glass", "wind", "bird", "cow", "horse", "water", "fire",
)  # fmt: skip


def make(folder: Path, n: int) -> tuple[Path, Path]:
    """A benchmark file and predictions for it."""
    rng = random.Random(0)
    items, answers = [], []
    for number in range(n):
        choices = [" ".join(words) for words in (rng.sample(WORDS, 3) for _ in range(4))]
        gold = rng.choice(choices)
        said = rng.choice([gold, rng.choice(choices)])
        label = "ABCD"[choices.index(said)]
        forms = [said, f"({label}) {said}", f"The answer is {said}.", label, f"<answer>{said}</answer>",
                 f"I hear something loud and then something quiet, so the answer should be {said}."]  # fmt: skip
        items.append({
            "id": f"item-{number}", "audio_id": f"{number}.wav", "question": f"What is heard in clip {number}?",
            "choices": choices, "answer": gold, "dataset": rng.choice(["AudioSet", "MusicBench"]),
            "task": rng.choice(["sound", "music", "speech"]), "split": "test", "category": "Reasoning",
            "sub-category": f"kind {number % 27}", "difficulty": rng.choice(["easy", "medium", "hard"]),
        })  # fmt: skip
        answers.append({**items[-1], "model_output": rng.choice(forms)})
    files = folder / f"items-{n}.json", folder / f"predictions-{n}.json"
    for file, rows in zip(files, (items, answers), strict=True):
        file.write_text(json.dumps(rows), encoding="utf-8")
    return files


def score(data: Path, predictions: Path) -> dict[str, Any]:
    """As `datagen score` does, without the baselines."""
    kind, items = benchmark_items(data, "mmau")
    return figures(items, read_predictions(predictions, items, kind), kind, "mmau", "official", "both")


def median_of(times: int, call: Callable[[], object]) -> tuple[float, float]:
    """Medians of a call: seconds by the clock and of the processor; other work on the machine changes the first."""
    clock, processor = [], []
    for _ in range(times):
        start = time.perf_counter(), time.process_time()
        call()
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return statistics.median(clock), statistics.median(processor)


def main() -> None:
    """Prints the seconds; exit 1 when scoring takes the processor longer than the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--items", type=int, default=9000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        score(*make(Path(folder), 100))
        data, predictions = make(Path(folder), args.items)
        clock, processor = median_of(5, lambda: score(data, predictions))
        items = benchmark_items(data, "mmau")[1]
        beside = median_of(5, lambda: file_baselines(items))[1]
    found = {
        "items": args.items, "score_s": clock, "score_cpu_s": processor, "limit_s": LIMIT, "baselines_cpu_s": beside,
    }  # fmt: skip
    print(json.dumps(found) if args.json else "\n".join(f"{name:<16} {value}" for name, value in found.items()))
    sys.exit(processor > LIMIT)


if __name__ == "__main__":
    main()
