"""Runs a function in several processes at once, as torchrun would start them; gloo, on the processor.

    together(work, 2, *args)   →  what work(*args) returned in each of them

The processes are forked from one that has imported what training needs, so that a start takes no seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

HEAVY = ["torch", "transformers", "trl", "peft", "datagen.train.trainer", "datagen.train.run", "datagen.train.watch"]


def together(work: Callable[..., Any], processes: int, *args: Any, seconds: float = 100) -> list[Any]:
    """Results by rank; an exception is a result. Raises AssertionError for what does not end in time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(processes)]
    started = [
        context.Process(target=_ranked, args=(pipe[1], rank, processes, port, work, args), daemon=True)
        for rank, pipe in enumerate(pipes)
    ]
    for process in started:
        process.start()
    try:
        return [_received(rank, pipe[0], seconds) for rank, pipe in enumerate(pipes)]
    finally:
        for process in started:
            process.join(10)
            process.kill()
            process.join()


def _received(rank: int, pipe: Any, seconds: float) -> Any:
    assert pipe.poll(seconds), f"rank {rank} did not end within {seconds} s"
    return pipe.recv()


def _ranked(pipe: Any, rank: int, processes: int, port: int, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    import torch

    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    os.environ |= {name: str(rank) for name in ("RANK", "LOCAL_RANK")}
    os.environ |= {name: str(processes) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    try:
        found = work(*args)
    except Exception as error:  # noqa: BLE001  (told to the test, which knows what it waits for)
        traceback.print_exc()
        found = error
    pipe.send(found)


def shared_by_fsdp2() -> None:
    """Lets accelerate 1.15 share a model by FSDP2 among processes without GPUs, which torch can do and it refuses."""
    from accelerate.state import DistributedType, PartialState

    os.environ |= {
        "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "false", "FSDP_OFFLOAD_PARAMS": "false",
    }  # fmt: skip
    begun = PartialState.__init__

    def begins(self: Any, *args: Any, **kwargs: Any) -> None:
        begun(self, *args, **kwargs)
        if self._shared_state.get("distributed_type") is DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_NEURON  # any kind that it lets share

    PartialState.__init__ = begins
