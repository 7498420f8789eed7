"""`datagen train`: a set of questions → a tuned policy. The whole flow, from top to bottom.

    DIR/  run.json         configuration, fingerprints of the inputs, versions, counts, status
          train.jsonl      a row a step, an asking of the held-out set, an alarm (`watch`)
          report.html      all of it as curves, to look at (`page`)
          left_out.jsonl   every row that was not trained on, with its reason
          checkpoints/     weights, optimizer, schedule and generators at a step; the newest two
          model/           the tuned policy as `datagen eval --model` takes it; with LoRA merged, and
          adapter/         the adapter alone

A run that goes on (`--resume`) ends with the parameters of an unbroken one, bit for bit on one machine: order and
permutations are functions of the place in the run (`data.Deck`), the rest is in the checkpoint. Completions are never
saved, so a checkpoint stands only where no completion is still to be used.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import Interrupted, UsageError
from datagen.mcq import McqSet
from datagen.plugins import needs
from datagen.run import Run, replace_text
from datagen.train.audio import Recordings, audible
from datagen.train.config import Config, shown
from datagen.train.controls import with_shuffled_gold
from datagen.train.data import Material, material, read_set
from datagen.train.dry_run import dry_run
from datagen.train.inputs import begun, inputs_of, versions
from datagen.train.making import make_trainer, quiet
from datagen.train.preflight import check_checkpoint, check_device, check_trackers, room
from datagen.train.ranks import agreed, as_launched, first, joined, leads, told_by_first

if TYPE_CHECKING:
    from datagen.train.trainer import Trainer

__all__ = ["train"]


def train(config: Config) -> dict[str, Any]:
    """Trains, or goes on with, one run, and returns run.json; with `dry_run` an estimate, for which nothing is loaded.

    Raises UsageError (exit 2) before the first step, Interrupted (exit 130) with a checkpoint to go on from.
    """
    if config.dry_run:
        return dry_run(config)
    as_launched(config.processes, config.sharding)
    needs("train", "torch", "transformers", "trl", "peft", "accelerate")
    found = read_set(config.data)
    recordings = Recordings(config.data, config.audio) if config.hears else None
    questions = material(found, config.modality, recordings=recordings, rated=bool(config.curriculum))
    held_out = held_out_of(config, found, questions, recordings)
    if config.control == "shuffled-gold":
        questions = with_shuffled_gold(questions, config.seed)
    with joined(), leads(config.out).held() as run:
        return run_held(config, run, questions, held_out)


def run_held(config: Config, run: Run, questions: Material, held_out: Material | None) -> dict[str, Any]:
    """The run, in a folder that no other process works in."""
    from datagen.llm.local_model import LocalModel
    from datagen.llm.weights import identify
    from datagen.train.hearing import HearingCheck
    from datagen.train.page import write_page
    from datagen.train.policy import open_policy
    from datagen.train.saving import save_tuned
    from datagen.train.watch import peak_memory, stopping

    started = time.monotonic()
    check_trackers(config.report_to)
    check_device(config.model, allow_cpu=config.allow_cpu)
    policy = open_policy(config.model, config.model_revision, audio=config.hears)
    check_device(str(policy.folder.path), allow_cpu=config.allow_cpu)
    if config.hears:
        model = LocalModel(policy.folder, device="cpu")
        questions, held_out = audible(questions, model), held_out and audible(held_out, model)
    inputs = inputs_of(config, questions, held_out, identify(policy.folder, "train"))
    agreed(inputs)
    checkpoint = told_by_first(lambda: begun(config, run, inputs))
    run.save(
        status="running", config=shown(config), fingerprints={"inputs": inputs}, versions=versions(),
        questions=len(questions.examples), left_out=dict(Counter(row.reason for row in questions.left_out)),
        held_out=len(held_out.examples) if held_out else 0, chance=chance(held_out or questions),
    )  # fmt: skip
    if first():
        list_left_out(run.path, questions)
    with quiet():
        trainer, watch = make_trainer(config, policy, questions, held_out, checkpoint)
    run.save(prompt=trainer.listener.rendered(trainer.deck.row(0)["prompt"]))
    if checkpoint:
        check_checkpoint(checkpoint, trainer.model)
    if config.hears:
        trainer.add_callback(HearingCheck(trainer, run))
    with closing(trainer.listener), stopping(watch), quiet(), room(run.path):
        if config.objective == "exact" and not checkpoint:
            run.save(start=look(config, trainer))
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    step = trainer.state.global_step
    if watch.interrupted and step < config.steps:
        raise Interrupted(f"interrupted at step {step}; the same command with --resume goes on ({run.path})")
    with room(run.path):
        tuned = save_tuned(policy, trainer, run.path, lora=config.method == "lora")
    found = {"steps": step, "stopped": watch.stopped or None, "parameters_sha256": tuned}
    seconds = time.monotonic() - started
    found |= {"held_out_last": watch.last_held_out, "alarms": sorted(watch.ever), "peak_bytes": peak_memory()}
    found["shared_prompt"] = trainer.sharing
    run.save(status="done", **found, seconds=seconds)
    if first():
        write_page(run.path)
    return {"out": str(run.path), **run.state}


# ── before the first step ────────────────────────────────────────────────────────────────────────────────────────────


def held_out_of(config: Config, found: McqSet, questions: Material, recordings: Recordings | None) -> Material | None:
    """The held-out set: the file of `--held-out`, else the validation split of the set itself, else none.

    Raises UsageError for one that shares a question with the training set.
    """
    if config.held_out is None:
        if "validation" not in found.table["split"].to_list():
            return None
        return material(found, config.modality, "validation", recordings)
    other = read_set(config.held_out)
    recordings = Recordings(config.held_out, config.audio) if config.hears else None
    split = "validation" if "validation" in other.table["split"].to_list() else None
    held_out = material(other, config.modality, split, recordings)
    trained = {(e.question, e.choices, e.captions, e.recordings) for e in questions.examples}
    if shared := [e.id for e in held_out.examples if (e.question, e.choices, e.captions, e.recordings) in trained]:
        raise UsageError(
            f"--held-out {config.held_out}: {len(shared)} of its questions are trained on, such as {shared[0]}: "
            "hold out others"
        )
    return held_out


def chance(questions: Material) -> float:
    """Share of right answers where every choice is as likely."""
    return sum(1 / len(example.choices) for example in questions.examples) / len(questions.examples)


def list_left_out(out: Path, questions: Material) -> None:
    """left_out.jsonl."""
    lines = [json.dumps({"id": row.id, "reason": row.reason}) + "\n" for row in questions.left_out]
    replace_text(out / "left_out.jsonl", "".join(lines))


def look(config: Config, trainer: Trainer) -> dict[str, Any]:
    """What the policy passes before it is trained; says where that is too little for any GRPO."""
    from datagen.train.objectives import NO_SIGNAL, Enumerated
    from datagen.train.watch import say

    assert isinstance(trainer, Enumerated)
    found = trainer.look()
    covered = f", {found['coverage']:.0%} of it enumerated" if found["coverage"] is not None else ""
    say(f"pass probability {found['p']:.2g}; of sampled answers {found['sampled']:.1%} pass{covered}")
    if found["no_signal"]:
        say(
            f"in {found['no_signal']} of {found['questions']} questions it is below {NO_SIGNAL:g}: neither exact nor "
            "sampled GRPO learns from these; warm up first: datagen train --objective supervised --steps 20 "
            f"--data {config.data} --model {config.model} --out {config.out}-warm, then --model {config.out}-warm/model"
        )
    return found
