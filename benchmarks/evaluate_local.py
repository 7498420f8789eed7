"""What `datagen eval` saves with a local model: audio prepared once, features cropped, batches of like length.

    python benchmarks/evaluate_local.py [--items 24] [--json]

A tiny random Qwen2.5-Omni thinker with its real processor; clips of 1 to 30 s of noise, every rotation of the choices.
The weights are tiny, so its own speed says nothing; the ratios are of counts, bytes and the processor's time.

    encodings, features   clips that went through the audio tower, and through the feature extractor
    feature_share         seconds in the extractor, over what it would take for each prompt anew
    cropped_share         bytes of features kept, over those of the processor's own padding to 300 s
    padding               share of padding in the batches, and in batches of these sizes in order of arrival
    batch_check           of result.json: answers that are the same alone and in one batch
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import quiz
import tiny_models

from datagen.eval.evaluate import Config, evaluate
from datagen.llm.local_model import LocalModel

RATE = 16_000


class Watched(LocalModel):
    """Counts what goes by."""

    made: list[tuple[float, int]]
    """(seconds, bytes) of each clip's features"""
    batches: list[list[int]]
    """Prompt tokens of the rows of each batch."""
    arrived: list[int]
    """Prompt tokens of each row, in order of arrival."""

    def sound(self, samples: Any) -> Any:
        """Times it."""
        started = time.thread_time()
        made = super().sound(samples)
        size = sum(value.nbytes for value in made.features.values())
        self.made.append((time.thread_time() - started, size))
        return made

    def row(self, *args: Any) -> Any:
        """Notes its length."""
        row = super().row(*args)
        self.arrived.append(row.length)
        return row

    def generate(self, rows: Any) -> Any:
        """Notes the batch."""
        self.batches.append([row.length for row in rows])
        return super().generate(rows)


def write_clips(data: Path, items: int) -> None:
    """Clips of 1 to 30 s in place of the short ones, in a drawn order."""
    draw = np.random.default_rng(0)
    for number, seconds in enumerate(draw.permutation(np.linspace(1, 30, items))):
        noise = 0.1 * draw.standard_normal(int(seconds * RATE))
        soundfile.write(data.parent / f"audio/item{number:05d}.wav", noise, RATE, subtype="PCM_16")


def padding(batches: list[list[int]]) -> float:
    """Share of places that hold no token."""
    return 1 - sum(map(sum, batches)) / sum(len(batch) * max(batch) for batch in batches)


def measure(items: int, folder: Path) -> dict[str, Any]:
    """One evaluation, watched."""
    model = tiny_models.make("qwen2_5_omni_thinker", folder / "model")
    data = quiz.write(folder / "quiz", items)
    write_clips(data, items)
    import datagen.llm.local_model as module

    Watched.made, Watched.batches, Watched.arrived = [], [], []
    used: list[Watched] = []

    def watched(*args: Any) -> Watched:
        used.append(Watched(*args))
        return used[-1]

    module.LocalModel = watched  # type: ignore[misc, assignment]
    config = Config(
        "mmau", data, str(model), folder / "out", audio=folder / "quiz/audio", orders="circular", max_tokens=4
    )
    found = evaluate(config)
    prompts, made = found["cells"][0]["answered"], Watched.made
    checked = Watched.batches[: found["batch_check"]["items"] + 1]
    batches = Watched.batches[len(checked) :]
    in_order = iter(Watched.arrived[sum(map(len, checked)) :])
    arrival = [[next(in_order) for _ in batch] for batch in batches]
    whole = used[0].processor.feature_extractor(np.zeros(RATE, np.float32), sampling_rate=RATE, padding="max_length")
    return {
        "items": items, "prompts": prompts, "encodings": used[0].encodings, "features": len(made),
        "feature_share": len(made) / prompts, "feature_ms": 1000 * sum(s for s, _ in made) / len(made),
        "cropped_share": sum(size for _, size in made) / len(made) / np.asarray(whole["input_features"]).nbytes,
        "batches": [len(batch) for batch in batches],
        "padding": {"by_length": padding(batches), "in_order_of_arrival": padding(arrival)},
        "batch_check": found["batch_check"],
    }  # fmt: skip


def main() -> None:
    """Prints the figures; exit 1 where a clip was encoded twice or a batch changed an answer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args.items, Path(folder))
    print(json.dumps(found) if args.json else "\n".join(f"{key:<14} {value}" for key, value in found.items()))
    sys.exit(found["encodings"] != args.items or bool(found["batch_check"]["different"]))


if __name__ == "__main__":
    main()
