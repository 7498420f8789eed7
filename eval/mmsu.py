r"""MMSU: A Massive Multi-task Spoken Language Understanding and Reasoning Benchmark (arXiv 2506.04779, ICLR 2026).

    https://github.com/dingdongwang/MMSU   data: https://huggingface.co/datasets/ddwang2000/MMSU, 5,000 rows, 47 tasks
                                           the repository has no licence file

    {"id": …, "audio_path": …, "question": …, "choice_a": …, "choice_b": …, "choice_c": …, "choice_d": …,
     "answer_gt": the text of a choice, "task_name": …, "category": …, "sub-category": …, "sub-sub-category": …,
     "linguistics_sub_discipline": …}       choice_c and choice_d can be empty

Its prompt asks for A, B, C or D. Its script (mmsu_evaluation.py) reads JSON lines with `response` in each row, strips
it, and takes its first character when that is A, B, C or D ("Dog" is D), else its last but one ("The answer is B.");
a row with neither is left out of the denominator, one without or with an empty `response` (or "None") counts as wrong.
The letter is right when its choice is the text `answer_gt`. So the text of the right choice scores by its first letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from datagen.eval import KEYS

__all__ = ["Mmsu"]


class Mmsu:
    """MMSU: 5,000 questions about spoken language, answered by letter."""

    formats = ("mmsu",)
    keys = ("response", *(key for key in KEYS if key != "response"))
    groups: ClassVar[Mapping[str, str]] = {"category": "category", "sub-category": "sub_category", "task_name": "skill"}
    without_key = ""
    reproduced = True
    note = "MMSU's own letter rule; its script leaves a response without a letter in place out of the denominator"

    def official(self, answer: str, prediction: str, choices: Sequence[str]) -> bool | None:
        """The first character, else the last but one, as a letter."""
        text = prediction.strip().replace("\n", "")
        if text in ("", "None"):
            return False
        letters = [character for character in (text[0], text[-2:-1]) if character and character in "ABCD"]
        if not letters:
            return None
        place = ord(letters[0]) - ord("A")
        return place < len(choices) and choices[place] == answer
