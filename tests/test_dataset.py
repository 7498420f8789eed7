from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from itertools import combinations

import datasets
import polars as pl
import pyarrow.parquet as pq
import pytest
import yaml

from datagen.dataset import (
    COLUMNS,
    circular,
    escape_markdown,
    hub_license,
    interval,
    published,
    size_category,
    split,
    write_dataset,
)
from datagen.gates import GATES
from datagen.language import code
from datagen.records import MEASURES
from datagen.statistics import share

HOSTILE = (
    '<script>alert("1")</script> | `code` ``` [a](javascript:x) ![i](x) **b** \n\n# h\n- l www.evil.example '
    "https://evil.example a@b.c &amp; ~~~ $x$ \u2028 {{ 7*7 }} {% raw %} --- \\"
)
CARD = {
    "version": "0.1.0",
    "seed": 0,
    "captioners": ["labels", "acoustic"],
    "writers": ["rules"],
    "filters": ["balance"],
    "language": "English",
    "funnel": [{"filter": "balance", "in": 9, "out": 7, "reasons": {"form_cap": 2}}],
    "models": [],
    "prompts": {},
    "licenses": {"CC0-1.0": 4},
    "list_price_usd": 0.0,
    "sources": {"demo": {"origin": "Recorded sounds", "reattach": "They are in the package", "clips": 4}},
}
TYPES = dict.fromkeys((*COLUMNS, "split", "sha256"), pl.String) | {
    "choices": pl.List(pl.String),
    "captions": pl.List(pl.String),
    "answer_index": pl.Int32,
    "start": pl.Float64,
    "end": pl.Float64,
}
del TYPES["audio_dependence"]


def rows(n, text="What is it?", clips=5):
    made = [
        {
            "id": f"{i:04d}",
            "question": f"{text} {i}",
            "choices": ["a", f"b {text}", "c"],
            "answer": "a",
            "answer_index": i % 3,
            "domain": "sound",
            "skill": "order",
            "captions": [text],
            "source": "demo",
            "clip_id": f"demo/{i % clips}",
            "media_id": "",
            "start": None,
            "end": 1.5,
            "provenance": json.dumps({"form": "f"}),
            "sha256": "",
            "split": "validation" if i % clips == 0 else "train",
        }
        for i in range(n)
    ]
    for row in made:
        row["choices"] = row["choices"][-row["answer_index"] :] + row["choices"][: -row["answer_index"]]
    return pl.DataFrame(made, schema=TYPES)


def bytes_of(folder):
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.rglob("*") if f.is_file()
    }


def load(folder, tmp_path):
    return datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))


def test_load_dataset_gives_both_splits_with_their_types(tmp_path):
    table = rows(20)
    write_dataset(table, tmp_path / "dataset", CARD)
    found = load(tmp_path / "dataset", tmp_path)
    assert {name: part.num_rows for name, part in found.items()} == {"train": 16, "validation": 4}
    assert tuple(found["train"].column_names) == COLUMNS
    kinds = found["train"].features
    assert kinds["choices"] == datasets.List(datasets.Value("string"))
    assert (kinds["answer_index"].dtype, kinds["audio_dependence"].dtype, kinds["start"].dtype) == (
        "int32",
        "float64",
        "float64",
    )
    assert (
        found["train"].to_list()
        == table.filter(pl.col("split") == "train").with_columns(audio_dependence=None).select(COLUMNS).to_dicts()
    )


@pytest.mark.parametrize("number", range(len(MEASURES) + 1))
def test_the_schema_is_that_of_datasets_byte_for_byte(number):
    text, number64 = datasets.Value("string"), datasets.Value("float64")
    lists = dict.fromkeys(("choices", "captions"), datasets.List(text)) | {"answer_index": datasets.Value("int32")}
    for measures in combinations(MEASURES, number):
        said = [column for name in measures for column in (name, f"{name}_low", f"{name}_high")]
        kinds = dict.fromkeys(COLUMNS, text) | lists
        kinds |= dict.fromkeys(("start", "end", "audio_dependence", *said), number64)
        assert published(measures).equals(datasets.Features(kinds).arrow_schema, check_metadata=True)


def test_no_validation(tmp_path):
    write_dataset(rows(4).with_columns(split=pl.lit("train")), tmp_path / "dataset", CARD)
    assert [f.name for f in (tmp_path / "dataset/data").iterdir()] == ["train-00000-of-00001.parquet"]
    assert list(load(tmp_path / "dataset", tmp_path)) == ["train"]


