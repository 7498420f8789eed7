"""Captioner `openai`: any OpenAI-compatible server that takes audio, several captions of each clip.

The way of Omni-R1 (arXiv 2505.09439), which gives several captions of one clip to the writer of questions: caption i is
about aspect i mod 5 (`datagen.prompts.ASPECTS`: events in order, speech, music, scene, acoustics). From the sixth on an
aspect is asked again, with TEMPERATURE instead of 0, so that the captions differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datagen.audio import input_audio
from datagen.errors import PermanentError, TransientError, UsageError
from datagen.llm import Request, Sampling
from datagen.llm.hearing import stop_if_deaf
from datagen.prompts import ASPECTS, Unusable, parse_caption
from datagen.records import Caption, Clip, Failure

if TYPE_CHECKING:
    from datagen.audio import Audio
    from datagen.plugins import Context

__all__ = ["OpenAICaptioner"]

TEMPERATURE = 0.7
"""Of the second and later captions of one aspect."""
TOKENS = 512


class OpenAICaptioner:
    """An audio language model behind an OpenAI-compatible server, asked about one aspect at a time.

    Failures (stage "caption"): empty_answer, refused_answer (the model talks about itself), refused (the server will
    not answer), transient. Raises Denied, one line, when the server says that its model takes no audio.
    """

    name = "openai"
    sends_audio = True

    def __init__(self, context: Context) -> None:
        if context.captioner is None:
            raise UsageError(
                f"captioner {self.name!r} asks a model and none is named: add --captioner-model ID or --model ID"
            )
        self._client = context.captioner
        self._context = context

    async def caption(self, clip: Clip, audio: Audio) -> Sequence[Caption | Failure]:
        """One row for each of `captions_per_clip`, in order; the audio is sent as 16 kHz mono WAV."""
        sound = input_audio(audio)  # made in the thread that decoded it, see `sends_audio`
        return await asyncio.gather(
            *(self._one(clip, sound, index) for index in range(self._context.captions_per_clip))
        )

    async def _one(self, clip: Clip, sound: dict[str, Any], index: int) -> Caption | Failure:
        turn, place = divmod(index, len(ASPECTS))
        aspect = list(ASPECTS)[place]
        request = self._request(sound, aspect, turn)
        try:
            answer = await self._client.ask(request)
            return Caption(clip.id, index, parse_caption(answer.text), self.name, aspect, key=answer.key)
        except Unusable as error:
            return Failure("caption", error.reason, clip.id, f"{aspect}: {error}", answer.text, key=answer.key)
        except (PermanentError, TransientError) as error:
            stop_if_deaf(error, self._client.identity)
            return Failure("caption", error.reason, clip.id, f"{aspect}: {error}", error.raw, key=error.key)

    def _request(self, sound: dict[str, Any], aspect: str, turn: int) -> Request:
        text, name = self._context.prompts.fill(f"caption.{aspect}", language=self._context.language)
        return Request(
            [{"role": "user", "content": [sound, {"type": "text", "text": text}]}],
            name,
            sampling=self.sampling(turn),
            sample=turn,
        )

    def sampling(self, turn: int) -> Sampling:
        """How the caption of the `turn`-th round of aspects is drawn."""
        return Sampling(temperature=TEMPERATURE if turn else 0.0, max_tokens=TOKENS)
