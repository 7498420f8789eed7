"""The run directory: one process at a time, whole files only, inputs that cannot change under a run."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from datagen.columns import arrow, table_of
from datagen.errors import UsageError
from datagen.records import Caption, Clip, Fact, Failure, Question, Verdict, canonical, schema
from datagen.run import Run, Spool, rare_collections

QUESTION = Question.make(
    "demo/a", "Which comes first?", ["a bell", "a drum"], "a drum", domain="sound", skill="order", generator="rules",
    provenance={"form": "order/first", "keys": []},
)  # fmt: skip


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path):
    run = Run(tmp_path / "r")
    with run.held():
        code = (
            "from pathlib import Path; from datagen.run import Run; import sys\n"
            "try:\n with Run(Path(sys.argv[1])).held(): print('held')\nexcept Exception as e: print(e)"
        )
        said = subprocess.run([sys.executable, "-c", code, run.path], capture_output=True, text=True, timeout=60).stdout
    assert f"process {os.getpid()} is working in it" in said
    with run.held():
        pass


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ({"source": "demo", "seed": 0}, {"source": "demo", "seed": 1}, "seed was 0, now 1"),
        ({"source": "demo"}, {"source": "demo", "language": "French"}, 'language was null, now "French"'),
        ({"source": "demo", "old": 1}, {"source": "demo"}, "old was 1, now null"),
    ],
)
def test_other_inputs_are_refused_by_the_first_key_that_differs(tmp_path, before, now, says):
    run = Run(tmp_path)
    run.save(fingerprints={"inputs": before})
    run.check_inputs(before)
    with pytest.raises(UsageError, match=says):
        run.check_inputs(now)


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_run_json_that_is_none_of_ours_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UsageError, match=r"run\.json"):
        Run(tmp_path).earlier()


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"holds 'thesis\.tex' but no run\.json"):
        Run(tmp_path).earlier()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "r").touch()
    with pytest.raises(UsageError, match="choose a folder that can be written"), Run(tmp_path / "r").held():
        pass


def test_rows_come_back_in_order_over_segments_and_typed(tmp_path):
    run = Run(tmp_path)
    spool = Spool(run)
    fact = Fact("tempo", value=120.0, low=118.0, high=122.0, unit="bpm")
    for number in range(3):
        clip = Clip(f"demo/{number}", "demo", "x.wav", labels=("bell",))
        spool.add([clip, Caption(clip.id, 0, "A bell.", "acoustic", facts=(fact,))])
        spool.close_segment()
    assert spool.read(Clip)["id"].to_list() == ["demo/0", "demo/1", "demo/2"]
    assert spool.read(Verdict).is_empty()
    spool.keep(Caption)
    assert run.rows(Caption) == 3
    table = run.read(Caption)
    assert table["facts"][2].to_list()[0]["value"] == 120.0
    spool.discard()
    assert not spool.folder.exists()


def test_every_table_round_trips_through_its_schema(tmp_path):
    run = Run(tmp_path)
    spool = Spool(run)
    records = [QUESTION, Verdict(QUESTION.id, "balance", True), Failure("audio", "audio_empty", "demo/a", "0 s", "raw")]
    spool.add(records)
    spool.close_segment()
    for record in (Question, Verdict, Failure, Clip):
        run.write(record, [spool.read(record)])
        assert run.read(record).columns == schema(record).names
    assert json.loads(run.read(Question)["provenance"][0]) == QUESTION.provenance
    assert run.read(Failure)["question"].to_list() == [None]


@pytest.mark.parametrize(
    "rows",
    [
        [Clip("demo/a", "demo", "é\0.wav", labels=("a", "")), Clip("demo/b", "demo", "b", 0.1, media_end=-0.0)],
        [
            Caption("c", 1, "", "x"),
            Caption("d", 2, "\U0001f514", "x", facts=(Fact("f", 1 / 3), Fact("g", text="t", unit="s"))),
        ],
        [QUESTION, replace(QUESTION, provenance={}, choices=("a drum", "b", "c"), answer_index=0)],
        [Verdict("q", "f", True), Verdict("q", "f", False, "r", 0.5, ("k", "l"), 0.25, 1e-300)],
        [Failure("write", "no_json", "c", "e", "{", "q", "k")],
    ],
)
def test_columns_hold_what_pyarrow_makes_of_the_rows(rows):
    def row(record):
        held = {field.name: getattr(record, field.name) for field in fields(record) if field.name != "questions"}
        if "facts" in held:
            held["facts"] = [row(fact) for fact in record.facts]
        return {name: canonical(value) if isinstance(value, dict) else value for name, value in held.items()}

    kind = type(rows[0])
    for some in (rows, rows[:1], []):
        made = table_of(kind, some)
        made.validate(full=True)
        assert made.equals(pa.Table.from_pylist([row(record) for record in some], schema=schema(kind)))


def test_a_polars_table_becomes_what_a_cast_makes_of_it():
    table = pl.DataFrame({
        "text": ["a", None, "é\0", ""], "texts": [["x", None], None, [], ["y", "z"]], "number": [0.5, None, -0.0, 1.0],
        "none": [None] * 4, "wide": [1, 2, None, 4], "keep": [True, None, False, True],
    })  # fmt: skip
    texts = pa.list_(pa.string())
    kinds = [pa.string(), texts, pa.float64(), pa.float64(), pa.int32(), pa.bool_()]
    kind = pa.schema(list(zip(table.columns, kinds, strict=True)))
    for some in (table, table[1:], table[2:3], table.clear(), pl.concat([table, table[3:]]), table[[3, 0]]):
        made = arrow(some, kind)
        made.validate(full=True)
        assert made.equals(some.to_arrow().cast(kind))


def test_text_that_no_column_holds_is_refused_and_not_cut(monkeypatch):
    ends = pa.array([0, 2**31], pa.int64()).buffers()[1]
    vast = pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(np.zeros(2**31, np.uint8))])
    monkeypatch.setattr(pl.DataFrame, "to_arrow", lambda _: pa.table({"text": vast}))
    with pytest.raises(pa.ArrowInvalid, match="too large"):
        arrow(pl.DataFrame(), pa.schema({"text": pa.string()}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"choices": ["a bell"]}, "1 choices"),
        ({"choices": ["a bell", "A  BELL"]}, "equal choices"),
        ({"choices": ["a bell", " "]}, "an empty choice"),
        ({"answer": "a gong"}, "'a gong' is not among its 2 choices"),
        ({"question": " "}, "the question is empty"),
        ({"domain": "noise"}, "domain 'noise'"),
    ],
)
def test_a_question_checks_itself_and_names_the_value(change, says):
    good = {
        "clip_id": "demo/a",
        "question": "Q?",
        "choices": ["a bell", "a drum"],
        "answer": "a bell",
        "domain": "sound",
    }
    with pytest.raises(ValueError, match=says):
        Question.make(**{**good, **change}, skill="s", generator="llm", provenance={})


def test_the_collector_is_left_as_it_was():
    before = gc.get_threshold()
    with pytest.raises(UsageError), rare_collections():
        assert gc.get_threshold()[0] > before[0]
        raise UsageError("x")
    assert gc.get_threshold() == before
