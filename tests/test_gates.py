"""The table of gates: each finds its own artefact, and three outcomes are told apart."""

from __future__ import annotations

import random

import polars as pl
import pytest

from datagen.gates import GATES, LIMIT, gates, worth

TYPES = {"question": pl.String, "choices": pl.List(pl.String), "answer": pl.String}
WORDS = [f"{a}{b}" for a in "bcdfghjklm" for b in ("ara", "ele", "idi", "omo", "unu")]


def rows(n, pick, choices=4, clips=None):
    """`pick(rng, question, choices)` says which choice is right."""
    rng, made = random.Random(0), []
    for _ in range(n):
        question = " ".join(rng.sample(WORDS, 5)) + "?"
        offered = [" ".join(rng.sample(WORDS, rng.randint(1, 3))) for _ in range(choices)]
        made.append((question, offered, offered[pick(rng, question, offered)]))
    table = pl.DataFrame(made, schema=TYPES, orient="row")
    return table if clips is None else table.with_columns(clip_id=pl.Series([str(i % clips) for i in range(n)]))


def by_name(table):
    return {gate["name"]: gate for gate in gates(table)}


def anything(rng, question, choices):
    return rng.randrange(len(choices))


def often(which):
    """The choice `which` finds in half of the questions."""
    return lambda rng, question, choices: (
        which(question, choices) if rng.random() < 0.5 else rng.randrange(len(choices))
    )


ARTEFACTS = {
    "first": lambda question, choices: 0,
    "third": lambda question, choices: 2,
    "last": lambda question, choices: len(choices) - 1,
    "longest": lambda question, choices: max(range(len(choices)), key=lambda i: len(choices[i])),
    "shortest": lambda question, choices: min(range(len(choices)), key=lambda i: len(choices[i])),
    "overlap": lambda question, choices: max(
        range(len(choices)), key=lambda i: len(set(choices[i].split()) & set(question[:-1].split()))
    ),
    "choices_only": lambda question, choices: max(range(len(choices)), key=lambda i: choices[i]),
    "question_and_choices": lambda question, choices: (max if question < "g" else min)(
        range(len(choices)), key=lambda i: choices[i]
    ),
}


@pytest.mark.parametrize("name", ARTEFACTS)
def test_a_gate_finds_its_artefact(name):
    found = by_name(rows(2_000, often(ARTEFACTS[name])))
    assert found[name]["outcome"] == "fail" and found[name]["ok"] is False
    assert LIMIT < found[name]["low"] < found[name]["value"] < found[name]["high"]


def test_what_is_clean_passes_every_gate():
    found = by_name(rows(9_000, anything))
    assert {name: gate["outcome"] for name, gate in found.items()} == dict.fromkeys(found, "pass")
    assert list(found) == ["first", "second", "third", "fourth", *list(ARTEFACTS)[2:]]


def test_few_rows_cannot_tell():
    found = by_name(rows(100, anything))
    assert all(gate["ok"] is None and gate["outcome"] == "too_few" for gate in found.values())
    assert by_name(rows(49, anything))["choices_only"]["value"] is None


def test_rows_of_one_clip_count_as_one():
    """6,000 rows of 40 clips, each of them with all its answers at one place."""
    table = rows(6_000, anything, clips=40)
    place = pl.col("clip_id").cast(pl.Int64) % 4
    table = table.with_columns(answer=pl.col("choices").list.get(place))
    assert by_name(table)["first"]["outcome"] == "too_few"
    assert by_name(table.drop("clip_id"))["first"]["outcome"] == "pass"


def test_a_place_that_a_question_lacks_is_guessed():
    """A hundred questions of five choices among nine hundred of two do not make "the fifth" worth anything."""
    table = pl.concat([rows(900, anything, choices=2), rows(100, lambda *_: 4, choices=5)])
    fifth = by_name(table)["fifth"]
    assert fifth["value"] == pytest.approx(100 * (1 - 0.2) / 1_000)


@pytest.mark.parametrize("broken", [[], [("q", [], "a")], [("q", None, "a")], [(None, ["a", None], None)] * 60])
def test_odd_tables_are_too_few(broken):
    assert all(gate["ok"] is None for gate in gates(pl.DataFrame(broken, schema=TYPES, orient="row")))


def test_an_answer_that_is_no_choice_tells_nothing():
    lost = rows(400, anything).with_columns(answer=pl.lit("elsewhere"))
    assert worth(lost)["longest"].sum() == 0
    assert {gate["outcome"] for gate in gates(lost)} == {"too_few"}
    table = rows(400, often(ARTEFACTS["longest"]))
    assert by_name(pl.concat([table, lost]))["longest"]["value"] == by_name(table)["longest"]["value"]


def test_every_gate_names_its_source():
    assert all("http" in gate.source and gate.limit == LIMIT for gate in GATES)
    assert len({gate.name for gate in GATES}) == len(GATES)


def test_more_than_ten_choices():
    assert "tenth" in by_name(rows(60, anything, choices=12))
