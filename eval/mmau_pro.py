"""MMAU-Pro: Holistic Evaluation of Audio General Intelligence (arXiv 2508.13992).

    https://github.com/sonalkum/MMAUPro    data: https://huggingface.co/datasets/gamma-lab-umd/MMAU-Pro, test.parquet,
                                           5,305 rows; the repository has no licence file

    {"id": …, "audio_path": [one or several], "question": …, "choices": [...], "answer": text, "category": sound, music,
     speech, mixes …, open, "instruction following", "task_identifier": …, "kwargs": …}

Only the multiple-choice part is scored here: `open` (judged by a language model there) and `instruction following`
(checked by rules there) are set aside and counted. For the rest its script (evaluate_mmau_pro_comprehensive.py) takes
the choice whose NV-Embed-v2 embedding is nearest to `model_output`, which always picks one and needs that embedding
model. That is not done here: `as_published` counts no row, and `official` stands for MMAU's string_match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from datagen.eval import KEYS
from datagen.multiple_choice import string_match

__all__ = ["MmauPro"]


class MmauPro:
    """MMAU-Pro, its multiple-choice part alone."""

    formats = ("mmau-pro",)
    keys = KEYS
    groups: ClassVar[Mapping[str, str]] = {
        "category": "category",
        "sub-category": "sub_category",
        "task_identifier": "skill",
    }
    without_key = None
    reproduced = False
    note = (
        "multiple-choice part only; its script compares NV-Embed-v2 embeddings, which is not done here: "
        "official is MMAU's string_match"
    )

    def official(self, answer: str, prediction: str, choices: Sequence[str]) -> bool | None:
        """MMAU's `string_match`, in place of an embedding model."""
        return string_match(answer, prediction, choices)
