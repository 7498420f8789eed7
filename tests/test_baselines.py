from __future__ import annotations

import json
import os
import random
from pathlib import Path

import polars as pl
import pytest

from datagen.baselines import baselines, by_item

MMAU = Path(os.environ.get("DATAGEN_SHARED") or Path(__file__).parents[2] / "shared") / "data/mmau-test-mini.json"
TYPES = {"question": pl.String, "choices": pl.List(pl.String), "answer": pl.String}


def table(*rows):
    return pl.DataFrame([("q", choices, answer) for choices, answer in rows], schema=TYPES, orient="row")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((["a", "bb", "ccc"], "a"), {"random": 1 / 3, "position": [1, 0, 0], "last": 0, "longest": 0, "shortest": 1}),
        ((["a", "bb", "ccc"], "ccc"), {"random": 1 / 3, "position": [0, 0, 1], "last": 1, "longest": 1, "shortest": 0}),
        (
            (["aa", "bb"], "bb"),
            {"random": 0.5, "position": [0, 1], "last": 1, "longest": 0.5, "shortest": 0.5},
        ),  # a tie
        (
            (["aa", "aa", "b"], "aa"),
            {"random": 1 / 3, "position": [1, 0, 0], "longest": 0.5},
        ),  # gold = first equal choice
        (
            (["aa", "b"], "c"),
            {"random": 0, "position": [0, 0], "longest": 0, "without_gold": 1},
        ),  # the gold is no choice
        (([], "c"), {"random": None, "position": [], "longest": 0, "without_gold": 1}),
        ((["ää", "bbb"], "ää"), {"longest": 0}),  # characters, not bytes
    ],
)
def test_one_item(row, expected):
    found = baselines(table(row))
    for name, value in expected.items():
        assert found[name] == (value if value is None else pytest.approx(value))
    assert found["items"] == 1
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_no_items():
    found = baselines(table())
    assert (found["items"], found["random"], found["position"], found["last"]) == (0, None, [], None)


def test_mixed_numbers_of_choices():
    found = baselines(table((["a", "b"], "b"), (["a", "b", "c", "d"], "d")))
    assert found["position"] == [0, 0.5, 0, 0.5]
    assert (found["last"], found["random"]) == (1, 0.375)
    assert found["intervals"]["position"][1] == pytest.approx(
        {"correct": 1, "n": 2, "accuracy": 0.5, "low": 0.0945, "high": 0.9055}, abs=1e-4
    )


@pytest.mark.parametrize(
    ("question", "choices", "answer", "worth"),
    [
        ("Which dog barks?", ["a cat", "the Dog", "rain"], "the Dog", 1),
        ("Which dog barks?", ["a cat", "the dog", "rain"], "rain", 0),
        ("Which dog barks?", ["dog", "one dog", "rain"], "dog", 0.5),  # equally many words of theirs
        ("What is heard?", ["a", "b", "c", "d"], "d", 0.25),  # none share a word
        ("dog dog dog", ["dog cat", "dog"], "dog", 0.5),  # a word counts once
        ("哪只狗在叫", ["猫", "狗"], "狗", 1),
        (None, ["a", "b"], "b", 0.5),
        ("Which?", [], "b", 0),
        ("Which?", None, None, 0),
        ("Which dog?", ["dog", "cat"], "rain", 0),  # the gold is no choice
    ],
)
def test_the_choice_that_shares_most_words_with_the_question(question, choices, answer, worth):
    row = by_item(pl.DataFrame([(question, choices, answer)], schema=TYPES, orient="row"))
    assert row["overlap"].to_list() == [worth]


def test_what_each_baseline_is_worth_stands_in_the_order_of_the_table_whatever_the_slices(monkeypatch):
    rows = [(["a", "bb"], "bb"), ([], "x"), (["a", "b", "c"], "c"), (["a", "a"], "a"), (["a", "b"], None)] * 3
    whole = by_item(table(*rows))
    assert whole["gold"].to_list()[:5] == [1, None, 2, 0, None]
    assert whole["size"].to_list()[:5] == [2, 0, 3, 2, 2]
    monkeypatch.setattr("datagen.baselines.SLICE", 4)
    assert by_item(table(*rows)).equals(whole)
    assert by_item(table()).columns == whole.columns


def artefact(n, pick, clips=None):
    rng = random.Random(0)
    rows = []
    for i in range(n):
        choices = [f"{rng.choice('abcdefgh') * 3} {rng.choice('stuvwxyz') * 3}" for _ in range(4)]
        rows.append((f"q{i}", choices, choices[pick(rng, choices)]))
    made = pl.DataFrame(rows, schema=TYPES, orient="row")
    return made if clips is None else made.with_columns(clip_id=pl.Series([str(i % clips) for i in range(n)]))


@pytest.mark.parametrize(
    ("pick", "low", "high"),
    [
        (lambda rng, choices: rng.randrange(4), 0.15, 0.35),  # nothing to learn
        (lambda rng, choices: 2 if rng.random() < 0.8 else 0, 0.7, 0.9),  # the place tells
        (lambda rng, choices: max(range(4), key=lambda i: choices[i]), 0.7, 1.0),  # the words tell
    ],
)
def test_choices_only_finds_what_is_there(pick, low, high):
    assert low < baselines(artefact(600, pick))["choices_only"] < high


def test_choices_only_learns_across_clips_alone():
    """One answer a clip: what was seen of the same clip must not help."""
    rng = random.Random(0)
    secret = [rng.randrange(4) for _ in range(30)]
    rows = artefact(600, lambda rng, choices: 0, clips=30)
    names = ["aaa sss", "bbb ttt", "ccc uuu", "ddd vvv"]
    rows = rows.with_columns(
        choices=pl.Series([[f"{name} {clip}" for name in names] for clip in rows["clip_id"]]),
        answer=pl.Series([f"{names[secret[int(clip)]]} {clip}" for clip in rows["clip_id"]]),
    )
    assert baselines(rows)["choices_only"] < 0.5


def test_choices_only_needs_rows():
    assert baselines(artefact(49, lambda rng, choices: 0))["choices_only"] is None
    assert baselines(artefact(50, lambda rng, choices: 0))["intervals"]["choices_only"]["n"] == 50


def test_choices_only_does_not_depend_on_the_order_of_rows(monkeypatch):
    monkeypatch.setattr("datagen.baselines.MOST_ITEMS", 200)
    rows = artefact(300, lambda rng, choices: 1 if rng.random() < 0.5 else 3)
    found = baselines(rows)["intervals"]["choices_only"]
    assert found["n"] == 200
    assert baselines(rows.sample(fraction=1, shuffle=True, seed=1))["intervals"]["choices_only"] == found


@pytest.mark.skipif(not MMAU.exists(), reason="the benchmark file lies beside the repository, where it is at all")
def test_mmau_test_mini():
    items = json.loads(MMAU.read_text(encoding="utf-8"))
    found = baselines(
        pl.DataFrame([[r["question"], r["choices"], r["answer"]] for r in items], schema=TYPES, orient="row")
    )
    assert found["position"][:4] == [0.395, 0.271, 0.208, 0.126]
    assert found["random"] == pytest.approx(0.255, abs=5e-4)
    assert 0.3665 <= found["longest"] <= 0.394
    assert found["without_gold"] == 0
    assert found["choices_only"] > 0.427  # place and length alone reach that
