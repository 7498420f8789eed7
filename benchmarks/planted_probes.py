"""Planted defects for the filters that ask a model: a scripted reader on loopback, a real client, a real ledger.

The reader chooses what its notes or the clip name, says "unknown" where notes do not tell, and without either picks a
choice whose words stand in the question, else any; it slips in one answer of fifty. What it says is a function of
the request. `planted.py` runs these beside the others.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from generated import questions
from model_server import ModelServer, digest

from datagen.filters import PROBES
from datagen.llm import Client, Endpoint, Ledger
from datagen.plugins import Context, resolve
from datagen.prompts import Prompts
from datagen.records import Caption, Question, Verdict

__all__ = ["PROBED", "Item", "verdicts_on"]

PLANTED, CLEAN = 30, 150
SLIPS = 0.02
READINGS = 4

Item = tuple[Question, Sequence[str], bool]
"""A question, the captions of its clip, and whether it is a planted defect."""


def reply(body: dict[str, Any]) -> str:
    """What the scripted model says."""
    content = body["messages"][0]["content"]
    sound, text = ("", content) if isinstance(content, str) else (content[0]["input_audio"]["data"], content[1]["text"])
    notes, asked, _ = text.partition("Answer the question from these notes")
    question = text.rpartition("\n\n")[2]
    if "following options: " in question:
        question, _, listed = question.partition(" Please choose the answer from the following options: ")
        choices = answers = ast.literal_eval(listed)
    else:
        answers, choices = zip(*re.findall(r"^\(([A-J])\) (.+)$", question, re.MULTILINE), strict=True)
        question = question.split("\n")[0]
    number = digest([body["messages"], body.get("seed")])
    if number % 1000 < 1000 * SLIPS:
        return str(answers[number // 1000 % len(answers)])
    heard, words = (notes if asked else sound), set(question.split())
    told = [index for index, choice in enumerate(choices) if choice in heard]
    if asked and not told:
        return "unknown"
    shared = [index for index, choice in enumerate(choices) if words >= set(choice.split())]
    named = told or shared or range(len(answers))
    return str(answers[named[number // 1000 % len(named)]])


def items(change: Callable[[dict[str, Any], bool], dict[str, Any]]) -> list[Item]:
    """Generated questions, the first PLANTED with a defect; `change` gives a row its fields and `captions`."""
    made: list[Item] = []
    for place, row in enumerate(questions(PLANTED + CLEAN, seed=9, defects=False).iter_rows(named=True)):
        words = row["question"].replace(row["answer"], "it")
        row |= {"question": words, "captions": [f"{row['answer']} can be heard."]}
        row |= change(row, place < PLANTED)
        fields = {name: row[name] for name in ("domain", "skill")} | {"generator": "llm", "provenance": {}}
        made.append(
            (
                Question.make(row["clip_id"], row["question"], row["choices"], row["answer"], **fields),
                row["captions"],
                place < PLANTED,
            )
        )
    return made


def verdicts_on(name: str, value: str | None, rows: Sequence[Item]) -> pl.DataFrame:
    """The probe `name=value` on all rows, against a server of its own."""

    async def judge(url: str, folder: Path) -> list[Any]:
        with contextlib.closing(Ledger(folder / "ledger.sqlite")) as ledger:
            client = Client(Endpoint("stub", url), ledger)
            context = Context(
                seed=0,
                prompts=Prompts(),
                value=value,
                readings=READINGS,
                reader=client,
                policy=client,
                captioner=client,
            )
            probe = resolve("filter", name, PROBES, "probe", "hear")(context)
            asked = [put(probe, question, captions) for question, captions, _ in rows]
            try:
                return list(await asyncio.gather(*asked))
            finally:
                await client.close()

    with tempfile.TemporaryDirectory() as folder, ModelServer(reply) as server:
        found = asyncio.run(judge(server.url, Path(folder)))
    assert all(isinstance(row, Verdict) for row in found), found
    return pl.DataFrame({"keep": [row.keep for row in found], "score": [row.score for row in found]})


def put(probe: Any, question: Question, captions: Sequence[str]) -> Any:
    """One question; a listener gets the captions' text in place of the sound, which the scripted model reads."""
    if hasattr(probe, "hear"):
        heard, silence = (
            {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
            for data in (" ".join(captions), "silence")
        )
        return probe.hear(question, heard, silence)
    return probe.probe(question, [Caption(question.clip_id, i, text, "stub") for i, text in enumerate(captions)])


# ── what is planted ──────────────────────────────────────────────────────────────────────────────────────────────────


def wrong_answer(row: dict[str, Any], bad: bool) -> dict[str, Any]:
    """The answer is not what the captions name."""
    return {"answer": next(choice for choice in row["choices"] if choice != row["answer"])} if bad else {}


def hinting(row: dict[str, Any], *choices: str) -> dict[str, Any]:
    """The question names the words of some choices."""
    return {"question": " ".join([row["question"].rstrip("?"), "given", *" ".join(choices).split()[::-1], "?"])}


def given_away(row: dict[str, Any], bad: bool) -> dict[str, Any]:
    """The words of the answer stand in the question."""
    return hinting(row, row["answer"]) if bad else {}


def untold(row: dict[str, Any], bad: bool) -> dict[str, Any]:
    """Given away, or not told by the captions, in turn."""
    if digest(row["id"]) % 2:
        return given_away(row, bad)
    return {"captions": ["Something can be heard."]} if bad else {}


def alone(row: dict[str, Any], bad: bool) -> dict[str, Any]:
    """One of four captions tells, and three of four where nothing is wrong."""
    tells = [True, not bad, not bad, False]
    return {"captions": [f"{place}: {row['answer'] if told else 'wind'} ." for place, told in enumerate(tells)]}


def one_sided(row: dict[str, Any], bad: bool) -> dict[str, Any]:
    """The question hints at the answer, or at a wrong choice, alone; at both where nothing is wrong."""
    other = next(choice for choice in row["choices"] if choice != row["answer"])
    if not bad:
        return hinting(row, row["answer"], other)
    return hinting(row, other if digest(row["id"]) % 2 else row["answer"])


PROBED: dict[str, tuple[str | None, Callable[[dict[str, Any], bool], dict[str, Any]]]] = {
    "consistency": (None, wrong_answer),
    "blind": ("0.9", given_away),
    "audio_dependence": ("0.25", untold),
    "self_agreement": ("0.5", alone),
    "audio_contribution": ("0.25", given_away),
    "difficulty": ("0.1:0.9", one_sided),
}
"""Probe → its threshold, and what is planted."""
