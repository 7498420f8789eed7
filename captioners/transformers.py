"""Captioner `transformers`: an audio language model on this machine, several sampled captions of each clip.

`transformers=MODEL` is a folder or a Hub id of Qwen2-Audio, Qwen2.5-Omni, Qwen3-Omni (whole, or the thinker alone),
Audio Flamingo 3, or of any other class of AutoModelForMultimodalLM that takes audio. Extra `[models]`.

Asked as captioner `openai` asks its server: caption i is about aspect i mod 5. Each is drawn with TEMPERATURE, by a
generator of its own that is seeded by the run's seed, the clip's audio, the prompt and the round. Every clip is encoded
once for all of its captions (`datagen.llm.local_model`; other classes encode it for each), and the answers stand in
the ledger like those of a server.
"""

from __future__ import annotations

from datagen.captioners.openai import TEMPERATURE, TOKENS, OpenAICaptioner
from datagen.llm import Sampling

__all__ = ["TransformersCaptioner"]


class TransformersCaptioner(OpenAICaptioner):
    """An audio language model from a folder or the Hub, run on this machine.

    Failures are those of captioner `openai`; transient is a clip that alone does not fit into memory.
    """

    name = "transformers"

    def sampling(self, turn: int) -> Sampling:
        """Always drawn: what the model hears first need not be all that there is."""
        return Sampling(temperature=TEMPERATURE, max_tokens=TOKENS, seed=self._context.seed)
