"""A small world for the loopback server: what its models say is a pure function of the request.

A clip's captions name sounds drawn from the hash of its audio; the writer asks about those and offers sounds that the
world never holds; the reader chooses what the notes name. So nearly every question passes every filter, and a build
against it has one right outcome, whatever the order of the requests.

    python benchmarks/model_server.py --responder world:respond --latency-ms 20
"""

from __future__ import annotations

import json
import re
from typing import Any

from model_server import digest

HEARD = (
    "barking dog", "church bell", "steam whistle", "running tap", "slamming door", "crying baby", "revving engine",
    "typing keyboard", "ringing phone", "crackling fire", "howling wind", "galloping horse", "snoring sleeper",
    "buzzing bee", "croaking frog", "tolling clock", "sizzling pan", "flapping flag", "rolling thunder",
    "plucked banjo",
)  # fmt: skip
UNHEARD = (
    "squeaking hinge", "braying donkey", "chiming triangle", "popping cork", "rattling chain", "hooting owl",
    "whirring drill", "gurgling drain", "clucking chicken", "tearing paper", "beating drum", "blowing horn",
)  # fmt: skip
FORMS = (
    "Which of these makes itself heard?",
    "Name the thing that a listener would notice here.",
    "What is going on, as far as ears can tell?",
    "Pick the source whose noise stands out.",
    "Someone with closed eyes would point at what?",
    "Whose sound fills part of the recording?",
)


def drawn(number: int, items: tuple[str, ...], size: int) -> list[str]:
    """`size` different items, chosen by `number`."""
    return sorted(items, key=lambda item: digest([number, item]))[:size]


def respond(body: dict[str, Any]) -> str:
    """What the model of the world says to a request."""
    content = body["messages"][0]["content"]
    if not isinstance(content, str):
        return listen(content) if "answer the question" in content[-1]["text"] else caption(content, body)
    if "multiple-choice questions" in content:
        return write(content)
    if "guessed without" in content:
        return json.dumps({"distractors": drawn(digest(content), UNHEARD, 3)})
    if "cannot hear" in content:
        return guess(content)
    if "Please choose the answer" in content:
        return guess(content, r"'([^']+)'")
    return choose(content)


def caption(content: list[dict[str, Any]], body: dict[str, Any]) -> str:
    """Two sounds of the clip, in words that depend on the prompt."""
    audio = next(part["input_audio"]["data"] for part in content if part["type"] == "input_audio")
    sounds = drawn(digest(audio), HEARD, 3)
    first, second = drawn(digest([audio, content[-1] if content else "", body.get("seed")]), tuple(sounds), 2)
    return f"A {first} is clearly audible, and a {second} after it."


def write(content: str) -> str:
    """Questions about sounds that the notes name."""
    sounds = tuple(sound for sound in HEARD if sound in content)
    number = int(re.findall(r"Write exactly (\d+)", content)[0])
    forms = drawn(digest(content), FORMS, min(number, len(FORMS)))
    questions = [
        {
            "question": form,
            "answer": drawn(digest([content, form]), sounds, 1)[0],
            "distractors": drawn(digest([content, form, "wrong"]), UNHEARD, 3),
            "skill": "identification",
            "domain": "sound",
        }
        for form in forms
    ]
    return json.dumps({"questions": questions})


LETTERED = r"^\(([A-J])\) .+$"


def guess(content: str, choice: str = LETTERED) -> str:
    """Any choice: nothing tells which."""
    found = re.findall(choice, content, re.MULTILINE)
    return str(found[digest(content) % len(found)])


def listen(content: list[dict[str, Any]]) -> str:
    """The letter of a choice that the clip holds; silence holds none."""
    heard = " ".join(drawn(digest(content[0]["input_audio"]["data"]), HEARD, 3))
    for label, choice in re.findall(r"^\(([A-J])\) (.+)$", content[1]["text"], re.MULTILINE):
        if choice in heard:
            return str(label)
    return guess(content[1]["text"])


def choose(content: str) -> str:
    """The letter of the choice that the notes name."""
    notes, _, question = content.partition("Answer the question")
    for label, choice in re.findall(r"^\(([A-J])\) (.+)$", question, re.MULTILINE):
        if choice in notes:
            return str(label)
    return "unknown"
