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

import hashlib
import json
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import Interrupted, UsageError
from datagen.mcq import McqSet
from datagen.multiple_choice import STYLES, Style
from datagen.plugins import needs
from datagen.rows import some
from datagen.run import Run, replace_text
from datagen.train.alarms import ALARMS
from datagen.train.audio import TOKENS, Recordings, audible, recordings_in, seconds_of, text_in
from datagen.train.controls import CONTROLS, REWARDED, with_shuffled_gold
from datagen.train.data import (
    CURRICULA,
    HEARING,
    MODALITIES,
    Deck,
    Example,
    Material,
    conditions_of,
    material,
    read_set,
)
from datagen.train.memory import SHARDING, Load, estimate
from datagen.train.preflight import check_checkpoint, check_device, check_trackers, last_checkpoint, room
from datagen.train.ranks import agreed, as_launched, first, joined, leads, told_by_first, world_size
from datagen.train.refill import further_of
from datagen.train.rewards import parse_rewards, reward_functions

if TYPE_CHECKING:
    from datagen.train.listening import Listener
    from datagen.train.policy import Policy
    from datagen.train.trainer import Trainer
    from datagen.train.watch import Watch

__all__ = ["Config", "train"]

OBJECTIVES = ("sampled", "exact", "choice", "supervised")
METHODS = ("lora", "full")
LOSSES = ("grpo", "dr_grpo", "dapo", "bnpo", "gspo")
GSPO = {"importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4}
"""What makes grpo GSPO (arXiv 2507.18071, section 5.1)."""
CHECKPOINTS = 2
"""Kept; the older one is there while the newer is written."""
TOKEN = 4
"""Characters of one, for the estimate."""


@dataclass(frozen=True, slots=True)
class Config:
    """The options of one run, as the command line names them."""

    data: str | Path
    model: str
    out: Path
    modality: str = "text"
    audio: Path | None = None
    audio_share: float = 0.5
    objective: str = "sampled"
    held_out: str | Path | None = None
    method: str = "lora"
    lora_rank: int = 16
    prompt: str = "omni-r1"
    think: bool = False
    rewards: str = "accuracy"
    control: str = ""
    loss: str = "grpo"
    beta: float = 0.0
    steps: int = 1000
    prompts_per_step: int = 16
    group_size: int | str = 8
    """A number, or `inf`, which only the exact objective takes."""
    batch_size: int = 8
    processes: int = 0
    sharding: str = "none"
    iterations: int = 1
    max_tokens: int = 64
    temperature: float = 1.0
    learning_rate: float = 1e-6
    eval_every: int = 50
    save_every: int = 50
    stop_on: tuple[str, ...] = ()
    report_to: tuple[str, ...] = ()
    model_revision: str = ""
    curriculum: str = ""
    refill: int = 0
    seed: int = 0
    allow_cpu: bool = False
    resume: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        self._check_names()
        for flag in ("lora_rank", "steps", "prompts_per_step", "batch_size", "iterations", "max_tokens", "eval_every",
                     "save_every"):  # fmt: skip
            if getattr(self, flag) < 1:
                raise UsageError(f"--{flag.replace('_', '-')} {getattr(self, flag)}: give 1 or more")
        self._check_objective()
        for flag in ("temperature", "learning_rate"):
            if not 0 < getattr(self, flag) < float("inf"):
                raise UsageError(f"--{flag.replace('_', '-')} {getattr(self, flag)}: give a number above 0")
        if not 0 < self.audio_share <= 1:
            raise UsageError(f"--audio-share {self.audio_share}: give a share above 0, at most 1")
        if self.audio and not self.hears:
            raise UsageError(f"--audio {self.audio}: --modality {self.modality} hears nothing: use audio or mixed")
        if self.refill < 0:
            raise UsageError(f"--refill {self.refill}: give the most rounds of a step, 0 for none")
        if self.refill and self.objective != "sampled":
            raise UsageError(f"--refill {self.refill}: --objective {self.objective} samples no groups: leave it out")
        if self.refill and self.prompts_per_step % world_size():
            raise UsageError(
                f"--refill {self.refill}: {world_size()} processes do not divide --prompts-per-step "
                f"{self.prompts_per_step}: each has to hold whole groups"
            )
        if not 0 <= self.beta < float("inf"):
            raise UsageError(f"--beta {self.beta}: give 0 or more")
        if self.hears and self.sharding != "none":
            raise UsageError(f"--sharding {self.sharding}: is not for --modality {self.modality} so far: leave it out")
        if self.processes < 0:
            raise UsageError(f"--processes {self.processes}: give 1 or more")
        if self.completions % (self.batch_size * self.devices):
            several = f" in {self.devices} processes" if self.devices > 1 else ""
            rows, made = "questions", f"--prompts-per-step {self.prompts_per_step}"
            if self.objective == "sampled":
                rows, made = "completions", f"{made} times --group-size {self.group_size}"
            raise UsageError(
                f"--batch-size {self.batch_size}{several}: does not divide the {self.completions} {rows} of a step "
                f"({made}): give a divisor"
            )
        if self.save_every % self.iterations:
            raise UsageError(
                f"--save-every {self.save_every}: completions are used for {self.iterations} steps and not saved: "
                "give a multiple of --iterations"
            )

    def _check_names(self) -> None:
        known = {
            "modality": MODALITIES, "objective": OBJECTIVES, "method": METHODS, "prompt": STYLES, "loss": LOSSES,
            "sharding": SHARDING,
        }  # fmt: skip
        for flag, names in known.items():
            value = getattr(self, flag)
            if value not in names:
                raise UsageError(f"--{flag} {value!r}: use {' or '.join(names)}")
        if self.curriculum and self.curriculum not in CURRICULA:
            raise UsageError(f"--curriculum {self.curriculum!r}: use {', '.join(CURRICULA)}")
        for name in self.stop_on:
            if name not in ALARMS:
                raise UsageError(f"--stop-on {name!r}: use {', '.join(ALARMS)}")
        if "consistent" in parse_rewards(self.rewards) and not self.think:
            raise UsageError(f"--rewards {self.rewards!r}: consistent compares thought and answer: add --think")
        if self.control and self.control not in CONTROLS:
            raise UsageError(f"--control {self.control!r}: use {', '.join(CONTROLS)}")
        if self.control in REWARDED and self.rewards != "accuracy":
            raise UsageError(f"--control {self.control} has its own reward: leave out --rewards {self.rewards}")
        parse_rewards(self.rewards)

    def _check_objective(self) -> None:
        whole = isinstance(self.group_size, int) and self.group_size >= 2
        if not whole and (self.objective, self.group_size) != ("exact", "inf"):
            other = ", or inf" if self.objective == "exact" else ""
            raise UsageError(f"--group-size {self.group_size}: give 2 or more{other}: answers of a group are compared")
        if self.objective == "sampled":
            return
        if self.control in REWARDED:
            raise UsageError(f"--control {self.control}: is of rewards, which --objective {self.objective} has none of")
        fixed = {"think": False, "rewards": "accuracy", "loss": "grpo", "beta": 0.0, "iterations": 1}
        if self.objective != "exact":
            fixed["temperature"] = 1.0
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise UsageError(
                    f"--{name} {getattr(self, name)}: is not for --objective {self.objective}: leave it out"
                )

    @property
    def weights(self) -> dict[str, float]:
        """Reward → its weight; accuracy, first, is told in any case."""
        if self.control in REWARDED:
            return {"accuracy": 0.0, REWARDED[self.control]: 1.0}
        return parse_rewards(self.rewards)

    @property
    def style(self) -> Style:
        """Of the prompts."""
        return next(style for style in STYLES if style == self.prompt)

    @property
    def hears(self) -> bool:
        """Whether clips are needed."""
        return self.modality in HEARING

    @property
    def devices(self) -> int:
        """Processes, each with a device of its own."""
        return self.processes or world_size()

    @property
    def completions(self) -> int:
        """Rows of one step: sampled completions, or questions where nothing is sampled."""
        return self.prompts_per_step * (int(self.group_size) if self.objective == "sampled" else 1)


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
    from datagen.train.watch import peak_memory

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


def inputs_of(config: Config, questions: Material, held_out: Material | None, identity: str) -> dict[str, Any]:
    """What decides the parameters that a run ends with."""
    left = ("data", "model", "out", "held_out", "audio", "report_to", "resume", "dry_run", "model_revision",
            "allow_cpu")  # fmt: skip
    decided = {name: value for name, value in shown(config).items() if name not in left}
    sets = {"data": questions.sha256, "held_out": held_out and held_out.sha256}
    if config.hears:
        sets["sounds"] = hashed([*questions.examples, *(held_out.examples if held_out else ())])
    libraries = {"trl": version("trl"), "transformers": version("transformers")}
    return {"model": identity, **sets, **decided, "processes": world_size(), **libraries}


def hashed(examples: Sequence[Example]) -> str:
    """Of everything that is heard, in order."""
    return hashlib.sha256("".join(r.sha256 for e in examples for r in e.recordings).encode()).hexdigest()


def shown(config: Config) -> dict[str, Any]:
    """The configuration as JSON holds it."""
    return {
        name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
    }


def versions() -> dict[str, str]:
    """Of what a run's numbers come from."""
    return {name: version(name) for name in ("datagen-audioqa", "torch", "transformers", "trl", "peft", "accelerate")}


def begun(config: Config, run: Run, inputs: Mapping[str, Any]) -> Path | None:
    """The checkpoint to go on from. Raises UsageError for a folder that holds another run, or one that is done."""
    state = run.earlier()
    if state is None:
        return None
    if not config.resume:
        raise UsageError(f"--out {run.path}: holds a run: go on with it by --resume, or choose another folder")
    run.check_inputs(inputs)
    if state.get("status") == "done":
        raise UsageError(f"--out {run.path}: the run is done: choose another folder for a new one")
    run.state = dict(state)
    return last_checkpoint(run.path / "checkpoints")


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


# ── the trainer ──────────────────────────────────────────────────────────────────────────────────────────────────────


def make_trainer(
    config: Config, policy: Policy, questions: Material, held_out: Material | None, checkpoint: Path | None
) -> tuple[Trainer, Watch]:
    """Policy, reference, data and rewards, put together."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from datagen.train.listening import Listener
    from datagen.train.objectives import Enumerated
    from datagen.train.trainer import Answered, Trainer
    from datagen.train.watch import Watch

    answered = Answered(further=further_of(checkpoint) if checkpoint and config.refill else 0)
    step = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    questions_a_step = config.prompts_per_step / config.iterations
    watch = Watch(config.out / "train.jsonl", answered, config.stop_on, step, questions_a_step)
    deck, asked = decks_of(config, questions, held_out)
    heard = [r for each in (deck, asked) if each for e in each.examples for r in e.recordings]
    listener = Listener(policy.folder, heard, config.prompts_per_step)
    arguments = arguments_of(config, asks=bool(asked), begins=checkpoint is None)
    dtype = "float32" if config.method == "full" or arguments.use_cpu else "bfloat16"
    model = policy.weights(dtype)
    check_lengths(config, model, listener, deck, asked)
    reference = policy.weights(dtype) if config.beta and config.method == "full" else None
    for each in (model, reference):
        if each is not None:
            listener.attach(each)
    lora = policy.adapters(model, config.lora_rank) if config.method == "lora" else None
    groups = -(-config.steps // config.iterations) * config.prompts_per_step
    kind: Any = Trainer
    if config.objective != "sampled":
        kind = partial(Enumerated, objective=config.objective, group_size=float(config.group_size))
    trainer: Trainer = kind(
        model=model, args=arguments, processing_class=policy.tokenizer, peft_config=lora,
        reference=reference, listener=listener,
        reward_funcs=reward_functions(list(config.weights), config.max_tokens, config.seed),
        train_dataset=Dataset.from_dict({"place": range(groups)}),
        eval_dataset=Dataset.from_dict({"place": range(asked.places)}) if asked else None,
        callbacks=[watch], deck=deck, held_out=asked, answered=answered, refill=config.refill,
    )  # fmt: skip
    trainer.remove_callback(PrinterCallback)  # standard output is for results
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):  # which would take a folder among the checkpoints
            callback.logging_dir = callback.logging_dir or str(config.out / "tensorboard")
    return trainer, watch


def check_lengths(config: Config, model: Any, listener: Listener, *decks: Deck | None) -> None:
    """Raises UsageError for prompts that leave no room for an answer: nothing is ever cut off."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    for deck in filter(None, decks):
        if ids := listener.longer_than(deck, most - config.max_tokens):
            raise UsageError(
                f"model {config.model}: takes {most} tokens, fewer than the prompts of {len(ids)} questions "
                f"({some(ids)}) and --max-tokens {config.max_tokens}: leave them out, or cut their clips"
            )


def decks_of(config: Config, questions: Material, held_out: Material | None) -> tuple[Deck, Deck | None]:
    """The order of the run, and of the held-out set, which is asked under every condition that it can be."""
    share = {"audio": 1.0, "mixed": config.audio_share}.get(config.modality, 0.0)
    deck = Deck(
        questions.examples, config.seed, config.style, config.think, audio_share=share, curriculum=config.curriculum
    )
    if held_out is None:
        return deck, None
    conditions = conditions_of(held_out.examples)
    return deck, Deck(held_out.examples, config.seed, config.style, config.think, shuffled=False, conditions=conditions)


def arguments_of(config: Config, *, asks: bool, begins: bool) -> Any:
    """The configuration as trl takes it. The order is the Deck's, so trl is not to shuffle."""
    import torch
    from trl import GRPOConfig

    gpu = torch.cuda.is_available()
    # trl wants groups of two or more also where nothing is sampled
    groups = {"num_generations": 2, "steps_per_generation": 2}
    if config.objective == "sampled":
        groups = {"num_generations": int(config.group_size)}
    return GRPOConfig(
        output_dir=str(config.out / "checkpoints"), seed=config.seed, data_seed=config.seed, shuffle_dataset=False,
        max_steps=config.steps, per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.completions // (config.batch_size * world_size()),
        num_iterations=config.iterations,
        **groups, max_completion_length=config.max_tokens, temperature=config.temperature,
        learning_rate=config.learning_rate, lr_scheduler_type="constant", beta=config.beta,
        loss_type=config.loss.replace("gspo", "grpo"), **(GSPO if config.loss == "gspo" else {}),
        reward_weights=list(config.weights.values()), router_aux_loss_coef=0.0,
        logging_steps=1, save_strategy="steps", save_steps=config.save_every, save_total_limit=CHECKPOINTS,
        eval_strategy="steps" if asks else "no", eval_steps=config.eval_every, eval_on_start=asks and begins,
        per_device_eval_batch_size=config.batch_size, num_generations_eval=1,
        report_to=list(config.report_to) or "none", project="datagen", run_name=config.out.name,
        disable_tqdm=True, use_cpu=not gpu, bf16=gpu,
        activation_checkpointing=gpu, dataloader_pin_memory=gpu, ddp_find_unused_parameters=False,
    )  # fmt: skip


@contextmanager
def quiet() -> Iterator[None]:
    """Without what trl 1.16 says of a name that transformers 5.23 gave up: no user can do anything about it.

    Standard output is for results: what a tracker prints goes to standard error.
    """
    with warnings.catch_warnings(), redirect_stdout(sys.stderr):
        warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
        yield


@contextmanager
def stopping(watch: Watch) -> Iterator[None]:
    """Ctrl-C and SIGTERM let the step end and save; a second one of them ends at once.

    Not so with several processes: a scheduler sends it to all, and their launcher, which got it too, sends it again.
    """
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: Any) -> None:
        watch.interrupted = True
        if world_size() == 1:
            for one, before in zip(signals, earlier, strict=True):
                signal.signal(one, before)

    earlier = [signal.signal(one, stop) for one in signals]
    try:
        yield
    finally:
        for one, before in zip(signals, earlier, strict=True):
            signal.signal(one, before)


