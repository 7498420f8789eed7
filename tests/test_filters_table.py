from __future__ import annotations

import json
import random
import tracemalloc
from collections import Counter

import polars as pl
import pytest

from datagen.filters.balance import Balance, winners
from datagen.filters.caps import cap
from datagen.filters.duplicates import Duplicates
from datagen.filters.positions import reletter
from datagen.plugins import Context
from datagen.records import Question, schema
from datagen.seeds import draws

CONTEXT = Context(seed=7, prompts=None)


def table(rows):
    """rows: (clip, question, answer, form, sha256)"""
    made = [(f"q{i}", f"demo/{clip}", q, [a, *(letter * max(len(a), 1) for letter in "zyx")], a, 0, "rules",
             json.dumps({"form": form}), sha) for i, (clip, q, a, form, sha) in enumerate(rows)]  # fmt: skip
    text = dict.fromkeys(
        ["id", "clip_id", "question", "choices", "answer", "answer_index", "generator", "provenance", "sha256"],
        pl.String,
    )
    return pl.DataFrame(made, schema=text | {"choices": pl.List(pl.String), "answer_index": pl.Int32}, orient="row")


def reasons(filter, rows):
    return filter(CONTEXT).judge(table(rows))["reason"].to_list()


LONG = "In the audio clip, which of the two sounds that you hear comes {}?"


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (("a", "What  IS it?", "cat", "f", "1"), "exact_duplicate"),  # case and spaces fold away
        (("a", "Ｗhat is it?", "cat", "f", "1"), "exact_duplicate"),  # so does the width of a letter
        (("b", "What is it?", "dog", "f", "2"), ""),  # the same question about another clip
        (("b", "What is it?", "dog", "f", "1"), "exact_duplicate"),  # a copy of the clip under another id
        (("a", "What is that?", "dog", "f", "1"), ""),  # overlap 3/5
        (("a", "Where is it?", "dog", "f", "1"), ""),
    ],
)
def test_exact_duplicates(second, reason):
    assert reasons(Duplicates, [("a", "What is it?", "dog", "f", "1"), second]) == ["", reason]


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        (LONG.format("first") + " Tell.", "a dog", "near_duplicate"),
        (LONG.format("last"), "a siren", ""),  # one word of the question differs, and so does the answer
        (LONG.format("last"), "a dog", "near_duplicate"),
        (
            "Comes first which of the sounds two clip that hear you in the audio?",
            "a dog",
            "near_duplicate",
        ),  # order is no matter
    ],
)
def test_near_duplicates(question, answer, reason):
    first = ("a", LONG.format("first"), "a dog", "f", "1")
    assert reasons(Duplicates, [first, ("a", question, answer, "f", "1")]) == ["", reason]
    assert reasons(Duplicates, [first, ("b", question, answer, "f", "2")]) == ["", ""]


def test_what_was_dropped_drops_nothing():
    words = [f"w{i}" for i in range(40)]
    chain = [" ".join(words[i : i + 30]) for i in (0, 3, 6)]  # 27/33 between neighbours, 24/36 between the ends
    assert reasons(Duplicates, [("a", q, "dog", "f", "1") for q in chain]) == ["", "near_duplicate", ""]


def test_near_duplicates_equal_all_pairs():
    rng = random.Random(1)
    rows = [
        ("a", " ".join(rng.choices("abcdefghijklmnop", k=rng.randint(1, 14))), rng.choice("xy"), "f", "1")
        for _ in range(400)
    ]
    sets, texts, expected = [], set(), []
    for _, q, a, _, _ in rows:
        words = {*q.split(), "answer " + a}
        near = any(len(words & s) / len(words | s) >= 0.8 for s in sets)
        expected.append("exact_duplicate" if q in texts else "near_duplicate" if near else "")
        if not expected[-1]:
            sets.append(words)
            texts.add(q)
    assert reasons(Duplicates, rows) == expected
    assert Counter(expected).keys() == {"", "exact_duplicate", "near_duplicate"}


@pytest.mark.parametrize("filter", [Duplicates, Balance])
@pytest.mark.parametrize("rows", [[], [("a", "", "", "", "")], [("a", "…?", "🎵", "f", None)] * 2])
def test_odd_tables(filter, rows):
    found = filter(CONTEXT).judge(table(rows))
    assert found.columns == ["question_id", "keep", "reason", "score"]
    assert found.dtypes == [pl.String, pl.Boolean, pl.String, pl.Float64]
    assert found.height == len(rows)


def test_a_table_without_hashes():
    rows = table([("a", "What?", "dog", "f", "1"), ("b", "What?", "dog", "f", "1")]).drop("sha256")
    assert Duplicates(CONTEXT).judge(rows)["keep"].to_list() == [True, True]


def test_answer_cap_holds_for_what_is_kept():
    rows = [
        ("a", str(i), "dog" if i < 300 else "Dog " if i < 400 else f"answer {i % 150}", "", "") for i in range(1_000)
    ]
    found = Balance(CONTEXT).judge(table(rows))
    kept = [row[2].strip().casefold() for row, keep in zip(rows, found["keep"], strict=True) if keep]
    assert Counter(found["reason"]) == {"": 631, "answer_cap": 369}  # 31 of 631 is the most that is at most 5 %
    assert Counter(kept)["dog"] == 31


def test_small_sets_lose_no_answer():
    assert reasons(Balance, [("a", str(i), "dog", "", "") for i in range(20)]) == [""] * 20


