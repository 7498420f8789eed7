"""`datagen train-export`: a tuned thinker → the complete Omni checkpoint that serving engines want.

    CHECKPOINT (a run, its model/, adapter/ or checkpoint-N) ─┐
    --base     (thinker.*, talker.*, token2wav.*)            ─┴─▶ DIR: the base's layout, with the tuned thinker.*

The base's shards are gone through one after the other, so no more than one of them is held at a time. Everything that
is not the thinker keeps its bytes, the voices of `spk_dict.pt` and the processor too. A thinker that was loaded from a
whole Omni is saved as `thinker.model.*`, one that was loaded alone as `model.*`; both are taken.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.errors import UsageError
from datagen.llm.weights import Folder, open_folder
from datagen.plugins import needs
from datagen.rows import some

__all__ = ["DTYPES", "train_export"]

DTYPES = ("bfloat16", "float16", "float32")
THINKER = "thinker."
ADAPTER = "base_model.model.model.language_model."
"""Where transformers 5.23 and peft have the layers that a whole Omni has in `thinker.model.`."""
INDEX = "model.safetensors.index.json"


def train_export(checkpoint: Path, base: str, out: Path, *, dtype: str = "", base_revision: str = "") -> dict[str, Any]:
    """Writes `out`, whole or not at all, and returns what it holds.

    `dtype` is that of the thinker; without it each tensor keeps the base's. Raises UsageError for a tuned thinker that
    is not of this base: another class, tensors missing or left over, other shapes, numbers that are none.
    """
    needs("train", "torch", "safetensors")
    if dtype and dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype!r}: use {', '.join(DTYPES)}")
    if out.exists() or out.is_symlink():
        raise UsageError(f"--out {out}: is there already: choose a folder that is not")
    folder = open_folder(base, audio=False, revision=base_revision)
    if "thinker_config" not in folder.config:
        raise UsageError(f"--base {base}: is no whole Omni but a {folder.type}: of such a model, model/ is complete")
    with ExitStack() as files:
        whole, tuned = Weights(folder.path, files), opened(checkpoint, folder, files)
        tuned.check(whole)
        temporary = out.with_name(out.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)  # of a call that was killed
        try:
            temporary.mkdir(parents=True)
            counts = written(whole, tuned, temporary, dtype)
            copied(folder.path, temporary)
            if dtype:
                say_dtype(temporary / "config.json", dtype)
            temporary.rename(out)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    return {"out": str(out), "checkpoint": str(checkpoint), "base": base, "dtype": dtype or "as the base", **counts}


class Weights:
    """The tensors of a folder, each read when it is asked for."""

    def __init__(self, folder: Path, files: ExitStack, ends: str = "model*.safetensors") -> None:
        from safetensors import SafetensorError, safe_open

        self.folder = folder
        self.shards: dict[str, list[str]] = {}
        """File → the tensors in it, both in order."""
        self._file: dict[str, Any] = {}
        for path in sorted(folder.glob(ends)):
            try:
                file = files.enter_context(safe_open(path, "pt"))
            except (OSError, SafetensorError) as error:
                raise UsageError(f"{path}: {error}: copy it again") from None
            self.shards[path.name] = sorted(file.keys())
            self._file |= dict.fromkeys(self.shards[path.name], file)
        if not self._file:
            raise UsageError(f"{folder}: holds no {ends}: copy the whole folder")

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def shape(self, name: str) -> list[int]:
        """Of one tensor; none is read."""
        return list(self._file[name].get_slice(name).get_shape())

    def read(self, name: str) -> Any:
        """One tensor."""
        return self._file[name].get_tensor(name)


@dataclass(frozen=True)
class Tuned:
    """What is written in place of the base's thinker; names as the base has them."""

    place: Path
    names: Mapping[str, list[int]]
    """Tensor → its shape."""
    read: Callable[[str, Any], Any]
    """Tensor and the base's → the tuned one."""
    all: bool = field(default=True)
    """Whether every tensor of the thinker must be there; an adapter has some."""

    def check(self, whole: Weights) -> None:
        """Raises UsageError where these are not tensors of the base's thinker."""
        wanted = {name for name in whole if name.startswith(THINKER)}
        if extra := sorted(self.names.keys() - wanted):
            raise UsageError(f"{self.place}: the base's thinker has no {some(extra)}: give the base it was tuned from")
        if self.all and (missing := sorted(wanted - self.names.keys())):
            raise UsageError(f"{self.place}: lacks {some(missing)} of the base's thinker: give a whole checkpoint")
        for name, shape in self.names.items():
            if shape != whole.shape(name):
                raise UsageError(
                    f"{self.place}: {name} is {shape}, the base's {whole.shape(name)}: give the base it was tuned from"
                )


