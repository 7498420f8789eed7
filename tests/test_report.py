from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
import soundfile as sf

from datagen.baselines import baselines
from datagen.columns import table_of
from datagen.dataset import write_dataset
from datagen.gates import gates
from datagen.records import Caption, Clip, Failure, Question, Verdict
from datagen.report import sample, spectrogram, write_report
from datagen.run import Run

HOSTILE = '</pre></script><script>alert(1)</script><img src=x onerror="alert(2)"> "\'` {{ 7*7 }} | \n'
STATE = {
    "version": "0.1.0",
    "seed": 0,
    "captioners": ["acoustic"],
    "writers": ["rules"],
    "models": [],
    "prompts": {"write": "abc"},
    "licenses": {"CC0-1.0": 2},
    "list_price_usd": None,
    "spent_usd": 0.25,
    "seconds": 3.5,
    "language": "English",
    "counts": {"clips": 4, "captions": 4, "questions": 9, "kept": 8, "calls": 0, "failed": {"audio": 1}},
    "funnel": [
        {"filter": "grounded", "in": 9, "out": 8, "reasons": {"answer_absent": 1}},
        {"filter": "consistency", "in": 8, "out": 8, "reasons": {}, "skipped": "no reader"},
    ],
    "sources": {"demo": {"origin": "Recorded", "reattach": "In the package", "clips": 4}},
    "config": {"source": "demo", "limit": None},
}


def make_run(folder, n=8, text="Which?", state=None):
    """A run of 4 clips (the last without its file) with n questions, as build.py leaves it for the report."""
    folder.mkdir()
    clips = [Clip(f"demo/{i}", "demo", str(folder / f"{i}.wav"), license="CC0-1.0") for i in range(4)]
    for i, clip in enumerate(clips[:3]):
        tone = 0.3 * np.sin(2 * np.pi * 440 * (i + 1) * np.arange(8_000) / 16_000)
        sf.write(clip.path, tone, 16_000)
    questions = [
        Question.make(
            f"demo/{i % 4}",
            f"{text} {i}",
            [f"a {text}", "b", "c"],
            "b",
            domain="sound",
            skill=f"skill {i % 3}",
            generator="rules",
            provenance={"writer": "rules", "form": text},
        )
        for i in range(n)
    ]
    captions = [Caption(clip.id, 0, f"Caption. {text}", "acoustic", "acoustics") for clip in clips]
    verdicts = [Verdict(q.id, "grounded", True, "", 0.5) for q in questions]
    failures = [
        Failure("audio", "audio_corrupt", "demo/9", error=f"broken {text}"),
        *[Failure("grounded", "answer_absent", "demo/1", raw="r" * 9_000)] * 5,
    ]
    run = Run(folder)
    for kind, rows in (
        (Clip, clips),
        (Caption, captions),
        (Question, questions),
        (Verdict, verdicts),
        (Failure, failures),
    ):
        run.write(kind, [frame(kind, rows)])
    clip = pl.lit(None, pl.String)
    kept = frame(Question, questions).with_columns(
        captions=pl.lit([]).cast(pl.List(pl.String)),
        source=pl.lit("demo"),
        media_id=clip,
        start=pl.lit(None, pl.Float64),
        end=pl.lit(None, pl.Float64),
        split=pl.when(pl.col("clip_id") == "demo/0").then(pl.lit("validation")).otherwise(pl.lit("train")),
    )
    write_dataset(kept, folder / "dataset", STATE | (state or {}))
    run.save(**STATE | {"baselines": baselines(kept), "gates": gates(kept)} | (state or {}))
    return folder


def frame(kind, rows):
    return pl.from_arrow(table_of(kind, rows))


def page(run):
    write_report(run)
    return (run / "report.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Start tags with their attributes; end tags must match."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "run")


def test_page_is_self_contained(run):
    found = Tags(page(run))
    addresses = [
        attrs[name]
        for _, attrs in found.tags
        for name in ("src", "href", "data", "srcset", "xlink:href")
        if name in attrs
    ]
    assert addresses and all(address.startswith("data:") for address in addresses)
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in found.tags}
    assert "url(" not in page(run) and "@import" not in page(run)
    assert any("default-src 'none'" in attrs.get("content", "") for tag, attrs in found.tags if tag == "meta")


def test_items_have_player_picture_and_answer(run):
    found = Tags(page(run))
    players = [attrs["src"] for tag, attrs in found.tags if tag == "audio"]
    pictures = [attrs for tag, attrs in found.tags if tag == "img"]
    assert len(players) == len(pictures) == 6  # 8 questions, 2 about the clip whose file is gone
    heard, rate = sf.read(io.BytesIO(base64.b64decode(players[0].split(",")[1])))
    assert rate == 16_000
    assert 0.4 < len(heard) / rate < 0.7
    assert base64.b64decode(pictures[0]["src"].split(",")[1]).startswith(b"\x89PNG")
    assert all(attrs["alt"] for attrs in pictures)
    assert found.text.count("b ✓ answer") == 8
    assert found.text.count("No audio here: audio_missing: 3.wav") == 2
    for part in ("acoustic/acoustics: Caption", "grounded: kept (0.5)", '"form": "Which?"', "CC0-1.0"):
        assert part in found.text, part


