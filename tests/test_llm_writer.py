"""The writer against a real loopback server and a real ledger."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from datagen.errors import UsageError
from datagen.llm import Client, Endpoint, Ledger
from datagen.plugins import Context
from datagen.prompts import SKILLS, Prompts
from datagen.questions.llm import LLM
from datagen.records import Caption, Clip, Question

CLIP = Clip("s/1", "s", "a.wav")
CAPTIONS = [Caption("s/1", 0, "A dog barks twice,\nthen a car passes.", "openai", "events", key="k")]
GOOD = {
    "question": "Which animal is heard first?",
    "answer": "a dog",
    "distractors": ["a cat", "a cow", "a hen"],
    "skill": "order",
    "domain": "sound",
}
OTHER = {
    **GOOD,
    "question": "How many barks are heard?",
    "answer": "2",
    "distractors": ["1", "3", "4"],
    "skill": "counting",
}


def answer(*items):
    return json.dumps({"questions": items})


@pytest.fixture
def write(tmp_path):
    """`write(server, clip, captions, n, seed) -> rows`, with one ledger for the test."""
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def run(server, clip=CLIP, captions=CAPTIONS, n=2, seed=0, language="English"):
        async def main():
            client = Client(Endpoint("stub", server.url), ledger, patience=30)
            options = {"questions_per_clip": n, "language": language, "writer": client}
            try:
                return await LLM(Context(seed=seed, prompts=Prompts(), **options)).write(clip, captions)
            finally:
                await client.close()

        return asyncio.run(main())

    yield run
    ledger.close()


def test_good_questions_are_kept_in_order(serve, write):
    rows = write(serve(lambda body: answer(GOOD, OTHER)))
    assert [row.question for row in rows] == [GOOD["question"], OTHER["question"]]
    first = rows[0]
    assert (first.answer, first.domain, first.skill, first.generator) == ("a dog", "sound", "order", "llm")
    assert set(first.choices) == {"a dog", "a cat", "a cow", "a hen"}
    assert set(first.provenance) == {"writer", "model", "prompt", "seed", "keys", "form"}
    assert first.provenance["model"] == "stub" and first.provenance["prompt"].startswith("write#")
    assert len(first.provenance["keys"]) == 1


def test_the_request_holds_captions_plan_and_schema(serve, write):
    server = serve(lambda body: answer(GOOD))
    server.bodies = []
    write(server, n=3, language="German")
    [body] = server.bodies
    text = body["messages"][0]["content"]
    assert "- [openai/events] A dog barks twice, then a car passes." in text
    assert "exactly 3 multiple-choice" in text and "in German" in text and "$" not in text
    assert sum(f". {skill}: {SKILLS[skill]}" in text for skill in SKILLS) == 3
    assert body["response_format"]["json_schema"]["schema"]["properties"]["questions"]["maxItems"] == 3


def test_a_server_that_follows_the_schema_gives_questions(serve, write):
    rows = write(serve(), n=4)
    assert len(rows) == 4 and all(isinstance(row, Question) for row in rows)


def test_the_plan_is_a_function_of_seed_and_clip(serve, write):
    plans = []
    for seed, id in [(0, "s/1"), (0, "s/1"), (0, "s/2"), (1, "s/1")]:
        plans.append(
            LLM(Context(seed=seed, prompts=Prompts(), questions_per_clip=12, writer=object()))._plan(Clip(id, "s", ""))
        )
    assert plans[0] == plans[1] and plans[0] != plans[2] and plans[0] != plans[3]
    assert set(plans[0][: len(SKILLS)]) == set(SKILLS) and len(plans[0]) == 12


def test_answers_do_not_stand_first(serve, write):
    server = serve(lambda body: answer(GOOD))
    places = Counter(write(server, Clip(f"s/{i}", "s", ""), n=1)[0].answer_index for i in range(40))
    assert set(places) == {0, 1, 2, 3} and max(places.values()) < 24


def test_the_order_of_the_choices_is_ours(serve, write):
    turned = {**GOOD, "distractors": GOOD["distractors"][::-1]}
    server = serve(lambda body: answer(GOOD if "cow" in body["messages"][0]["content"] else turned))
    other = [Caption("s/1", 0, "A cow.", "labels")]
    assert write(server)[0].choices == write(server, captions=other)[0].choices


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({**GOOD, "distractors": ["a cat"]}, "number_of_choices"),
        ({**GOOD, "distractors": ["a cat", "a hen", "A dog"]}, "duplicate_choices"),
        ({**GOOD, "domain": "video"}, "unknown_domain"),
        ({"question": "Who?"}, "missing_field"),
        ("Who?", "not_an_object"),
        (OTHER, "repeated_question"),
    ],
)
def test_a_bad_question_leaves_the_good_ones(serve, write, item, reason):
    raw = answer(OTHER, item, GOOD)
    rows = write(serve(lambda body: raw), n=3)
    assert [type(row).__name__ for row in rows] == ["Question", "Failure", "Question"]
    failure = rows[1]
    assert (failure.stage, failure.reason, failure.clip_id, failure.raw) == ("write", reason, "s/1", raw)
    assert failure.error.startswith("question 2: ") and failure.key == rows[0].provenance["keys"][-1]


def test_more_than_was_asked_for(serve, write):
    rows = write(serve(lambda body: answer(GOOD, OTHER)), n=1)
    assert [getattr(row, "reason", "") for row in rows] == ["", "surplus_question"]


@pytest.mark.parametrize("first", ["Here you are: dogs!", answer(GOOD)[:-9], answer({**GOOD, "answer": 1}), "{}"])
def test_one_repair_turn(serve, write, first):
    server = serve(lambda body: answer(GOOD) if len(body["messages"]) > 1 else first)
    server.bodies = []
    [row] = write(server)
    assert row.question == GOOD["question"] and len(row.provenance["keys"]) == 2
    assert server.bodies[1]["messages"][1] == {"role": "assistant", "content": first}
    assert "cannot be used" in server.bodies[1]["messages"][2]["content"]


def test_no_second_repair(serve, write):
    server = serve(lambda body: f"Dogs! {len(body['messages'])}")
    [row] = write(server)
    assert (row.stage, row.reason, row.raw) == ("write", "unparsable", "Dogs! 1\n\nDogs! 3")
    assert "no whole JSON" in row.error and row.key and server.stats()["requests"] == 2


def test_no_captions_ask_nobody(serve, write):
    server = serve()
    [row] = write(server, captions=[])
    assert (row.stage, row.reason) == ("write", "no_captions") and server.stats()["requests"] == 0


def test_a_refusal_and_a_lame_server(serve, write):
    assert write(serve(faults={"filter": 1.0}))[0].reason == "refused"
    assert write(serve(faults={"500": 1.0}), clip=Clip("s/2", "s", ""))[0].reason == "transient"


def test_nothing_is_asked_twice(serve, write):
    server = serve(lambda body: answer(GOOD, OTHER))
    assert write(server) == write(server)
    assert server.stats()["requests"] == 1


def test_no_model_named():
    with pytest.raises(UsageError, match="--model"):
        LLM(Context(seed=0, prompts=Prompts()))
