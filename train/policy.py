"""A folder or Hub id → the policy that is trained: weights, tokenizer, what is frozen, where adapters go.

Built here and not by trl, which knows no audio models: a whole Omni gives its thinker, and the reference of a full
tuning is made from the same folder. Text-only training of a model that listens uses its tokenizer alone; the towers
that hear and see are loaded, so that what is saved is whole, frozen, and never run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.errors import UsageError
from datagen.llm.local_model import load_weights
from datagen.llm.weights import Folder, open_folder

__all__ = ["Policy", "open_policy", "save"]

TOWERS = ("audio_tower", "visual", "multi_modal_projector")
"""Parts of a model that listens which no text passes."""


@dataclass(frozen=True)
class Policy:
    """A folder that was looked at, and its tokenizer."""

    folder: Folder
    tokenizer: Any

    def weights(self, dtype: str) -> Any:
        """A fresh model with its towers frozen. Raises UsageError for weights that do not fit."""
        model = load_weights(self.folder, dtype)
        for name, parameter in model.named_parameters():
            if _in_tower(name):
                parameter.requires_grad = False
        return model

    def adapters(self, model: Any, rank: int) -> Any:
        """LoRA (arXiv 2106.09685) on every linear layer of the language model but its head. Raises UsageError."""
        from peft import LoraConfig

        targets = sorted(_linear_layers(model))
        if not targets:
            raise UsageError(
                f"model {self.folder.name}: {type(model).__name__} has no linear layers: use --method full"
            )
        return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")


def open_policy(name: str, revision: str = "", *, audio: bool = False) -> Policy:
    """The policy called `name`; with `audio`, one that listens.

    Raises UsageError, one line, for what is missing or cannot be trained.
    """
    from transformers import AutoTokenizer

    folder = open_folder(name, audio=audio, revision=revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder.path, padding_side="left")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"model {folder.name}: its tokenizer cannot be read ({' '.join(str(error).split())[:100]})"
        ) from None
    if not tokenizer.chat_template:
        raise UsageError(f"model {folder.name}: has no chat template: use a model that was tuned for chat")
    return Policy(folder, tokenizer)


def save(policy: Policy, model: Any, out: Path, state: Any = None) -> None:
    """Writes `model` with all that a folder needs to be evaluated or trained on, whole or not at all.

    `state`: its tensors, where it does not hold them itself.
    """
    from transformers import AutoProcessor

    temporary = out.with_name(out.name + ".tmp")
    model.save_pretrained(temporary, state_dict=state)
    made = AutoProcessor.from_pretrained(policy.folder.path) if policy.folder.hears else policy.tokenizer
    made.save_pretrained(temporary)
    shutil.rmtree(out, ignore_errors=True)  # of a call that was killed before it could say that it is done
    temporary.rename(out)


def _linear_layers(model: Any) -> Iterator[str]:
    from torch import nn

    head = model.get_output_embeddings()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and module is not head and not _in_tower(name):
            yield name


def _in_tower(name: str) -> bool:
    return not set(TOWERS).isdisjoint(name.split("."))
