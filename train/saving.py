"""What a run leaves: the tuned policy in DIR/model, with LoRA the adapter in DIR/adapter, and the parameters' hash.

Where processes hold parts of each tensor (FSDP2, ZeRO-3), all of them gather and the first one writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.train.policy import save
from datagen.train.ranks import agreed, first

if TYPE_CHECKING:
    from datagen.train.policy import Policy
    from datagen.train.trainer import Trainer

__all__ = ["parameters_hash", "save_tuned"]


def save_tuned(policy: Policy, trainer: Trainer, out: Path, *, lora: bool) -> str:
    """Writes both folders and returns the hash. To be called by every process.

    Raises UsageError where their parameters are not the same.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        found = parameters_hash((name, p) for name, p in model.named_parameters() if name in trained)
        agreed({"parameters_sha256": found})
        if first():
            _write(policy, model, out, lora=lora)
        return found
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if not first():
        return ""
    found = parameters_hash((name, tensor) for name, tensor in state.items() if name in trained)
    if lora:
        model.save_pretrained(out / "adapter", state_dict=state)
        save(policy, _merged(policy, str(model.dtype), out / "adapter"), out / "model")
    else:
        save(policy, model, out / "model", state)
    return found


def parameters_hash(parameters: Iterable[tuple[str, Any]]) -> str:
    """SHA-256 of tensors by name: equal for runs that ended with the same."""
    digest = hashlib.sha256()
    for name, parameter in sorted(parameters, key=lambda each: each[0]):
        digest.update(name.encode() + parameter.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write(policy: Policy, model: Any, out: Path, *, lora: bool) -> None:
    if lora:
        model.save_pretrained(out / "adapter")
        model = model.merge_and_unload()
    save(policy, model, out / "model")


def _merged(policy: Policy, dtype: str, adapter: Path) -> Any:
    """The adapter in a policy that is loaded anew, since no process holds a whole one."""
    from peft import PeftModel

    return PeftModel.from_pretrained(policy.weights(dtype.removeprefix("torch.")), adapter).merge_and_unload()
