"""The filters that look at a question's text: wellformed, grounded."""

from __future__ import annotations

import polars as pl
import pytest

from datagen.filters.wellformed import Wellformed, problem
from datagen.plugins import Context
from datagen.prompts import Prompts
from datagen.records import Question, schema

CONTEXT = Context(seed=7, prompts=Prompts())
ASKED = "Which animal is heard first?"


def question(text=ASKED, choices=("a dog", "a cat", "a cow"), answer=0, **fields):
    fields = {"domain": "sound", "skill": "identification", "generator": "llm", "provenance": {}} | fields
    return Question.make("s/1", text, choices, choices[answer], **fields)


def table(*rows):
    """Rows of (question, captions) as a filter gets them."""
    columns = [name for name in schema(Question).names if name != "provenance"]
    values = [
        {name: getattr(row, name) for name in columns} | {"provenance": "{}", "captions": texts} for row, texts in rows
    ]
    return pl.DataFrame(
        values, schema=dict.fromkeys(columns, None) | {"provenance": pl.String, "captions": pl.List(pl.String)}
    )


WELL = [
    question(),
    question("How many separate sounds can be heard?", ("2", "3", "4")),
    question("Which description fits the course of the loudness?", ("it gets louder", "it gets softer")),
    question("How do the two sounds compare?", ("the first is higher", "both have the same pitch")),
    question("What is the stereo image like?", ("wide", "narrow")),
    question("What is the tone color of the horn?", ("bright", "dull")),
    question("What is most likely going on?", ("taking a picture", "playing a video game", "watching TV")),
    question("Is there a dog?", ("No", "Yes")),
    question("Which comes first, the dog or the cat?", ("the dog", "the cat")),  # it names both
    question("Is it a doghouse?", ("dog", "cat")),
    question("Which chord is heard?", ("A", "B minor", "C: sus")),  # one thing that looks like a label is none
    question("Who is E. coli about?", ("E. coli in a dish", "a lab")),
    question("谁在说话？", ("男人", "女人")),
    question("Which mood is described in the audio?"),
    question("Which key is it?", ("A and B flat", "C and D flat")),
    question("What is said?", ("I know it all", "none of the men knew")),
]


@pytest.mark.parametrize("row", WELL, ids=lambda row: row.question[:30])
def test_well_formed(row):
    assert problem(row) is None


ILL = [
    ("forbidden_word", question("What is heard in the video?")),
    ("forbidden_word", question("What does the VIDEO’S sound tell?")),
    ("forbidden_word", question("What does the caption say?")),
    ("forbidden_word", question("Which animal is visible?")),
    ("forbidden_word", question("What can be seen?")),
    ("forbidden_word", question("What colour is the car?")),
    ("forbidden_word", question("Who speaks, according to the description?")),
    ("forbidden_word", question("Was ist im Bild?")),
    ("forbidden_word", question("视频里有什么声音？")),
    ("forbidden_word", question("What is told?", ("a dog", "the caption of a film"))),
    ("all_of_the_above", question(choices=("a dog", "a cat", "All of the above."))),
    ("all_of_the_above", question(choices=("狗", "猫", "以上都是"))),
    ("none_of_the_above", question(choices=("a dog", "a cat", "None of these"))),
    ("both_of_the_above", question(choices=("a dog", "a cat", "Both"))),
    ("both_of_the_above", question(choices=("a dog", "a cat", "both A and B"))),
    ("both_of_the_above", question(choices=("a dog", "a cat", "(A) and (B)"))),
    ("cannot_be_determined", question(choices=("a dog", "a cat", "It cannot be determined from the audio"))),
    ("cannot_be_determined", question(choices=("a dog", "a cat", "Unknown"))),
    ("cannot_be_determined", question(choices=("a dog", "a cat", "I don’t know"))),
    ("label_in_choice", question(choices=("(A) a dog", "(B) a cat"))),
    ("label_in_choice", question(choices=("A. a dog", "B. a cat"))),
    ("label_in_choice", question(choices=("1) a dog", "2) a cat"))),
    ("answer_in_question", question("Which animal is the barking dog?", ("A dog", "A cat"))),
    ("answer_in_question", question("这里的狗叫声是什么？", ("狗叫声", "猫叫声"))),
    ("too_short", question("Who?")),
    ("too_short", question(choices=("a dog", "?"))),
    ("too_long", question("Which? " * 20_000)),
    ("too_long", question(choices=("a dog", "a cat " * 20_000))),
    ("broken_text", question("What \x00 is heard?")),
    ("broken_text", question("What is heard \u202e?")),
    ("broken_text", question(choices=("a dog", "a\ncat"))),
]


@pytest.mark.parametrize(
    ("reason", "row"), ILL, ids=lambda value: value if isinstance(value, str) else value.question[:30]
)
def test_ill_formed(reason, row):
    assert problem(row) == reason


def test_the_filter_says_what_problem_says():
    rows = [*WELL, *(row for _, row in ILL)]
    found = Wellformed(CONTEXT).judge(table(*((row, []) for row in rows)))
    assert found["question_id"].to_list() == [row.id for row in rows]
    assert found["reason"].to_list() == [""] * len(WELL) + [reason for reason, _ in ILL]
    assert found["keep"].to_list() == [True] * len(WELL) + [False] * len(ILL)
    assert found.schema == {"question_id": pl.String, "keep": pl.Boolean, "reason": pl.String, "score": pl.Float64}


def test_no_rows():
    assert Wellformed(CONTEXT).judge(table()).height == 0
