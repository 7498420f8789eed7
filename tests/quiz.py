"""A made benchmark in MMAU's form with a clip an item, and models of it whose answers are a function of the prompt.

The choices of item n say n, so a model knows from the prompt alone which item it is asked: `skilled` is right, `first`
takes what is shown first, `mixed` is sometimes right, sometimes wrong and sometimes says nothing that can be read.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

WORDS = ("bell", "horn", "drum", "rain")
TASKS = ("sound", "music", "speech")


def gold(number: int) -> int:
    """The place of the right choice of item `number`."""
    return (number * 7 + 3) % 4


def rows(n: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"item{number:05d}", "audio_id": f"./test-mini-audios/item{number:05d}.wav",
            "question": f"Which sound of recording {number % 10} is heard?",
            "choices": [f"{word} {number}" for word in WORDS], "answer": f"{WORDS[gold(number)]} {number}",
            "dataset": "made", "task": TASKS[number % 3], "split": "test-mini", "category": "Reasoning",
            "sub-category": f"kind {number % 2}", "difficulty": "easy",
        }
        for number in range(n)
    ]  # fmt: skip


def samples(number: int) -> np.ndarray:
    """int16 (n,): 0.2 s or more of noise at 16 kHz, other for each item."""
    return np.random.default_rng(number).integers(-3000, 3000, 3200 + 800 * (number % 4), dtype=np.int16)


def write(folder: Path, n: int, *, audio: bool = True) -> Path:
    """Writes `quiz.json` and the clips into `folder` and returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "quiz.json"
    file.write_text(json.dumps(rows(n)))
    if audio:
        (folder / "audio").mkdir()
        for number in range(n):
            soundfile.write(folder / f"audio/item{number:05d}.wav", samples(number), 16_000, subtype="PCM_16")
    return file


# ── what a server is sent ────────────────────────────────────────────────────────────────────────────────────────────


def text(body: dict[str, Any]) -> str:
    """The text of a request's last message."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def heard(body: dict[str, Any]) -> np.ndarray | None:
    """int16 (n,) of a request's audio; None where it has none."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return None
    data = base64.b64decode(content[0]["input_audio"]["data"])
    return soundfile.read(io.BytesIO(data), dtype="int16")[0]


def shown(body: dict[str, Any]) -> list[str]:
    """The choices of the prompt, in the order in which they are shown."""
    prompt = text(body)
    if labelled := re.findall(r"^\([A-J]\) (.*)$", prompt, re.MULTILINE):
        return labelled
    found = re.search(r"options: (\[.*\])", prompt)
    return ast.literal_eval(found[1]) if found else []


def right(body: dict[str, Any]) -> str:
    """The right choice, as the prompt's form asks for it."""
    choices = shown(body)
    if not choices:
        return "yes"
    number = int(choices[0].split()[1])
    return said(body, choices.index(f"{WORDS[gold(number)]} {number}"))


def said(body: dict[str, Any], place: int) -> str:
    """Choice `place` of those shown, as the prompt's form asks for it."""
    if "letter" in text(body):
        return chr(ord("A") + place)
    choice = shown(body)[place]
    return f"<answer>{choice}</answer>" if "<answer>" in text(body) else choice


def skilled(body: dict[str, Any]) -> str:
    return right(body)


def first(body: dict[str, Any]) -> str:
    return said(body, 0) if shown(body) else "yes"


def mixed(body: dict[str, Any]) -> str:
    """Of 5 items 3 right, 1 by its first choice, 1 unreadable."""
    choices = shown(body)
    kind = int(choices[0].split()[1]) % 5 if choices else 0
    return "I cannot tell." if kind == 4 else first(body) if kind == 3 else right(body)
