"""Captioning on this machine: does the model wait for its features, is a clip encoded once, does a batch change texts?

    python benchmarks/captioning.py [--clips 24] [--captions 3] [--tokens 32] [--model FOLDER] [--json]

Without --model, random weights of tests/tiny_models.py: `tiny` (two layers of 64, so small that the features are most
of the work) and `small` (eight layers of 512). Demo clips go through decoding, features and captioner as in
`datagen build`. Random weights say nothing of captions; they do say how the time is spent.

    waits       share of the time from the first batch to the last in which the model had nothing to do
    features    seconds of decoding and features alone, in one thread, over the model's: what there is to hide
    encodings   passes of the audio tower for each clip; 1, however many captions
    difference  largest difference of a log-probability, a row alone against a batch of mixed lengths, each class
    same_texts  share of sampled texts that are equal, each prompt alone against batches
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import tiny_models

from datagen.audio import RATE, decode_ahead, load
from datagen.captioners import openai, transformers
from datagen.llm import Client, Ledger, Request, Sampling
from datagen.llm.local import LocalSender, local_client
from datagen.llm.local_model import LocalModel
from datagen.llm.weights import open_folder
from datagen.plugins import Context, SourceOptions
from datagen.prompts import Prompts
from datagen.records import Clip
from datagen.sources.demo import Demo

SMALL = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
WORKERS = 32


def demo_clips(number: int) -> list[Clip]:
    """The first clips of the demo."""
    return [clip for clip in islice(Demo(SourceOptions()).clips(), number) if isinstance(clip, Clip)]


@contextlib.contextmanager
def client(folder: Path, name: str) -> Iterator[Client]:
    """A client with an empty ledger."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.closing(Ledger(Path(scratch) / name)) as ledger:
        yield local_client(str(folder), ledger, audio=True)


async def caption(clips: Sequence[Clip], asked: Client, captions: int) -> float:
    """Seconds for all captions, the loading of the model left out."""
    captioner = transformers.TransformersCaptioner(
        Context(seed=0, prompts=Prompts(), captions_per_clip=captions, captioner=asked)
    )
    await asked.preflight()
    sender = sender_of(asked)
    await asyncio.get_running_loop().run_in_executor(sender._thread, sender.model.load)
    slots, tasks = asyncio.Semaphore(WORKERS), []

    async def one(clip: Clip, audio: Any) -> None:
        async with slots:
            await captioner.caption(clip, audio)

    started = time.monotonic()
    async for clip, audio in decode_ahead(clips, threads=os.cpu_count() or 1, ahead=WORKERS):
        tasks.append(asyncio.create_task(one(clip, audio)))  # type: ignore[arg-type]
    await asyncio.gather(*tasks)
    seconds = time.monotonic() - started
    await asked.close()
    return seconds


def sender_of(asked: Client) -> LocalSender:
    """The runner inside."""
    assert isinstance(asked._sender, LocalSender)
    return asked._sender


def features(clips: Sequence[Clip], model: LocalModel) -> float:
    """Seconds of decoding and features alone, in one thread."""
    _ = model.processor
    started = time.monotonic()
    for clip in clips:
        model.sound(load(clip.path, start=clip.start, end=clip.end, rate=RATE).mono)
    return time.monotonic() - started


def overlap(folder: Path, clips: Sequence[Clip], captions: int) -> dict[str, Any]:
    """How the time of one model is spent."""
    with client(folder, "ledger") as asked:
        seconds = asyncio.run(caption(clips, asked, captions))
        sender = sender_of(asked)
    alone = features(clips, LocalModel(open_folder(str(folder), audio=True)))
    return {
        "clips": len(clips), "captions": len(clips) * captions, "seconds": round(seconds, 2),
        "captions_per_second": round(len(clips) * captions / seconds, 1),
        "waits": round(sender.waited / (sender.waited + sender.seconds), 4),
        "features": round(alone / sender.seconds, 3),
        "encodings": sender.model.encodings / len(clips),
        "largest_batch": max(sender.batches), "halvings": sender.halvings,
    }  # fmt: skip


def rows(model: LocalModel, clips: Sequence[Clip], sampling: Sampling) -> list[Any]:
    """Prompts of mixed lengths about `clips`, and some about nothing."""
    sounds = [model.sound(load(clip.path, start=clip.start, end=clip.end).mono) for clip in clips]
    made = []
    for number in range(24):
        text = "Say what is heard. " * (1 + 5 * number % 11)
        heard = [] if number % 3 == 2 else [sounds[number % len(sounds)]]
        parts: list[dict[str, Any]] = [{"type": "input_audio"}] * len(heard) + [{"type": "text", "text": text}]
        request = Request([{"role": "user", "content": parts}], "benchmark")
        made.append(model.row(request.messages, heard, sampling, number))
    return made


def invariance(folder: Path, clips: Sequence[Clip], tokens: int, dtype: str) -> dict[str, Any]:
    """What a batch changes of a row's first log-probabilities, and of sampled texts."""
    model = LocalModel(open_folder(str(folder), audio=True), dtype=dtype)
    asked = rows(model, clips, Sampling(temperature=0.7, max_tokens=tokens))
    alone = [model.log_probabilities([row])[0] for row in asked]
    together = model.log_probabilities(asked)
    difference = max(float((one - row).abs().max()) for one, row in zip(alone, together, strict=True))
    texts = [model.generate([row])[0].text for row in asked]
    batched = [said.text for start in range(0, 24, 8) for said in model.generate(asked[start : start + 8])]
    same = sum(one == other for one, other in zip(texts, batched, strict=True)) / len(texts)
    return {"difference": difference, "same_texts": round(same, 3)}


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--captions", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of the last two figures")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    openai.TOKENS = transformers.TOKENS = args.tokens
    clips = demo_clips(args.clips)
    found: dict[str, Any] = {"overlap": {}, "batch": {}}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        folders = {kind: tiny_models.make(kind, Path(scratch) / kind) for kind in tiny_models.HEARING}
        tiny_models.TEXT.update(SMALL)
        models = {"tiny": folders["qwen2_audio"], "small": tiny_models.make("qwen2_audio", Path(scratch) / "small")}
        if args.model:
            models = {args.model.name: args.model}
        for name, folder in models.items():
            found["overlap"][name] = overlap(folder, clips, args.captions)
        for name, folder in ({args.model.name: args.model} if args.model else folders).items():
            found["batch"][name] = invariance(folder, clips[:4], args.tokens, args.dtype)
    print(json.dumps(found) if args.json else json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
