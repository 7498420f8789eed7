"""What a run is refused for before its first step, and what is said when there is no room to save. One line each."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datagen.errors import DatagenError, UsageError
from datagen.train.ranks import world_size
from datagen.train.shapes import shape_of

__all__ = ["check_checkpoint", "check_device", "check_trackers", "last_checkpoint", "room"]

MOST_WITHOUT_GPU = 2_000_000_000
"""Parameters that are trained without a GPU unasked."""
FORM = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
    "num_experts", "vocab_size",
)  # fmt: skip
"""What two configurations of one architecture have in common."""
ADAPTER = ("r", "target_modules")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SAID = ("PytorchStreamWriter failed", "unexpected pos", "iostream error", *(f"(os error {number})" for number in FULL))
"""How torch and safetensors, whose errors have no number, tell of a disk that is full."""
LEAST = 100_000
"""Bytes that are free on a disk that is not full."""


def check_trackers(names: Sequence[str]) -> None:
    """Raises UsageError for a tracker of `--report-to` that is unknown or not installed."""
    from transformers.integrations.integration_utils import (
        INTEGRATION_TO_CALLBACK,
        get_available_reporting_integrations,
    )

    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise UsageError(f"--report-to {name!r}: use tensorboard, trackio or another of transformers")
        if name not in get_available_reporting_integrations():
            raise UsageError(f"--report-to {name}: needs the package {name}: pip install {name}")


def check_device(model: str, *, allow_cpu: bool) -> None:
    """Raises UsageError for a large model without a GPU, from its dimensions: no weight is fetched or loaded.

    `model`: a name or a folder; one whose dimensions are not known passes.
    """
    import torch

    if allow_cpu or torch.cuda.is_available():
        return
    try:
        shape = shape_of(model)
    except UsageError:  # an unknown name: it is asked again as a folder, once it is there
        return
    parameters = shape.language + shape.towers
    if parameters > MOST_WITHOUT_GPU:
        raise UsageError(
            f"--model {model}: {parameters / 1e9:.1f} billion parameters and no GPU: its weights alone take about "
            f"{4 * parameters / 1e9:.0f} GB of memory here: use a machine with a GPU, or --allow-cpu"
        )


# ── checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole: transformers writes trainer_state.json last.

    Of several processes each writes its generators' state, and the first waits for none of them.
    """
    ends = [f"rng_state_{number}.pth" for number in range(world_size())] if world_size() > 1 else []
    ends.append("trainer_state.json")
    found = [path for path in folder.glob("checkpoint-*") if all((path / name).is_file() for name in ends)]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def check_checkpoint(checkpoint: Path, model: Any) -> None:
    """Raises UsageError for a checkpoint whose model or adapter is of another form than `model`.

    transformers would leave out what does not fit, with a warning, and train on.
    """
    adapters = getattr(model, "peft_config", None)
    if adapters:
        wanted, name = adapters["default"].to_dict(), "adapter_config.json"
    else:
        wanted, name = model.config.to_dict(), "config.json"
    try:
        there = json.loads((checkpoint / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{checkpoint}: {name}: {error}: take the folder away to go on from the one before") from None
    differs = _difference(there, wanted, ADAPTER if adapters else FORM)
    if differs:
        raise UsageError(f"{checkpoint}: is of another model: {differs}: give the model that it was begun with")


def _difference(there: Mapping[str, Any], wanted: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first key, of these mappings or the configurations in them, under which they differ."""
    for key in keys:
        a, b = (sorted(value) if isinstance(value := part.get(key), list | set) else value for part in (there, wanted))
        if a != b:
            return f"{key} is {str(a)[:60]} there and {str(b)[:60]} here"
    inner = [key for key in wanted if key.endswith("_config") and isinstance(wanted[key], Mapping)]
    both = ((there[key], wanted[key]) for key in inner if isinstance(there.get(key), Mapping))
    return next((found for a, b in both if (found := _difference(a, b, keys))), "")


@contextmanager
def room(out: Path) -> Iterator[None]:
    """Raises DatagenError, one line, where a file cannot be written since the disk is full; the run can go on."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _is_full(error) and shutil.disk_usage(out).free > LEAST:
            raise
        last = last_checkpoint(out / "checkpoints")
        stands = f"{last.name} stands" if last else "there is no checkpoint yet"
        raise DatagenError(
            f"--out {out}: the disk is full ({' '.join(str(error).split())[:100]}); {stands}: "
            "make room, and give the same command with --resume"
        ) from error


def _is_full(error: BaseException | None) -> bool:
    while error:
        if getattr(error, "errno", None) in FULL or any(text in str(error) for text in SAID):
            return True
        error = error.__cause__ or error.__context__
    return False
