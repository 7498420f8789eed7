"""Captioner `transformers`, and local folders in every role: whole builds on demo clips with tiny random models."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import polars as pl
import pytest
import tiny_models

from datagen import plugins
from datagen.build import Config, build
from datagen.captioners import openai, transformers
from datagen.errors import UsageError
from datagen.filters import readings
from datagen.prompts import ASPECTS


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """`tiny(kind)`: the folder of a tiny model, made once."""
    folder, made = tmp_path_factory.mktemp("tiny"), {}

    def get(kind):
        if kind not in made:
            made[kind] = tiny_models.make(kind, folder / kind)
        return made[kind]

    return get


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(openai, "TOKENS", 12)
    monkeypatch.setattr(transformers, "TOKENS", 12)


def config(tmp_path, folder, **options):
    options = {"captioner": f"transformers={folder}", "generator": "rules", "limit": 3, "filters": ()} | options
    return Config("demo", out=tmp_path / options.pop("run", "run"), captions_per_clip=3, **options)


def captions(run):
    return pl.read_parquet(run / "captions.parquet")


@pytest.mark.parametrize("kind", tiny_models.HEARING)
def test_each_class_captions_real_clips(tiny, tmp_path, kind):
    counts = build(config(tmp_path, tiny(kind)))
    table, failed = captions(tmp_path / "run"), counts["failed"].get("caption", 0)
    assert counts["calls"] == 9 and counts["captions"] + failed == 9 and counts["cost_usd"] == 0
    assert failed <= 1  # random tokens may be blank
    assert set(table["captioner"]) == {"transformers"} and set(table["aspect"]) <= {*list(ASPECTS)[:3]}
    assert table["key"].n_unique() == table["text"].n_unique() == counts["captions"]
    again = build(config(tmp_path, tiny(kind)))
    assert again["calls"] == 0 and captions(tmp_path / "run").equals(table)


def test_a_filter_that_listens_asks_the_same_model(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(readings, "TOKENS", 4)
    chosen = {"captioner": f"labels,acoustic,transformers={tiny('qwen2_audio')}", "limit": 2, "readings": 1}
    build(config(tmp_path, "", **chosen, filters=("audio_contribution",)))
    state = json.loads((tmp_path / "run/run.json").read_text())
    assert state["measures"]["audio_contribution"]["n"] == state["counts"]["kept"] > 0
    assert {model["role"] for model in state["models"]} == {"captioner", "transformers"}
    assert build(config(tmp_path, "", **chosen))["calls"] == 0


def test_captions_are_a_function_of_seed_and_clip_alone(tiny, tmp_path):
    folder = tiny("qwen3_omni_moe_thinker")
    build(config(tmp_path, folder, run="many", limit=6))
    build(config(tmp_path, folder, run="one", limit=6, workers=1))
    build(config(tmp_path, folder, run="other", limit=6, seed=1))
    many, one, other = (captions(tmp_path / run) for run in ("many", "one", "other"))
    assert many.equals(one)
    assert not {*many["text"]} & {*other["text"]}


def test_a_model_that_was_trained_on_is_another_run(tiny, tmp_path):
    folder = shutil.copytree(tiny("qwen2_audio"), tmp_path / "model")
    build(config(tmp_path, folder))
    models = json.loads((tmp_path / "run/run.json").read_text())["models"]
    assert models[0]["role"] == "transformers" and models[0]["model"] == "model" and len(models[0]["revision"]) == 32
    moved = folder.rename(tmp_path / "moved")
    assert build(config(tmp_path, moved))["calls"] == 0
    tiny_models.make("qwen2_audio", moved, seed=1)
    with pytest.raises(UsageError, match="models"):
        build(config(tmp_path, moved))


def test_local_folders_write_and_read(tiny, tmp_path):
    """--model DIR is the writer, and --captioner-model DIR makes `transformers` the captioner."""
    given = Config(
        "demo", out=tmp_path / "run", model=str(tiny("causal")), captioner_model=str(tiny("audioflamingo3")),
        captions_per_clip=1, limit=2, filters=(),
    )  # fmt: skip
    assert list(given.captioners) == ["transformers"]
    plan = build(replace(given, dry_run=True))
    assert set(plan["roles"]) == {"transformers", "writer"} and plan["cost_usd"] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datagen.questions.llm.TOKENS", 12)
        patch.setattr("datagen.questions.llm.TOKENS_PER_QUESTION", 1)
        counts = build(given)
    assert counts["calls"] > 2 and counts["failed"]["write"] >= 1  # what a random model writes is no question
    roles = {model["role"]: model["model"] for model in json.loads((tmp_path / "run/run.json").read_text())["models"]}
    assert roles == {"transformers": "audioflamingo3", "writer": "causal"}


def test_one_folder_in_two_roles_is_loaded_once(tiny, tmp_path, monkeypatch):
    from datagen.llm import Ledger
    from datagen.parts import make_clients

    ledger = Ledger(tmp_path / "ledger.sqlite")
    folder = str(tiny("qwen2_audio"))
    clients = make_clients(Config("demo", captioner="transformers", model=folder, generator="llm"), ledger)
    assert clients["transformers"] is clients["writer"] is clients["reader"]
    ledger.close()


def test_a_folder_is_a_servers_model_where_a_server_is_named(tiny, monkeypatch):
    folder = str(tiny("qwen2_audio"))
    assert list(Config("demo", model=folder).captioners) == ["transformers"]
    assert list(Config("demo", model=folder, base_url="http://127.0.0.1:1").captioners) == ["openai"]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
    assert list(Config("demo", model=folder).captioners) == ["openai"]


@pytest.mark.parametrize(
    ("captioner", "line"),
    [
        ("transformers", "has no model: use transformers=FOLDER"),
        ("transformers=/no/such/folder", "'/no/such/folder': no such folder"),
        ("transformers=Qwen/Qwen2-Audio-7B-Instruct", "the Hub cannot be reached"),
        ("transformers={causal}", "LlamaForCausalLM takes no audio"),
    ],
)
def test_wrong_models(tiny, tmp_path, captioner, line):
    with pytest.raises(UsageError, match=line) as caught:
        build(config(tmp_path, "", captioner=captioner.format(causal=tiny("causal"))))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run/run.json").exists()


def test_without_the_extra(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "find_spec", lambda name: None if name == "torchvision" else object())
    with pytest.raises(UsageError, match=r"torchvision is not installed: pip install 'datagen-audioqa\[models\]'"):
        build(config(tmp_path, tiny("qwen2_audio")))
