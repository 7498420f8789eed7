from __future__ import annotations

import json
import time

import pytest

from datagen.errors import UsageError
from datagen.prompts import (
    ASPECTS,
    SKILLS,
    Prompts,
    Unusable,
    describe,
    draft,
    parse_answer,
    parse_caption,
    parse_distractors,
    parse_questions,
    planned,
    schema,
)
from datagen.records import Caption

GOOD = {
    "question": "Which animal is heard first?",
    "answer": "a dog",
    "distractors": ["a cat", "a cow", "a hen"],
    "skill": "order",
    "domain": "sound",
}
ANSWER = json.dumps({"questions": [GOOD]})


def test_templates_of_the_package():
    prompts = Prompts()
    text, name = prompts.fill(
        "write", captions="- a", number=4, skills="1. x", wrong=3, language="German", names="a, b"
    )
    assert name == f"write#{prompts.get('write').hash}" and len(prompts.get("write").hash) == 12
    assert "exactly 4 multiple-choice" in text and "in German" in text and "$" not in text
    assert set(prompts.hashes()) == {
        *(f"caption.{aspect}" for aspect in ASPECTS),
        "write",
        "read",
        "guess",
        "listen",
        "repair.answer",
        "repair.distractors",
    }
    assert len(set(prompts.hashes().values())) == len(prompts.hashes())
    assert prompts.tokens("write") == -(-len(prompts.get("write").text) // 4)
    assert prompts.tokens("caption") == max(prompts.tokens(f"caption.{aspect}") for aspect in ASPECTS)


def test_a_value_is_not_filled_twice():
    assert "$question costs $5" in Prompts().fill("read", captions="$question costs $5", question="Who?")[0]


def test_a_file_replaces_a_template(tmp_path):
    (tmp_path / "read.txt").write_text("$captions\n$question\nOnly $$1.\n")
    (tmp_path / ".hidden").write_text("")
    prompts = Prompts(tmp_path)
    assert prompts.fill("read", captions="C", question="Q")[0] == "C\nQ\nOnly $1."
    assert prompts.get("read").hash != Prompts().get("read").hash
    assert prompts.get("write") == Prompts().get("write")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("wrote.txt", b"x", "is no prompt: name it one of"),
        ("read.md", b"x", "is no prompt"),
        ("read.txt", b"$captions $question $colour", "$colour is not given"),
        ("read.txt", b"$captions", "lacks $question"),
        ("caption.music.txt", b"  \n", "is empty"),
        ("read.txt", b"$captions $question 5$", "write $$"),
        ("read.txt", b"\xff\xfe", "UTF-8"),
    ],
)
def test_files_that_are_no_prompts(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError) as error:
        Prompts(tmp_path)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_missing_folder(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        Prompts(tmp_path / "absent")


def test_describe_gives_each_caption_a_line():
    captions = [Caption("s/1", 0, "A dog\nbarks.", "openai", "events"), Caption("s/1", 0, "Dog", "labels")]
    assert describe(captions) == "- [openai/events] A dog barks.\n- [labels] Dog"


def test_planned_names_and_explains():
    assert planned(["order", "scene"]).splitlines() == [f"1. order: {SKILLS['order']}", f"2. scene: {SKILLS['scene']}"]


def test_a_caption_is_one_line():
    assert parse_caption(" A dog barks.\n\nThen a cat. ") == "A dog barks. Then a cat."
    assert parse_caption("There is no speech.") == "There is no speech."
    assert parse_caption("I cannot hear any speech.") and parse_caption("There is no audio event but wind.")
    assert parse_caption("A man says: I'm sorry, I can't come.").startswith("A man")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty_answer"),
        (" \n.", "empty_answer"),
        ("I'm sorry, but I can't listen to audio files.", "refused_answer"),
        ("I’m sorry, I am a text model.", "refused_answer"),
        ("As an AI language model, I cannot hear.", "refused_answer"),
        ("I cannot process audio.", "refused_answer"),
        ("Please provide the audio.", "refused_answer"),
    ],
)
def test_what_is_no_caption(text, reason):
    with pytest.raises(Unusable) as error:
        parse_caption(text)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        f"```json\n{ANSWER}\n```",
        f"Here are the questions [4]: {ANSWER} Good luck!",
        json.dumps([GOOD]),
        json.dumps({"questions": [GOOD]}, indent=2),
    ],
)
def test_questions_are_found(text):
    assert parse_questions(text) == [GOOD]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1. What is heard?",
        ANSWER[:-20],  # cut off
        '{"questions": []}',
        '{"questions": "none"}',
        "[[1, 2]]",
        "[" * 1_000_000,
        "[{" * 1_000_000,
    ],
)
def test_answers_without_questions(text):
    started = time.perf_counter()
    with pytest.raises(ValueError, match="no whole JSON list"):
        parse_questions(text)
    assert time.perf_counter() - started < 60


def test_half_a_surrogate_pair_is_broken_text_and_no_error():
    said = json.dumps(
        {"questions": [{**GOOD, "question": "a \ud83d b \U0001f600", "distractors": ["\udc00", "x", "y"]}]}
    )
    [item] = parse_questions(said)
    found = draft(item)
    assert (found.question, found.distractors[0]) == ("a \ufffd b \U0001f600", "\ufffd")
    assert parse_answer(r'{"answer": "a\ud800"}') == "a\ufffd"
    assert parse_distractors(r'{"distractors": ["\ud800", "b"]}', 2) == ("\ufffd", "b")


def test_a_draft_is_tidied():
    tidy = draft({**GOOD, "answer": " a \n dog ", "domain": "Sound", "skill": " Order"})
    assert (tidy.answer, tidy.domain, tidy.skill) == ("a dog", "sound", "order")
    assert draft({**GOOD, "skill": "guessing"}).skill == "other"


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("Who?", "not_an_object"),
        ({**GOOD, "question": None}, "missing_field"),
        ({**GOOD, "answer": 3}, "missing_field"),
        ({key: value for key, value in GOOD.items() if key != "domain"}, "missing_field"),
        ({**GOOD, "distractors": "a cat"}, "missing_field"),
        ({**GOOD, "distractors": ["a cat", None, "a hen"]}, "missing_field"),
        ({**GOOD, "question": " "}, "empty_text"),
        ({**GOOD, "distractors": ["a cat", "", "a hen"]}, "empty_text"),
        ({**GOOD, "distractors": ["a cat", "a hen"]}, "number_of_choices"),
        ({**GOOD, "distractors": ["a cat", "a hen", "A  Dog"]}, "duplicate_choices"),
        ({**GOOD, "domain": "video"}, "unknown_domain"),
    ],
)
def test_drafts_that_are_no_questions(item, reason):
    with pytest.raises(Unusable) as error:
        draft(item)
    assert error.value.reason == reason


def test_the_schema_is_of_openais_strict_form():
    def objects(part):
        if isinstance(part, dict):
            yield from ([part] if part.get("type") == "object" else [])
            for value in part.values():
                yield from objects(value)

    found = list(objects(schema(3)))
    assert len(found) == 2
    assert all(part["required"] == list(part["properties"]) and part["additionalProperties"] is False for part in found)
    assert schema(3)["properties"]["questions"]["maxItems"] == 3
