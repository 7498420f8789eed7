"""Captioner `whisper`: what is said, by Whisper (arXiv 2212.04356) on CTranslate2 (faster-whisper). Extra `[whisper]`.

`whisper=MODEL` is a folder with a converted model, or a name that faster-whisper knows (`tiny.en`, `small`,
`large-v3` …) and fetches from the Hub at the first use.

Whisper writes words for any sound ("Thank you.", "you"), so that two gates stand before a transcript, and both have to
open: the voice activity detector in faster-whisper (Silero), and the three figures of each segment, of which *one*
beyond its bound is enough to drop it (Whisper wants the first two). Figures: docs/captioners.md, `benchmarks/tags.py`.
A beam of 5 at temperature 0, so that the transcript is a function of audio and model. It can be wrong, and carries
no facts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError
from datagen.plugins import needs
from datagen.records import Caption, Clip, Failure

if TYPE_CHECKING:
    from datagen.audio import Audio
    from datagen.plugins import Context

__all__ = ["Whisper", "clear"]

NO_SPEECH, LOG_PROBABILITY, COMPRESSION = 0.6, -1.0, 2.4
"""Highest probability of no speech, lowest mean log probability of a token, highest ratio of a text to its zip."""


class Whisper:
    """The transcript of a clip's speech, with its language and the time of each segment (aspect "speech").

    A clip in which no speech is found, or in which it cannot be made out, has no caption; that is no failure.
    """

    def __init__(self, context: Context) -> None:
        if context.model is None:
            raise UsageError("captioner 'whisper' has no model: use whisper=tiny.en, another size, or whisper=FOLDER")
        needs("whisper", "faster_whisper")
        from faster_whisper import WhisperModel

        try:  # a thread a clip, and as many clips at once as there are cores
            self._model = WhisperModel(
                context.model, compute_type="auto", cpu_threads=1, num_workers=os.cpu_count() or 1
            )
        except (OSError, RuntimeError, ValueError) as error:
            told = " ".join(str(error).split())
            raise UsageError(
                f"whisper={context.model}: {told}: name a folder with a CTranslate2 model, or a size"
            ) from None

    async def caption(self, clip: Clip, audio: Audio) -> Sequence[Caption | Failure]:
        """One caption, or none."""
        segments, language = await asyncio.to_thread(self.transcribe, audio)
        if not segments:
            return []
        said = "; ".join(f'{segment.start:.1f}–{segment.end:.1f} s "{segment.text.strip()}"' for segment in segments)
        text = f"Speech, transcribed automatically (language {language}): {said}."
        return [Caption(clip.id, 0, text, "whisper", "speech")]

    def transcribe(self, audio: Audio) -> tuple[list[Any], str]:
        """faster-whisper's segments that are `clear`, and the language's code."""
        segments, language = self.heard(audio)
        return [segment for segment in segments if clear(segment)], language

    def heard(self, audio: Audio) -> tuple[list[Any], str]:
        """All segments of what the detector takes for speech, and the language's code."""
        segments, info = self._model.transcribe(
            audio.mono, beam_size=5, temperature=0.0, condition_on_previous_text=False, vad_filter=True,
            no_speech_threshold=None, log_prob_threshold=None, compression_ratio_threshold=None,
        )  # fmt: skip
        return list(segments), info.language


def clear(segment: Any) -> bool:
    """Whether a segment of faster-whisper has words, and all of its figures lie within their bounds."""
    return bool(
        segment.text.strip()
        and segment.no_speech_prob <= NO_SPEECH
        and segment.avg_logprob >= LOG_PROBABILITY
        and segment.compression_ratio <= COMPRESSION
    )
