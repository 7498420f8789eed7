"""The captioners `yamnet` and `whisper` with their real weights on real sounds and on espeak-ng's speech."""

from __future__ import annotations

import asyncio
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper
from tags import (
    DEMO,
    demo_recordings,
    demo_speech,
    errors,
    false_transcripts,
    manifest,
    models,
    tagged,
    word_errors,
    words,
)

from datagen.audio import RATE, Audio, load
from datagen.build import Config, build
from datagen.captioners.whisper import Whisper
from datagen.captioners.yamnet import HOP, PATCH, YAMNet, patches
from datagen.errors import UsageError
from datagen.plugins import Context
from datagen.prompts import Prompts, describe
from datagen.records import Clip

CLIP = Clip("s/1", "s", "a.wav")


@pytest.fixture(scope="module")
def captioners(yamnet, whisper):
    return models(yamnet, whisper)


@pytest.fixture(scope="module")
def tagger(captioners):
    return captioners[0]


@pytest.fixture(scope="module")
def listener(captioners):
    return captioners[1]


def make(kind, model):
    return kind(Context(seed=0, prompts=Prompts(), model=None if model is None else str(model)))


def caption(captioner, audio):
    return list(asyncio.run(captioner.caption(CLIP, audio)))


def sound(seconds, function=np.zeros_like):
    return Audio(function(np.arange(round(seconds * RATE), dtype=np.float32) / RATE)[None], RATE, RATE, 1)


# ------------------------------------------------------------------------------------------------------------- yamnet


def test_tags_of_recordings_are_as_right_as_they_were(tagger):
    counts = tagged(tagger, demo_recordings())
    assert counts["clips"] == 30
    assert counts["top1"] >= 9 and counts["top3"] >= 16, counts  # 11 and 18 when it was written


def test_a_tag_says_its_score_and_its_time(tagger):
    [crow] = caption(tagger, load(DEMO / "till_then_crow.flac"))
    assert (crow.captioner, crow.aspect, crow.index, crow.facts, crow.key) == ("yamnet", "events", 0, (), "")
    assert crow.text.startswith("Guesses of an automatic tagger, each with its score from 0 to 1: Crow (0.9")
    assert "1.9–2.8 s" in crow.text.split(";")[0]  # the crow comes second, after the till


def test_a_broad_class_comes_last_but_is_said(tagger):
    [speech] = caption(tagger, load(DEMO / "speech_garden.flac"))
    assert ": Speech (1.00, " in speech.text
    tags = caption(tagger, load(DEMO / "hi_hat_open.flac"))[0].text.split("; ")
    assert "Cymbal" in tags[0] and tags[-1].startswith("Music (0.99")


def test_silence_has_no_tag(tagger):
    assert caption(tagger, sound(2)) == []


def test_tags_do_not_depend_on_what_runs_beside(tagger):
    audio = load(DEMO / "crow_bell_snare.flac")
    alone = tagger.scores(audio)
    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(alone, scores) for scores in pool.map(tagger.scores, [audio] * 8))


@pytest.mark.parametrize(
    ("samples", "count"), [(100, 1), (PATCH, 1), (PATCH + 1, 2), (PATCH + HOP, 2), (PATCH + HOP + 1, 3)]
)
def test_patches_cover_the_whole_clip(samples, count):
    mono = np.zeros(samples, np.float32)
    mono[-100:] = 1.0
    made = list(patches(mono))
    assert [patch.shape for patch in made] == [(96, 64)] * count
    assert made[-1].max() > np.log(0.001) + 1  # the end is in the last patch


def test_the_mel_bands_are_where_yamnet_has_them():
    tone = np.sin(2 * np.pi * 1000 * np.arange(PATCH) / RATE).astype(np.float32)
    [patch] = patches(tone)
    edges = 700 * np.expm1(np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66) / 1127)
    band = int(patch.mean(axis=0).argmax())
    assert edges[band] < 1000 < edges[band + 2]
    # a full-scale sine at a bin: magnitude = half the sum of the Hann window, 100, times the band's weight there
    assert np.exp(patch[:, band]).max() == pytest.approx(100, rel=0.25)


def test_a_float_model_gives_the_tags_of_its_8_bit_one(tagger, yamnet, tmp_path):
    """The float twin: the same graph between a QuantizeLinear and a DequantizeLinear of its own scales."""
    model = onnx.load(yamnet / "model.onnx")
    graph = model.graph
    [(given, told)] = zip(graph.input, graph.output, strict=True)
    given_8, told_8 = given.name, told.name
    graph.node.insert(0, helper.make_node("QuantizeLinear", ["x", "audio_scale", "audio_zero_point"], [given_8]))
    scores = ["class_scores_scale", "class_scores_zero_point"]
    graph.node.append(helper.make_node("DequantizeLinear", [told_8, *scores], ["y"]))
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 96, 64]))
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 521]))
    onnx.save(model, tmp_path / "float.onnx")
    shutil.copy(yamnet / "yamnet_class_map.csv", tmp_path)
    twin, audio = make(YAMNet, tmp_path / "float.onnx"), load(DEMO / "crow_calls.flac")
    assert np.allclose(twin.scores(audio), tagger.scores(audio), atol=1e-5)


