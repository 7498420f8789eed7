"""Clip → captions: one model (family) a file. Adding one = a file, a line in CAPTIONERS, a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from datagen.records import Caption, Clip, Failure

if TYPE_CHECKING:
    from datagen.audio import Audio

__all__ = ["CAPTIONERS", "Captioner"]


class Captioner(Protocol):
    """Made by `factory(context: Context)`."""

    async def caption(self, clip: Clip, audio: Audio) -> Sequence[Caption | Failure]:
        """Captions of one clip, indexed 0..k-1 in a fixed order, and a Failure for each that could not be had.

        Work on the processor runs in `asyncio.to_thread`; one with `sends_audio = True` finds `input_audio(audio)` made
        already. Lets ServerLost, Denied and OverBudget through.
        """
        ...


CAPTIONERS: dict[str, str] = {
    "acoustic": "datagen.captioners.acoustic:Acoustic",
    "labels": "datagen.captioners.labels:Labels",
    "openai": "datagen.captioners.openai:OpenAICaptioner",
    "transformers": "datagen.captioners.transformers:TransformersCaptioner",
    "whisper": "datagen.captioners.whisper:Whisper",
    "yamnet": "datagen.captioners.yamnet:YAMNet",
}
