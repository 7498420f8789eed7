"""A model that takes no audio, by what its server says."""

from __future__ import annotations

import re

from datagen.errors import Denied, ModelError

__all__ = ["NO_AUDIO", "stop_if_deaf"]

NO_AUDIO = re.compile(
    r"(?:invalid (?:content )?(?:value|type)|unknown|unexpected|unsupported|not support(?:ed)?|n't support).{0,60}audio"
    r"|audio.{0,60}(?:not|n't) (?:be )?(?:support|enabled)|at most 0 audio",
    re.IGNORECASE,
)
"""What servers say that cannot take audio (OpenAI, vLLM, transformers serve, llama.cpp)."""


def stop_if_deaf(error: ModelError, model: str) -> None:
    """Raises Denied, one line, where the server says that `model` takes no audio: no later request can do better."""
    if NO_AUDIO.search(str(error)):
        said = " ".join(str(error).split())
        raise Denied(
            f"model {model!r} takes no audio ({said}): name one that does by --captioner-model", error.raw
        ) from None
