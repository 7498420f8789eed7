"""A tiny Qwen2-Audio, taught on the demo clips in minutes, so that the whole path can be run with a model that listens.

    python examples/serve_tiny/make_tiny_audio_model.py tiny-audio       # needs torch, transformers

Two layers that know 80 clips by heart: a real processor, real audio in (its first 10 s), captions out that are English
and, of these clips, mostly right. It has learnt nothing about any other sound.
"""

from __future__ import annotations

import json
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

from datagen import audio
from datagen.prompts import ASPECTS, Prompts
from datagen.sources import demo

AUDIO = {"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}\
{% if part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>\
{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
CLIPS = Path(demo.__file__).with_name("demo_clips")
SECONDS = 10
BATCH = 8


def tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most 1,500 tokens, made for `texts`."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *AUDIO.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, special_tokens=special)
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=AUDIO,
        model_max_length=8192,
    )


def untaught(words: PreTrainedTokenizerFast) -> Qwen2AudioForConditionalGeneration:
    """The model with random weights."""
    torch.manual_seed(0)
    encoder = {"d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 128}
    decoder = {
        "model_type": "qwen2", "vocab_size": len(words), "hidden_size": 128, "intermediate_size": 256,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 8192,
    }  # fmt: skip
    config = Qwen2AudioConfig(
        audio_config={"num_mel_bins": 80, "max_source_positions": 50 * SECONDS, **encoder},
        text_config=decoder,
        audio_token_index=words.convert_tokens_to_ids(AUDIO["audio_token"]),
    )
    model = Qwen2AudioForConditionalGeneration(config)
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    return model


def teach(
    model: Qwen2AudioForConditionalGeneration, hears: Qwen2AudioProcessor, prompts: list[str], steps: int
) -> None:
    """Minimises the loss of each demo clip's caption after its sound and one of `prompts`."""
    rows = [json.loads(line) for line in (CLIPS / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    sounds = [audio.load(CLIPS / row["file"]).mono for row in rows]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    chooser = torch.Generator().manual_seed(0)
    for step in range(steps):
        chosen = torch.randint(len(rows), (BATCH,), generator=chooser).tolist()
        asked = torch.randint(len(prompts), (BATCH,), generator=chooser).tolist()
        texts = [
            "<|im_start|>user\n<|audio_bos|><|AUDIO|><|audio_eos|>"
            f"{prompts[p]}<|im_end|>\n<|im_start|>assistant\n{rows[r]['caption']}<|im_end|>"
            for r, p in zip(chosen, asked, strict=True)
        ]
        batch = hears(
            text=texts, audio=[sounds[r] for r in chosen], sampling_rate=audio.RATE, return_tensors="pt", padding=True
        )
        labels = torch.full_like(batch["input_ids"], -100)
        for i, r in enumerate(chosen):  # padded on the left, so the answer is at the end
            answer = len(hears.tokenizer(rows[r]["caption"] + "<|im_end|>")["input_ids"])
            labels[i, -answer:] = batch["input_ids"][i, -answer:]
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 25 == 0 or step == steps - 1:
            print(f"step {step}: loss {loss.item():.3f}", file=sys.stderr)


def main(out: Path, steps: int = 400) -> None:
    """Writes model and processor into the folder `out`."""
    torch.set_num_threads(1)  # layers this small only wait for each other
    prompts = [Prompts(None).fill(f"caption.{aspect}", language="English")[0] for aspect in ASPECTS]
    manifest = (CLIPS / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    words = tokenizer([*(json.loads(line)["caption"] for line in manifest), *prompts] * 5)
    features = WhisperFeatureExtractor(feature_size=80, chunk_length=SECONDS)
    hears = Qwen2AudioProcessor(feature_extractor=features, tokenizer=words, chat_template=TEMPLATE)
    model = untaught(words)
    teach(model, hears, prompts, steps)
    model.eval().save_pretrained(out)
    hears.save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
