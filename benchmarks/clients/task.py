"""What every client of `benchmarks/engine.py` is given, and how it is measured: standard library and pydantic alone.

A client is a script, `ask_NAME.py URL PROMPTS IN_FLIGHT FOLDER`: it asks all prompts, validates each answer by `Item`,
keeps whatever it remembers in FOLDER (asked again with the same folder, it goes on) and ends by `report`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, Field

__all__ = ["ITEM", "MODEL", "Call", "Item", "call", "prompts", "report"]

MODEL = "stub"
PROMPT = """You are given independent descriptions of one audio clip.
1. A dog barks {0} times while a car passes on a wet street, number {1}.
2. An animal can be heard close to the microphone, and traffic further away.
Write one multiple-choice question that can be answered by listening to the clip alone, with its answer and three
distractors, as JSON with the keys question, answer and distractors."""


class Item(BaseModel):
    """What a model should answer."""

    question: str
    answer: str
    distractors: list[str] = Field(min_length=3, max_length=3)


ITEM = Item.model_json_schema()


def prompts(number: int) -> Iterator[str]:
    """`number` different prompts."""
    return (PROMPT.format(index % 7, index) for index in range(number))


class Call(NamedTuple):
    """The arguments of a client, and when its work began."""

    url: str
    prompts: int
    in_flight: int
    folder: Path
    options: dict[str, Any]
    started: float
    cpu: float


def call() -> Call:
    """Reads the arguments and starts the clock: imports are not counted."""
    url, number, in_flight, folder, *options = sys.argv[1:]
    given = json.loads(options[0]) if options else {}
    return Call(url, int(number), int(in_flight), Path(folder), given, time.monotonic(), _cpu())


def report(call: Call, good: int, **more: Any) -> None:
    """Prints seconds, processor seconds (children that ended too), the peak of memory, and the good rows."""
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # the largest one
    figures = {
        "seconds": time.monotonic() - call.started,
        "cpu_seconds": _cpu() - call.cpu,
        "rss_mb": (int(peak.split()[1]) + child) / 1024,
        "good": good,
    }
    print(json.dumps(figures | more), flush=True)


def _cpu() -> float:
    times = os.times()  # the children's; one's own to the microsecond
    return time.process_time() + times.children_user + times.children_system
