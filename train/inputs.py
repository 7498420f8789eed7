"""Which run a folder holds: what decides the parameters that it ends with, and the checkpoint that it goes on from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from datagen.errors import UsageError
from datagen.run import Run
from datagen.train.config import Config, shown
from datagen.train.data import Example, Material
from datagen.train.preflight import last_checkpoint
from datagen.train.ranks import world_size

__all__ = ["begun", "inputs_of", "versions"]


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
