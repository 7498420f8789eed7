"""The reference of a full tuning with beta > 0, which trl 1.16 would make from the model's name.

Its class would have to be one that AutoModel knows, so trl makes none, and ours is prepared as its own would be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trl import GRPOConfig
from trl.models import prepare_deepspeed, prepare_fsdp
from trl.trainer.utils import add_fused_lm_head, disable_dropout_in_model

__all__ = ["prepared", "without_reference"]


@contextmanager
def without_reference(config: GRPOConfig) -> Iterator[None]:
    """Within, a trainer that is made has no reference: it has a beta of 0."""
    beta, config.beta = config.beta, 0.0
    try:
        yield
    finally:
        config.beta = beta


def prepared(reference: Any, trainer: Any) -> Any:
    """What trl does with the reference that it makes."""
    if trainer.args.disable_dropout:
        disable_dropout_in_model(reference)
    whole = trainer.args.cast_lm_head_to_fp32
    add_fused_lm_head(reference, temperature=trainer.temperature, cast_lm_head_to_fp32=whole)
    if trainer.is_deepspeed_enabled:
        return prepare_deepspeed(reference, trainer.accelerator)
    if trainer.is_fsdp_enabled:
        return prepare_fsdp(reference, trainer.accelerator)
    return trainer.accelerator.prepare_model(reference, evaluation_mode=True)