# ── without loading anything ─────────────────────────────────────────────────────────────────────────────────────────


def about(row: Mapping[str, Any]) -> int:
    """Tokens of a prompt, by characters and by seconds of audio."""
    return len(text_in(row["prompt"])) // TOKEN + round(TOKENS * sum(map(seconds_of, recordings_in(row["prompt"]))))


def dry_run(config: Config) -> dict[str, Any]:
    """Memory and time, with the lengths of the set's own prompts; a set of the Hub is not fetched for it."""
    found: dict[str, Any] = {"data": str(config.data), "questions": None, "left_out": None}
    prompt_tokens = 128
    if Path(config.data).exists() or Path(config.data).suffix:
        recordings = Recordings(config.data, config.audio) if config.hears else None
        questions = material(
            read_set(config.data), config.modality, recordings=recordings, rated=bool(config.curriculum)
        )
        deck, _ = decks_of(config, questions, None)
        prompt_tokens = max(map(about, (deck.row(place) for place in range(min(deck.places, 1000))))) + 30
        left_out = dict(Counter(row.reason for row in questions.left_out))
        found |= {"questions": len(questions.examples), "left_out": left_out}
    load = Load(
        config.completions, config.batch_size, prompt_tokens, config.max_tokens, config.lora_rank, config.beta,
        checkpointing=True, devices=config.devices, sharding=config.sharding,
    )  # fmt: skip
    shape = {"steps": config.steps, "prompt_tokens": prompt_tokens, "completions_per_step": config.completions}
    return {**found, **shape, **estimate(config.model, load, config.steps, config.method)}