def small_model(file, shape=(1, 1, 96, 64)):
    """Gives the sums of bands 0 and 1 as the logits of two classes."""
    pick = numpy_helper.from_array(np.eye(64, 2, dtype=np.float32), "pick")
    nodes = [
        helper.make_node("MatMul", ["x", "pick"], ["bands"]),
        helper.make_node("ReduceSum", ["bands", "axes"], ["y"], keepdims=0),
    ]
    axes = numpy_helper.from_array(np.array([1, 2], np.int64), "axes")
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
    told = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph(nodes, "small", [given], [told], [pick, axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (None, r"yamnet_class_map.csv: FileNotFoundError.*beside the model"),
        ("index,name\n0,a\n", "yamnet_class_map.csv: KeyError.*class map"),
        ("index,mid,display_name\nx,m,a\n", "yamnet_class_map.csv: ValueError.*class map"),
        ("index,mid,display_name\n0,m,a\n", "1 classes, and the model has 2: they do not belong together"),
    ],
)
def test_a_class_map_that_does_not_fit(tmp_path, classes, says):
    small_model(tmp_path / "m.onnx")
    if classes:
        (tmp_path / "yamnet_class_map.csv").write_text(classes)
    with pytest.raises(UsageError, match=says):
        make(YAMNet, tmp_path)


def test_a_model_that_is_no_yamnet(tmp_path, yamnet):
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "bare").mkdir()
    shutil.copy(yamnet / "model.onnx", tmp_path / "bare")  # without its weights
    small_model(tmp_path / "wave.onnx", (1, 1, 97, 64))
    for path, says in {
        None: "no model: use yamnet=FOLDER",
        "bare": "model.data",
        "text.onnx": "name the .onnx file",
        "wave.onnx": r"takes and gives \[\[1, 1, 97, 64\]\]",
        "nope.onnx": "No such file",
        ".": "holds 2 .onnx files: name the file",
    }.items():
        with pytest.raises(UsageError, match=says) as told:
            make(YAMNet, path and tmp_path / path)
        assert "\n" not in str(told.value)


# ------------------------------------------------------------------------------------------------------------ whisper


def test_speech_is_written_down(listener):
    found = word_errors(listener, demo_speech())
    assert (found["clips"], found["no_transcript"]) == (5, 0)
    assert found["wer"] <= 0.2, found  # 0.06 when it was written


def test_recordings_without_speech_get_no_transcript(listener):
    found = false_transcripts(listener, enumerate(audio for _, audio in demo_recordings()))
    assert (found["clips"], found["examples"]) == (30, [])


def test_a_transcript_says_its_language_and_times(listener):
    [said] = caption(listener, load(DEMO / "speech_question.flac"))
    assert (said.captioner, said.aspect, said.index, said.facts, said.key) == ("whisper", "speech", 0, (), "")
    assert said.text.startswith("Speech, transcribed automatically (language en): 0.0–")
    assert '"Did you remember to lock the back door?"' in said.text
    assert caption(listener, load(DEMO / "speech_question.flac")) == [said]


def test_silence_has_no_transcript(listener):
    assert caption(listener, sound(2)) == []


def test_a_model_that_is_no_whisper(tmp_path):
    (tmp_path / "model.bin").write_text("no model")
    for model, says in {
        None: "no model: use whisper=tiny.en",
        str(tmp_path): "name a folder with a CTranslate2 model",
        str(tmp_path / "nope"): "name a folder with a CTranslate2 model",
    }.items():
        with pytest.raises(UsageError, match=says) as told:
            make(Whisper, model)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("said", "heard", "count"),
    [("a b c", "a b c", 0), ("a b c", "", 3), ("a b c", "a x c d", 2), ("One. Two", "1, 2", 0), ("a b", "b a", 2)],
)
def test_word_errors_are_counted(said, heard, count):
    assert errors(words(said), words(heard)) == count


# --------------------------------------------------------------------------------------------------------- a whole run


def test_captioners_combine_and_no_tag_becomes_a_fact(yamnet, whisper, tmp_path):
    """The rules ask of measured facts and labels: with tags and transcripts beside, they ask the same questions."""
    audio = tmp_path / "clips"
    audio.mkdir()
    for name in ("crow_calls", "speech_question", "bell_then_speech"):
        shutil.copy(DEMO / f"{name}.flac", audio)
    names = f"yamnet={yamnet},whisper={whisper},acoustic,labels"
    build(Config("folder", audio=audio, out=tmp_path / "all", captioner=names))
    build(Config("folder", audio=audio, out=tmp_path / "plain", captioner="acoustic,labels"))
    captions = pl.read_parquet(tmp_path / "all/captions.parquet")
    assert set(captions["captioner"]) == {"yamnet", "whisper", "acoustic"}
    assert (tmp_path / "all/questions.parquet").read_bytes() == (tmp_path / "plain/questions.parquet").read_bytes()
    assert pl.read_parquet(tmp_path / "all/questions.parquet").height > 0
    card = (tmp_path / "all/dataset/README.md").read_text()
    assert re.search(r"\| captioner yamnet \| yamnet \| [0-9a-f]{16} \|", card)
    assert "about what was *measured*" in card and str(tmp_path) not in card and str(yamnet) not in card


def test_the_writer_is_told_who_says_what(tagger, listener):
    audio = load(DEMO / "speech_question.flac")
    notes = describe(caption(tagger, audio) + caption(listener, audio)).splitlines()
    assert notes[0].startswith("- [yamnet/events] Guesses of an automatic tagger")
    assert notes[1].startswith("- [whisper/speech] Speech, transcribed automatically")


def test_every_label_of_the_demo_that_is_recorded_has_its_classes(tagger):
    from tags import RIGHT

    assert {row["labels"][0] for row in manifest() if row["kind"] == "recorded"} <= set(RIGHT)
    assert {name for names in RIGHT.values() for name in names} <= set(tagger.names)
