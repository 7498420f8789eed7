"""The hearing check: plain trl fails it, ours passes it, and one that mixes rows up does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import quiz
import tiny_models
from test_train import one_thread, teach_letters  # noqa: F401
from test_train_audio import config, trainer_of

from datagen.errors import UsageError
from datagen.train import listening
from datagen.train.hearing import TOLERANCE, Heard, compare, measured, why_deaf
from datagen.train.run import train

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import hearing as benchmark


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.make("qwen2_5_omni_thinker", tmp_path_factory.mktemp("tiny") / "model", teach=teach_letters)


@pytest.fixture
def questions(tmp_path):
    return quiz.write(tmp_path / "quiz", 8)


def test_plain_trl_gives_its_loss_no_audio_and_ours_does(tmp_path):
    found = benchmark.measure(tmp_path)
    assert found["trl"]["heard_in_generation"] > 1e-5  # features do reach generation
    assert (found["trl"]["removed"], found["trl"]["swapped"]) == (0, 0)
    assert found["trl"]["verdict"].endswith("the loss does not hear it")
    assert found["ours"]["verdict"] == "hears"
    assert found["ours"]["others"] == 0
    assert found["ours"]["alone"] < 1e-5


@pytest.mark.parametrize("kind", ["qwen2_audio", "qwen3_omni_moe_thinker"])
@pytest.mark.parametrize("modality", ["audio", "mixed"])
def test_every_class_hears(questions, tmp_path, kind, modality):
    folder = tiny_models.make(kind, tmp_path / kind)
    trainer, _ = trainer_of(config(questions, folder, tmp_path / "out", modality=modality))
    assert why_deaf(measured(trainer), "float32") == ""


def test_a_run_that_does_not_hear_does_not_begin(model, questions, tmp_path, monkeypatch):
    monkeypatch.setattr(listening.Listener, "_embedded", lambda self, table, ids: table(ids.clamp(max=20)))
    with pytest.raises(UsageError, match=r"hearing check: removing the audio changes .* nothing was trained"):
        train(config(questions, model, tmp_path / "out"))
    assert not (tmp_path / "out/train.jsonl").read_text()


def test_rows_that_hear_the_audio_of_others_are_found(model, questions, tmp_path, monkeypatch):
    trainer, _ = trainer_of(config(questions, model, tmp_path / "out"))
    encoded = listening.Listener._encoded
    assert why_deaf(measured(trainer), "float32") == ""
    # Features tiled A B A B beside prompts A A B B: every second row hears the one before it.
    monkeypatch.setattr(listening.Listener, "_encoded", lambda self, number: encoded(self, number // 2 * 2))
    assert "the loss does not hear which" in why_deaf(measured(trainer), "float32")


def test_padding_that_is_attended_to_is_found(model, questions, tmp_path, monkeypatch):
    trainer, _ = trainer_of(config(questions, model, tmp_path / "out"))
    inner = trainer._get_per_token_logps_and_entropies
    monkeypatch.setattr(
        trainer, "_get_per_token_logps_and_entropies",
        lambda model, ids, mask, keep: inner(model, ids, mask.clamp(min=1), keep),
    )  # fmt: skip
    assert "padding is not masked" in why_deaf(measured(trainer), "float32")


def test_a_run_says_what_it_measured(model, questions, tmp_path):
    found = train(config(questions, model, tmp_path / "out", steps=1))
    assert set(found["hearing"]) == {"removed", "swapped", "others", "alone"}
    assert found["hearing"]["others"] == 0 < found["hearing"]["swapped"]


def test_the_least_change_of_a_row_that_must_counts_and_the_largest_of_one_that_must_not():
    import torch

    own = torch.zeros(4, 2)
    made = torch.tensor([[1.0, 0.0], [0.0, -2.0], [0.0, 0.5], [0.0, 0.0]])
    found = compare(own, made, made, made, [True, True, False, False], [True, False, False, False])
    assert found == Heard(removed=1.0, swapped=1.0, others=2.0, alone=2.0)
    assert compare(own, made, made, made, [True, True, True, False], [False] * 4).swapped is None
    well = {"removed": 0.1, "swapped": 0.1, "others": 0.0, "alone": 1e-6}
    assert why_deaf(Heard(**well), "float32") == ""
    assert all(why_deaf(Heard(**well | change), "float32") for change in (
        {"removed": 0.0}, {"swapped": 1e-7}, {"others": 0.01, "swapped": 0.009}, {"others": 1e-3}, {"alone": 1e-3},
    ))  # fmt: skip
    assert why_deaf(Heard(**well | {"alone": 0.01}), "bfloat16") == ""
    assert set(TOLERANCE) == {"float32", "bfloat16", "float16"}
