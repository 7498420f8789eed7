"""Whether the loss of a trainer hears: plain trl 1.16's and ours, of the same tiny model, questions and clips.

    python benchmarks/hearing.py [--json]

The model is a tiny random Qwen2.5-Omni thinker. (Of Qwen2-Audio and Qwen3-Omni plain trl 1.16 makes no trainer and no
prompt, with an error each.) Plain trl takes its processor and prompts with audio, and gives their features to
generation. Its own `_compute_loss` is
then called on what it made itself, on the same with the audio taken away, and on what it makes of the same questions
with the clips exchanged; the log-probabilities that it takes gradients of are compared as `train/hearing.py` compares
ours. Clips are of equal length, so that prompts are equal but for what is heard. In nats:

    heard in generation   largest change of the first token's log-probabilities, when clips are exchanged
    removed, swapped      least change of a row whose audio was taken away, or exchanged: must not be 0
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import tiny_models

from datagen.train.hearing import Heard, compare, measured, why_deaf

ROWS = 4
RATE = 16_000


def clip(number: int) -> np.ndarray:
    """One second, other for each number."""
    return np.random.default_rng(number).standard_normal(RATE).astype(np.float32) * np.float32(0.1)


# ── plain trl ────────────────────────────────────────────────────────────────────────────────────────────────────────


def row(number: int, heard: int) -> dict[str, Any]:
    """Question `number` about a clip, as trl takes it."""
    parts = [{"type": "audio", "audio": clip(heard)}, {"type": "text", "text": f"What is in recording {number}?"}]
    return {"prompt": [{"role": "user", "content": parts}]}


def plain_trainer(folder: Path, out: Path) -> Any:
    """trl's GRPOTrainer, as its documentation says, for a model that listens."""
    import trl
    from datasets import Dataset
    from transformers import AutoModelForMultimodalLM, AutoProcessor

    arguments = trl.GRPOConfig(
        output_dir=str(out), per_device_train_batch_size=ROWS, num_generations=2, max_completion_length=6, seed=0,
        use_cpu=True, bf16=False, report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    return trl.GRPOTrainer(
        model=AutoModelForMultimodalLM.from_pretrained(folder, dtype="float32"), args=arguments,
        processing_class=AutoProcessor.from_pretrained(folder), train_dataset=Dataset.from_list([{"prompt": "?"}] * 4),
        reward_funcs=lambda completions, **kwargs: [0.0] * len(completions),
    )  # fmt: skip


def loss_log_probabilities(trainer: Any, inputs: dict[str, Any]) -> Any:
    """What trl's own `_compute_loss` takes gradients of: (rows, tokens)."""
    kept: list[Any] = []
    trainer.current_gradient_accumulation_steps = 1  # as transformers' loop sets it
    inner = trainer._get_per_token_logps_and_entropies

    def noted(*args: Any, **options: Any) -> Any:
        kept.append(made := inner(*args, **options))
        return made

    trainer._get_per_token_logps_and_entropies = noted
    try:
        trainer._compute_loss(trainer.model, inputs)
    finally:
        del trainer._get_per_token_logps_and_entropies
    return (kept[0][0] * inputs["completion_mask"]).detach().float()


def generated(trainer: Any, heard: list[int]) -> tuple[dict[str, Any], Any]:
    """What trl makes of the questions with these clips for its loss, and the first token's log-probabilities."""
    import torch

    seen: list[Any] = []
    hook = trainer.model.register_forward_hook(
        lambda module, args, options, made: seen.append(getattr(made, "logits", None)), with_kwargs=True
    )
    inputs = trainer._generate_and_score_completions([row(n, h) for n, h in enumerate(heard)])
    hook.remove()
    return inputs, torch.log_softmax(seen[0][:, -1].float(), -1)


def plain(folder: Path, out: Path) -> tuple[Heard, float]:
    """How plain trl's loss hears, and by how much its generation does."""
    trainer = plain_trainer(folder, out)
    trainer.model.train()
    own, first = generated(trainer, [0, 1, 2, 3])
    other, exchanged = generated(trainer, [1, 1, 3, 3])
    answers = {name: own[name] for name in ("completion_ids", "completion_mask")}
    deaf = {name: value for name, value in own.items() if "feature" not in name}
    mine = loss_log_probabilities(trainer, own)
    found = compare(
        mine, loss_log_probabilities(trainer, deaf), loss_log_probabilities(trainer, {**other, **answers}), mine,
        [True] * ROWS, [True, False, True, False],
    )  # fmt: skip
    return found, float((first - exchanged).abs().max())


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def ours(folder: Path, out: Path) -> Heard:
    """How the loss of `datagen train` hears."""
    from datagen.llm.local_model import LocalModel
    from datagen.train.audio import Recordings, audible
    from datagen.train.config import Config
    from datagen.train.data import material, read_set
    from datagen.train.making import make_trainer
    from datagen.train.policy import open_policy

    audio, questions = out / "audio", out / "questions.jsonl"
    audio.mkdir(parents=True)
    rows = []
    for number in range(ROWS):
        soundfile.write(audio / f"q{number}.wav", clip(number), RATE, subtype="FLOAT")
        rows.append({"id": f"q{number}", "question": f"What is in recording {number}?", "choices": ["a bell", "rain"],
                     "answer": "rain"})  # fmt: skip
    questions.write_text("".join(json.dumps(one) + "\n" for one in rows))
    config = Config(questions, str(folder), out, "audio", audio, method="full")
    policy, recordings = open_policy(str(folder), audio=True), Recordings(questions, audio)
    found = audible(material(read_set(questions), "audio", recordings=recordings), LocalModel(policy.folder))
    trainer, _ = make_trainer(config, policy, found, None, None)
    try:
        return measured(trainer)
    finally:
        trainer.listener.close()


def measure(folder: Path) -> dict[str, Any]:
    """Both trainers on one tiny model."""
    model = tiny_models.make("qwen2_5_omni_thinker", folder / "model")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        trl, generation = plain(model, folder / "trl")
        mine = ours(model, folder / "ours")
    return {
        "trl": {**asdict(trl), "heard_in_generation": generation, "verdict": why_deaf(trl, "float32") or "hears"},
        "ours": {**asdict(mine), "verdict": why_deaf(mine, "float32") or "hears"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    call = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    if call.json:
        print(json.dumps(found))
        return
    for name in ("trl", "ours"):
        print(f"{name:5}", ", ".join(f"{key} {value}" for key, value in found[name].items()))


if __name__ == "__main__":
    main()
