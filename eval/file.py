"""Any multiple-choice file, a dataset of ours or of the Hub: scored by MMAU's matcher and by the strict reader.

There is no official script, so `as_published` counts as MMAU's does. What can be read: `datagen.mcq`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from datagen.eval import KEYS
from datagen.multiple_choice import string_match

__all__ = ["File"]


class File:
    """Any multiple-choice file, or a run of ours."""

    formats = ()
    keys = KEYS
    groups: ClassVar[Mapping[str, str]] = {
        "task": "task", "category": "category", "sub-category": "sub_category", "difficulty": "difficulty",
        "skill": "skill", "dataset": "dataset",
    }  # fmt: skip
    without_key = None
    reproduced = True
    note = "MMAU's string_match: the file has no script of its own"

    def official(self, answer: str, prediction: str, choices: Sequence[str]) -> bool | None:
        """MMAU's `string_match`."""
        return string_match(answer, prediction, choices)