def test_page_tells_funnel_rejections_and_costs(run):
    text = Tags(page(run)).text
    for part in (
        "answer_absent 1",
        "not applied: no reader",
        "grounded: answer_absent – 5",
        "audio: audio_corrupt – 1",
        "broken Which?",
        "not known",
        "0.25",
        "3.5",
        "0 / 8 = 0.0 %",
        "8 questions from demo",
        "No model was asked",
    ):
        assert part in text, part
    assert "limit" not in text
    assert text.count("rrr …") == 3  # examples of a reason, cut


def test_equal_input_gives_equal_bytes(run):
    assert page(run) == page(run)


def test_other_files_for_the_clips(run, tmp_path):
    sf.write(tmp_path / "x.wav", np.zeros(16_000), 16_000)
    write_report(run, {"demo/3": (str(tmp_path / "x.wav"), 0.25, 0.5)})
    text = (run / "report.html").read_text(encoding="utf-8")
    assert text.count("<audio") == 2
    assert text.count("No audio here: audio_missing") == 6


def test_media_is_bounded(run, monkeypatch):
    monkeypatch.setattr("datagen.report.MEDIA_BYTES", 15_000)
    text = page(run)
    assert 0 < text.count("<audio") < 6
    assert text.count("left out to keep this page small") == 6 - text.count("<audio")


@pytest.mark.parametrize("n", [0, 1])
def test_few_questions(tmp_path, n):
    state = {
        "counts": STATE["counts"] | {"failed": {}},
        "funnel": [] if n else [{"filter": "x", "in": 0, "out": 0, "reasons": {}}],
    }
    text = Tags(page(make_run(tmp_path / "run", n, state=state))).text
    assert f"{n} questions from demo" in text
    assert ("No question was kept." in text) == (n == 0)
    assert ("No filter was applied." in text) == (n == 1)


def test_hostile_text_stays_text(tmp_path):
    state = {
        "sources": {HOSTILE: {"origin": HOSTILE, "reattach": HOSTILE, "clips": 1}},
        "config": {HOSTILE: HOSTILE},
        "models": [{"role": HOSTILE, "model": HOSTILE, "revision": HOSTILE}],
        "prompts": {HOSTILE: HOSTILE},
        "funnel": [{"filter": HOSTILE, "in": 1, "out": 1, "reasons": {HOSTILE: 1}}],
        "licenses": {HOSTILE: 1},
    }
    text = page(make_run(tmp_path / "run", 4, HOSTILE, state))
    found = Tags(text)
    assert "script" not in {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attrs in found.tags for name in attrs)
    assert len([1 for tag, _ in found.tags if tag == "img"]) == 3
    assert found.text.count("<script>alert(1)</script>") > 20
    assert "49" not in re.findall(r"\` (\S+) \|", found.text)


def test_sample_takes_skills_and_clips_in_turn():
    rows = pl.DataFrame(
        {
            "id": [str(i) for i in range(1_000)],
            "skill": ["common" if i < 900 else f"rare {i % 4}" for i in range(1_000)],
            "clip_id": [str(i // 2) for i in range(1_000)],
        }
    )
    found = sample(rows, 30, 0)
    assert sorted(found["skill"].value_counts()["count"]) == [6] * 5
    assert found["clip_id"].n_unique() == 30
    assert sample(rows.sample(fraction=1, shuffle=True, seed=1), 30, 0).equals(found)
    assert not sample(rows, 30, 1).equals(found)
    assert sample(rows.head(3), 30, 0).height == 3


def read_png(content):
    import av

    with av.open(io.BytesIO(content)) as file:
        return next(file.decode(video=0)).to_ndarray(format="gray")


@pytest.mark.parametrize("hertz", [100, 1_000, 6_000])
def test_spectrogram_shows_a_tone_where_it_is(hertz):
    tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(32_000) / 16_000).astype(np.float32)
    picture = read_png(spectrogram(np.concatenate([np.zeros(32_000, np.float32), tone]), 16_000))
    height, width = picture.shape
    assert (height, width) == (112, 480)
    row = int(picture[:, -width // 4].argmax())
    assert 60 * (8_000 / 60) ** (1 - row / (height - 1)) == pytest.approx(hertz, rel=0.08)
    assert picture[:, : width // 3].max() < picture[row, -width // 4] / 4


@pytest.mark.parametrize("samples", [0, 1, 1_023, 1_024, 1_025, 100_000])
def test_spectrogram_of_silence_is_dark(samples):
    picture = read_png(spectrogram(np.zeros(samples, np.float32), 16_000))
    assert picture.shape[0] == 112
    assert picture.max() < 40


def test_run_json_is_read(run):
    assert json.loads((run / "run.json").read_text())["counts"]["kept"] == 8
