"""Tiny random models of each class that the local runner knows, with the real processor of the class.

    make("qwen2_audio", folder)      # a folder as `save_pretrained` leaves it; about a second each
    python tests/tiny_models.py KIND FOLDER

The weights are random (seeded by `seed`), so the answers are noise: what is real is the way from audio to tokens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

AUDIO = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
VISION = {
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
}
CHAT = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}\
{% if part['type'] == 'audio' or 'audio' in part %}BOS{SOUND}EOS\
{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
QWEN_CHAT = CHAT.replace("BOS{SOUND}EOS", "<|audio_bos|><|AUDIO|><|audio_eos|>")
FLAMINGO_CHAT = CHAT.replace("BOS{SOUND}EOS", "<sound>")
TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 8192}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
MELS = 80
CORPUS = """
A dog barks twice while rain falls on a metal roof. Then a bell rings and someone speaks. What is heard here?
Say which sounds come first, what is said, which instruments play, and where this might be. Answer with one letter only.
"""


def tokenizer(special: dict[str, str], chat: str) -> Any:
    """Byte-level BPE of at most 600 tokens; any text can be written with it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, special_tokens=names, show_progress=False)
    bpe.train_from_iterator([CORPUS], trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left",
        extra_special_tokens=special, model_max_length=8192,
    )  # fmt: skip
    made.chat_template = chat
    return made


def qwen2_audio() -> tuple[Any, Any]:
    """Qwen2-Audio: each clip padded to 30 s."""
    from transformers import (
        Qwen2AudioConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        WhisperFeatureExtractor,
    )

    words = tokenizer(AUDIO, QWEN_CHAT)
    encoder = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    config = Qwen2AudioConfig(
        audio_config={"num_mel_bins": MELS, "max_source_positions": 1500, **encoder},
        text_config={"model_type": "qwen2", "vocab_size": len(words), **TEXT},
        audio_token_index=words.convert_tokens_to_ids(AUDIO["audio_token"]),
    )
    hears = WhisperFeatureExtractor(feature_size=MELS, chunk_length=30)
    return Qwen2AudioForConditionalGeneration(config), Qwen2AudioProcessor(hears, words, chat_template=QWEN_CHAT)


def audioflamingo3() -> tuple[Any, Any]:
    """Audio Flamingo 3: windows of 30 s."""
    from transformers import (
        AudioFlamingo3Config,
        AudioFlamingo3ForConditionalGeneration,
        AudioFlamingo3Processor,
        WhisperFeatureExtractor,
    )

    words = tokenizer({"audio_token": "<sound>"}, FLAMINGO_CHAT)
    encoder = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = AudioFlamingo3Config(
        audio_config={"model_type": "audioflamingo3_encoder", "num_mel_bins": MELS, **encoder},
        text_config={"model_type": "qwen2", "vocab_size": len(words), **TEXT},
        audio_token_id=words.convert_tokens_to_ids("<sound>"),
    )
    hears = WhisperFeatureExtractor(feature_size=MELS, chunk_length=30)
    model = AudioFlamingo3ForConditionalGeneration(config)
    return model, AudioFlamingo3Processor(hears, words, chat_template=FLAMINGO_CHAT)


def qwen2_5_omni_thinker() -> tuple[Any, Any]:
    """Qwen2.5-Omni's thinker alone, as it is trained and saved."""
    from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

    words = tokenizer({**AUDIO, **VISION}, QWEN_CHAT)
    model = Qwen2_5OmniThinkerForConditionalGeneration(Qwen2_5OmniThinkerConfig(**_omni_thinker(words)))
    return model, _omni_processor(words)


def qwen2_5_omni() -> tuple[Any, Any]:
    """Qwen2.5-Omni whole: thinker, talker and token2wav, as it is published."""
    from transformers import Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration

    words = tokenizer({**AUDIO, **VISION}, QWEN_CHAT)
    thinker = _omni_thinker(words)
    talker = {**TEXT, "rope_parameters": ROPE, "vocab_size": 100, "embedding_size": 64, "head_dim": 16,
              "tts_codec_pad_token_id": 99, "tts_codec_start_token_id": 97, "tts_codec_end_token_id": 98}  # fmt: skip
    dit = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "emb_dim": 16, "head_dim": 16,
           "num_embeds": 100, "enc_emb_dim": 16, "enc_dim": 16, "enc_channels": [16, 16, 16, 16, 48],
           "enc_attention_channels": 8, "enc_res2net_scale": 2, "enc_se_channels": 8, "look_ahead_layers": [0],
           "look_backward_layers": [0]}  # fmt: skip
    vocoder = {"upsample_initial_channel": 64}
    config = Qwen2_5OmniConfig(
        thinker_config=thinker, talker_config=talker,
        token2wav_config={"dit_config": dit, "bigvgan_config": vocoder},
    )  # fmt: skip
    return Qwen2_5OmniForConditionalGeneration(config), _omni_processor(words)


