"""Every rule filter finds what is planted for it, and the benchmark of their speed leaves none out."""

from __future__ import annotations

import runpy

import planted
import polars as pl
import pytest
from generated import DEFECTS, questions

from datagen.filters import DEFAULT, FILTERS, PROBES


@pytest.mark.parametrize("name", planted.PLANTS)
def test_a_filter_finds_its_planted_defects(name):
    found = planted.PLANTS[name]()
    assert planted.passes(found), found


def test_a_filter_that_finds_nothing_or_drops_everything_does_not_pass():
    for keep in (True, False):
        rows = pl.DataFrame({"keep": [keep] * 100})
        assert not planted.passes(planted.counts(rows, [i < 30 for i in range(100)]))


def test_no_default_filter_is_missing_from_the_benchmark():
    speed = runpy.run_path(planted.__file__.replace("planted.py", "filters.py"))
    assert set(DEFAULT) - set(PROBES) <= set(speed["NAMES"]) <= {*FILTERS, "artefacts=aflite"}
    assert set(speed["measure"](400, list(speed["NAMES"]))["filters"]) >= set(speed["NAMES"])


def test_the_generated_rows_have_what_they_are_said_to():
    table = questions(5_000)
    assert table.equals(questions(5_000)) and not table.equals(questions(5_000, seed=1))
    assert set(table["defect"]) == {"", *DEFECTS}
    assert all(row["choices"][row["answer_index"]] == row["answer"] for row in table.iter_rows(named=True))
    share = table.select((pl.col("defect") == "popular").mean()).item()
    assert abs(share - DEFECTS["popular"]) < 0.02
