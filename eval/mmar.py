"""MMAR: Deep Reasoning in Speech, Audio, Music, and Their Mix (arXiv 2505.13032, NeurIPS 2025).

    https://github.com/ddlBoJack/MMAR      MMAR-meta.jsonl, 1,000 rows; audio at https://huggingface.co/datasets/BoJack/MMAR
                                           the repository has no licence file

    {"id": "qx8hrhBZJ98_00-01-32_00-02-02", "audio_path": "./audio/qx8hrhBZJ98_00-01-32_00-02-02.wav",
     "question": "What type of natural environment might this music originate from", "choices": ["Mountain Canyon", …],
     "answer": "Open Grassland", "modality": "music", "category": "Cultural Layer", "sub-category": "Professional …",
     "language": null, "source": "youtube", "url": "https://www.youtube.com/watch?v=…", "timestamp": …, "rubric": …}

Its script (code/evaluation.py) is MMAU's with the key `answer_prediction` and figures by modality, category and
sub-category. 4 rows of the file have an empty choice. The newer rubrics (a language model judges the reasoning) are not
done here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from datagen.eval import KEYS
from datagen.multiple_choice import string_match

__all__ = ["Mmar"]


class Mmar:
    """MMAR: 1,000 questions that take several steps, also about mixes of sound, music and speech."""

    formats = ("mmar",)
    keys = ("answer_prediction", *(key for key in KEYS if key != "answer_prediction"))
    groups: ClassVar[Mapping[str, str]] = {
        "modality": "task", "category": "category", "sub-category": "sub_category", "language": "language",
        "source": "dataset",
    }  # fmt: skip
    without_key = None
    reproduced = True
    note = "MMAU's string_match; its script leaves rows without answer_prediction out of the denominator"

    def official(self, answer: str, prediction: str, choices: Sequence[str]) -> bool | None:
        """MMAU's `string_match`."""
        return string_match(answer, prediction, choices)
