"""Filters that ask a model: a real loopback server, a real ledger, and what a moved threshold pays: nothing."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import soundfile
import world
from kill import digests, write_clips
from model_server import ModelServer

from datagen.audio import input_audio, load, silenced
from datagen.build import Config, build
from datagen.errors import Denied, UsageError
from datagen.export import export
from datagen.filters import PROBES
from datagen.filters.consistency import Consistency
from datagen.filters.readings import reached
from datagen.llm import Client, Endpoint, Ledger, metered
from datagen.plugins import Context, resolve
from datagen.prompts import Prompts
from datagen.records import MEASURES, Caption, Question
from datagen.statistics import newcombe, wilson

ANSWER, WRONG = "a dog", ("a cat", "a cow", "a hen")
QUESTION = Question.make(
    "s/1", "Which animal is heard?", [ANSWER, *WRONG], ANSWER,
    domain="sound", skill="identification", generator="llm", provenance={},
)  # fmt: skip
CAPTIONS = [Caption("s/1", i, text, "openai", str(i)) for i, text in enumerate(["A dog barks.", "Wind.", "A dog!"])]


def letter_of(text, choice):
    return re.search(rf"\((.)\) {choice}$", text, re.MULTILINE)[1]


def text_of(body):
    content = body["messages"][0]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


def reader(informed=1.0, blind=0.0):
    """Right in the first so many of the orders that it is shown: where the answer has one of so many letters."""

    def respond(body):
        text = text_of(body)
        share = blind if "cannot hear" in text else informed if "dog" in text.partition("Answer the question")[0] else 0
        right = letter_of(text, ANSWER)
        return right if "ABCD".index(right) < share * 4 else letter_of(text, WRONG[0])

    return respond


@pytest.fixture
def ask(tmp_path):
    """`ask(name, server, value, captions=…, sound=…, **context) -> row`, with one ledger for the test."""
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def run(name, server, value=None, captions=CAPTIONS, sound=None, **fields):
        async def main():
            client = Client(Endpoint("stub", server.url), ledger, patience=30)
            roles = dict.fromkeys(("reader", "policy", "captioner"), client)
            context = Context(seed=7, prompts=Prompts(), value=value, **roles, **fields)
            probe = resolve("filter", name, PROBES, "probe", "hear")(context)
            try:
                return await (probe.hear(QUESTION, *sound) if sound else probe.probe(QUESTION, captions))
            finally:
                await client.close()

        return asyncio.run(main())

    yield run
    ledger.close()


# ── one question ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("blind", "value", "reason"), [(1.0, None, ""), (1.0, "0.9", "guessed"), (0.5, "0.9", "")])
def test_blind_is_the_share_of_right_guesses(serve, ask, blind, value, reason):
    row = ask("blind", serve(reader(blind=blind)), value, readings=4)
    assert (row.score, row.keep, row.reason) == (blind, not reason, reason)
    assert (row.low, row.high) == wilson(4 * blind, 4)


def test_a_guesser_sees_no_caption(serve, ask):
    server = serve(reader())
    server.bodies = []
    ask("blind", server)
    assert all("barks" not in text_of(body) and QUESTION.question in text_of(body) for body in server.bodies)
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("informed", "blind", "value", "reason"),
    [(1.0, 0.0, "0.5", ""), (1.0, 1.0, "0.5", "weak"), (0.5, 1.0, None, ""), (0.5, 1.0, "-0.5", "")],
)
def test_audio_dependence_is_what_the_captions_add(serve, ask, informed, blind, value, reason):
    row = ask("audio_dependence", serve(reader(informed, blind)), value, readings=4)
    assert (row.score, row.keep, row.reason) == (informed - blind, not reason, reason)
    assert (row.low, row.high) == newcombe(4 * informed, 4, 4 * blind, 4)
    assert row.low <= row.score <= row.high and len(row.keys) == 8


def test_dependence_takes_the_readings_of_consistency_and_blind(serve, ask):
    server = serve(reader())
    ask("consistency", server), ask("blind", server)
    before = server.stats()["requests"]
    row = ask("audio_dependence", server)
    assert (before, server.stats()["requests"], row.score) == (6, 6, 1.0)


def test_more_readings_ask_only_for_the_new_ones(serve, ask):
    server = serve(reader())
    ask("blind", server, readings=3)
    ask("blind", server, readings=4)
    assert server.stats()["requests"] == 4


def test_a_second_reader_of_another_family_can_drop(serve, tmp_path):
    good, poor = serve(reader(1.0)), serve(reader(0.5), models=("other",))

    async def main():
        ledger = Ledger(tmp_path / "two.sqlite")
        first, second = Client(Endpoint("stub", good.url), ledger), Client(Endpoint("other", poor.url), ledger)
        context = Context(seed=7, prompts=Prompts(), reader=first, second_reader=second, readings=4)
        try:
            return await Consistency(context).probe(QUESTION, CAPTIONS)
        finally:
            await first.close(), await second.close()
            ledger.close()

    row = asyncio.run(main())
    assert (row.keep, row.reason, row.score, len(row.keys)) == (False, "inconsistent", 0.5, 8)


def test_a_threshold_of_consistency(serve, ask):
    assert not ask("consistency", serve(reader(0.5)), readings=4).keep
    assert ask("consistency", serve(reader(0.5)), "0.5", readings=4).keep
    assert reached(2 / 3, 0.67) and not reached(2 / 3, 0.68)


@pytest.mark.parametrize(("value", "reason"), [(None, ""), ("0.5", ""), ("0.8", "disagreed")])
def test_self_agreement_asks_each_caption_alone(serve, ask, value, reason):
    server = serve(reader())
    server.bodies = []
    row = ask("self_agreement", server, value)
    assert (row.score, row.reason) == (pytest.approx(2 / 3), reason)
    assert sorted(text_of(body).count("- [") for body in server.bodies) == [1, 1, 1]


@pytest.mark.parametrize(
    ("said", "score", "reason"), [(ANSWER, 1.0, "too_easy"), (WRONG[0], 0.0, "too_hard"), ("well", 0.0, "too_hard")]
)
def test_difficulty_is_the_pass_rate_of_the_policy(serve, ask, said, score, reason):
    server = serve(lambda body: said)
    server.bodies = []
    assert ask("difficulty", server).keep
    row = ask("difficulty", server, "0.1:0.9")
    assert (row.score, row.reason, row.keep) == (score, reason, False)
    assert len(server.bodies) == 8 and {body["temperature"] for body in server.bodies} == {1.0}


@pytest.fixture
def sound(tmp_path):
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(np.arange(8000) / 5), 16_000)
    audio = load(tmp_path / "tone.wav")
    return input_audio(audio), input_audio(silenced(audio))


@pytest.mark.parametrize(("deaf", "score", "reason"), [(False, 1.0, ""), (True, 0.0, "weak")])
def test_contribution_is_what_the_audio_adds_to_silence(serve, ask, sound, deaf, score, reason):
    def respond(body):
        part = body["messages"][0]["content"][0]
        heard = deaf or part["input_audio"]["data"] == sound[0]["input_audio"]["data"]
        return letter_of(text_of(body), ANSWER if heard else WRONG[0])

    row = ask("audio_contribution", serve(respond), "0.5", sound=sound)
    assert (row.score, row.reason) == (score, reason)
    assert len(sound[0]["input_audio"]["data"]) == len(sound[1]["input_audio"]["data"])


def test_a_model_without_ears_stops_the_run(serve, ask, sound):
    server = serve()
    server.refuse = lambda body: (400, "This model does not support audio")
    with pytest.raises(Denied, match=r"model 'stub' takes no audio .*--captioner-model"):
        ask("audio_contribution", server, sound=sound)


def test_two_choices_have_two_orders_and_no_third_reading(serve, tmp_path):
    two = Question.make(
        "s/1", "Which animal is heard?", [ANSWER, WRONG[0]], ANSWER,
        domain="sound", skill="x", generator="llm", provenance={},
    )  # fmt: skip

    async def main():
        ledger = Ledger(tmp_path / "l.sqlite")
        client = Client(Endpoint("stub", serve(lambda body: "A").url), ledger)
        context = Context(seed=7, prompts=Prompts(), reader=client, policy=client, readings=5, policy_samples=5)
        try:
            probes = [resolve("filter", name, PROBES, "probe")(context) for name in ("consistency", "difficulty")]
            return [await probe.probe(two, CAPTIONS) for probe in probes]
        finally:
            await client.close()
            ledger.close()

    consistency, difficulty = asyncio.run(main())
    assert (consistency.score, consistency.keep, len(consistency.keys)) == (0.5, False, 2)  # always the first
    assert len(set(difficulty.keys)) == 5  # drawn, not read: each sample is another


@pytest.mark.parametrize("name", PROBES)
def test_a_refusal_is_a_row(serve, ask, sound, name):
    given = {"sound": sound} if name == "audio_contribution" else {}
    row = ask(name, serve(faults={"filter": 1.0}), **given)
    assert (row.stage, row.reason, row.question_id) == ("read", "refused", QUESTION.id) and row.key


@pytest.mark.parametrize("name", ["consistency", "audio_dependence", "self_agreement"])
def test_no_captions(serve, ask, name):
    server = serve()
    assert ask(name, server, captions=[]).reason == "no_captions" and not server.stats()["requests"]


@pytest.mark.parametrize("name", PROBES)
def test_no_model_and_no_number_are_said(name):
    factory = resolve("filter", name, PROBES, "probe", "hear")
    with pytest.raises(UsageError, match=f"filter '{name}' asks a model and none is named: add --"):
        factory(Context(seed=0, prompts=Prompts()))
    roles = dict.fromkeys(("reader", "policy", "captioner"), object())
    for value in ("x", "nan", "7", "0.9:0.1"):
        with pytest.raises(UsageError, match=f"--filters {name}={value}: give "):
            factory(Context(seed=0, prompts=Prompts(), value=value, **roles))


def test_an_answer_that_serves_twice_is_paid_once(serve, tmp_path):
    async def main():
        ledger = Ledger(tmp_path / "l.sqlite")
        client = Client(Endpoint("stub", serve(reader()).url), ledger)
        context = Context(seed=7, prompts=Prompts(), reader=client)
        with metered() as usage:
            for name in ("consistency", "blind", "audio_dependence"):
                await resolve("filter", name, PROBES, "probe")(context).probe(QUESTION, CAPTIONS)
        await client.close()
        ledger.close()
        return usage

    assert asyncio.run(main()).answers == 6


@pytest.mark.parametrize(
    ("a", "b", "low", "high"), [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)]
)
def test_newcombe_gives_the_published_intervals(a, b, low, high):
    assert newcombe(*a, *b) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


# ── a build ──────────────────────────────────────────────────────────────────────────────────────────────────────────

EVERY = ("wellformed", "consistency", *MEASURES, "balance")


@pytest.fixture(scope="module")
def served():
    with ModelServer(world.respond) as server:
        yield server


@pytest.fixture(scope="module")
def config(served, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "clips"
    write_clips(folder, 6)
    return Config(
        "folder", audio=folder, model="stub", base_url=served.url, policy_model="stub", policy_samples=4,
        captions_per_clip=2, questions_per_clip=2, filters=EVERY,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "measured"
    return out, build(replace(config, out=out))


def test_measures_are_columns_of_the_dataset(run):
    kept = pl.read_parquet(run[0] / "dataset/data/*.parquet")
    extra = [c for name in MEASURES for c in (name, f"{name}_low", f"{name}_high") if c != "audio_dependence"]
    assert kept.columns[-len(extra) :] == extra and kept.columns[-len(extra) - 2 : -len(extra)] == [
        "audio_dependence",
        "provenance",
    ]
    assert kept.height == run[1]["kept"] > 0 and kept.null_count().select(MEASURES).sum_horizontal().item() == 0
    low, high = kept["audio_dependence_low"], kept["audio_dependence_high"]
    assert ((low <= kept["audio_dependence"]) & (kept["audio_dependence"] <= high)).all()
    assert kept["audio_dependence"].mean() > 0.4  # the world's reader knows what the notes name, and guesses else
    verdicts = pl.read_parquet(run[0] / "verdicts.parquet").filter(pl.col("filter") == "blind")
    told = kept.join(verdicts, left_on="id", right_on="question_id")
    assert (
        told.height == kept.height
        and (told["score"] == told["blind"]).all()
        and (told["low"] == told["blind_low"]).all()
    )


def test_the_card_and_the_figures_hold_their_means(run):
    card, state = (run[0] / "dataset/README.md").read_text(), json.loads((run[0] / "run.json").read_text())
    for name in MEASURES:
        told = state["measures"][name]
        assert told["low"] <= told["mean"] <= told["high"] and f"| `{name}` |" in card
        assert f"{told['mean']:.2f} ({told['low']:.2f} to {told['high']:.2f}), {told['n']} questions" in card
        assert name in (run[0] / "report.html").read_text()


@pytest.mark.parametrize("name", ["trl", "mmau"])
def test_exports_hold_the_measures(run, name, tmp_path):
    export(run[0], name, tmp_path / "out", split="all")
    text = (tmp_path / "out").read_text()
    records = json.loads(text) if name == "mmau" else [json.loads(line) for line in text.splitlines()]
    kept = pl.concat(pl.read_parquet(run[0] / f"dataset/data/{s}-*.parquet") for s in ("train", "validation"))
    assert [{m: record[m] for m in MEASURES} for record in records] == kept.select(MEASURES).to_dicts()
    assert not any(key.endswith(("_low", "_high")) for record in records for key in record)


def test_a_dry_run_counts_what_is_asked(run, config, tmp_path, served):
    before = served.stats()["requests"]
    estimate = build(replace(config, out=tmp_path / "r", dry_run=True))
    assert served.stats()["requests"] == before
    # captions, writing; read and guess, two captions alone, audio and silence, policy
    assert estimate["calls"] == 6 * (2 + 1 + 2 * (3 + 3 + 2 + 2 * 3 + 4)) == run[1]["calls"]


def test_a_moved_threshold_pays_nothing(run, config, tmp_path, served):
    shutil.copytree(run[0], tmp_path / "r")
    before = served.stats()["requests"]
    values = ("consistency=1", "audio_dependence=0.5", "blind=0.3", "difficulty=0.2:0.8", "audio_contribution=0.6")
    counts = build(replace(config, out=tmp_path / "r", filters=values))
    assert (counts["calls"], served.stats()["requests"]) == (0, before)
    assert counts["kept"] < run[1]["kept"]
    rejected = pl.read_parquet(tmp_path / "r/rejected.parquet")
    assert {"guessed", "weak"} <= set(rejected["reason"])
    guessed = rejected.filter(pl.col("reason") == "guessed")
    assert (guessed["score"] >= 0.3).all() and "blind" in set(guessed["stage"])
    assert build(replace(config, out=tmp_path / "r"))["calls"] == 0
    assert digests(tmp_path / "r") == digests(run[0])


def test_the_bytes_are_those_of_one_worker(run, config, tmp_path):
    build(replace(config, out=tmp_path / "one", workers=1))
    assert digests(tmp_path / "one") == digests(run[0])


def test_what_cannot_be_measured_is_kept_and_listed(config, serve, tmp_path):
    server = serve(world.respond)
    server.refuse = lambda body: (400, "no") if "cannot hear" in text_of(body) else (0, "")
    counts = build(replace(config, out=tmp_path / "r", base_url=server.url, filters=("blind", "consistency")))
    kept = pl.read_parquet(tmp_path / "r/dataset/data/*.parquet")
    assert counts["kept"] == counts["questions"] == kept["blind"].null_count() == counts["failed"]["read"]
    assert set(pl.read_parquet(tmp_path / "r/rejected.parquet")["reason"]) == {"refused"}
    assert json.loads((tmp_path / "r/run.json").read_text())["measures"]["blind"]["n"] == 0
    assert "nothing was measured" in (tmp_path / "r/dataset/README.md").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"filters": ("balance=3",)}, "--filters balance=3: balance takes no value"),
        ({"filters": ("blind", "blind=0.5")}, "names 'blind' twice"),
        ({"filters": ("blind=",)}, "names no VALUE: use blind=VALUE, or blind alone"),
        ({"filters": ("blind=no",)}, "--filters blind=no: give a number from 0 to 1"),
        ({"filters": ("difficulty",), "policy_model": None}, "--policy-model"),
        ({"filters": ("blind",), "model": None, "source": "demo"}, "--reader-model"),
        ({"filters": ("audio_contribution",), "model": None, "source": "demo"}, "--captioner-model"),
        ({"second_reader_model": "m", "model": None}, "--reader-model"),
        ({"readings": 0}, "--readings 0"),
    ],
)
def test_wrong_calls_are_said_in_a_line(config, change, says, tmp_path):
    with pytest.raises(UsageError) as error:
        build(replace(config, out=tmp_path / "r", **change))
    assert says in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "r").exists()


def test_measures_can_be_added_to_a_run_without_a_model(tmp_path, serve):
    made = Config("demo", out=tmp_path / "r", limit=3)
    build(made)
    server = serve(world.respond)
    filters = (*made.filters, "blind", "audio_contribution")
    counts = build(
        replace(made, reader_model="stub", captioner_model="stub", captioner="labels,acoustic",
                reader_url=server.url, captioner_url=server.url, filters=filters)
    )  # fmt: skip
    assert counts["kept"] and counts["calls"] == server.stats()["answered"] > 0