def qwen3_omni_moe_thinker() -> tuple[Any, Any]:
    """Qwen3-Omni's thinker: a mixture of 4 experts."""
    from transformers import Qwen3OmniMoeThinkerConfig, Qwen3OmniMoeThinkerForConditionalGeneration

    words = tokenizer({**AUDIO, **VISION}, QWEN_CHAT)
    model = Qwen3OmniMoeThinkerForConditionalGeneration(Qwen3OmniMoeThinkerConfig(**_omni3_thinker(words)))
    return model, _omni3_processor(words)


def qwen3_omni_moe() -> tuple[Any, Any]:
    """Qwen3-Omni whole in its layout of weights and configuration, without a voice."""
    from transformers import Qwen3OmniMoeConfig, Qwen3OmniMoeForConditionalGeneration

    words = tokenizer({**AUDIO, **VISION}, QWEN_CHAT)
    config = Qwen3OmniMoeConfig(thinker_config=_omni3_thinker(words), enable_audio_output=False)
    return Qwen3OmniMoeForConditionalGeneration(config), _omni3_processor(words)


def _omni3_thinker(words: Any) -> dict[str, Any]:
    encoder = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
               "num_mel_bins": MELS, "output_dim": 64, "downsample_hidden_size": 16}  # fmt: skip
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
              "deepstack_visual_indexes": [0], "num_position_embeddings": 16}  # fmt: skip
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16}
    text = {"vocab_size": len(words), "rope_parameters": ROPE, **TEXT, **experts}
    return {"audio_config": encoder, "vision_config": vision, "text_config": text, **_tokens(words)}


def _omni3_processor(words: Any) -> Any:
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3OmniMoeProcessor,
        WhisperFeatureExtractor,
    )

    hears = WhisperFeatureExtractor(feature_size=MELS, chunk_length=300)
    return Qwen3OmniMoeProcessor(
        Qwen2VLImageProcessor(), Qwen2VLVideoProcessor(), hears, words, chat_template=QWEN_CHAT
    )


def causal() -> tuple[Any, Any]:
    """A language model that hears nothing."""
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer({}, CHAT.replace("BOS{SOUND}EOS", ""))
    config = LlamaConfig(vocab_size=len(words), eos_token_id=words.eos_token_id, bos_token_id=None, **TEXT)
    return LlamaForCausalLM(config), words


def _omni_thinker(words: Any) -> dict[str, Any]:
    encoder = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64,
               "num_mel_bins": MELS, "output_dim": 64}  # fmt: skip
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64,
              "fullatt_block_indexes": [0]}  # fmt: skip
    text = {"vocab_size": len(words), "rope_parameters": ROPE, **TEXT}
    return {"audio_config": encoder, "vision_config": vision, "text_config": text, **_tokens(words)}


def _tokens(words: Any) -> dict[str, int]:
    id = words.convert_tokens_to_ids
    return {
        "audio_token_id": id("<|AUDIO|>"), "image_token_id": id("<|IMAGE|>"), "video_token_id": id("<|VIDEO|>"),
        "audio_start_token_id": id("<|audio_bos|>"), "audio_end_token_id": id("<|audio_eos|>"),
        "vision_start_token_id": id("<|vision_bos|>"), "vision_end_token_id": id("<|vision_eos|>"),
    }  # fmt: skip


def _omni_processor(words: Any) -> Any:
    from transformers import Qwen2_5OmniProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor, WhisperFeatureExtractor

    hears = WhisperFeatureExtractor(feature_size=MELS, chunk_length=300)
    return Qwen2_5OmniProcessor(Qwen2VLImageProcessor(), Qwen2VLVideoProcessor(), hears, words, chat_template=QWEN_CHAT)


KINDS = {
    "qwen2_audio": qwen2_audio,
    "qwen2_5_omni_thinker": qwen2_5_omni_thinker,
    "qwen2_5_omni": qwen2_5_omni,
    "qwen3_omni_moe": qwen3_omni_moe,
    "qwen3_omni_moe_thinker": qwen3_omni_moe_thinker,
    "audioflamingo3": audioflamingo3,
    "causal": causal,
}
HEARING = tuple(kind for kind in KINDS if kind != "causal")


def make(kind: str, folder: Path, *, seed: int = 0, teach: Callable[[Any, Any], None] | None = None) -> Path:
    """Writes model and processor of `kind` into `folder` and returns it; `teach(model, tokenizer)` comes before."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, processor = KINDS[kind]()
    words = getattr(processor, "tokenizer", processor)
    if teach:
        teach(model, words)
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    print(json.dumps(str(make(sys.argv[1], Path(sys.argv[2])))))
