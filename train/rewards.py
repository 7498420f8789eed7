"""What a completion is worth. The strict reader of `multiple_choice` decides, as it does in filters and evaluation.

    accuracy    1 for the right choice, else 0; no matching by substring
    format      1 for an answer in the form that the prompt asked for and that names a choice, whichever it is
    concise     for right answers only: 1 less the share of the limit that was used
    consistent  with `--think`: 1 where the one choice that the thought names is the one answered, right or wrong
    overlong    0 down to -1 over the last fifth of the limit (DAPO, arXiv 2503.14476, section 3.4), right or wrong

Accuracy alone is the paper's reward (Omni-R1, arXiv 2505.09439) and the default. A text that names no single choice
earns nothing from any of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datagen.errors import UsageError
from datagen.multiple_choice import read
from datagen.records import fold
from datagen.train.controls import COIN, coin

__all__ = ["REWARDS", "answer_of", "parse_rewards", "reward_functions"]

SOFT = 0.2
"""Share of the limit over which `overlong` falls."""
THOUGHT = re.compile(r"\s*<think>.*</think>\s*", re.DOTALL)
ONE_THOUGHT = re.compile(r"\s*<think>((?:(?!</?think>).)*)</think>(?!.*</?think>)", re.DOTALL)
"""A thought that no other is nested in or follows."""
TAGGED = re.compile(r"\s*<answer>[^<]*</answer>\s*")
LETTER = re.compile(r"\s*\(?[A-J]\)?\.?\s*")

Score = Callable[[str, Mapping[str, Any], int, int], float]
"""(text, row of the deck, tokens, limit) → what it is worth."""


def answer_of(text: str, row: Mapping[str, Any]) -> int | None:
    """The place that a completion chooses among the choices as they were shown."""
    return read(text, row["choices"], row["labels"])


def accuracy(text: str, row: Mapping[str, Any], tokens: int, limit: int) -> float:
    """Whether it is the right choice."""
    return float(answer_of(text, row) == row["gold"])


def form(text: str, row: Mapping[str, Any], tokens: int, limit: int) -> float:
    """Whether it has the form that was asked for."""
    if row["think"]:
        thought = THOUGHT.match(text)
        if not thought:
            return 0.0
        text = text[thought.end() :]
    if row["style"] == "omni-r1":
        formed = fold(text) in map(fold, row["choices"])
    else:
        formed = bool((TAGGED if row["style"] == "r1-aqa" else LETTER).fullmatch(text))
    return float(formed and answer_of(text, row) is not None)


def concise(text: str, row: Mapping[str, Any], tokens: int, limit: int) -> float:
    """The unused share of the limit, for a right answer."""
    return accuracy(text, row, tokens, limit) * max(0.0, 1 - tokens / limit)


def consistent(text: str, row: Mapping[str, Any], tokens: int, limit: int) -> float:
    """Whether the thought names the answer that is given, and no other, by the same reader."""
    thought, answer = ONE_THOUGHT.match(text), answer_of(text, row)
    return float(thought is not None and answer is not None and answer_of(thought[1], row) == answer)


def overlong(text: str, row: Mapping[str, Any], tokens: int, limit: int) -> float:
    """The soft punishment of length."""
    return -min(1.0, max(0.0, (tokens - limit * (1 - SOFT)) / (limit * SOFT)))


REWARDS: Mapping[str, Score] = {
    "accuracy": accuracy, "format": form, "concise": concise, "consistent": consistent, "overlong": overlong,
}  # fmt: skip


def parse_rewards(text: str) -> dict[str, float]:
    """Name → weight of `accuracy,format=0.2`. Raises UsageError; accuracy has to be among them."""
    weights: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, weight = part.partition("=")
        try:
            value = float(weight or 1)
        except ValueError:
            value = float("nan")
        if name not in REWARDS or name in weights:
            raise UsageError(f"--rewards {part!r}: use {', '.join(REWARDS)}, each once, as NAME or NAME=WEIGHT")
        if not 0 < value < float("inf"):
            raise UsageError(f"--rewards {part!r}: give a weight above 0")
        weights[name] = value
    if "accuracy" not in weights:
        raise UsageError(f"--rewards {text!r}: add accuracy: without it no answer is better than another")
    return {"accuracy": weights.pop("accuracy"), **weights}


def reward_functions(names: Sequence[str], limit: int, seed: int = 0) -> list[Callable[..., list[float]]]:
    """The functions that trl calls, in order. `limit`: most tokens of a completion; `seed`: of a control's coin."""
    return [coin(seed) if name == COIN else _as_trl_calls_it(name, REWARDS[name], limit) for name in names]


def _as_trl_calls_it(name: str, score: Score, limit: int) -> Callable[..., list[float]]:
    columns = ("choices", "gold", "labels", "style", "think")

    def reward(completions: Sequence[Any], completion_ids: Sequence[Sequence[int]], **kwargs: Any) -> list[float]:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*(kwargs[c] for c in columns), strict=True)]
        texts = [completion[0]["content"] for completion in completions]
        lengths = map(len, completion_ids)
        return [score(text, row, n, limit) for text, row, n in zip(texts, rows, lengths, strict=True)]

    reward.__name__ = name
    return reward
