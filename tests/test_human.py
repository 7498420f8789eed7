"""The corpus's own questions: AVQA's odd rows, the 'video' → 'audio' rule, and the filter for View and colour."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from datagen.filters.relation import Relation
from datagen.questions.human import SKILLS, Human, about_audio
from datagen.records import Clip, Failure, Question, RawQuestion, Verdict, canonical, schema


def write(choices: Any, answer: Any, question: Any = "What is in the video?", **attributes: str) -> Question | Failure:
    raw = RawQuestion("183", question, choices, answer, attributes)
    (row,) = asyncio.run(Human(None).write(Clip("avqa/a_1", "avqa", "f", questions=(raw,)), ()))  # type: ignore[arg-type]
    return row


def test_published_question_becomes_a_question() -> None:
    row = write(
        ["motorboat", "Yacht consignment", "Sailboat set sail", "Consignment car"], 1, "What happened in the video?",
        question_relation="Both", question_type="Happening",
    )  # fmt: skip
    assert isinstance(row, Question)
    assert row.question == "What happened in the audio?"
    assert (row.answer, row.answer_index, len(row.choices)) == ("Yacht consignment", 1, 4)
    assert (row.domain, row.skill, row.generator) == ("sound", "event", "human")
    assert row.provenance == {
        "writer": "human", "source_question": "183", "keys": [],
        "attributes": {"question_relation": "Both", "question_type": "Happening"},
    }  # fmt: skip
    json.loads(canonical(row.provenance))


@pytest.mark.parametrize(
    ("choices", "answer", "kept", "text"),
    [
        ([None, "dog", "cat", "cow"], 2, ("dog", "cat", "cow"), "cat"),  # the index counts the null
        (["dog", None, "", "  "], 0, ("dog",), None),
        ([1, 2, 3, 4.5], 2, ("1", "2", "3", "4.5"), "3"),
        ([" dog \n bark", "cat"], 0, ("dog bark", "cat"), "dog bark"),
        (["dog", ["cat"], {"a": 1}, True, "cow"], 4, ("dog", "cow"), "cow"),
        (("dog", "cat"), 1, ("dog", "cat"), "cat"),
    ],
)
def test_choices_that_are_null_or_no_strings(
    choices: Any, answer: int, kept: tuple[str, ...], text: str | None
) -> None:
    row = write(choices, answer)
    if text is None:
        assert isinstance(row, Failure) and row.reason == "too_few_choices"
    else:
        assert isinstance(row, Question)
        assert (row.choices, row.answer, row.choices[row.answer_index]) == (kept, text, text)


@pytest.mark.parametrize(
    ("question", "choices", "answer", "reason"),
    [
        (None, ["a", "b"], 0, "question_missing"),
        ("  ", ["a", "b"], 0, "question_missing"),
        (["Why?"], ["a", "b"], 0, "question_missing"),
        ("Why?", None, 0, "choices_missing"),
        ("Why?", "ab", 0, "choices_missing"),
        ("Why?", {"a": "b"}, 0, "choices_missing"),
        ("Why?", ["a", "b"], None, "answer_missing"),
        ("Why?", ["a", "b"], 2, "answer_missing"),
        ("Why?", ["a", "b"], -1, "answer_missing"),
        ("Why?", ["a", "b"], True, "answer_missing"),
        ("Why?", ["a", "b"], "a", "answer_missing"),
        ("Why?", ["a", "b"], 1.0, "answer_missing"),
        ("Why?", ["a", None, "b"], 1, "answer_lost"),
        ("Why?", ["a", [], "b"], 1, "answer_lost"),
        ("Why?", ["a", None, None, None], 0, "too_few_choices"),
        ("Why?", list("abcdefghijk"), 0, "too_many_choices"),
        ("Why?", ["Dog", "cat", " dog"], 1, "duplicate_choices"),
        ("Why?", ["1", 1], 0, "duplicate_choices"),
    ],
)
def test_question_that_cannot_be_asked_is_a_failure_with_its_raw_form(
    question: Any, choices: Any, answer: Any, reason: str
) -> None:
    row = write(choices, answer, question, question_type="Why")
    assert isinstance(row, Failure)
    assert (row.stage, row.reason, row.clip_id) == ("write", reason, "avqa/a_1")
    assert row.error.startswith("question 183: ") and "\n" not in row.error
    raw = json.loads(row.raw.encode().decode())
    assert raw["attributes"] == {"question_type": "Why"}
    assert raw["id"] == "183"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("What happened in the video?", "What happened in the audio?"),
        ("Video: which videos?", "Audio: which audios?"),
        ("THE VIDEO AND VIDEOS", "THE AUDIO AND AUDIOS"),
        ("Is this a video of a dog?", "Is this an audio of a dog?"),
        ("A video, or A VIDEO", "An audio, or AN AUDIO"),
        ("the video's sound", "the audio's sound"),
        ("a videotape, videogame, TV-video", "a videotape, videogame, TV-audio"),
        ("the pizza video", "the pizza audio"),
        ("no such word", "no such word"),
    ],
)
def test_video_becomes_audio_in_whole_words(before: str, after: str) -> None:
    assert about_audio(before) == after


def test_choices_keep_the_word_video() -> None:
    row = write(["video game", "dog"], 0)
    assert isinstance(row, Question) and row.answer == "video game"


def test_every_published_type_has_its_skill_and_another_is_other() -> None:
    assert len(set(SKILLS.values())) == 8
    skills = [write(["a", "b"], 0, question_type=kind).skill for kind in [*SKILLS, "New"]]  # type: ignore[union-attr]
    assert skills == [*SKILLS.values(), "other"]
    assert write(["a", "b"], 0).skill == "other"  # type: ignore[union-attr]


def test_rows_come_in_the_corpus_order() -> None:
    raws = tuple(RawQuestion(str(n), f"Why {n}?", ["a", None if n == 1 else "b"], 0) for n in range(3))
    rows = asyncio.run(Human(None).write(Clip("x/1", "x", "f", questions=raws), ()))  # type: ignore[arg-type]
    assert [type(row) for row in rows] == [Question, Failure, Question]


# --------------------------------------------------------------------------------------------------- filter `relation`


def judged(*questions: tuple[str, str, str | None]) -> pl.DataFrame:
    """Of (generator, question, question_relation)."""
    rows = [
        {"id": str(n), "generator": generator, "question": text, "captions": ["c"], "provenance": canonical(
            {"writer": generator} | ({} if relation is None else {"attributes": {"question_relation": relation}}))}
        for n, (generator, text, relation) in enumerate(questions)
    ]  # fmt: skip
    text = dict.fromkeys(("id", "generator", "question", "provenance"), pl.String)
    table = pl.DataFrame(rows, schema=text | {"captions": pl.List(pl.String)})
    return Relation(None).judge(table)  # type: ignore[arg-type]


def test_view_and_colour_questions_of_the_corpus_are_dropped() -> None:
    verdicts = judged(
        ("human", "What happened in the audio?", "View"),
        ("human", "What happened in the audio?", "Sound"),
        ("human", "What colour is the dog?", "Both"),
        ("human", "What Colors are there?", "Both"),
        ("human", "Which coloured bird sings?", "View"),
        ("human", "Which colorado river is it?", "Both"),
        ("human", "Why?", None),
        ("llm", "What tone colour has the cello?", "View"),
        ("rules", "How many?", None),
    )
    assert verdicts["reason"].to_list() == [
        "view_relation", "", "colour_question", "colour_question", "view_relation", "", "", "", "",
    ]  # fmt: skip
    assert verdicts["keep"].to_list() == [reason == "" for reason in verdicts["reason"]]
    assert verdicts["question_id"].to_list() == [str(n) for n in range(9)]


@pytest.mark.parametrize("count", [0, 2])
def test_verdicts_have_the_columns_of_the_table(count: int) -> None:
    table = judged(*[("human", "Why?", "Both")] * count).to_arrow()
    expected = [field for field in schema(Verdict) if field.name not in ("filter", "keys", "low", "high")]
    assert table.column_names == [field.name for field in expected]
    assert table.num_rows == count
    table.cast(pa.schema(expected))
