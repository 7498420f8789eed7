"""One question twice in other words: the real MiniLM out of its wheel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import planted
import polars as pl
import pytest

from datagen.errors import UsageError
from datagen.filters import semantic
from datagen.filters.semantic import Semantic
from datagen.plugins import Context

CONTEXT = Context(seed=0, prompts=None)
DOG = ("Which animal makes the loud noise at the start?", "a dog")
CREATURE = ("What creature is responsible for the loud sound in the beginning?", "a dog")
BELL = ("What happens before the bell rings?", "a door slams")
AFTER = ("What happens after the bell rings?", "a door opens")


def judged(minilm, rows, value=None):
    """rows: (clip, (question, answer))"""
    table = pl.DataFrame(
        [(str(i), clip, *text) for i, (clip, text) in enumerate(rows)],
        schema={"id": pl.String, "clip_id": pl.String, "question": pl.String, "answer": pl.String},
        orient="row",
    )
    return Semantic(replace(CONTEXT, value=value or str(minilm))).judge(table)


def test_planted_defects_are_found(minilm):
    found = planted.semantic(str(minilm), rows=160)
    assert planted.passes(found), found


def test_one_question_in_other_words_goes_where_it_is_about_the_same_clip(minilm):
    rows = [("a", DOG), ("a", BELL), ("b", CREATURE), ("a", AFTER), ("a", CREATURE), ("a", (None, None))]
    found = judged(minilm, rows)
    assert found["reason"].to_list() == ["", "", "", "", "semantic_duplicate", ""]
    assert found["score"][4] > semantic.ALIKE > found["score"][1]
    assert found["score"][0] is None and found["score"][2] is None  # the first of their clips
    assert judged(minilm, rows, f"{minilm}:0.99")["keep"].all()
    assert judged(minilm, []).height == 0


def test_the_parts_of_a_large_table_change_nothing(minilm, monkeypatch):
    rows = [(str(i // 4), text) for i, text in enumerate([DOG, BELL, CREATURE, AFTER] * 5)]
    whole = judged(minilm, rows)
    monkeypatch.setattr(semantic, "ROWS", 7)
    monkeypatch.setattr(semantic, "BATCH", 3)
    assert judged(minilm, rows).equals(whole)
    assert whole["reason"].to_list() == ["", "", "semantic_duplicate", ""] * 5


def test_embeddings_have_length_one_and_do_not_depend_on_their_company(minilm):
    alone = semantic.embedded(["a dog barks"], str(minilm))
    beside = semantic.embedded(["a dog barks", "x " * 400, "", "a dog barks"], str(minilm))
    np.testing.assert_allclose(np.linalg.norm(beside, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(beside[[0, 3]], alone[[0, 0]], atol=1e-5)


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "names no model: use semantic=FOLDER"), ("/nowhere/model", "--filters semantic=/nowhere/model: ")],
)
def test_a_model_that_is_not_there_is_said(value, said):
    with pytest.raises(UsageError) as error:
        Semantic(replace(CONTEXT, value=value))
    assert said in str(error.value) and "\n" not in str(error.value)
