"""Random choices that do not depend on the order of arrival: each is drawn from (run seed, stable ids)."""

from __future__ import annotations

import hashlib
import random

__all__ = ["derive", "generator"]


def derive(seed: int, *ids: str | int) -> int:
    """A 64-bit integer that is a function of the run seed and the ids alone, equal on every machine."""
    text = "\x1f".join([str(seed), *map(str, ids)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def generator(seed: int, *ids: str | int) -> random.Random:
    """A fresh generator for one decision, for example `generator(seed, "choices", question_id)`."""
    return random.Random(derive(seed, *ids))
