"""A tiny random Qwen2-Audio with a real processor: it hears and answers nonsense, so that the whole path can be run.

python examples/serve_tiny/make_tiny_audio_model.py tiny-audio       # needs torch, transformers
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

AUDIO = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}\
{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>\
{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
WORDS = "a dog barks twice while rain falls on the roof and then a bell rings three times in an empty hall . "


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most 600 tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *AUDIO.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, special_tokens=special)
    bpe.train_from_iterator([WORDS] * 50, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=AUDIO,
        model_max_length=8192,
    )


def main(out: Path) -> None:
    """Writes model and processor into the folder `out`."""
    torch.manual_seed(0)
    words = tokenizer()
    encoder = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    decoder = {
        "model_type": "qwen2", "vocab_size": len(words), "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192,
    }  # fmt: skip
    config = Qwen2AudioConfig(
        audio_config={"num_mel_bins": 80, "max_source_positions": 1500, **encoder},
        text_config=decoder,
        audio_token_index=words.convert_tokens_to_ids(AUDIO["audio_token"]),
    )
    model = Qwen2AudioForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    features = WhisperFeatureExtractor(feature_size=80, chunk_length=30)
    model.save_pretrained(out)
    Qwen2AudioProcessor(feature_extractor=features, tokenizer=words, chat_template=TEMPLATE).save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
