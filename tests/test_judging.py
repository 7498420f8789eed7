"""The verdicts of all filters, kept small until they are written: what comes out is what went in."""

from __future__ import annotations

import polars as pl
import pyarrow.parquet as pq
import pytest

from datagen import judging, run
from datagen.judging import Verdicts
from datagen.records import Verdict, schema

IDS = pl.Series("id", [f"q{number}" for number in range(50)])


def said(name, rows, **columns):
    """Verdicts of filter `name` on the questions at `rows`, in the columns of their table."""
    n = len(rows)
    blank = {"keep": [True] * n, "reason": [""] * n, "score": [None] * n, "keys": [[]] * n}
    given = {**blank, "low": [None] * n, "high": [None] * n, **columns}
    kinds = {"score": pl.Float64, "low": pl.Float64, "high": pl.Float64, "keys": pl.List(pl.String)}
    table = pl.DataFrame({"question_id": IDS.gather(rows), **given}, schema_overrides=kinds)
    return table.with_columns(filter=pl.lit(name)).select(schema(Verdict).names)


ALL = list(range(50))
FOUND = {
    "plain": (ALL, {}),
    "drops": (ALL, {"keep": [n % 3 > 0 for n in ALL], "reason": ["a" if n % 6 else "b" for n in ALL]}),
    "probe": (ALL[1:40:2], {"score": [n / 7 for n in range(20)], "keys": [["k", f"l{n}"] for n in range(20)]}),
    "measure": ([3, 41], {"score": [0.1, None], "low": [0.0, None], "high": [0.25, None]}),
    "of_none": ([], {}),
}


@pytest.mark.parametrize("group", [7, 50, 1000])
@pytest.mark.parametrize("slice_", [4, 50, 1000])
def test_verdicts_come_out_as_they_went_in(tmp_path, monkeypatch, slice_, group):
    monkeypatch.setattr(judging, "SLICE", slice_)
    monkeypatch.setattr(run, "ROWS_A_GROUP", group)
    tables = {name: said(name, rows, **columns) for name, (rows, columns) in FOUND.items()}
    verdicts = Verdicts(IDS)
    for name, (rows, _) in FOUND.items():
        verdicts.add(name, pl.Series(rows, dtype=pl.UInt32), tables[name].with_columns(error=pl.lit("")))
    made = run.Run(tmp_path)
    made.write(Verdict, verdicts.tables())
    whole = pl.concat(tables.values())
    assert made.read(Verdict).equals(whole)
    file = pq.ParquetFile(tmp_path / "verdicts.parquet")
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert sizes == [group] * (whole.height // group) + [whole.height % group] * (whole.height % group > 0)


def test_no_verdicts_are_an_empty_table(tmp_path):
    made = run.Run(tmp_path)
    made.write(Verdict, Verdicts(IDS).tables())
    assert made.read(Verdict).height == made.rows(Verdict) == 0
    assert made.read(Verdict).columns == schema(Verdict).names
