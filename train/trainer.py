"""trl 1.16's GRPOTrainer with every change that is made to it. tests/test_train.py holds the contract.

    __init__                          the reference is a model that we made (`reference`), where trl makes one by name
    _prepare_inputs                   the answers to one prompt stay together, where trl shuffles them
    _generate_and_score_completions   a place of the run becomes its prompt, choices and gold (`data.Deck`); advantages
                                      that are rounding alone become 0
    _generate                         what was answered is counted (`answered`); packed rows are compared with trl's on
                                      the first batch; groups without signal are replaced, where that is asked for
                                      (`refill`)
    _tokenize_prompts                 prompts are made as in evaluation; audio has ids of its own (`listening`)
    _generate_single_turn             each prompt is run once for all its answers; greedy for the held-out set
    _calculate_rewards                groups whose answers are all worth the same are marked
    _get_per_token_logps_and_entropies
                                      the answers to one prompt share one run of it (`packing`), unless the comparison
                                      finds them to be other than trl's
    _compute_loss                     rows without an advantage are left out of the forward where beta is 0: their loss
                                      and gradient are 0, and they still count in the denominators
    prediction_step                   no loss of the held-out set, which says nothing
    _save_checkpoint                  how far refills have gone is kept
    _load_from_checkpoint             a thinker's weights are read under the names that they were written by

The losses, the advantages and the optimizer are trl's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object, is_peft_model
from torch import Tensor
from transformers import GenerationConfig
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from datagen.llm.local_model import load_weights
from datagen.llm.weights import Folder
from datagen.train.answered import Answered, answers
from datagen.train.packing import give_head
from datagen.train.reference import prepared, without_reference
from datagen.train.refill import groups_of, keep_further, replaced, unlogged, without_signal
from datagen.train.sharing import (
    COMPARED_ROWS,
    compared_parameters,
    comparison,
    padded,
    prefilled_once,
    say_apart,
    score,
)

if TYPE_CHECKING:
    from datagen.train.data import Deck
    from datagen.train.listening import Listener

__all__ = ["Trainer"]

EQUAL = 1e-6
"""Rewards of a group that differ by less are equal. trl leaves them their rounding as an advantage (3e-4 for eight
times -0.3), of which Adam, which divides by the gradient's own size, makes steps of full size.
"""


class Trainer(GRPOTrainer):  # type: ignore[misc]  # trl is not annotated
    """GRPO on the places of a Deck."""

    generation_config: Any
    generation_kwargs: Any

    def __init__(
        self, *args: Any, deck: Deck, held_out: Deck | None, answered: Answered, listener: Listener,
        reference: Any = None, refill: int = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        self.deck, self.held_out, self.answered, self.listener = deck, held_out, answered, listener
        self.refill = refill
        """Rounds of a step in which groups are replaced."""
        answered.refilled = 0 if refill else None
        config: GRPOConfig = kwargs["args"]
        with without_reference(config):
            super().__init__(*args, **kwargs)
        self.beta = config.beta
        self._greedy = GenerationConfig(
            max_new_tokens=self.max_completion_length, do_sample=False, eos_token_id=self.eos_token_ids,
            pad_token_id=self._tokenizer.pad_token_id, disable_compile=True,
        )  # fmt: skip
        give_head(self._bare(self.model))
        if reference is not None:
            give_head(reference)
            self.ref_model = prepared(reference, self)
        self.sharing: dict[str, Any] | None = None
        """Of the first batch: `sharing.comparison` of packed rows and trl's."""
        self._idle: Tensor | None = None
        """bool (rows,): which rows are left out of the forward, while such a loss is computed."""
        self._settled: Tensor | None = None
        """(rows, longest): the log-probabilities that they have nevertheless."""
        self._entropies: Tensor
        """Sum over the tokens of the rows that were run."""

    def _bare(self, model: Any) -> Any:
        """transformers' own model, without what accelerate and peft put around it."""
        model = self.accelerator.unwrap_model(model)
        return model.get_base_model() if is_peft_model(model) else model

    # ── one batch: prompts, answers, rewards, in the order of trl ─────────────────────────────────────────────────────

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """trl's, without its shuffle: all that is generated at once is one step of the optimizer, in any order."""
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        parts = self.args.steps_per_generation
        if self._step % (parts * self.num_iterations) == 0 or self._buffered_inputs is None:
            made = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs: Any = split_tensor_dict(made, parts)
        return self._buffered_inputs[self._step % parts]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        deck, further = (self.deck, self.answered.further) if self.model.training else (self.held_out, 0)
        assert deck is not None
        places = sorted({row["place"] + further for row in inputs})
        self.listener.ahead(deck.heard(range(places[-1] + 1, places[-1] + 1 + len(places))))
        self._rows = [deck.row(row["place"] + further) for row in inputs]
        made: dict[str, Any] = super()._generate_and_score_completions(self._rows)
        if self.model.training:
            made["advantages"] = made["advantages"].masked_fill(self._equal, 0.0)
        return made

    def _generate(self, prompts: list[Any]) -> Any:
        made = super()._generate(prompts)
        rows = answers(self._rows, made[3], made[1])
        if not self.model.training:
            self.answered.add_held_out(gather_object(rows))
            return made
        everywhere = gather_object(rows)
        self.answered.add(everywhere)
        idle = len(without_signal(everywhere, self.num_generations))
        self._metrics["train"]["no_signal"].append(idle * self.num_generations / len(everywhere))  # for trackers
        if self.sharing is None:
            self.sharing = self._compared(*made[:2])
        if self.refill:
            with unlogged(self._metrics["train"]):
                self._replace([self._rows, made[0], made[1], made[3], rows])
        return made

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Of equal prompts in a row, as those of a group are, the first is made."""
        ids: list[list[int]] = []
        for number, prompt in enumerate(prompts):
            again = number and prompt == prompts[number - 1]
            ids.append(ids[-1] if again else self.listener.ids(prompt))
        return ids, None, {}

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        if self.model.training:
            with prefilled_once(self._bare(self.model), prompt_ids):
                return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        sampled: tuple[Any, Any] = self.generation_config, self.generation_kwargs
        self.generation_config, self.generation_kwargs = self._greedy, {"do_sample": False}
        try:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        finally:
            self.generation_config, self.generation_kwargs = sampled

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: list[Any]
    ) -> Any:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.model.training:
            begin = self.accelerator.process_index * len(prompts)
            self._equal = self._without_difference(rewards)[begin : begin + len(prompts)]
        return rewards

    def _without_difference(self, rewards: Any) -> Any:
        """(completions,) bool: whether all of the group are worth the same. `rewards`: (completions, functions)."""
        groups = (rewards * self.reward_weights.to(rewards.device)).sum(-1).view(-1, self.num_generations)
        equal = groups.amax(-1) - groups.amin(-1) < EQUAL
        return equal.repeat_interleave(self.num_generations)

    def _replace(self, held: list[list[Any]]) -> None:
        """Groups without signal by those of further places that have one. `held`: columns of the batch, changed."""
        size, rank, ranks = self.num_generations, self.accelerator.process_index, self.accelerator.num_processes
        following = max(gather_object([row["place"] for row in self._rows])) + 1
        for _ in range(self.refill):
            idle = without_signal(held[-1], size)
            # all processes sample as many groups: they pass the model together
            wanted = max(gather_object([len(idle)]))
            if not wanted:
                return
            mine = range(following + rank * wanted, following + (rank + 1) * wanted)
            following, self.answered.further = following + ranks * wanted, self.answered.further + ranks * wanted
            rows = [self.deck.row(place) for place in mine for _ in range(size)]
            ids, completions, _, texts, *_ = super()._generate([row["prompt"] for row in rows])
            found = answers(rows, texts, completions)
            self.answered.add(gather_object(found))
            useful = [start for start in groups_of(found, size) if start not in set(without_signal(found, size))]
            count = replaced(held, [rows, ids, completions, texts, found], idle, useful, size)
            self.answered.refilled = (self.answered.refilled or 0) + sum(gather_object([count]))

    # ── one run of a prompt for all its answers ───────────────────────────────────────────────────────────────────────

    @property
    def shares(self) -> bool:
        """Whether rows are packed."""
        return self.sharing is not None and bool(self.sharing["used"])

    def _compared(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> dict[str, Any]:
        """`sharing.comparison` on the first rows of a batch; used in all processes or in none."""
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled  # no process holds a whole gradient
        model = self.model_wrapped if sharded else self.accelerator.unwrap_model(self.model)
        ids, mask, longest = padded(prompts[:COMPARED_ROWS], answers[:COMPARED_ROWS], self.accelerator.device)
        with torch.set_grad_enabled(not sharded):
            theirs, _, _ = super()._get_per_token_logps_and_entropies(model, ids, mask, longest)
            ours, _ = self._score(model, ids, mask, longest)
        rough = self.args.bf16 or self.args.fp16 or model.dtype != torch.float32
        parameters = [] if sharded else compared_parameters(model)
        found = comparison(ours, theirs, mask[:, -longest:], parameters, rough)
        found["used"] = all(gather_object([found["used"]]))
        if not found["used"]:
            say_apart(found)
        return found

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, batch_size: int | None = None,
        compute_entropy: bool = False, **others: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
        """Equal to trl's, but for the rows that are left out."""
        if not self.shares:
            plain: tuple[Tensor, Tensor | None, Tensor | None] = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **others
            )
            return plain
        size = batch_size or len(input_ids)
        parts = [
            self._score(model, ids, mask, logits_to_keep)
            for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True)
        ]
        log_probs, entropy = (torch.cat(values) for values in zip(*parts, strict=True))
        self._entropies = entropy.sum()
        return log_probs, entropy if compute_entropy else None, None

    def _score(self, model: Any, ids: Tensor, mask: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        settled = torch.zeros(len(ids), longest, device=ids.device) if self._settled is None else self._settled
        rows = range(len(ids)) if self._idle is None else (~self._idle).nonzero()[:, 0].tolist()
        with self.accelerator.autocast():
            return score(model, ids, mask, longest, self.temperature, rows, settled)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        if self.beta or not self.shares:
            return super()._compute_loss(model, inputs)
        idle = inputs["advantages"] == 0
        self._idle, self._settled = idle, inputs.get("old_per_token_logps")
        try:
            loss = super()._compute_loss(model, inputs)
        finally:
            self._idle = self._settled = None
        self._log_entropy(inputs["completion_mask"][~idle].sum())
        return loss

    def _log_entropy(self, tokens: Tensor) -> None:
        """That of the rows that were run, in place of what trl made of the rest."""
        total, count = self.accelerator.reduce(torch.stack([self._entropies, tokens.float()]), reduction="sum").tolist()
        logged = self._metrics["train"]["entropy"]
        logged.pop()
        if count:
            logged.append(total / count)

    # ── the held-out set, and checkpoints ─────────────────────────────────────────────────────────────────────────────

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[None, None, None]:
        """Asks, and leaves out the loss."""
        self._prepare_inputs(inputs)
        return None, None, None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.refill and self.is_world_process_zero():
            folder = Path(self._get_output_dir(trial))
            keep_further(folder / f"checkpoint-{self.state.global_step}", self.answered.further)
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """transformers 5.23 writes a thinker in its published layout and reads it by the names of its class: nothing
        would be loaded, with a warning.
        """
        if is_peft_model(self.model) or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        path = Path(resume_from_checkpoint)
        folder = Folder(path, path.name, json.loads((path / "config.json").read_text(encoding="utf-8")))
        loaded = load_weights(folder, str(self.model.dtype).removeprefix("torch."))
        self.model.load_state_dict(loaded.state_dict())
