"""What models say and what corpora call their files is data: never markup, never code, never a path out of a folder."""

from __future__ import annotations

import json
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path

import pytest
import soundfile
import world
import yaml
from kill import write_clips

from datagen.build import Config, build
from datagen.clips import Clips
from datagen.errors import AudioError
from datagen.export import export
from datagen.plugins import SourceOptions, resolve
from datagen.records import Clip
from datagen.sources import SOURCES

EXAMPLES = Path(__file__).parents[1] / "examples"
SAMPLES = {
    **runpy.run_path(str(EXAMPLES / "make_source_samples.py"))["SAMPLES"],
    "folder": lambda root: write_clips(root / "audio", 3),
    "avqa": lambda root: avqa(root),
}
EVIL = (
    "<script>alert(1)</script><!-- {{ 7*7 }} {% raw %} ${captions} $captions [x](javascript:y) ![i](http://e/x.png) "
    "../../escaped /tmp/escaped `id` $(id) '; DROP TABLE answers; --"
)


def avqa(root, name="-HG3Omg_89c_000030"):
    """One item of AVQA, and a clip."""
    item = {"id": 1, "video_name": name, "question_text": "What?", "multi_choice": ["a", "b", "c", "d"]}
    (root / "audio").mkdir(parents=True)
    (root / "train_qa.json").write_text(json.dumps([item | {"answer": 1, "question_relation": "Sound"}]))
    soundfile.write(root / "audio/-HG3Omg_89c_000030.wav", [0.0] * 1600, 16_000)


class Tags(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def hostile(body):
    """A model of the world that puts markup, templates, shell and paths into whatever it says."""
    said = world.respond(body)
    try:
        written = json.loads(said)
    except ValueError:
        return f"{said} {EVIL}" if "clearly audible" in said else said
    for row in written.get("questions", ()):
        row["question"] = f"{EVIL} {row['question']}"
        row["distractors"] = [f"{choice} {EVIL}\n---\nlicense: mit" for choice in row["distractors"]]
        row["answer"] = f"{row['answer']} {EVIL}\n---\nlicense: mit"
    return json.dumps(written)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A whole build by that model, with nothing dropped."""
    from model_server import ModelServer

    root = tmp_path_factory.mktemp("untrusted")
    write_clips(root / "clips", 3)
    with ModelServer(hostile, models=None) as server:
        counts = build(
            Config(
                source="folder", audio=root / "clips", out=root / "run", model="<b>m</b>{{ 7*7 }}", filters=(),
                base_url=server.url, captions_per_clip=2, questions_per_clip=2,
            )
        )  # fmt: skip
    assert counts["kept"] == counts["questions"] == 6, counts
    return root / "run"


def test_a_page_shows_what_a_model_said_as_text(run):
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Tags(text)
    assert "<script>alert(1)</script>" in page.text and "{{ 7*7 }}" in page.text
    assert not [tag for tag, attributes in page.tags if tag == "script" or any(n.startswith("on") for n in attributes)]
    assert not [a for _, a in page.tags for value in (a.get("src"), a.get("href")) if value and "http" in value]


def test_a_card_keeps_its_header_and_its_markup(run):
    text = (run / "dataset" / "README.md").read_text(encoding="utf-8")
    _, header, body = text.split("---\n", 2)
    known = {"pretty_name", "license", "language", "task_categories", "tags", "size_categories", "configs"}
    found = yaml.safe_load(header)
    assert found.keys() == known and found["license"] == "unknown"
    fence = re.search(r"^(`{3,})json\n(.*?)^\1$", body, re.MULTILINE | re.DOTALL)
    assert EVIL in json.loads(fence[2])["question"], "the example is code, whatever stands in it"
    prose = body.replace(fence[0], "")
    assert "alert(1)" not in prose and "<b>m" not in prose and "&lt;b&gt;m" in prose
    assert "javascript" not in prose and "49" not in re.findall(r"m.{0,12}(\d\d)", prose)


def test_what_a_model_said_is_no_path_and_runs_nowhere(run):
    names = {path.name for path in run.parent.parent.rglob("*")} | {path.name for path in Path("/tmp").iterdir()}
    assert not [name for name in names if "escaped" in name]
    for form in ("trl", "ms-swift", "r1-aqa", "mmau", "nemo-rl"):
        out = run.parent / f"{form}.jsonl"
        audio = run.parent / "clips" if form in ("ms-swift", "r1-aqa") else None
        assert export(run, form, out, split="all", audio=audio)["rows"] == 6
        assert "alert(1)" in out.read_text(encoding="utf-8")
    asked = json.dumps(json.loads((run / "run.json").read_text()))
    assert "alert(1)" not in asked


def test_an_error_that_quotes_a_book_is_cut_where_it_is_an_example(serve, tmp_path):
    write_clips(tmp_path / "clips", 2)
    server = serve(lambda body: "[" * 20_000)
    counts = build(
        Config(
            source="folder", audio=tmp_path / "clips", out=tmp_path / "run", model="stub", base_url=server.url,
            captions_per_clip=1, questions_per_clip=2,
        )
    )  # fmt: skip
    assert counts["failed"] and max(map(len, counts["examples"])) <= 500


# ── names of files ───────────────────────────────────────────────────────────────────────────────────────────────────


def listed(name, root):
    """The rows of a corpus in `root`."""
    audio = root / "audio" if (root / "audio").is_dir() else root
    places = {"audio": audio} if name == "folder" else {"annotations": root, "audio": audio}
    return list(resolve("source", name, SOURCES, "clips")(SourceOptions(**places)).clips())


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_no_source_follows_a_link_out_of_its_folder(name, tmp_path):
    root = tmp_path / "corpus"
    SAMPLES[name](root)
    before = [row for row in listed(name, root) if isinstance(row, Clip)]
    assert before
    for number, file in enumerate(sorted(path for path in root.rglob("*") if path.suffix in (".wav", ".flac", ".mp4"))):
        outside = tmp_path / "outside" / f"{number}{file.suffix}"
        outside.parent.mkdir(exist_ok=True)
        file.rename(outside)
        file.symlink_to(outside)
    rows = listed(name, root)
    assert not [row.path for row in rows if isinstance(row, Clip)]
    assert len([row for row in rows if row.reason == "audio_outside_folder"]) >= len(before)


@pytest.mark.parametrize(
    "reference", ["../secret.wav", "ABSOLUTE", "in/../../secret.wav", "link.wav", "folder/secret.wav"]
)
def test_no_benchmark_and_no_training_set_opens_a_file_out_of_its_folder(reference, tmp_path):
    root = tmp_path / "audio"
    (root / "in").mkdir(parents=True)
    soundfile.write(tmp_path / "secret.wav", [0.0] * 1600, 16_000)
    (root / "link.wav").symlink_to(tmp_path / "secret.wav")
    (root / "folder").symlink_to(tmp_path)
    clips = Clips(root)
    [found] = clips.files("x", [reference.replace("ABSOLUTE", str(tmp_path / "secret.wav"))])
    if found is not None:  # a link is listed by its name, and not opened
        with pytest.raises(AudioError) as told:
            clips.load(found)
        assert told.value.reason == "audio_outside_folder"
    with pytest.raises(AudioError):
        clips.load(reference.replace("ABSOLUTE", str(tmp_path / "secret.wav")))