def test_form_cap_holds_for_what_is_kept():
    rows = [("a", str(i), f"answer {i}", f"form {0 if i < 50 else 1 + i % 9}", "") for i in range(100)]
    found = Balance(CONTEXT).judge(table(rows))
    kept = Counter(row[3] for row, keep in zip(rows, found["keep"], strict=True) if keep)
    assert max(kept.values()) / sum(kept.values()) <= 0.2
    assert kept["form 0"] == 12  # 12 of 62; 13 of 63 would be more
    assert set(found["reason"]) == {"", "form_cap"}


def test_few_forms_are_not_capped_away():
    rows = [("a", str(i), f"answer {i}", f"form {i % 3}", "") for i in range(90)]
    assert reasons(Balance, rows) == [""] * 90


def test_which_rows_go_depends_on_seed_and_id_alone():
    rows = table([("a", str(i), f"answer {i}", f"form {i % 9 if i % 2 else 0}", "") for i in range(200)])
    first = Balance(CONTEXT).judge(rows)
    other = Balance(CONTEXT).judge(rows.sample(fraction=1, shuffle=True, seed=3))
    assert first.sort("question_id").equals(other.sort("question_id"))
    assert not first.equals(Balance(Context(seed=8, prompts=None)).judge(rows))


@pytest.mark.parametrize("counts", [[5], [1, 1], [100, 3, 3, 3, 3, 3], [9] * 7, [50, 40, 30, 20, 10, 5, 5, 5]])
@pytest.mark.parametrize("rest", [0, 30])
def test_cap_is_the_largest_that_holds(counts, rest):
    def holds(limit):
        return limit <= 0.2 * (rest + sum(min(limit, n) for n in counts))

    best = max((limit for limit in range(1, max(counts) + 1) if holds(limit)), default=1)
    assert cap(pl.Series(counts), rest + sum(counts), 0.2) == best


def questions(n, seed=0):
    rng = random.Random(seed)
    made = []
    for i in range(n):
        choices = rng.sample(["1", "2", "3", "4", "5", "ten"], k=rng.choice([2, 3, 4]))
        made.append((f"q{i}", choices, choices[0], 0, "train" if i % 7 else "validation"))
    text = dict.fromkeys(["id", "choices", "answer", "answer_index", "split"], pl.String)
    return pl.DataFrame(made, schema=text | {"choices": pl.List(pl.String), "answer_index": pl.Int32}, orient="row")


@pytest.mark.parametrize("n", [0, 1, 5, 500])
def test_reletter_spreads_the_answers(n):
    before = questions(n)
    after = reletter(before, 3)
    assert after.schema == before.schema
    for _, group in after.group_by("split", pl.col("choices").list.len()):
        size = len(group["choices"][0])
        counts = [group.filter(pl.col("answer_index") == place).height for place in range(size)]
        assert max(counts) - min(counts) <= 1
    for old, new in zip(before.iter_rows(named=True), after.iter_rows(named=True), strict=True):
        assert new["choices"][new["answer_index"]] == new["answer"] == old["answer"]
        assert sorted(new["choices"]) == sorted(old["choices"])
        assert new["id"] == old["id"]


def test_reletter_depends_on_seed_and_ids_alone():
    rows = questions(200)
    first = reletter(rows, 3)
    backwards = rows[::-1].with_columns(pl.col("choices").list.reverse())
    assert reletter(backwards, 3)[::-1].equals(first)
    assert not reletter(rows, 4).equals(first)


def test_distractors_move_too():
    rows = reletter(questions(300).with_columns(choices=pl.lit(["a", "b", "c", "d"]), answer=pl.lit("a")), 3)
    assert len({tuple(choices) for choices in rows["choices"]}) == 24


def test_the_real_columns_are_enough():
    """What build.py hands over has the columns of a Question, `captions` and those of the clip."""
    question = Question.make(
        "demo/a", "What?", ["x", "y"], "x", domain="sound", skill="s", generator="rules", provenance={"form": "f"}
    )
    row = {name: getattr(question, name) for name in schema(Question).names} | {
        "provenance": '{"form":"f"}',
        "captions": ["c"],
    }
    rows = pl.DataFrame([row])
    assert Duplicates(CONTEXT).judge(rows)["keep"].all()
    assert Balance(CONTEXT).judge(rows)["keep"].all()


def test_two_hundred_thousand_rows():
    """With at most 2 kB a question; what is quadratic runs into the timeout."""
    rng, n = random.Random(0), 200_000
    words = [f"word{i}" for i in range(300)]
    rows = table([
        (str(i // 5), " ".join(rng.choices(words, k=12)), rng.choice(words), f"form {i % 21}", f"sha{i // 10}")
        for i in range(n)
    ])  # fmt: skip
    Duplicates(CONTEXT).judge(rows)
    Balance(CONTEXT).judge(rows)
    tracemalloc.start()
    try:
        Balance(CONTEXT).judge(rows.head(20_000))
        Duplicates(CONTEXT).judge(rows.head(20_000))
        assert tracemalloc.get_traced_memory()[1] / 20_000 < 2_000
    finally:
        tracemalloc.stop()


def test_an_answer_that_wins_in_its_form_is_thinned_out():
    choices = ["up", "down", "flat", "both ways"]
    rows = [("direction", choices, "up" if i % 10 < 7 else choices[1 + i % 3]) for i in range(200)]
    fair = [("fair", choices, choices[i % 4]) for i in range(200)]
    offers = pl.DataFrame([*rows, *fair], schema=["form", "choices", "answer"], orient="row").with_row_index("row")
    offers = offers.with_columns(drawn=pl.Series(draws(0, "prior", map(str, range(400)))))
    dropped = winners(offers)
    assert 0 < len(dropped) < 140 and all(row < 200 and rows[row][2] == "up" for row in dropped)
    assert len([row for row in rows if row[2] == "up"]) - len(dropped) == 76  # 1.5 × 200 / 4, and one
    assert winners(offers.head(0)).is_empty()
