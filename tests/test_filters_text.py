"""Filters of a question's text: wellformed, answerable, modality, grounded, consistency (a real loopback reader)."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import polars as pl
import pytest

from datagen.errors import UsageError
from datagen.filters import answerable, modality, wellformed
from datagen.filters.answerable import Answerable
from datagen.filters.consistency import Consistency
from datagen.filters.grounded import Grounded, support
from datagen.filters.modality import Modality
from datagen.filters.readings import orders
from datagen.filters.wellformed import Wellformed
from datagen.filters.wordlists import (
    EMPTY_CHOICES,
    EMPTY_QUESTIONS,
    OTHER_LETTERS,
    SEEN,
    SEEN_IN_CHOICES,
    pattern,
)  # fmt: skip
from datagen.llm import Client, Endpoint, Ledger
from datagen.plugins import Context
from datagen.prompts import Prompts
from datagen.records import Caption, Question, schema

CONTEXT = Context(seed=7, prompts=Prompts())


def problem(row):
    """What is wrong with the wording of a question."""
    return wellformed.problem(row) or modality.problem(row) or answerable.problem(row)


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
    types = pl.from_arrow(schema(Question).empty_table()).schema | {"captions": pl.List(pl.String)}
    return pl.DataFrame(values, schema={name: types[name] for name in [*columns, "provenance", "captions"]})


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
    ("seen_in_question", question("What is heard in the video?")),
    ("seen_in_question", question("What does the VIDEO’S sound tell?")),
    ("seen_in_question", question("What does the caption say?")),
    ("seen_in_question", question("Which animal is visible?")),
    ("seen_in_question", question("What can be seen?")),
    ("seen_in_question", question("What colour is the car?")),
    ("seen_in_question", question("Who speaks, according to the description?")),
    ("seen_in_question", question("Was ist im Bild?")),
    ("seen_in_question", question("视频里有什么声音？")),
    ("seen_in_choice", question("What is told?", ("a dog", "the caption of a film"))),
    ("all_of_the_above", question(choices=("a dog", "a cat", "All of the above."))),
    ("all_of_the_above", question(choices=("狗", "猫", "以上都是"))),
    ("none_of_the_above", question(choices=("a dog", "a cat", "None of these"))),
    ("both_of_the_above", question(choices=("a dog", "a cat", "Both"))),
    ("both_of_the_above", question(choices=("a dog", "a cat", "both A and B"))),
    ("label_in_choice", question(choices=("a dog", "a cat", "(A) and (B)"))),
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


FILTERS = [(wellformed, Wellformed), (answerable, Answerable), (modality, Modality)]


@pytest.mark.parametrize(("module", "filter"), FILTERS, ids=lambda value: value.__name__)
def test_a_filter_says_of_the_table_what_problem_says_of_one_question(module, filter):
    rows = [*WELL, *(row for _, row in ILL)]
    found = filter(CONTEXT).judge(table(*((row, []) for row in rows)))
    assert found["question_id"].to_list() == [row.id for row in rows]
    assert found["reason"].to_list() == [module.problem(row) or "" for row in rows]
    assert found["keep"].to_list() == [module.problem(row) is None for row in rows]
    assert found.schema == {"question_id": pl.String, "keep": pl.Boolean, "reason": pl.String, "score": pl.Float64}
    assert filter(CONTEXT).judge(table()).schema == found.schema


# ── grounded ─────────────────────────────────────────────────────────────────────────────────────────────────────────

HEARD = ["A dog barks twice, then a car passes by.", "There is no speech. A man whistles softly.", "Labels: bell"]

SUPPORTED = [
    # choices (the answer first), captions, reason, score
    (("a dog barking", "a cat meowing", "a cow mooing"), HEARD, "", 1.0),
    (("dogs bark", "cats meow"), HEARD, "", 1.0),
    (("a barking cat", "a mooing cow"), HEARD, "", 0.5),  # half of it
    (("a meowing cat", "a mooing cow"), HEARD, "answer_unsupported", 0.0),
    (("a dog", "a car"), HEARD, "distractor_supported", 1.0),
    (("a cat", "a car"), HEARD, "answer_unsupported", 0.0),
    (("a dog barking loudly", "a dog barking at a bell"), HEARD, "answer_unsupported", 0.0),  # what tells them apart
    (("a bell and a dog", "a cow and a hen"), HEARD, "", 0.5),  # of two captions, half each
    (("no speech", "speech"), HEARD, "", 1.0),  # denied
    (("speech", "song"), HEARD, "answer_unsupported", 0.0),
    (("whistling", "no whistling"), HEARD, "", 1.0),
    (("2 barks", "3 barks"), HEARD, "", 1.0),
    (("three", "four"), HEARD, "answer_unsupported", 0.0),  # made up
    (("Yes", "No"), HEARD, "", None),
    (("the first sound", "the second sound"), HEARD, "", None),
    (("a dog", "a cat"), [], "answer_unsupported", 0.0),
    (("狗叫声", "猫叫声"), ["一只狗叫声很大", "汽车"], "", 1.0),
    (("猫", "狗"), ["一只狗叫声很大"], "answer_unsupported", 0.0),
    (("猫", "牛"), ["一只小猫叫"], "", 1.0),  # one character within a run
    (("running", "eating"), ["He runs."], "", 1.0),
    (("baking bread", "eating bread"), ["They bake."], "", 1.0),
    (("강아지", "고양이"), ["강아지가 짖는다"], "", 1.0),
    (("лает собака", "мяукает кошка"), ["Громко лает собака."], "", 1.0),
    (("نباح كلب", "مواء قطة"), ["يسمع نباح كلب"], "", 1.0),
]


@pytest.mark.parametrize(("choices", "captions", "reason", "score"), SUPPORTED)
def test_support(choices, captions, reason, score):
    [row] = Grounded(CONTEXT).judge(table((question("What is it?", choices), captions))).to_dicts()
    assert (row["reason"], row["keep"]) == (reason, not reason)
    assert row["score"] == (None if score is None else pytest.approx(score))


BOTH = ("a dog", "a car")
UNHEARD = ("to scare a thief", "to greet a friend")


@pytest.mark.parametrize(
    ("text", "choices", "fields", "reason", "score"),
    [
        ("Which is heard first?", BOTH, {}, "", 1.0),
        ("Which is the loudest?", BOTH, {}, "", 1.0),
        ("Which is most likely heard?", BOTH, {}, "distractor_supported", 1.0),
        ("Was kommt zuerst?", BOTH, {"skill": "order"}, "", 1.0),
        ("Why does it bark?", UNHEARD, {"skill": "cause"}, "", 0.0),
        ("Why does it bark?", UNHEARD, {}, "answer_unsupported", 0.0),
        ("What is it?", UNHEARD, {"generator": "rules"}, "", 1.0),
        ("What is it?", UNHEARD, {"generator": "human"}, "", None),
    ],
)
def test_what_a_question_asks_decides(text, choices, fields, reason, score):
    [row] = Grounded(CONTEXT).judge(table((question(text, choices, **fields), HEARD))).to_dicts()
    assert (row["reason"], row["score"]) == (reason, score)


def test_support_of_every_choice():
    assert support(("a dog barks", "a dog", "a cat", "yes"), HEARD) == [1.0, 1.0, 0.0, None]


def test_grounded_gives_a_row_for_each_in_order():
    rows = [(question(choices=(f"dog {i}", "cat")), [f"dog {i}"] if i % 2 else []) for i in range(30)]
    found = Grounded(CONTEXT).judge(table(*rows))
    assert found["question_id"].to_list() == [row.id for row, _ in rows]
    assert found["keep"].to_list() == [bool(i % 2) for i in range(30)]
    assert Grounded(CONTEXT).judge(table()).schema == found.schema


# ── consistency ──────────────────────────────────────────────────────────────────────────────────────────────────────

CAPTIONS = [Caption("s/1", 0, "A dog barks, then a cat meows.", "openai", "events")]
READINGS = 3


@pytest.fixture
def probe(tmp_path):
    """`probe(server, question, captions) -> row`, with one ledger for the test."""
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def run(server, question=WELL[0], captions=CAPTIONS):
        async def main():
            client = Client(Endpoint("stub", server.url), ledger, patience=30)
            try:
                return await Consistency(Context(seed=7, prompts=Prompts(), reader=client)).probe(question, captions)
            finally:
                await client.close()

        return asyncio.run(main())

    yield run
    ledger.close()


def letter_of(body, text):
    return re.search(rf"\((.)\) {text}$", body["messages"][0]["content"], re.MULTILINE)[1]


def always(text):
    return lambda body: letter_of(body, text)


def right_under(*letters):
    """Answers rightly only where the answer has one of these letters."""
    return lambda body: letter if (letter := letter_of(body, "a dog")) in letters else letter_of(body, "a cow")


@pytest.mark.parametrize(
    ("reader", "keep", "reason", "score"),
    [
        (always("a dog"), True, "", 1.0),
        (lambda body: f"The answer is ({letter_of(body, 'a dog')}) a dog.", True, "", 1.0),
        (right_under("A", "B"), True, "", 2 / 3),
        (right_under("A"), False, "inconsistent", 1 / 3),
        (lambda body: "A", False, "inconsistent", 1 / 3),  # always the first
        (always("a cat"), False, "inconsistent", 0.0),
        (lambda body: "unknown", False, "unreadable", 0.0),
        (lambda body: "A or B", False, "unreadable", 0.0),
    ],
)
def test_readings(serve, probe, reader, keep, reason, score):
    verdict = probe(serve(reader))
    assert (verdict.filter, verdict.keep, verdict.reason) == ("consistency", keep, reason)
    assert verdict.score == pytest.approx(score) and verdict.question_id == WELL[0].id


def test_the_reader_gets_captions_and_question(serve, probe):
    server = serve(always("a dog"))
    server.bodies = []
    probe(server)
    texts = [body["messages"][0]["content"] for body in server.bodies]
    assert len(set(texts)) == READINGS
    assert all("- [openai/events] A dog barks" in text and ASKED in text for text in texts)


def test_nothing_is_read_twice(serve, probe):
    server = serve(always("a dog"))
    assert probe(server) == probe(server)
    assert server.stats()["requests"] == READINGS


@pytest.mark.parametrize("size", [2, 3, 4, 10])
def test_the_answer_stands_at_different_places(size):
    asked = question(choices=[f"sound {i}" for i in range(size)])
    drawn = orders(asked, 7, READINGS)
    assert drawn == orders(asked, 7, READINGS) == orders(asked, 7, 9)[:READINGS]  # more readings ask only for more
    assert all(sorted(order) == list(range(size)) for order in drawn)
    places = Counter(order.index(asked.answer_index) for order in drawn)
    assert len(places) == min(size, READINGS)
    assert any(orders(asked, seed, READINGS) != drawn for seed in range(5))


def test_readings_that_failed(serve, probe):
    refused = probe(serve(faults={"filter": 1.0}))
    assert (refused.stage, refused.reason, refused.clip_id, refused.question_id) == (
        "read",
        "refused",
        "s/1",
        WELL[0].id,
    )
    assert refused.key and "filtered" in refused.raw
    lame, first = serve(), []
    lame.draw = lambda prompt, time: first.append(prompt) or ("500" if prompt == first[0] else "")
    assert probe(lame, WELL[1]).reason == "transient"


def test_questions_that_are_not_read(serve, probe):
    server = serve(always("a dog"))
    human = probe(server, question(generator="human"))
    assert human.keep and human.score is None
    assert probe(server, captions=[]).reason == "no_captions"
    assert server.stats()["requests"] == 0
    assert probe(server, question(generator="rules")).score == 1.0


def test_no_reader_named():
    with pytest.raises(UsageError, match="--reader-model"):
        Consistency(CONTEXT)


def needs_other_letters(tree) -> bool:
    """Whether every text that a parsed expression matches holds a character that is not ASCII."""
    return any(needs(kind, value) for kind, value in tree)


def needs(kind, value) -> bool:
    match str(kind):
        case "LITERAL":
            return value > 127
        case "IN":
            return all(str(part) == "LITERAL" and code > 127 for part, code in value)
        case "BRANCH":
            return all(map(needs_other_letters, value[1]))
        case "SUBPATTERN":
            return needs_other_letters(value[-1])
        case "MAX_REPEAT":
            return value[0] > 0 and needs_other_letters(value[2])
    return False


LISTS = [SEEN, SEEN_IN_CHOICES, EMPTY_QUESTIONS, *EMPTY_CHOICES.values()]


def test_no_text_in_ascii_holds_a_word_of_the_languages_with_other_letters():
    entries = [entry for lists in LISTS for language in OTHER_LETTERS for entry in lists[language]]
    assert len(entries) > 100
    assert [entry for entry in entries if not needs_other_letters(re._parser.parse(entry))] == []
    assert not needs_other_letters(re._parser.parse("(?:не )?знаю|n/?a"))


@pytest.mark.parametrize("lists", LISTS)
def test_what_is_looked_for_in_ascii_is_all_of_the_other_languages(lists):
    spoken = {language: entries for language, entries in lists.items() if language not in OTHER_LETTERS}
    assert pattern(lists, ascii=True) == pattern(spoken)
    assert len(pattern(lists, ascii=True)) < len(pattern(lists))
