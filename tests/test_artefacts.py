"""What can be told from the text alone: the models, the column, and what adversarial filtering takes."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest

from datagen.build import Config, build
from datagen.chooser import BATCH, RATE, STEPS, cross_validated, featured, fit, flatten, naive_bayes
from datagen.errors import UsageError
from datagen.filters.artefacts import Artefacts
from datagen.gates import gates
from datagen.plugins import Context

WORDS = [f"{a}{b}" for a in "bcdfghjklm" for b in ("ara", "ele", "idi", "omo", "unu")]
COLUMNS = {
    "id": pl.String, "clip_id": pl.String, "question": pl.String, "choices": pl.List(pl.String), "answer": pl.String,
    "generator": pl.String,
}  # fmt: skip


def context(value=None, seed=0):
    return Context(seed=seed, prompts=None, value=value)


def table(n, told=0.0, generator="llm"):
    """n questions, three a clip; a share `told` of them has a word that only answers have."""
    rng, made = random.Random(0), []
    for i in range(n):
        choices = [" ".join(rng.sample(WORDS, 2)) for _ in range(4)]
        marked = rng.random() < told
        choices = [f"{c} {'gently' if k == 0 else 'nearby'}" if marked else c for k, c in enumerate(choices)]
        answer = choices[0]
        rng.shuffle(choices)
        question = " ".join(rng.sample(WORDS, 4)) + "?"
        made.append((f"q{i}", f"c{i // 3}", question, choices, answer, generator))
    return pl.DataFrame(made, schema=COLUMNS, orient="row")


def test_the_score_is_what_the_text_gives_to_the_answer():
    rows = table(1_000, told=0.3)
    found = Artefacts(context()).judge(rows)
    told = rows["answer"].str.ends_with("gently")
    assert found["keep"].all() and found["reason"].unique().to_list() == [""]
    assert found.filter(told)["score"].mean() > 0.7 > 0.35 > found.filter(~told)["score"].mean() > 0.15
    assert found["score"].is_between(0, 1).all()


def test_aflite_takes_what_tells_and_little_else():
    rows = table(1_000, told=0.3)
    filter = Artefacts(context("aflite"))
    found = filter.judge(rows)
    told = rows["answer"].str.ends_with("gently")
    dropped = found.filter(~found["keep"])
    assert dropped["reason"].unique().to_list() == ["predictable"]
    assert (told & ~found["keep"]).sum() > 0.6 * told.sum()
    assert (~told & ~found["keep"]).sum() < 0.1 * (~told).sum()
    before, after = ({g["name"]: g["value"] for g in gates(part)} for part in (rows, rows.filter(found["keep"])))
    assert before["choices_only"] > 0.15 and after["choices_only"] < 0.05
    assert set(filter.notes) == {"choices_only", "question_and_choices", "judge"}
    assert "naive Bayes" in filter.notes["judge"] and "→" in filter.notes["judge"]


def test_aflite_leaves_clean_questions_alone_and_says_what_it_costs():
    filter = Artefacts(context("aflite"))
    kept = filter.judge(table(1_000, generator="rules"))["keep"]
    assert (~kept).sum() <= 20
    assert filter.notes["measured"] == f"{(~kept).sum()} of 1000 measured questions dropped"


def test_the_order_of_rows_does_not_matter(monkeypatch):
    monkeypatch.setattr("datagen.filters.artefacts.MEMBERS", 2)
    rows = table(300, told=0.4)
    once = Artefacts(context("aflite")).judge(rows)
    other = Artefacts(context("aflite")).judge(rows.sample(fraction=1, shuffle=True, seed=1))
    assert once.sort("question_id").equals(other.sort("question_id"))
    assert not once.equals(Artefacts(context("aflite", seed=1)).judge(rows))


def test_many_rows_are_dealt_to_several_ensembles_by_clip(monkeypatch):
    monkeypatch.setattr("datagen.filters.artefacts.AT_ONCE", 400)
    monkeypatch.setattr("datagen.filters.artefacts.MEMBERS", 3)
    rows = table(700, told=0.3)
    kept = Artefacts(context("aflite")).judge(rows)["keep"]
    told = rows["answer"].str.ends_with("gently")
    assert (told & ~kept).sum() > 0.5 * told.sum()


@pytest.mark.parametrize("value", [None, "aflite"])
@pytest.mark.parametrize(
    "rows",
    [
        [],
        [("a", "c", "q?", ["x", "y"], "x", "llm")],
        [("a", None, None, None, None, None)] * 60,
        [(str(i), "one clip", "", [], "x", "llm") for i in range(60)],
        [(str(i), str(i), "猫は何をしていますか?", ["鳴く", "走る"] * 5, "鳴く", "llm") for i in range(60)],
        [(str(i), str(i), "x " * 5_000, ["y " * 5_000, "z"], "z", "llm") for i in range(55)],
        [(str(i), str(i), "none of them?", [None, "", "b"], "c", "llm") for i in range(60)],
    ],
)
def test_odd_tables(rows, value):
    table = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    found = Artefacts(context(value)).judge(table)
    assert found.height == table.height and found["score"].is_finite().all()


def test_another_value_is_refused():
    with pytest.raises(UsageError, match=r"artefacts=0\.9: use artefacts=aflite"):
        Artefacts(context("0.9"))


def test_a_build_drops_what_is_predictable_into_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr("datagen.filters.artefacts.MEMBERS", 3)
    counts = build(Config(source="demo", out=tmp_path / "run", filters=("wellformed", "artefacts=aflite")))
    rejected = pl.read_parquet(tmp_path / "run" / "rejected.parquet").filter(pl.col("stage") == "artefacts")
    assert counts["rejected"]["artefacts"] == {"predictable": rejected.height} and rejected.height
    assert rejected["score"].is_between(0, 1).all()
    verdicts = pl.read_parquet(tmp_path / "run" / "verdicts.parquet").filter(pl.col("filter") == "artefacts")
    assert (~verdicts["keep"]).sum() == rejected.height
    assert "measured questions dropped" in (tmp_path / "run" / "dataset" / "README.md").read_text(encoding="utf-8")


# ── the models ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pairs_of_words_and_their_order_count():
    rows = [(["not loud", "loud"], 0), (["loud", "not loud"], 1), (["a b", "b a"], 0), (["b a", "a b"], 1)] * 20
    table = pl.DataFrame(
        [(f"q{i}", f"c{i}", "?", c, c[k], "llm") for i, (c, k) in enumerate(rows)], schema=COLUMNS, orient="row"
    )
    assert cross_validated(table, question=False, place=False).credit.mean() == 1


@pytest.mark.parametrize("model", [fit, naive_bayes])
def test_what_goes_with_the_question_is_seen_only_with_it(model):
    rng, rows = random.Random(0), []
    for i in range(600):
        asked = rng.choice(["How many?", "How loud?"])
        choices = ["three", "very"] if rng.random() < 0.5 else ["very", "three"]
        rows.append((f"q{i}", f"c{i}", asked, choices, "three" if "many" in asked else "very", "llm"))
    table = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    assert cross_validated(table, question=True, model=model).credit.mean() > 0.95
    assert cross_validated(table, question=False, model=model).credit.mean() < 0.65


def test_each_column_is_fitted_for_itself_whatever_the_number_of_choices():
    rows = table(400, told=0.3)
    rows = rows.with_columns(pl.Series("choices", [c[: 2 + i % 3] for i, c in enumerate(rows["choices"].to_list())]))
    items = featured(flatten(rows), question=False, place=True)
    names, place = np.unique(items.features.columns, return_inverse=True)
    dense = np.zeros((len(items.right), 1 + len(names)))
    dense[:, 0] = items.features.length
    dense[np.repeat(np.arange(len(dense)), items.features.counts), 1 + place] = 1
    question = np.repeat(np.arange(len(items.rows)), items.sizes)
    parts = [np.flatnonzero(question // BATCH == i) for i in range(2)]
    batches = [(dense[part], question[part] - question[part[0]], items.right[part]) for part in parts]
    weights, averaged, squares = np.zeros(dense.shape[1]), np.zeros(dense.shape[1]), np.full(dense.shape[1], 1e-8)
    for step in range(STEPS):
        features, asked, right = batches[step % 2]
        size = np.exp(features @ weights)
        share = size / np.bincount(asked, size)[asked]
        slope = (share - right) @ features / (asked[-1] + 1) + weights / len(items.rows)
        squares += slope**2
        weights -= RATE * slope / np.sqrt(squares)
        averaged += weights / (STEPS // 2) * (step >= STEPS // 2)
    found = fit(items.features, items.sizes, items.right)
    assert BATCH < len(items.rows) <= 2 * BATCH and np.abs(averaged).max() > 0.1
    assert np.abs(found[[0, *names]] - averaged).max() < 1e-9
    assert np.count_nonzero(found) == len(averaged)


def test_without_places_the_order_of_choices_changes_nothing():
    rows = table(100)
    turned = rows.with_columns(pl.col("choices").list.reverse())
    straight, back = (featured(flatten(part), question=True, place=False) for part in (rows, turned))
    counts = np.bincount(straight.features.columns)
    assert np.array_equal(counts, np.bincount(back.features.columns))
    with_places = featured(flatten(turned), question=True, place=True).features
    assert not np.array_equal(counts, np.bincount(with_places.columns))


def test_flatten_names_the_first_of_equal_choices():
    flat = flatten(pl.DataFrame({"question": ["?"], "choices": [["a", "b", "b"]], "answer": ["b"]}))
    assert flat.right.tolist() == [False, True, False] and flat.place.tolist() == [0, 1, 2]
    assert isinstance(flat.sizes, np.ndarray) and flat.known.all()
