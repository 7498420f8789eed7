"""Captioner `labels`: what the corpus itself says of a clip, its captions and its labels. No model, no guess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from datagen.plugins import Context
from datagen.records import Caption, Clip, Failure

if TYPE_CHECKING:
    from datagen.audio import Audio

__all__ = ["Labels"]


class Labels:
    """A caption for each reference caption (aspect "reference"), and one that lists the labels (aspect "labels").

    A clip with neither has no captions; that is no failure.
    """

    def __init__(self, context: Context) -> None: ...

    async def caption(self, clip: Clip, audio: Audio) -> Sequence[Caption | Failure]:
        """The references in their order, then the labels."""
        texts = [(text.strip(), "reference") for text in clip.reference_captions if text.strip()]
        if clip.labels:
            texts.append((f"The sounds labelled in this clip: {', '.join(clip.labels)}.", "labels"))
        return [Caption(clip.id, index, text, "labels", aspect) for index, (text, aspect) in enumerate(texts)]