def opened(checkpoint: Path, base: Folder, files: ExitStack) -> Tuned:
    """What `checkpoint` is, looked at. Raises UsageError for what is neither a tuned model nor an adapter."""
    place = checkpoint
    if (checkpoint / "run.json").is_file():
        place = checkpoint / "model"
        if not place.is_dir():
            raise UsageError(f"{checkpoint}: the run has no model/ yet: let it end, or give one of its checkpoints")
    if (place / "config.json").is_file():
        return whole_thinker(place, base, files)
    if (place / "adapter_config.json").is_file():
        return adapter(place, files)
    raise UsageError(f"{place}: holds neither config.json nor adapter_config.json: give what `datagen train` wrote")


def whole_thinker(place: Path, base: Folder, files: ExitStack) -> Tuned:
    """A thinker as `save_pretrained` leaves it."""
    wanted = base.config["thinker_config"].get("model_type") or f"{base.type}_thinker"
    found = read_json(place / "config.json").get("model_type")
    if found != wanted:
        raise UsageError(f"{place}: is a {found}, the base's thinker a {wanted}: give the base that it was tuned from")
    weights = Weights(place, files)
    own = {name if name.startswith(THINKER) else THINKER + name: name for name in weights}
    return Tuned(
        place, {name: weights.shape(saved) for name, saved in own.items()},
        lambda name, before: weights.read(own[name]),
    )  # fmt: skip


def adapter(place: Path, files: ExitStack) -> Tuned:
    """LoRA as peft saves it: W + s·B·A in float32, s = alpha/rank, or alpha/√rank where it was stabilised so."""
    config = read_json(place / "adapter_config.json")
    if config.get("peft_type") != "LORA" or config.get("alpha_pattern"):
        raise UsageError(f"{place}: is no plain LoRA adapter: merge it by peft and give the model")
    weights = Weights(place, files, "adapter_model.safetensors")
    layers = {name.rpartition(".lora_")[0] for name in weights}
    ends = (".lora_A.weight", ".lora_B.weight")
    if strange := sorted(set(weights) - {layer + end for layer in layers for end in ends}):
        raise UsageError(f"{place}: holds {some(strange)} beside LoRA's A and B: merge it by peft and give the model")
    own = {f"{THINKER}model.{layer.removeprefix(ADAPTER)}.weight": layer for layer in layers}

    def shape(layer: str) -> list[int]:
        return [weights.shape(layer + ends[1])[0], weights.shape(layer + ends[0])[1]]

    def read(name: str, before: Any) -> Any:
        a, b = (weights.read(own[name] + end).float() for end in ends)
        scale = config["lora_alpha"] / (math.sqrt(len(a)) if config.get("use_rslora") else len(a))
        return before.float() + (b @ a) * scale

    return Tuned(place, {name: shape(layer) for name, layer in own.items()}, read, all=False)


def written(whole: Weights, tuned: Tuned, out: Path, dtype: str) -> dict[str, int]:
    """Writes the shards one by one, and their index where the base has one; what it counts is returned."""
    import torch
    from safetensors.torch import save_file

    counts = {"tuned": 0, "changed": 0, "copied": 0, "bytes": 0}
    for shard, names in whole.shards.items():
        held = {}
        for name in names:
            before = held[name] = whole.read(name)
            if not name.startswith(THINKER):
                counts["copied"] += 1
                continue
            after = tuned.read(name, before) if name in tuned.names else before
            held[name] = cast = after.to(getattr(torch, dtype) if dtype else before.dtype).contiguous()
            if not torch.isfinite(cast).all():
                raise UsageError(f"{tuned.place}: {name} holds numbers that are none in {cast.dtype}: give another")
            counts["tuned"] += name in tuned.names
            counts["changed"] += not torch.equal(cast, before.to(cast.dtype))
        save_file(held, out / shard, metadata={"format": "pt"})
        counts["bytes"] += sum(tensor.nbytes for tensor in held.values())
    if (whole.folder / INDEX).is_file():
        index = read_json(whole.folder / INDEX)
        index["metadata"] = {**(index.get("metadata") or {}), "total_size": counts["bytes"]}
        (out / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return counts


def copied(base: Path, out: Path) -> None:
    """Everything of the base that is no weights: configuration, processor, chat template, voices, licence."""
    for path in sorted(base.iterdir()):
        weights = path.suffix in (".safetensors", ".bin") or path.name == INDEX
        if path.is_file() and not weights and not path.name.startswith("."):
            shutil.copyfile(path, out / path.name)


def say_dtype(file: Path, dtype: str) -> None:
    """Names the thinker's type in config.json: transformers loads everything in the one that stands there."""
    config = read_json(file)
    for part in (config, config["thinker_config"]):
        part.pop("torch_dtype", None)  # what transformers 4 wrote
        part["dtype"] = dtype
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """A file that holds one object. Raises UsageError."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}: copy it again") from None
    if not isinstance(found, dict):
        raise UsageError(f"{file}: holds no object: copy it again")
    return found
