"""Model → predictions → scores: one benchmark a file. Adding one = a file, a line in BENCHMARKS, a test.

A benchmark's file says where it comes from, what a row looks like, and what its own script counts; reading its rows is
the work of `datagen.mcq`, judging an answer that of `datagen.multiple_choice`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

__all__ = ["BENCHMARKS", "KEYS", "Benchmark"]

KEYS = ("model_output", "model_prediction", "answer_prediction", "response", "prediction")
"""Every name under which prediction files hold the text of an answer."""


class Benchmark(Protocol):
    """Made by `factory()`."""

    formats: tuple[str, ...]
    """Of `McqSet.format`: whose files these are; empty takes any."""
    keys: tuple[str, ...]
    """Where the text of an answer stands in a row of predictions; that of its own script first."""
    groups: ClassVar[Mapping[str, str]]
    """Field that figures are given by, as the benchmark calls it → column of `mcq.COLUMNS`."""
    without_key: str | None
    """The answer that its script takes a row without the key for; None: the row is left out of the denominator."""
    reproduced: bool
    """Whether `official` is what its own script counts; if not, there is no figure as published."""
    note: str
    """What a reader of the official figure has to know, in one sentence."""

    def official(self, answer: str, prediction: str, choices: Sequence[str]) -> bool | None:
        """Right or wrong as its own script counts it; None: the script leaves the row out."""
        ...


BENCHMARKS: dict[str, str] = {
    "mmau": "datagen.eval.mmau:Mmau",
    "mmar": "datagen.eval.mmar:Mmar",
    "mmsu": "datagen.eval.mmsu:Mmsu",
    "mmau-pro": "datagen.eval.mmau_pro:MmauPro",
    "file": "datagen.eval.file:File",
}
