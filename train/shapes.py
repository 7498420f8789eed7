"""Dimensions of policies: a table of named models, and what a folder's config.json says. No torch, no network.

The figures are those of the published config.json files; `towers` are the parameters of the audio and vision encoders
of a thinker, which a text-only run loads, freezes and never runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.errors import UsageError

__all__ = ["SHAPES", "Shape", "shape_of"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder of transformers' Qwen2, Llama or Qwen3-MoE kind."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    """Of the gated MLP; of one expert where there are several."""
    vocab: int
    tied: bool = False
    """Whether embedding and head are one matrix."""
    head_dim: int = 0
    """hidden / heads unless given."""
    experts: int = 1
    active: int = 1
    """Experts that a token passes."""
    towers: int = 0
    """Parameters that are loaded but not part of the language model."""

    @property
    def width(self) -> int:
        """Of one attention head."""
        return self.head_dim or self.hidden // self.heads

    @property
    def language(self) -> int:
        """Parameters of the language model; biases and norms of heads, below 0.1 %, are left out."""
        return self.layers * self.layer + self.ends

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        return self._layer(self.experts)

    @property
    def ends(self) -> int:
        """Parameters of embedding and head."""
        return (1 if self.tied else 2) * self.vocab * self.hidden

    @property
    def at_work(self) -> int:
        """Parameters that one token is multiplied with."""
        return self.layers * self._layer(self.active) + self.vocab * self.hidden

    def _layer(self, experts: int) -> int:
        attention = 2 * self.hidden * (self.heads + self.kv_heads) * self.width
        router = self.hidden * self.experts if self.experts > 1 else 0
        return attention + 3 * self.hidden * self.intermediate * experts + router + 2 * self.hidden

    def lora(self, rank: int) -> int:
        """Parameters of adapters on every linear layer of attention and of MLPs that are no experts."""
        q, kv = self.heads * self.width, self.kv_heads * self.width
        pairs = [(self.hidden, q), (self.hidden, kv), (self.hidden, kv), (q, self.hidden)]
        if self.experts == 1:
            pairs += [(self.hidden, self.intermediate)] * 2 + [(self.intermediate, self.hidden)]
        return self.layers * rank * sum(a + b for a, b in pairs)

    @property
    def cache(self) -> int:
        """Numbers kept for one token while generating: keys and values of every layer."""
        return 2 * self.layers * self.kv_heads * self.width


_OMNI3 = Shape(2048, 48, 32, 4, 768, 152064, head_dim=128, experts=128, active=8, towers=1_187_000_000)
_AUDIO = Shape(4096, 32, 32, 32, 11008, 156032, towers=642_000_000)
SHAPES: Mapping[str, Shape] = {
    "Qwen/Qwen2.5-Omni-3B": Shape(2048, 36, 16, 2, 11008, 151936, towers=1_310_000_000),
    "Qwen/Qwen2.5-Omni-7B": Shape(3584, 28, 28, 4, 18944, 152064, towers=1_316_000_000),
    "Qwen/Qwen3-Omni-30B-A3B-Instruct": _OMNI3,
    "Qwen/Qwen3-Omni-30B-A3B-Thinking": _OMNI3,
    "Qwen/Qwen2-Audio-7B": _AUDIO,
    "Qwen/Qwen2-Audio-7B-Instruct": _AUDIO,
    "Qwen/Qwen2.5-0.5B-Instruct": Shape(896, 24, 14, 2, 4864, 151936, tied=True),
    "Qwen/Qwen2.5-1.5B-Instruct": Shape(1536, 28, 12, 2, 8960, 151936, tied=True),
    "Qwen/Qwen2.5-3B-Instruct": Shape(2048, 36, 16, 2, 11008, 151936, tied=True),
    "Qwen/Qwen2.5-7B-Instruct": Shape(3584, 28, 28, 4, 18944, 152064),
    "HuggingFaceTB/SmolLM2-135M-Instruct": Shape(576, 30, 9, 3, 1536, 49152, tied=True),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": Shape(2048, 24, 32, 32, 8192, 49152, tied=True),
}


def shape_of(model: str) -> Shape:
    """The shape of a named model, with or without its owner, or of a folder. Raises UsageError for any other."""
    by_name = {name.partition("/")[2]: shape for name, shape in SHAPES.items()}
    found = SHAPES.get(model) or by_name.get(model)
    if found:
        return found
    file = Path(model).expanduser() / "config.json"
    if not file.is_file():
        raise UsageError(f"--dry-run: the dimensions of {model!r} are not known: name a folder, or {', '.join(SHAPES)}")
    try:
        return _from_config(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"--dry-run: {file}: {type(error).__name__}: {error}: no decoder's dimensions there") from None


def _from_config(config: Mapping[str, Any]) -> Shape:
    outer = config.get("thinker_config") or config
    text = outer.get("text_config") or outer
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    experts = text.get("num_experts") or text.get("num_local_experts") or 1
    return Shape(
        hidden, text["num_hidden_layers"], heads, text.get("num_key_value_heads") or heads,
        text["moe_intermediate_size"] if experts > 1 and "moe_intermediate_size" in text else text["intermediate_size"],
        text["vocab_size"], bool(text.get("tie_word_embeddings", outer.get("tie_word_embeddings", False))),
        text.get("head_dim") or 0, experts, text.get("num_experts_per_tok") or 1, _towers(outer),
    )  # fmt: skip


def _towers(config: Mapping[str, Any]) -> int:
    """Roughly: 4 d² + 2 d f of each layer of the audio encoder, 4 d² + 3 d f of the vision encoder."""
    audio, vision = config.get("audio_config") or {}, config.get("vision_config") or {}
    d, f = audio.get("d_model", audio.get("hidden_size", 0)), audio.get("encoder_ffn_dim", 0)
    heard = audio.get("encoder_layers", 0) * (4 * d * d + 2 * d * f)
    d, f = vision.get("hidden_size", 0), vision.get("intermediate_size", 0)
    return int(heard + vision.get("depth", 0) * (4 * d * d + 3 * d * f))
