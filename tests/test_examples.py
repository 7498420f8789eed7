"""The examples run: the small AVQA corpus goes through a whole build, and each of its odd rows ends where it should."""

from __future__ import annotations

import runpy
from collections import Counter
from pathlib import Path

import polars as pl
from datasets import load_dataset

from datagen.build import Config, build

ROOT = Path(__file__).parents[1]


def test_the_avqa_sample_through_a_whole_build(tmp_path):
    runpy.run_path(str(ROOT / "examples/make_avqa_sample.py"))["main"](tmp_path / "avqa")
    run = tmp_path / "run"
    counts = build(
        Config("avqa", run, tmp_path / "avqa/train_qa.json", tmp_path / "avqa/audio", questions="human", split=0.0)
    )
    assert counts["clips"] == 9
    assert counts["failed"] == {"source": 1, "write": 2}
    dropped = pl.read_parquet(run / "rejected.parquet")
    assert Counter(dropped["reason"]) == {
        "audio_missing": 1, "answer_missing": 1, "duplicate_choices": 1, "seen_in_question": 1,
    }  # fmt: skip
    kept = load_dataset("parquet", data_dir=str(run / "dataset/data"), split="train", cache_dir=str(tmp_path / "cache"))
    assert counts["kept"] == len(kept) == 8
    assert not any("video" in question for question in kept["question"])
    assert {len(choices) for choices in kept["choices"]} == {3, 4}  # the null choices are gone, the numbers are texts
    assert set(kept["media_id"]) >= {"-bbbbbbbbb2", "ddddddddd_4"}
