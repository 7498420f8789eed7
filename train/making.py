"""Configuration, policy, data and rewards → the trainer of a run, before its first step."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.rows import some
from datagen.train.config import Config
from datagen.train.data import Deck, Material, conditions_of
from datagen.train.ranks import world_size
from datagen.train.refill import further_of
from datagen.train.rewards import reward_functions

if TYPE_CHECKING:
    from datagen.train.listening import Listener
    from datagen.train.policy import Policy
    from datagen.train.trainer import Trainer
    from datagen.train.watch import Watch

__all__ = ["decks_of", "make_trainer", "quiet"]

GSPO = {"importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4}
"""What makes grpo GSPO (arXiv 2507.18071, section 5.1)."""
CHECKPOINTS = 2
"""Kept; the older one is there while the newer is written."""


def make_trainer(
    config: Config, policy: Policy, questions: Material, held_out: Material | None, checkpoint: Path | None
) -> tuple[Trainer, Watch]:
    """Policy, reference, data and rewards, put together."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from datagen.train.answered import Answered
    from datagen.train.listening import Listener
    from datagen.train.objectives import Enumerated
    from datagen.train.trainer import Trainer
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
