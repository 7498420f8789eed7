"""`--repair`: a real loopback writer and reader, a real ledger; what was mended, what failed, and the same bytes."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from dataclasses import replace

import polars as pl
import pytest
import world
from kill import digests, write_clips
from model_server import ModelServer

from datagen.build import Config, build
from datagen.errors import UsageError
from datagen.filters.blind import Blind
from datagen.inspection import inspect
from datagen.llm import Client, Endpoint, Ledger
from datagen.plugins import Context
from datagen.prompts import Prompts, Unusable, parse_answer, parse_distractors
from datagen.questions.repair import Repair, too_long, unlabelled
from datagen.records import Caption, Failure, Question

CAPTIONS = [Caption("s/1", 0, "A dog barks.", "openai", "events")]
LONG = "a large dog that barks again and again behind a wooden fence"


def asked(*choices, answer=0, generator="llm"):
    return Question.make(
        "s/1", "What is heard?", choices, choices[answer], domain="sound", skill="source", generator=generator,
        provenance={"writer": "llm", "keys": ["k0"]},
    )  # fmt: skip


@pytest.fixture
def mend(tmp_path):
    """`mend(server, question, guess) -> rows`, with one ledger for the test."""
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def run(server, question, guess=False):
        async def main():
            client = Client(Endpoint("stub", server.url), ledger)
            context = Context(seed=1, prompts=Prompts(), writer=client, reader=client)
            try:
                return await Repair(context, Blind(context).probe if guess else None).mend(question, CAPTIONS)
            finally:
                await client.close()

        return asyncio.run(main())

    yield run
    ledger.close()


def reader_of(known, then):
    """Guesses the choice `known` where it is among them and else says nothing; anything else is answered by `then`."""

    def respond(body):
        text = body["messages"][0]["content"]
        if "cannot hear" not in text:
            return then(body)
        found = re.search(rf"\((.)\) {known}$", text, re.MULTILINE)
        return found[1] if found else "unknown"

    return respond


# ── one question ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("choices", "bare"),
    [
        (("(A) a dog", "(B) a cat", "(C) a cow"), ("a dog", "a cat", "a cow")),
        (("b. a dog", "a. a cat"), ("a dog", "a cat")),
        (("1) a dog", "2) a cat"), ("a dog", "a cat")),
        (("(A) a dog", "a cat"), None),  # only one has a label
        (("(A) a dog", "(C) a cat"), None),  # no A and B
        (("A: sus", "A: min"), None),
        (("(A) a dog", "(B) a dog"), None),  # equal without
        (("a dog", "a cat"), None),
    ],
)
def test_labels_are_taken_off(choices, bare):
    was = asked(*choices)
    found = unlabelled(was)
    if bare is None:
        assert found is was
        return
    assert (found.choices, found.answer, found.answer_index) == (bare, bare[0], 0)
    [step] = found.provenance["repair"]
    assert step["kind"] == "labelled" and step["before"]["choices"] == list(choices)
    assert (step["before"]["id"], step["after"]["id"], step["after"]["answer"]) == (was.id, found.id, bare[0])


@pytest.mark.parametrize(
    ("answer", "long"), [(LONG, True), ("a barking dog", False), ("a large dog that barks", True), ("a" * 14, False)]
)
def test_too_long(answer, long):
    assert too_long(asked(answer, "a cat", "a small cow")) is long


def test_a_long_answer_is_said_shorter(serve, mend):
    server = serve(lambda body: '```json\n{"answer": "a barking\\n dog"}\n```')
    server.bodies = []
    was = asked("a cat", LONG, "a cow", answer=1)
    [found] = mend(server, was)
    assert (found.choices, found.answer, found.answer_index) == (
        ("a cat", "a barking dog", "a cow"),
        "a barking dog",
        1,
    )
    [step] = found.provenance["repair"]
    assert (step["kind"], step["before"]["answer"], step["model"]) == ("too_long", LONG, "stub")
    assert step["prompt"].startswith("repair.answer#") and found.provenance["keys"] == ["k0", *step["keys"]]
    text = server.bodies[0]["messages"][0]["content"]
    assert all(part in text for part in ("A dog barks.", LONG, "- a cat", "at most 6 characters")) and "$" not in text


def test_what_is_still_too_long_is_told_once_and_then_a_row(serve, mend):
    server = serve(lambda body: json.dumps({"answer": LONG + "."}))
    server.bodies = []
    was = asked(LONG, "a cat")
    found, failure = mend(server, was)
    assert found == was and isinstance(failure, Failure)
    assert (failure.stage, failure.reason, failure.question_id) == ("repair", "unparsable", was.id)
    assert "at most 6 are allowed" in failure.error and failure.raw.count(LONG) == 2
    assert "cannot be used" in server.bodies[1]["messages"][2]["content"]


@pytest.mark.parametrize("faults", [{"filter": 1.0}])
def test_a_writer_that_refuses_is_a_row(serve, mend, faults):
    was = asked(LONG, "a cat")
    found, failure = mend(serve(faults=faults), was)
    assert (found, failure.reason) == (was, "refused") and failure.key


def test_distractors_that_are_no_harder_are_a_row(serve, mend):
    def write(body):
        return json.dumps({"distractors": ["a wolf", "a fox"]})

    was = asked("a dog", "a cat", "a cow")
    found, failure = mend(serve(reader_of("a dog", write)), was, guess=True)
    assert (found, failure.reason) == (was, "still_guessed")  # this reader always knows the dog
    assert "a wolf" in failure.error and failure.key


def test_what_is_guessed_every_time_gets_other_distractors(serve, mend):
    def respond(body):
        text = body["messages"][0]["content"]
        if "cannot hear" in text:
            return re.search(r"\((.)\) a dog$", text, re.MULTILINE)[1] if "a trombone" in text else "unknown"
        return json.dumps({"distractors": ["a wolf", "a fox"]})

    [found] = mend(serve(respond), asked("a trombone", "a dog", "a tuba", answer=1), guess=True)
    assert (found.choices, found.answer_index) == (("a wolf", "a dog", "a fox"), 1)
    [step] = found.provenance["repair"]
    assert (step["kind"], step["before"]["choices"]) == ("too_easy", ["a trombone", "a dog", "a tuba"])


@pytest.mark.parametrize("said", [["a wolf"], ["a wolf", "A Dog"], ["a cat", "a cow"], ["a wolf", 3], "a wolf"])
def test_distractors_that_cannot_be_used(serve, mend, said):
    found, failure = mend(
        serve(reader_of("a dog", lambda body: json.dumps({"distractors": said}))),
        asked("a dog", "a cat", "a cow"),
        True,
    )
    assert found.choices == ("a dog", "a cat", "a cow") and failure.reason == "unparsable"


@pytest.mark.parametrize("question", [asked("a dog", "a cat"), asked(LONG, "a cat", generator="rules")])
def test_nobody_is_asked_where_nothing_is_wrong_or_all_was_measured(serve, mend, question):
    server = serve()
    assert mend(server, question) == [question] and not server.stats()["requests"]


@pytest.mark.parametrize("text", ["", "no JSON", '["answer"]', '{"answer": 3}', '{"answer": " "}', "{" * 999])
def test_answers_that_cannot_be_read(text):
    with pytest.raises(Unusable):
        parse_answer(text)
    with pytest.raises(Unusable):
        parse_distractors(text, 2)


# ── a build ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TAIL = ", which is clearly and distinctly audible in it"


def wordy(body):
    """The world, with a writer whose every answer is too long and who mends what it is told to."""
    text = body["messages"][0]["content"]
    if not isinstance(text, str) or "Right answer: " not in text:
        said = world.respond(body)
        if not isinstance(text, str) or "multiple-choice questions" not in text:
            return said
        questions = json.loads(said)["questions"]
        return json.dumps({"questions": [q | {"answer": q["answer"] + TAIL} for q in questions]})
    right = re.search(r"Right answer: (.+)", text)[1]
    if "longer than the wrong ones" in text:
        return json.dumps({"answer": right.removesuffix(TAIL)})
    return world.respond(body)


@pytest.fixture(scope="module")
def served():
    with ModelServer(wordy) as server:
        yield server


@pytest.fixture(scope="module")
def config(served, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "clips"
    write_clips(folder, 8)
    return Config(
        "folder", audio=folder, model="stub", base_url=served.url, captions_per_clip=2, questions_per_clip=2,
        readings=2, filters=("wellformed", "consistency", "blind"), repair=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mended"
    return out, build(replace(config, out=out))


def test_mended_questions_pass_the_filters_with_what_they_were(run):
    kept = pl.read_parquet(run[0] / "dataset/data/*.parquet")
    steps = [json.loads(text)["repair"] for text in kept["provenance"]]
    assert run[1]["kept"] == run[1]["questions"] == 16
    assert all(step[0]["kind"] == "too_long" and step[0]["before"]["answer"].endswith(TAIL) for step in steps)
    assert any(step[-1]["kind"] == "too_easy" for step in steps)
    assert not any(TAIL in choice for choices in kept["choices"] for choice in choices)
    told = json.loads((run[0] / "run.json").read_text())["repaired"]
    assert told["too_long"] == 16 and told["too_easy"] == sum(len(step) == 2 for step in steps)
    card = (run[0] / "dataset/README.md").read_text()
    assert f"too\\_easy {told['too_easy']}, too\\_long 16" in card


def test_inspect_shows_the_answers_behind_a_repair(run):
    id = pl.read_parquet(run[0] / "dataset/data/*.parquet")["id"][0]
    found = inspect(run[0], id)
    [question] = found["questions"]
    keys = [key for step in question["provenance"]["repair"] for key in step["keys"]]
    assert keys and all("Right answer" in json.dumps(found["answers"][key]) for key in keys)


def test_repair_is_the_same_for_any_workers_and_pays_nothing_again(run, config, served, tmp_path):
    build(replace(config, out=tmp_path / "one", workers=1))
    assert digests(tmp_path / "one") == digests(run[0])
    before = served.stats()["requests"]
    assert build(replace(config, out=run[0]))["calls"] == 0 and served.stats()["requests"] == before
    assert digests(tmp_path / "one") == digests(run[0])


def test_a_run_without_repair_is_mended_in_place_for_the_repairs_alone(run, config, served, tmp_path):
    out = tmp_path / "r"
    plain = replace(config, out=out, repair=False, filters=("wellformed",))
    build(plain)
    questions = pl.read_parquet(out / "questions.parquet")
    assert questions["answer"].str.ends_with(TAIL).all()
    counts = build(replace(plain, repair=True))
    assert counts["calls"] == counts["questions"] == 16
    assert build(plain)["calls"] == 0
    assert pl.read_parquet(out / "questions.parquet").equals(questions)


def test_a_failed_repair_leaves_the_question_and_a_row(config, serve, tmp_path):
    def stubborn(body):
        text = body["messages"][0]["content"]
        return "I would rather not." if isinstance(text, str) and "Right answer: " in text else wordy(body)

    counts = build(replace(config, out=tmp_path, base_url=serve(stubborn).url, filters=("wellformed",)))
    assert counts["failed"] == {"repair": 16} and counts["kept"] == 16
    rows = pl.read_parquet(tmp_path / "rejected.parquet")
    assert set(rows["question_id"]) == set(pl.read_parquet(tmp_path / "questions.parquet")["id"])
    assert rows["raw"].str.contains("rather not").all()


def test_a_dry_run_counts_repairs_at_most(run, config, served, tmp_path):
    estimate = build(replace(config, out=tmp_path / "r", dry_run=True))
    assert estimate["calls"] == 8 * (2 + 1 + 2 * (2 + 2) + 2 * 2 + 2 * 2)
    assert run[1]["calls"] <= estimate["calls"]


def test_no_writer_named(tmp_path):
    with pytest.raises(UsageError, match="the writer asks a model and none is named: add --model"):
        build(Config("demo", out=tmp_path / "r", repair=True))
    with pytest.raises(UsageError, match="--repair asks the writer"):
        Repair(Context(seed=0, prompts=Prompts()))


def test_a_copy_of_a_run_goes_on_from_its_ledger(run, config, tmp_path):
    shutil.copy(run[0] / "ledger.sqlite", tmp_path / "l.sqlite")
    counts = build(replace(config, out=tmp_path / "r", ledger=tmp_path / "l.sqlite"))
    assert counts["calls"] == 0 and digests(tmp_path / "r") == digests(run[0])
