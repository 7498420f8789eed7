"""One reader of every multiple-choice set: small files in each published form, and all that can be wrong in one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest
from hub_server import HubServer, connect
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datagen.errors import UsageError
from datagen.mcq import COLUMNS, FIELDS, read
from datagen.versions import UNKNOWN

SHARED = Path(os.environ.get("DATAGEN_SHARED") or Path(__file__).parents[2] / "shared")
MMAU = SHARED / "data/mmau-test-mini.json"

MMAU_ROW = {
    "id": "u1", "audio_id": "./test-mini-audios/u1.wav", "question": "Who speaks?", "choices": ["Man", "Woman"],
    "answer": "Woman", "dataset": "AudioSet", "task": "sound", "split": "test-mini", "category": ["Reasoning"],
    "sub-category": "Acoustic Source Inference", "difficulty": "medium",
}  # fmt: skip
MMAR_ROW = {
    "id": "qx8hrhBZJ98_00-01-32_00-02-02", "audio_path": "./audio/x.wav", "question": "Which?", "choices": ["a", "b"],
    "answer": "b", "modality": "mix-sound-music", "category": "Cultural Layer", "sub-category": "Music Theory",
    "language": None, "source": "youtube", "url": "https://www.youtube.com/watch?v=qx8hrhBZJ98&list=R",
}  # fmt: skip
MMSU_ROW = {
    "id": "s1", "audio_path": "a.wav", "question": "Which?", "choice_a": "one", "choice_b": "two", "choice_c": "",
    "choice_d": "", "answer_gt": "two", "task_name": "accent", "category": "Perception", "sub-category": "Phonology",
}  # fmt: skip
PRO_ROW = {
    "id": "p1", "audio_path": ["a.wav", "b.wav"], "question": "Which?", "choices": ["x", "y"], "answer": "x",
    "category": "multi", "task_identifier": None, "sub-cat": "s",
}  # fmt: skip
AVQA_ROW = {
    "id": 183, "video_name": "-HG3Omg_89c_000030", "video_id": 341, "question_text": "What?", "answer": 2,
    "multi_choice": ["motorboat", None, "Bus", 5], "question_relation": "View", "question_type": "Come From",
}  # fmt: skip


def write(path, rows):
    lines = "\n".join(map(json.dumps, rows))
    path.write_text(lines if path.suffix == ".jsonl" else json.dumps(rows))
    return path


def only(path, rows):
    """The set in a file of these rows, and its first row."""
    found = read(write(path, rows))
    assert tuple(found.table.columns) == COLUMNS
    return found, found.table.row(0, named=True)


# ── the published forms ──────────────────────────────────────────────────────────────────────────────────────────────


def test_mmau(tmp_path):
    found, row = only(tmp_path / "f.json", [MMAU_ROW])
    assert (found.format, found.version, found.defects) == ("mmau", UNKNOWN, {"list_category": ("u1",)})
    assert (row["answer"], row["answer_index"], row["audio"]) == ("Woman", 1, ["./test-mini-audios/u1.wav"])
    assert (row["task"], row["dataset"], row["category"]) == ("sound", "AudioSet", "Reasoning")
    assert (row["sub_category"], row["difficulty"]) == ("Acoustic Source Inference", "medium")
    assert not found.broken


@pytest.mark.parametrize("style", ["({}) ", "{}. ", "{}) ", " [{}] ", "{}: "])
def test_labels_before_the_choices_are_taken_off(tmp_path, style):
    row = MMAU_ROW | {"choices": [style.format("A") + "Man", style.format("B") + "Woman"]}
    for answer in (row["choices"][1], "Woman", "B", "(b)"):
        found, read_ = only(tmp_path / "f.json", [row | {"answer": answer}])
        assert (read_["choices"], read_["answer"], read_["answer_index"]) == (["Man", "Woman"], "Woman", 1)
        assert found.labelled
        assert not found.broken


@pytest.mark.parametrize("choices", [["(A) x", "y"], ["(B) x", "(A) y"], ["A. ", "B. "], ["A", "B"], ["A minor", "B"]])
def test_what_only_looks_like_labels_stays(tmp_path, choices):
    found, row = only(tmp_path / "f.json", [MMAU_ROW | {"choices": choices, "answer": choices[0]}])
    assert (row["choices"], row["answer_index"], found.labelled) == (choices, 0, False)


def test_the_hub_layout_with_nested_fields(tmp_path):
    row = {
        "instruction": "Who?", "choices": ["(A) Man", "(B) Woman"], "answer": "(A) Man", "context": {"path": "x.wav"},
        "other_attributes": {"id": "u1", "task": "speech", "difficulty": "easy", "sub-category": "s"},
    }  # fmt: skip
    found, read_ = only(tmp_path / "f.json", [row])
    assert (found.format, read_["id"], read_["task"], read_["answer"]) == ("mmau", "u1", "speech", "Man")
    pl.DataFrame([row]).write_parquet(tmp_path / "f.parquet")
    assert read(tmp_path / "f.parquet").table.equals(found.table)


def test_mmar(tmp_path):
    found, row = only(tmp_path / "f.jsonl", [MMAR_ROW])
    assert (found.format, found.defects) == ("mmar", {})
    assert (row["task"], row["media_id"], row["language"]) == ("mix-sound-music", "qx8hrhBZJ98", None)


def test_mmsu_has_as_many_choices_as_are_filled(tmp_path):
    found, row = only(tmp_path / "f.jsonl", [MMSU_ROW])
    assert (found.format, found.defects) == ("mmsu", {})
    assert (row["choices"], row["answer_index"], row["skill"]) == (["one", "two"], 1, "accent")


def test_of_mmau_pro_what_is_no_multiple_choice_is_set_aside(tmp_path):
    others = [PRO_ROW | {"id": f"o{i}", "category": "open", "choices": None, "answer": "long"} for i in range(2)]
    told = PRO_ROW | {"id": "i", "category": "instruction following", "choices": None, "answer": None}
    found, row = only(tmp_path / "f.json", [PRO_ROW, *others, told])
    assert (found.format, found.set_aside) == ("mmau-pro", {"instruction following": 1, "open": 2})
    assert (found.table.height, row["audio"], found.defects) == (1, ["a.wav", "b.wav"], {})


def test_avqa_answers_with_a_place_in_the_list_as_it_was(tmp_path):
    found, row = only(
        tmp_path / "f.json", [AVQA_ROW, AVQA_ROW | {"id": 2, "answer": 1}, AVQA_ROW | {"id": 3, "answer": 4}]
    )
    assert (found.format, row["id"], row["media_id"]) == ("avqa", "183", "-HG3Omg_89c")
    assert (row["choices"], row["answer"], row["answer_index"]) == (["motorboat", "Bus", "5"], "Bus", 1)
    assert (row["category"], row["skill"]) == ("View", "Come From")
    assert set(found.defects["null_choice"]) == {"183", "2", "3"}
    assert found.defects["answer_not_among_choices"] == ("2", "3")
    assert found.defects["choice_not_text"] == ("183", "2", "3")


def ours(n=3):
    return pl.DataFrame(
        {
            "id": [f"q{i}" for i in range(n)], "question": ["What?"] * n, "choices": [["a", "b", "c"]] * n,
            "answer": ["b"] * n, "answer_index": pl.Series([1] * n, dtype=pl.Int32), "domain": ["sound"] * n,
            "skill": ["order"] * n, "captions": [["c1", "c2"]] * n, "source": ["demo"] * n, "clip_id": ["demo/x"] * n,
            "media_id": ["yt"] * n, "audio_dependence": pl.Series([None] * n, dtype=pl.Float64),
            "provenance": ["{}"] * n,
        }
    )  # fmt: skip


def test_our_dataset_is_read_from_the_run_its_folder_its_shards_and_one_file(tmp_path):
    data = tmp_path / "run/dataset/data"
    data.mkdir(parents=True)
    (tmp_path / "run/run.json").write_text("{}")
    (tmp_path / "run/dataset/README.md").write_text("card")
    ours().write_parquet(data / "train-00000-of-00001.parquet")
    ours(1).with_columns(id=pl.lit("v")).write_parquet(data / "validation-00000-of-00001.parquet")
    found = read(tmp_path / "run")
    assert (found.format, found.table["id"].to_list(), found.defects) == ("datagen", ["q0", "q1", "q2", "v"], {})
    row = found.table.row(0, named=True)
    assert (row["task"], row["skill"], row["dataset"], row["captions"]) == ("sound", "order", "demo", ["c1", "c2"])
    for place in (tmp_path / "run/dataset", data):
        assert read(place).table.equals(found.table)
        assert read(place).sha256 == found.sha256
    assert read(data / "train-00000-of-00001.parquet").table.equals(found.table.head(3))


def test_rows_and_tables_are_read_alike(tmp_path):
    ours().write_parquet(tmp_path / "f.parquet")
    (tmp_path / "f.json").write_text(json.dumps(ours().to_dicts()))
    assert read(tmp_path / "f.json").table.equals(read(tmp_path / "f.parquet").table)


def test_a_folder_of_datasets(tmp_path):
    from datasets import Dataset, DatasetDict

    data = Dataset.from_list([MMAU_ROW | {"category": "x"}])
    data.save_to_disk(str(tmp_path / "one"))
    DatasetDict(train=data, test=data.map(lambda row: {"id": "u2"})).save_to_disk(str(tmp_path / "two"))
    assert read(tmp_path / "one").table["id"].to_list() == ["u1"]
    assert read(tmp_path / "two").table["id"].to_list() == ["u1", "u2"]
    assert (tmp_path / "two").exists()


def test_bytes_of_audio_are_left_unread(tmp_path):
    rows = [MMAU_ROW | {"category": "x", "audio_id": None, "audio": {"path": "u1.wav", "bytes": b"RIFF"}, "blob": b"x"}]
    pl.DataFrame(rows).write_parquet(tmp_path / "f.parquet")
    assert read(tmp_path / "f.parquet").table["audio"].to_list() == [["u1.wav"]]


# ── other files ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rows", "index"),
    [
        ({"question": "q", "options": ["x", "y"], "label": "y"}, 1),
        ({"question": "q", "options": ["x", "y"], "answer_idx": 1}, 1),
        ({"query": "q", "candidates": ["x", "y"], "gold": 1}, 1),  # a number that is no choice is a place
        ({"question": "q", "choices": ["1", "2"], "answer": 1}, 0),  # here it is the text of one
        ({"question": "q", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answer": "B"}, 1),
        ({"question": "q", "choices": {"A": "x", "B": "y"}, "answer": "B"}, 1),
        ({"question": "q", "A": "x", "B": "y", "answer": "B"}, 1),
        ({"question": "q", "option1": "x", "option2": "y", "answer": "y"}, 1),
        ({"question": "q", "choices": "['x', 'y']", "answer": "y"}, 1),
        ({"question": "q", "choices": '["x", "y"]', "answer": "y"}, 1),
        ({"question": "q", "choices": ["A", "B"], "answer": "B", "answer_index": 1}, 1),
        ({"question": "q", "choices": ["B", "A"], "answer": "A"}, 1),  # a text before a letter
    ],
)
def test_names_and_forms_of_choices_and_answers(tmp_path, rows, index):
    found, row = only(tmp_path / "f.json", [rows])
    assert (found.format, found.broken, row["id"], row["answer_index"]) == ("generic", {}, "#1", index)
    assert row["answer"] == row["choices"][index]


def test_csv(tmp_path):
    text = 'id,question,choices,answer,extra\n1,"Who, now?","[""a"", ""b""]",b,x,too much\n2,short\n,q,,b,\n'
    (tmp_path / "f.csv").write_text("\ufeff" + text)
    found = read(tmp_path / "f.csv")
    assert found.table["choices"].to_list() == [["a", "b"], [], []]
    assert found.defects == {"answer_missing": ("2",), "no_choices": ("2", "#3"), "answer_not_among_choices": ("#3",)}
    (tmp_path / "f.tsv").write_text("question\tA\tB\tanswer\nWho?\tx\ty\tB\n")
    assert read(tmp_path / "f.tsv").table["answer"].to_list() == ["y"]


@pytest.mark.parametrize(
    "text",
    [
        '{"version": 1, "data": [ROW]}',
        '{"u1": ROW}',
        "ROW\n\nROW2\n",  # lines in a .json
        "\ufeff[ROW]",
    ],
)
def test_json_of_other_shapes(tmp_path, text):
    row = json.dumps({"question": "q", "choices": ["x", "y"], "answer": "y", "score": float("nan")})
    (tmp_path / "f.json").write_text(text.replace("ROW2", row).replace("ROW", row))
    found = read(tmp_path / "f.json")
    assert set(found.table["answer"]) == {"y"}
    assert not found.broken


# ── what is wrong ────────────────────────────────────────────────────────────────────────────────────────────────────

GOOD = {"id": "x", "question": "q", "choices": ["a", "b"], "answer": "a"}


@pytest.mark.parametrize(
    ("row", "defects"),
    [
        (GOOD | {"answer": "c"}, {"answer_not_among_choices"}),
        (GOOD | {"answer": "C"}, {"answer_not_among_choices"}),  # a letter behind the last choice
        (GOOD | {"answer": None}, {"answer_missing"}),
        (GOOD | {"answer": ""}, {"answer_missing"}),
        (GOOD | {"answer": ["a"]}, {"answer_not_text"}),
        (GOOD | {"answer": {"a": 1}}, {"answer_not_text", "answer_not_among_choices"}),
        (GOOD | {"answer": " A"}, {"answer_spelled_otherwise"}),
        (GOOD | {"answer_index": 1}, {"answer_index_disagrees"}),
        (GOOD | {"answer_index": 7}, {"answer_index_disagrees"}),
        (GOOD | {"answer_index": -1}, {"answer_index_disagrees"}),
        (GOOD | {"answer": None, "answer_index": 7}, {"answer_not_among_choices"}),
        (GOOD | {"choices": ["a", "A "]}, {"duplicate_choices"}),
        (GOOD | {"choices": ["a", ""]}, {"empty_choice"}),
        (GOOD | {"choices": ["a", None]}, {"null_choice", "too_few_choices"}),
        (GOOD | {"choices": ["a", "b", None]}, {"null_choice"}),
        (GOOD | {"choices": ["a", 2, [3], {"x": 1}]}, {"choice_not_text"}),
        (GOOD | {"choices": ["a"]}, {"too_few_choices"}),
        (GOOD | {"choices": []}, {"too_few_choices", "answer_not_among_choices"}),
        (GOOD | {"choices": None}, {"no_choices", "answer_not_among_choices"}),
        (GOOD | {"choices": "a or b"}, {"no_choices", "answer_not_among_choices"}),
        (GOOD | {"choices": 5}, {"no_choices", "answer_not_among_choices"}),
        (GOOD | {"question": None}, {"no_question"}),
        (GOOD | {"question": "  "}, {"no_question"}),
        (GOOD | {"question": ["q"]}, {"question_not_text"}),
        (GOOD | {"category": ["x", "y"]}, {"list_category"}),
        (None, {"not_an_object"}),
        ([1], {"not_an_object"}),
        ({}, {"no_question", "no_choices", "answer_missing"}),
    ],
)
def test_each_defect_is_named_with_its_row(tmp_path, row, defects):
    found = read(write(tmp_path / "f.json", [GOOD | {"id": "good"}, row, GOOD | {"id": "last"}]))
    name = "x" if row and "id" in row else "#2"
    assert found.defects == dict.fromkeys(defects, (name,))
    assert found.table["id"].to_list() == ["good", name, "last"]


def test_doubled_ids_and_a_broken_line(tmp_path):
    (tmp_path / "f.jsonl").write_text("\n".join([json.dumps(GOOD), json.dumps(GOOD), '{"id": "cut", "ques']))
    found = read(tmp_path / "f.jsonl")
    assert found.defects == {"doubled_id": ("x", "x"), "not_an_object": ("#3",)}
    with pytest.raises(UsageError, match=r"f.jsonl: not_an_object 1 \(#3\); doubled_id 2 \(x, x\): mend it"):
        found.refuse_broken("mend it")


def test_equal_texts_are_the_first_of_them(tmp_path):
    assert only(tmp_path / "f.json", [GOOD | {"choices": ["b", "a", "a"]}])[1]["answer_index"] == 1


@pytest.mark.parametrize("text", ["狗叫声", "ضحك", "x" * 100_000, "\ud800 half", "nul \0", "a\u202eb", "🎻", "e\u0301"])
def test_texts_of_any_kind(tmp_path, text):
    (tmp_path / "f.json").write_text(
        json.dumps([{"question": text, "choices": [text, "b"], "answer": text, "id": text}])
    )
    found = read(tmp_path / "f.json")
    assert (found.defects, found.table["answer_index"].to_list()) == ({}, [0])
    assert found.table["choices"].to_list()[0][0] == text.replace("\ud800", r"\ud800")


def test_no_rows(tmp_path):
    assert read(write(tmp_path / "f.json", [])).table.height == 0
    ours(0).write_parquet(tmp_path / "f.parquet")
    found = read(tmp_path / "f.parquet")
    assert (found.table.height, found.defects, found.format) == (0, {}, "datagen")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("f.json", '[{"file": "a", "caption": "b"}]', "no multiple-choice set: .* question .* keys are file, caption"),
        ("f.json", '[{"question": "a", "answer": "b"}]', "it has no choices .* its keys are question, answer"),
        ("f.json", "[1, 2]", "its keys are none, no row is an object"),
        ("f.json", '{"a": 1, "b": []}', "holds an object with the keys a, b: give an array"),
        ("f.json", "5", "holds 5: give an array"),
        ("f.json", "[{", "give JSON, JSON lines, CSV or parquet"),
        ("f.json", "", "give JSON, JSON lines"),
        ("f.json", "[" * 100_000, "give JSON, JSON lines"),
        ("f.jsonl", "no\nlines\n", "give JSON, JSON lines"),
        ("f.json", b"\xff\xfe\x00", "give JSON, JSON lines"),
        ("f.wav", b"RIFF\xff\xff", "give JSON, JSON lines"),
        ("f.parquet", b"PAR1 no", "give a parquet file that is whole"),
        ("f.csv", "a,b\n1,2\n", "its keys are a, b"),
    ],
)  # fmt: skip
def test_what_is_no_such_set_is_told_in_one_line(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=says) as told:
        read(tmp_path / name)
    assert "\n" not in str(told.value)


def test_what_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for place, says in (
        ("nope.json", "no such file"),
        (tmp_path / "empty", "holds no data file"),
        ("a/b/c", "no such"),
    ):
        with pytest.raises(UsageError, match=says):
            read(place)


def test_a_set_of_the_hub_with_all_its_splits(tmp_path, monkeypatch):
    rows = [MMAU_ROW | {"category": "x", "id": f"u{i}", "choices": ["(A) Man", "(B) Woman"]} for i in range(4)]
    for name, part in (("train", rows[:3]), ("test", rows[3:])):
        table = pl.DataFrame([row | {"audio": {"path": "x.wav", "bytes": b"RIFF"}} for row in part]).drop("split")
        table.write_parquet(tmp_path / f"{name}.parquet")
    with HubServer(tmp_path / "hub") as hub:
        connect(hub, monkeypatch)
        hub.write("me/set", {f"data/{name}-0.parquet": tmp_path / f"{name}.parquet" for name in ("train", "test")})
        found = read("me/set")
        assert read("me/set").sha256 == found.sha256
        with pytest.raises(UsageError, match="me/other: neither a file here nor read from the Hub: ") as told:
            read("me/other")
        assert "\n" not in str(told.value)
    assert (found.format, found.labelled, found.broken) == ("mmau", True, {})
    assert dict(found.table.select("id", "split").iter_rows()) == {
        "u0": "train",
        "u1": "train",
        "u2": "train",
        "u3": "test",
    }


@pytest.mark.parametrize("variable", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_a_hub_that_cannot_be_reached_is_told_in_one_line(tmp_path, variable):
    """In a process of its own: the libraries read these variables when they are imported."""
    import subprocess
    import sys

    code = "from datagen.mcq import read; read('org/name')"
    env = os.environ | {"HF_HOME": str(tmp_path)} | variable
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert ended.stderr.splitlines()[-1].startswith("datagen.errors.UsageError: org/name: neither a file here nor read")
    assert "Retrying" not in ended.stderr


# ── the real file ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not MMAU.exists(), reason="the benchmark file lies beside the repository, where it is at all")
def test_mmau_test_mini():
    found = read(MMAU)
    assert (found.format, found.table.height) == ("mmau", 1000)
    assert found.version == "MMAU test-mini v05.15.25, file of 2025-08-09"
    assert {name: len(ids) for name, ids in found.defects.items()} == {"duplicate_choices": 27, "list_category": 13}
    assert (found.table["answer_index"] == 0).sum() == 395
    assert found.table["task"].value_counts().sort("task").rows() == [("music", 334), ("sound", 333), ("speech", 333)]


@pytest.mark.skipif(not MMAU.exists(), reason="the benchmark file lies beside the repository, where it is at all")
def test_mmau_as_the_hub_has_it_is_read_the_same(tmp_path):
    rows = json.loads(MMAU.read_text())
    for row in rows:
        labelled = [f"({chr(65 + i)}) {choice}" for i, choice in enumerate(row["choices"])]
        row["answer"] = labelled[row["choices"].index(row["answer"])]
        row["choices"] = labelled
    found = read(write(tmp_path / "hub.json", rows))
    assert found.labelled
    assert (found.table.equals(read(MMAU).table), found.broken) == (True, {})


# ── anything at all ──────────────────────────────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [*(name for known in FIELDS.values() for name in known), "choice_a", "choice_b", "A", "B", "meta"]
)
ROWS = st.lists(st.one_of(st.dictionaries(NAMES, JSON, max_size=8), JSON), max_size=5)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, whole=st.booleans())
def test_any_rows_are_read_or_refused_and_none_is_lost(tmp_path_factory, rows, whole):
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps([{"question": "q", "choices": ["a"], "answer": "a"}, *rows] if whole else rows))
    try:
        found = read(file)
    except UsageError as error:
        assert "\n" not in str(error)
        return
    ids = found.table["id"].to_list()
    assert len(ids) + sum(found.set_aside.values()) == len(rows) + whole
    assert {id for bad in found.defects.values() for id in bad} <= set(ids)
    for choices, answer, index in found.table.select("choices", "answer", "answer_index").iter_rows():
        assert index is None or choices[index] == answer
    broken = {id for bad in found.broken.values() for id in bad}
    assert all(index is not None or id in broken for id, index in found.table.select("id", "answer_index").iter_rows())
