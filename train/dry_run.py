"""`datagen train --dry-run`: the lengths of the set's own prompts, for the estimate of `memory`; loads no weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.train.audio import TOKENS, Recordings, recordings_in, seconds_of, text_in
from datagen.train.config import Config
from datagen.train.data import material, read_set
from datagen.train.making import decks_of
from datagen.train.memory import Load, estimate

__all__ = ["dry_run"]

TOKEN = 4
"""Characters of one, for the estimate."""


def dry_run(config: Config) -> dict[str, Any]:
    """Memory and time, with the lengths of the set's own prompts; a set of the Hub is not fetched for it."""
    found: dict[str, Any] = {"data": str(config.data), "questions": None, "left_out": None}
    prompt_tokens = 128
    if Path(config.data).exists() or Path(config.data).suffix:
        recordings = Recordings(config.data, config.audio) if config.hears else None
        questions = material(
            read_set(config.data), config.modality, recordings=recordings, rated=bool(config.curriculum)
        )
        deck, _ = decks_of(config, questions, None)
        prompt_tokens = max(map(about, (deck.row(place) for place in range(min(deck.places, 1000))))) + 30
        left_out = dict(Counter(row.reason for row in questions.left_out))
        found |= {"questions": len(questions.examples), "left_out": left_out}
    load = Load(
        config.completions, config.batch_size, prompt_tokens, config.max_tokens, config.lora_rank, config.beta,
        checkpointing=True, devices=config.devices, sharding=config.sharding,
    )  # fmt: skip
    shape = {"steps": config.steps, "prompt_tokens": prompt_tokens, "completions_per_step": config.completions}
    return {**found, **shape, **estimate(config.model, load, config.steps, config.method)}


def about(row: Mapping[str, Any]) -> int:
    """Tokens of a prompt, by characters and by seconds of audio."""
    return len(text_in(row["prompt"])) // TOKEN + round(TOKENS * sum(map(seconds_of, recordings_in(row["prompt"]))))
