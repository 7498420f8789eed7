"""The part of a message to a model that holds audio, with the hash by which a request names it."""

from __future__ import annotations

import hashlib
from typing import Any

__all__ = ["Sound", "hashed"]


class Sound(dict[str, Any]):
    """OpenAI's `input_audio` part; its data is hashed once, however many requests hold it."""

    __slots__ = ("hash",)

    def __init__(self, data: str, format: str) -> None:
        super().__init__(type="input_audio", input_audio={"data": data, "format": format})
        self.hash = hashed(data)


def hashed(data: str) -> str:
    """What stands for the data (base64) in the canonical form of a request: 32 hex characters."""
    return hashlib.blake2b(data.encode(), digest_size=16).hexdigest()