def test_no_rows(tmp_path):
    write_dataset(rows(0), tmp_path / "dataset", CARD)
    found = pq.read_table(tmp_path / "dataset/data/train-00000-of-00001.parquet")  # `datasets` loads no empty table
    assert (found.num_rows, tuple(found.column_names)) == (0, COLUMNS)
    assert "No question was kept" in (tmp_path / "dataset/README.md").read_text()


def test_equal_input_gives_equal_bytes(tmp_path):
    write_dataset(rows(50), tmp_path / "a", CARD)
    write_dataset(rows(50), tmp_path / "b", CARD)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    assert len(bytes_of(tmp_path / "a")) == 3


def test_a_second_derivation_leaves_nothing_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("datagen.dataset.ROWS_A_SHARD", 5)
    write_dataset(rows(20), tmp_path / "dataset", CARD)
    assert len(bytes_of(tmp_path / "dataset")) == 1 + 4 + 1
    monkeypatch.undo()
    (tmp_path / "dataset.new").mkdir()  # what a killed run leaves behind
    (tmp_path / "dataset.old/data").mkdir(parents=True)
    write_dataset(rows(3), tmp_path / "dataset", CARD)
    write_dataset(rows(3), tmp_path / "fresh", CARD)
    assert bytes_of(tmp_path / "dataset") == bytes_of(tmp_path / "fresh")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["dataset", "fresh"]


def test_shards_and_row_groups_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("datagen.dataset.ROWS_A_SHARD", 7)
    monkeypatch.setattr("datagen.dataset.ROWS_A_GROUP", 3)
    write_dataset(rows(20).with_columns(split=pl.lit("train")), tmp_path / "dataset", CARD)
    files = sorted((tmp_path / "dataset/data").iterdir())
    assert [f.name for f in files] == [f"train-0000{i}-of-00003.parquet" for i in range(3)]
    assert [
        [pq.read_metadata(f).row_group(i).num_rows for i in range(pq.read_metadata(f).num_row_groups)] for f in files
    ] == [[3, 3, 1], [3, 3, 1], [3, 3]]
    assert load(tmp_path / "dataset", tmp_path)["train"]["id"] == rows(20)["id"].to_list()


# ── splits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def clips(*ties):
    """(clip_id, media_id, sha256) of each row."""
    return pl.DataFrame(ties, schema=dict.fromkeys(["clip_id", "media_id", "sha256"], pl.String), orient="row")


@pytest.mark.parametrize(
    ("n", "share", "expected"),
    [(0, 0.1, 0), (1, 0.1, 0), (1, 0.99, 0), (2, 0.1, 1), (2, 0.99, 1), (100, 0, 0), (100, 0.1, 10), (100, 0.999, 99)],
)
def test_share_of_clips(n, share, expected):
    found = split(clips(*[(f"demo/{i}", "", "") for i in range(n)]), share, 0)
    assert (found.len(), (found == "validation").sum()) == (n, expected)


def test_what_belongs_together_stays_together():
    ties = [
        (f"demo/{i}", f"m{i // 2}", f"s{(i + 1) // 2}" if i % 8 else "") for i in range(400)
    ]  # chains of several clips
    ties += [(f"demo/{i}", None, None) for i in range(400, 450)] * 2
    found = split(clips(*ties), 0.3, 1)
    parts = defaultdict(set)
    for tie, name in zip(ties, found, strict=True):
        for kind, value in enumerate(tie):
            if value:
                parts[kind, value].add(name)
    assert all(len(names) == 1 for names in parts.values())
    assert 0.2 < (found == "validation").mean() < 0.4


def test_split_depends_on_seed_and_ids_alone():
    table = clips(*[(f"demo/{i % 70}", f"m{i % 30}", "") for i in range(200)])
    first = table.with_columns(split=split(table, 0.2, 1))
    shuffled = table.sample(fraction=1, shuffle=True, seed=2)
    again = shuffled.with_columns(split=split(shuffled, 0.2, 1))
    assert first.unique().sort("clip_id", "media_id").equals(again.unique().sort("clip_id", "media_id"))
    assert not split(table, 0.2, 2).equals(split(table, 0.2, 1))


# ── the card ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def card(tmp_path, table=None, **changes):
    write_dataset(rows(60) if table is None else table, tmp_path / "dataset", CARD | changes)
    text = (tmp_path / "dataset/README.md").read_text(encoding="utf-8")
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


def test_card_header(tmp_path):
    header, _ = card(tmp_path)
    assert header["license"] == "cc0-1.0"
    assert header["language"] == ["en"]
    assert header["size_categories"] == ["n<1K"]
    assert header["configs"][0]["data_files"][1] == {"split": "validation", "path": "data/validation-*.parquet"}


