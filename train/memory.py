"""`datagen train --dry-run`: memory and time of a run, from the policy's dimensions alone. An estimate, no measurement.

One device of `processes`. Bytes of a parameter:

    full    float32 weights 4, gradients 4, AdamW 8; the copies in bfloat16 that autocast holds 2; towers, frozen, 4
    lora    bfloat16 weights 2; of the adapters: float32 weights 4, gradients 4, AdamW 8
    beta>0  and full: the reference, another 4 (with LoRA the reference is the policy without its adapters)
    sharded (fsdp2, zero3) all of these divided by the devices; in place of autocast's copies the layer at work and
            the next one, embedding and head are gathered, in bfloat16, with their gradients

A step generates (cache) and then trains (activations, logits), so the larger of the two counts. With gradient
checkpointing each layer keeps its input, and one layer at a time all that it needs. `fits` adds a tenth and 1 GB for
the CUDA context and fragmentation and compares with decimal gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datagen.train.shapes import Shape, shape_of

__all__ = ["DEVICES", "SHARDING", "Load", "estimate"]

DEVICES: Mapping[str, tuple[float, float, float]] = {
    "24": (1.0e12, 165e12, 32e9),
    "48": (0.86e12, 181e12, 32e9),
    "80": (2.0e12, 312e12, 300e9),
}
"""GB → bytes/s of memory, bfloat16 operations/s and bytes/s to its neighbours (PCIe 4 or NVLink) of a card of that size
(RTX 4090, L40S, A100), by their sheets."""
SHARDING = ("none", "fsdp2", "zero3")
USE, READING = 0.35, 0.5
"""Shares of these that training and generation are taken to reach."""
LAYER_SECONDS = 1.0e-3
"""What one layer takes at least for one token in transformers' `generate`, however small it is."""
CHUNK = 32_768
"""Columns of the vocabulary that trl 1.16 scores at once."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one device does in one step."""

    completions: int
    """Sampled before the optimizer steps, of all devices."""
    batch: int
    """Completions of one forward and backward."""
    prompt_tokens: int
    completion_tokens: int
    lora_rank: int
    beta: float
    checkpointing: bool
    devices: int = 1
    sharding: str = "none"

    @property
    def share(self) -> int:
        """Completions of one device."""
        return self.completions // self.devices

    @property
    def parts(self) -> int:
        """Into how many what stands in memory is cut."""
        return self.devices if self.sharding != "none" else 1

    @property
    def tokens(self) -> int:
        """Of one prompt with its completion."""
        return self.prompt_tokens + self.completion_tokens


def estimate(model: str, load: Load, steps: int, method: str) -> dict[str, Any]:
    """The shape of `datagen train --dry-run --json`: bytes of one device, `fits`, seconds a step.

    Raises UsageError for a model whose dimensions are not known.
    """
    shape = shape_of(model)
    methods = {name: device_bytes(shape, load, name) for name in ("full", "lora")}
    per_step = {size: seconds(shape, load, *speed) for size, speed in DEVICES.items()}
    return {
        "dry_run": True,
        "model": model,
        "parameters": {"language_model": shape.language, "towers": shape.towers, "lora": shape.lora(load.lora_rank)},
        "method": method,
        "processes": load.devices,
        "sharding": load.sharding,
        "bytes": methods[method],
        "bytes_by_method": methods,
        "fits": {name: {size: fits(size, found["peak"]) for size in DEVICES} for name, found in methods.items()},
        "seconds_per_step": per_step,
        "hours": {size: steps * value / 3600 for size, value in per_step.items()},
        "note": "an estimate from dimensions; nothing was loaded or measured",
    }


def device_bytes(shape: Shape, load: Load, method: str) -> dict[str, int]:
    """Bytes on one device, by what they are for; `peak` is what is held at once."""
    if method == "full":
        weights, copies = 4 * (shape.language + shape.towers), 2 * shape.language
        trained = shape.language
        reference = 4 * (shape.language + shape.towers) if load.beta else 0
    else:
        trained = shape.lora(load.lora_rank)
        weights, copies = 2 * (shape.language + shape.towers) + 4 * trained, 0
        reference = 0
    if load.parts > 1:
        copies = (4 if method == "full" else 2) * (2 * shape.layer + shape.ends)
    rows = load.batch * load.tokens
    found = {
        "weights": weights // load.parts + copies,
        "reference": reference // load.parts,
        "gradients": 4 * trained // load.parts,
        "optimizer": 8 * trained // load.parts,
        "activations": activations(shape, rows, load.checkpointing),
        "logits": 3 * 4 * load.batch * load.tokens * min(CHUNK, shape.vocab),
        "kv_cache": 2 * load.share * load.tokens * shape.cache + 2 * 4 * load.share * shape.vocab,
    }
    standing = sum(found[name] for name in ("weights", "reference", "gradients", "optimizer"))
    return {**found, "peak": standing + max(found["activations"] + found["logits"], found["kv_cache"])}


def activations(shape: Shape, rows: int, checkpointing: bool) -> int:
    """Bytes kept for the backward of `rows` tokens, in bfloat16."""
    attention = 6 * shape.hidden + 2 * (shape.heads + shape.kv_heads) * shape.width
    layer = 2 * rows * (attention + 4 * shape.intermediate * shape.active)
    return 2 * rows * shape.hidden * shape.layers + layer if checkpointing else layer * shape.layers


def fits(size: str, peak: int) -> bool:
    """Whether `peak` bytes and what surrounds them go into a device of `size` GB."""
    return peak * 1.1 + 1e9 <= float(size) * 1e9


def seconds(shape: Shape, load: Load, reads: float, operations: float, gathers: float) -> float:
    """Of one step: generation bound by reading weights, or by gathering them, training by arithmetic."""
    gather = 2 * shape.language * (load.parts - 1) / load.parts / (gathers * READING)
    token = max(2 * shape.language / (reads * READING), shape.layers * LAYER_SECONDS, gather)
    passes = 4 if load.checkpointing else 3  # forward, backward of twice its cost, and the forward once more
    training = 2 * passes * shape.at_work * load.share * load.tokens / (operations * USE)
    training = max(training, passes * gather * load.share / load.batch)
    return load.completion_tokens * token + training
