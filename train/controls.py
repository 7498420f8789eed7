"""Controls: training on purpose without what is to be learnt, for a study to be set against (`datagen transfer`).

    random-reward   a coin for each answer, whatever it says
    format-reward   the form of the answer alone: any choice, right or wrong, in the form that was asked for
    shuffled-gold   the right choice of each question is one of its choices, drawn

Policies of the Qwen2.5 family have been reported to gain from the first two ("spurious rewards"), so a gain from
training says something about the questions only where it is larger than what these give.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from datagen.seeds import generator

if TYPE_CHECKING:
    from datagen.train.data import Material

__all__ = ["COIN", "CONTROLS", "REWARDED", "coin", "with_shuffled_gold"]

COIN = "random"
REWARDED = {"random-reward": COIN, "format-reward": "format"}
"""Control → the one reward that counts; accuracy is still told, with weight 0."""
CONTROLS = (*REWARDED, "shuffled-gold")


def coin(seed: int) -> Callable[..., list[float]]:
    """A reward function as trl calls it: 0 or 1 for each answer, drawn by seed, place of the run and answer."""

    def random(completions: Sequence[Any], **kwargs: Any) -> list[float]:
        rank = os.environ.get("RANK", "0")  # processes share a group
        draws = [generator(seed, "coin", place, rank, number) for number, place in enumerate(kwargs["place"])]
        return [float(draw.random() < 0.5) for draw in draws]

    return random


def with_shuffled_gold(questions: Material, seed: int) -> Material:
    """The same questions with a right choice that is drawn, evenly, from the choices of each."""
    golds = [generator(seed, "gold", example.id).randrange(len(example.choices)) for example in questions.examples]
    pairs = zip(questions.examples, golds, strict=True)
    return replace(questions, examples=tuple(replace(example, gold=gold) for example, gold in pairs))
