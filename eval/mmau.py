"""MMAU: A Massive Multi-Task Audio Understanding and Reasoning Benchmark (arXiv 2410.19168, ICLR 2025).

    https://github.com/Sakshi113/MMAU      mmau-test-mini.json (1,000, with answers), mmau-test.json (9,000, without);
    Apache-2.0                             the answers of test are kept back, https://huggingface.co/spaces/sonalkum/MMAU-Eval
                                           scores the same JSON with the prediction in each row

    {"id": "3fe64f3d-282c-4bc8-a753-68f8f6c35652", "audio_id": "./test-mini-audios/3fe64f3d-….wav",
     "question": "Based on the given audio, identify the source of the speaking voice.",
     "choices": ["Man", "Woman", "Child", "Robot"], "answer": "Man", "dataset": "AudioSet", "task": "sound",
     "split": "test-mini", "category": "Reasoning", "sub-category": "Acoustic Source Inference", "difficulty": "medium"}

Its script (evaluation.py) reads one JSON file, the benchmark's rows with `model_output` in each, where its README says
`model_prediction`. A row without that key is left out of the denominator. It counts by `string_match`, in total, by
task, difficulty and sub-category, and stops at a prediction that is no text. The Hub's copy has "(A) " before every
choice and answer; that script would take these letters for words, so they are taken off here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from datagen.eval import KEYS
from datagen.multiple_choice import string_match

__all__ = ["Mmau"]


class Mmau:
    """MMAU test-mini and test: 10,000 questions about sound, music and speech."""

    formats = ("mmau",)
    keys = KEYS
    groups: ClassVar[Mapping[str, str]] = {
        "task": "task", "difficulty": "difficulty", "sub-category": "sub_category", "category": "category",
        "dataset": "dataset",
    }  # fmt: skip
    without_key = None
    reproduced = True
    note = "MMAU's string_match; its script leaves rows without model_output out of the denominator"

    def official(self, answer: str, prediction: str, choices: Sequence[str]) -> bool | None:
        """MMAU's `string_match`."""
        return string_match(answer, prediction, choices)
