"""STUDY.toml: what is trained, on what, how often, and what it is asked.

    model = "models/qwen"            # the policy of every arm, and the arm `base`
    seeds = [0, 1, 2]
    held_out = "held_out.jsonl"      # of the training domain; decides the learning rate, never a benchmark
    questions = 4000                 # of each set, drawn by seed: arms and chains see equally many (left out: all)

    [train]                          # of every arm: flags of `datagen train`
    steps = 500

    [search]                         # for each arm and chain alike: the rate that is best on the held-out set
    learning_rates = [1e-6, 3e-6]
    steps = 100                      # of a try; left out: as many as in training

    [chains.raw]                     # an axis: what the filters let through
    data = "runs/raw"
    [chains.aware]
    data = "runs/clean"
    where = "audio_dependence > 0.5" # SQL over the set's columns

    [arms.text]                      # flags of `datagen train` beside or over [train]
    modality = "text"
    [arms.coin]
    control = "random-reward"        # random-reward, format-reward, shuffled-gold, or
    [arms.foreign]
    control = "foreign-text"         # questions that are not about audio, which the arm names
    data = "foreign.jsonl"

    [benchmarks.mmau]                # flags of `datagen eval`
    benchmark = "mmau"
    data = "mmau-test-mini.json"
    audio = "audio"
    condition = "audio,mismatched,none"

Paths are as seen from where the command is run. `base` is there in every study and is not trained.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from datagen.errors import DatagenError, UsageError
from datagen.eval.preparing import Config as EvalConfig
from datagen.train.config import Config as TrainConfig
from datagen.train.controls import CONTROLS

__all__ = ["BASE", "FOREIGN", "Arm", "Chain", "Search", "Study", "flags", "read_study"]

BASE = "base"
FOREIGN = "foreign-text"
OWN = "own"
"""Chain of an arm that names its own questions."""
KEYS = {
    "model", "model_revision", "seeds", "held_out", "questions", "train", "search", "chains", "arms", "benchmarks",
}  # fmt: skip
OURS = {"model", "model_revision", "out", "data", "held_out", "seed", "resume", "dry_run", "config"}
"""Flags of `datagen train` that the study sets."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A set that arms are trained on."""

    name: str
    data: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train."""

    name: str
    train: Mapping[str, Any]
    """Flags of `datagen train`, those of [train] among them."""
    control: str = ""
    """What it is a control of; empty for an arm that is to show something."""
    data: str = ""
    """Its own questions, in place of the chains."""


@dataclass(frozen=True, slots=True)
class Search:
    """Of the learning rate."""

    learning_rates: tuple[float, ...] = ()
    steps: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Study:
    """A study as its file says."""

    file: Path
    model: str
    model_revision: str
    seeds: tuple[int, ...]
    held_out: str
    questions: int | None
    search: Search
    chains: tuple[Chain, ...]
    arms: tuple[Arm, ...]
    benchmarks: Mapping[str, Mapping[str, Any]]

    def trained(self) -> Iterator[tuple[Arm, Chain]]:
        """What is trained, in the order of the file."""
        for arm in self.arms:
            for chain in [Chain(OWN, arm.data)] if arm.data else self.chains:
                yield arm, chain


def read_study(file: Path) -> Study:
    """The study in `file`. Raises UsageError, one line, for all that can be known before anything is run."""
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}: give a study as docs/transfer.md shows one") from None
    except ValueError as error:
        raise UsageError(f"{file}: {error}: give a study as docs/transfer.md shows one") from None
    if unknown := sorted(set(raw) - KEYS):
        raise UsageError(f"{file}: {unknown[0]!r}: use {', '.join(sorted(KEYS))}")
    for key in ("model", "arms", "benchmarks"):
        if not raw.get(key):
            raise UsageError(f"{file}: has no {key}: see docs/transfer.md")
    made = Study(
        file, str(raw["model"]), str(raw.get("model_revision", "")), _seeds(file, raw.get("seeds", [0])),
        str(raw.get("held_out", "")), raw.get("questions"), _search(file, raw.get("search", {})),
        tuple(_chain(file, name, table) for name, table in _tables(file, "chains", raw.get("chains", {}))),
        tuple(_arm(file, name, table, raw.get("train", {})) for name, table in _tables(file, "arms", raw["arms"])),
        dict(_tables(file, "benchmarks", raw["benchmarks"])),
    )  # fmt: skip
    _check(made)
    return made


def _tables(file: Path, key: str, found: Any) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(found, dict) or not all(isinstance(table, dict) for table in found.values()):
        raise UsageError(f"{file}: {key}: give each as a table [{key}.NAME]")
    for name in found:
        if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
            raise UsageError(f"{file}: {key}.{name}: name it with letters, digits, '-', '_' and '.'")
    return list(found.items())


def _seeds(file: Path, found: Any) -> tuple[int, ...]:
    good = isinstance(found, list) and found and all(type(seed) is int for seed in found)
    if not good or len(set(found)) < len(found):
        raise UsageError(f"{file}: seeds {found!r}: give a list of whole numbers, each once")
    return tuple(found)


def _search(file: Path, found: Any) -> Search:
    try:
        made = Search(**{**found, "learning_rates": tuple(map(float, found.get("learning_rates", ())))})
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{file}: search: {error}: use {', '.join(f.name for f in fields(Search))}") from None
    return made


def _chain(file: Path, name: str, table: Mapping[str, Any]) -> Chain:
    if set(table) - {"data", "where"} or "data" not in table:
        raise UsageError(f"{file}: chains.{name}: give data and, if you will, where")
    return Chain(name, **table)


def _arm(file: Path, name: str, table: Mapping[str, Any], shared: Mapping[str, Any]) -> Arm:
    if name == BASE:
        raise UsageError(f"{file}: arms.{BASE}: is there in every study, untrained: name this one otherwise")
    own = {key: value for key, value in table.items() if key != "data"}
    control = str(own.get("control", ""))
    if control and control not in (*CONTROLS, FOREIGN):
        raise UsageError(f"{file}: arms.{name}: control {control!r}: use {', '.join((*CONTROLS, FOREIGN))}")
    if (control == FOREIGN) != ("data" in table):
        raise UsageError(f"{file}: arms.{name}: data and control = {FOREIGN!r} belong together: give both, or neither")
    if control == FOREIGN:
        own.pop("control")
    if taken := sorted(OURS & ({*own} | {*shared})):
        raise UsageError(f"{file}: arms.{name}: {taken[0]} is the study's own: leave it out")
    return Arm(name, {**shared, **own}, control, str(table.get("data", "")))


def _check(study: Study) -> None:
    """What `datagen train` and `datagen eval` would refuse, with the arm or benchmark that it is of."""
    if not study.chains and not all(arm.data for arm in study.arms):
        raise UsageError(f"{study.file}: has no chains: name a set as [chains.NAME] data = …")
    if study.questions is not None and not (type(study.questions) is int and study.questions > 1):
        raise UsageError(f"{study.file}: questions {study.questions!r}: give a whole number from 2 on")
    if len(study.search.learning_rates) > 1 and not study.held_out:
        raise UsageError(f"{study.file}: search needs questions to choose by: name held_out")
    for arm in study.arms:
        _made(study, f"arms.{arm.name}", TrainConfig, {
            **arm.train, "data": "", "model": study.model, "out": Path(),
        })  # fmt: skip
    for name, table in study.benchmarks.items():
        _made(study, f"benchmarks.{name}", EvalConfig, {
            **table, "model": study.model, "out": Path(),
        })  # fmt: skip


def _made(study: Study, where: str, config: Any, values: Mapping[str, Any]) -> None:
    known = {field.name: field for field in fields(config)}
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f"{study.file}: {where}: {unknown[0]!r}: is no flag of the command: see its --help")
    told: dict[str, Any] = {
        name: tuple(v.split(",")) if name in ("stop_on", "report_to") else v for name, v in values.items()
    }
    paths = {name: Path(told[name]) for name in ("audio", "captions", "ledger") if told.get(name)}
    try:
        config(**{**told, **paths})
    except (DatagenError, TypeError) as error:
        raise UsageError(f"{study.file}: {where}: {error}") from None


def flags(values: Mapping[str, Any]) -> list[str]:
    """`{"batch_size": 4, "think": True}` → `["--batch-size", "4", "--think"]`."""
    words: list[str] = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(flag)
        elif value is not False and value != "" and value is not None:
            words += [flag, ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
    return words