def test_card_says_what_was_done(tmp_path):
    _, body = card(
        tmp_path,
        models=[
            {"role": "writer", "model": "gpt-4o", "revision": ""},
            {"role": "reader", "model": "gpt-4o-mini", "revision": "r1"},
        ],
        prompts={"write": "abc"},
        writers=["llm"],
        list_price_usd=1.234,
    )
    for part in (
        "form\\_cap 2",
        "CC0-1.0 | 4",
        "| writer | gpt-4o | not stated | OpenAI",
        "| write | abc |",
        "1.23 USD",
        "partly circular",
        "Recorded sounds",
        "They are in the package",
        "| at random | 33.3 % |",
        "--exclude-media",
        "| choice 1 | 20 / 60 = 33.3 % (22.7–45.9) |",
        "| train | 3 | 16, 16, 16 |",
        "| validation | 12 | 1 |",
    ):
        assert part in body, part


def test_card_without_models_says_so(tmp_path):
    _, body = card(tmp_path)
    assert "No model was asked" in body
    assert "*measured*" in body


def test_hostile_text_stays_text(tmp_path):
    models = [{"role": HOSTILE, "model": HOSTILE, "revision": HOSTILE}]
    funnel = [{"filter": HOSTILE, "in": 1, "out": 0, "reasons": {HOSTILE: 1}}]
    sources = {HOSTILE: {"origin": HOSTILE, "reattach": HOSTILE, "clips": 1}}
    header, body = card(
        tmp_path,
        rows(60, HOSTILE),
        models=models,
        funnel=funnel,
        sources=sources,
        prompts={HOSTILE: HOSTILE},
        licenses={HOSTILE: 1},
        language=HOSTILE,
        captioners=[HOSTILE],
        writers=[HOSTILE],
    )
    assert header["license"] == "other"
    assert "language" not in header
    fence = re.search(r"^(`{3,})json\n.*?^\1$", body, re.M | re.S)
    assert fence.group(1) == "````"
    prose = body.replace(fence.group(), "")
    for gate in GATES:
        prose = prose.replace(gate.source, "")
    assert "<script" not in prose
    assert "https://" not in prose and "www." not in prose and "a@b" not in prose
    assert re.findall(r"(?<!\\)\[a\]|(?<!\\)`code|(?<!\\)\*\*b", prose) == []
    tables = [line for line in prose.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables if "script" in line} == {3, 5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", "a\\|b"),
        ("a\nb\r\n c", "a b c"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("[x](y)", "\\[x\\]\\(y\\)"),
        ("`", "\\`"),
        ("http://x", "http&#58;//x"),
        ("WWW.x", "WWW&#46;x"),
        ("\\|", "\\\\\\|"),
        ("CC-BY-4.0", "CC-BY-4.0"),
        (3, "3"),
    ],
)
def test_escape_markdown(text, expected):
    assert escape_markdown(text) == expected


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        ({"CC0-1.0": 3}, "cc0-1.0"),
        ({"CC0-1.0": 3, "MIT": 1}, "other"),
        ({"": 3}, "unknown"),
        ({}, "unknown"),
        ({"CC0-1.0": 3, "": 1}, "unknown"),
        ({"Custom": 1}, "other"),
        ({"CC0-1.0": 3, "MIT": 0}, "cc0-1.0"),
    ],
)
def test_hub_license(licenses, expected):
    assert hub_license(licenses) == expected


@pytest.mark.parametrize(
    ("correct", "n", "expected"),
    [
        (12_345, 50_000, "12345 / 50000 = 24.7 % (24.3–25.1)"),
        (12.5, 50, "12.5 / 50 = 25.0 % (15.1–38.5)"),
        (0, 0, "too few to tell"),
    ],
)
def test_interval(correct, n, expected):
    assert interval(share(correct, n)) == expected


def test_hub_names():
    assert [code(name) for name in ("German", "de", "x: y", "Klingon")] == ["de", "de", None, None]
    assert [size_category(n) for n in (0, 999, 1_000, 10_000, 10**7, 10**9)] == [
        "n<1K",
        "n<1K",
        "1K<n<10K",
        "10K<n<100K",
        "10M<n<100M",
        "10M<n<100M",
    ]


@pytest.mark.parametrize(
    ("writer", "reader", "expected"),
    [("Qwen/Qwen3-8B", "Qwen2.5-7B", True), ("gpt-4o", "Qwen2.5-7B", False), ("", "", True), ("gpt-4o", None, False)],
)
def test_circular(writer, reader, expected):
    models = [
        {"role": role, "model": name} for role, name in (("writer", writer), ("reader", reader)) if name is not None
    ]
    assert circular(models) is expected
