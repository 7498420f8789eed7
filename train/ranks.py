"""Several processes of one training run, as torchrun, `accelerate launch` or Slurm start them.

    rank 0    holds the folder, decides where the run goes on, writes everything
    others    read the same questions and weights, and do their share of each step

What is decided in one process is told to all, so that none waits for one that has ended. Alone, nothing here does
anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from datagen.errors import DatagenError, UsageError
from datagen.run import Run

__all__ = [
    "Follower",
    "agreed",
    "any_rank",
    "as_launched",
    "first",
    "joined",
    "leads",
    "of_all",
    "part_of",
    "told_by_first",
    "world_size",
]

T = TypeVar("T")
LAUNCHED = {"fsdp2": "ACCELERATE_USE_FSDP", "zero3": "ACCELERATE_USE_DEEPSPEED"}
"""What `accelerate launch` sets."""


def world_size() -> int:
    """Processes of this run, by what their launcher set. Raises UsageError."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or not int(text):
        raise UsageError(f"WORLD_SIZE={text}: is no number of processes: unset it, or start by torchrun")
    return int(text)


def first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return world_size() == 1 or os.environ.get("RANK", "0") == "0"


def as_launched(processes: int, sharding: str) -> None:
    """Raises UsageError where the launcher started another number, or shares otherwise, than the call says."""
    if processes not in (0, world_size()):
        raise UsageError(
            f"--processes {processes}: {world_size()} started: start as --print-launch accelerate says, or leave it out"
        )
    shares = next((name for name, variable in LAUNCHED.items() if os.environ.get(variable) == "true"), "none")
    if sharding != shares:
        raise UsageError(
            f"--sharding {sharding}: this was started with {shares}: start as --print-launch accelerate says, or give "
            f"--sharding {shares}"
        )


@contextmanager
def joined() -> Iterator[None]:
    """Meets the other processes: by NCCL where there are GPUs, else by gloo."""
    if world_size() == 1:
        yield
        return
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available())
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


class Follower(Run):
    """The run's folder as the processes see it that do not write."""

    @contextmanager
    def held(self, begun: str = "run.json") -> Iterator[Run]:
        """Nothing: the first process holds it."""
        yield self

    def save(self, **state: Any) -> None:
        """Remembers the state."""
        self.state.update(state)


def leads(path: Any) -> Run:
    """The folder: to be written by the first process, to be seen by the others."""
    return Run(path) if first() else Follower(path)


def told_by_first(decide: Callable[[], T]) -> T:
    """What `decide` returns, or the error that it raises, in the first process, in all of them."""
    if world_size() == 1:
        return decide()
    from accelerate.utils import broadcast_object_list

    told: list[tuple[T | None, DatagenError | None]] = [(None, None)]
    if first():
        try:
            told[0] = decide(), None
        except DatagenError as error:
            told[0] = None, error
    broadcast_object_list(told)
    found, wrong = told[0]
    if wrong:
        raise wrong
    return cast("T", found)


def agreed(values: Mapping[str, Any]) -> None:
    """Raises UsageError in all processes where they do not have the same `values`, naming the first key."""
    for number, others in enumerate(of_all(dict(values))):
        for name, value in values.items():
            if others.get(name) != value:
                mine = os.environ.get("RANK", "0")
                raise UsageError(
                    f"process {number} has {name} {others.get(name)!r}, process {mine} {value!r}: give all the same"
                )


def any_rank(flag: bool) -> bool:
    """Whether it is so in any process. To be called by all of them."""
    return any(of_all(flag))


def part_of(items: Sequence[T]) -> Sequence[T]:
    """Those that this process does, where each is done in one of them."""
    return items[int(os.environ.get("RANK", "0")) :: world_size()] if world_size() > 1 else items


def of_all(value: T) -> list[T]:
    """The value of each process. To be called by all of them."""
    if world_size() == 1:
        return [value]
    from accelerate.utils import gather_object

    return list(gather_object([value]))
