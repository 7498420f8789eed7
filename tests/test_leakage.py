"""Test items in a set: by words, by the recording's id, by the sound; and what is none."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

import datagen
from datagen import ngrams
from datagen.build import Config, build
from datagen.errors import UsageError
from datagen.filters.leakage import Leakage
from datagen.leakage import compare, read
from datagen.media import media_ids
from datagen.plugins import Context

DEMO = Path(datagen.__file__).parent / "sources" / "demo_clips"
ASKED = "Which of these sounds follows the long whistle of the train in the recording?"
CHOICES = ["a dog barking twice", "a slammed door", "breaking glass", "a church bell"]


def benchmark(path, *rows):
    """rows: (question, choices) or whole rows"""
    items = [row if isinstance(row, dict) else {"question": row[0], "choices": row[1]} for row in rows]
    full = [{"id": f"item{i}", "answer": row["choices"][0]} | row for i, row in enumerate(items)]
    path.write_text(json.dumps(full))
    return str(path)


def reasons(rows, benchmarks):
    """rows: (question, choices), each of a clip of its own"""
    table = pl.DataFrame(
        {"question": [q for q, _ in rows], "choices": [c for _, c in rows]},
        schema={"question": pl.String, "choices": pl.List(pl.String)},
    )
    return compare(table, benchmarks)["reason"].to_list()


@pytest.mark.parametrize(
    ("question", "choices", "reason"),
    [
        (ASKED, CHOICES, "exact_question"),
        (ASKED, CHOICES[::-1], "exact_question"),
        (ASKED.upper().replace("?", " !"), [f"{c}." for c in CHOICES], "exact_question"),
        (ASKED, [*CHOICES[:3], "a passing bus"], "text_overlap"),
        (f"Listen carefully. {ASKED}", CHOICES, "text_overlap"),
        (ASKED.replace("recording", "clip"), CHOICES, "text_overlap"),
        (ASKED.replace("Which", "What"), CHOICES, "text_overlap"),
        (ASKED.replace("long", "short"), CHOICES, "text_overlap"),
        (ASKED, ["rain", "wind", "thunder", "hail"], ""),  # the question alone
        (ASKED, [CHOICES[0], "wind", "thunder", "hail"], ""),  # a generic question and one of its answers
        ("Which one is louder?", CHOICES, ""),  # the choices alone
        ("", [], ""),
        (None, None, ""),
        (ASKED, [None, "🎵", ""], ""),
    ],
)
def test_a_question_meets_an_item_by_its_question_and_choices(tmp_path, question, choices, reason):
    benchmarks = read([benchmark(tmp_path / "b.json", (ASKED, CHOICES), ("What?", ["a", "b"]))])
    assert reasons([(question, choices)], benchmarks) == [reason]


LONG = "He says that the boat will leave the harbour early on Sunday morning with all the guests. Where does it go?"


def test_thirteen_words_up_to_the_choices_are_an_overlap_though_the_item_is_long(tmp_path):
    benchmarks = read([benchmark(tmp_path / "b.json", (f"{LONG} {LONG.upper()} now {LONG}", CHOICES))])
    end = " ".join(LONG.split()[-12:])
    assert reasons([(end, CHOICES), (end, CHOICES[:2]), (end, CHOICES[:1])], benchmarks) == ["text_overlap"] * 2 + [""]


@pytest.mark.parametrize(
    ("question", "choices"),
    [
        ("汽笛声之后听到的是什么声音？", ["狗叫声", "关门声", "钟声"]),
        ("ما الصوت الذي يسمع مباشرة بعد صافرة القطار الطويلة؟", ["نباح كلب", "باب يغلق", "جرس كنيسة"]),
        ("सीटी के तुरंत बाद कौन सी आवाज़ सुनाई देती है?", ["कुत्ते का भौंकना", "दरवाज़ा", "घंटी"]),
    ],
)
def test_other_scripts(tmp_path, question, choices):
    benchmarks = read([benchmark(tmp_path / "b.json", (question, choices))])
    changed = [*choices[:-1], "x y z"]
    assert reasons([(question, choices[::-1]), (question, changed), (question, ["p", "q", "r"])], benchmarks) == [
        "exact_question", "text_overlap", "",
    ]  # fmt: skip


def test_what_many_clips_share_is_a_wording(tmp_path):
    closed = ("How many different speakers can be heard in it?", ["one", "two", "three", "four"])
    benchmarks = read([benchmark(tmp_path / "b.json", closed, (ASKED, CHOICES))])
    assert reasons([closed] * 10 + [(ASKED, CHOICES)], benchmarks) == ["exact_question"] * 11
    assert reasons([closed] * 11 + [(ASKED, CHOICES)], benchmarks) == [""] * 11 + ["exact_question"]
    one_clip = pl.DataFrame([{"question": closed[0], "choices": closed[1], "clip_id": "a"}] * 11)
    assert set(compare(one_clip, benchmarks)["reason"]) == {"exact_question"}  # eleven copies, no eleven clips


def test_an_item_of_few_words_says_too_little(tmp_path):
    benchmarks = read([benchmark(tmp_path / "b.json", ("Is it raining?", ["yes", "no"]))])
    assert reasons([("Is it raining?", ["yes", "no"])], benchmarks) == [""]


def test_it_says_what_was_met_and_how_much(tmp_path):
    benchmarks = read([benchmark(tmp_path / "b.json", ("What?", ["a", "b"]), (ASKED, CHOICES))])
    table = pl.DataFrame({"question": [ASKED] * 2, "choices": [CHOICES, [*CHOICES[:3], "a passing bus"]]})
    exact, part = compare(table, benchmarks).rows()
    assert exact == ("exact_question", 1.0, "b.json item1")
    assert part == ("text_overlap", pytest.approx(0.75 * 3 / 4 + 0.25), "b.json item1")


def test_the_threshold_is_the_filters_value(tmp_path):
    benchmarks = read([benchmark(tmp_path / "b.json", (ASKED, CHOICES))])
    part = pl.DataFrame({"id": ["a"], "question": [ASKED], "choices": [[*CHOICES[:3], "a passing bus"]]})
    context = Context(seed=0, prompts=None, against=benchmarks)
    for value, kept in ((None, False), ("0.8", False), ("0.9", True)):
        assert Leakage(replace(context, value=value)).judge(part)["keep"].to_list() == [kept]


def test_runs_are_those_of_a_plain_count(tmp_path):
    """The hashes against sets of tuples, on random words."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefgh"), size=rng.integers(0, 30))) for _ in range(300)]
    choices = [[" ".join(rng.choice(list("xyz"), size=rng.integers(0, 11))) for _ in range(4)] for _ in texts]
    found = ngrams.hashed(pl.DataFrame({"question": texts, "choices": choices}))
    kinds = {"asked": set(), "ending": set(), "beginning": set(), "long": set()}
    for row, (text, options) in enumerate(zip(texts, choices, strict=True)):
        words = text.split()
        kinds["asked"] |= {(row, tuple(words[i : i + 8])) for i in range(len(words) - 7)}
        for option in filter(None, options):
            line = [*words, *option.split()]
            kinds["ending"].add((row, tuple(line[-8:])))
            own = option.split()[-8:]
            kinds["beginning"].add((row, (*words[: 8 - len(own)], *own)))
            kinds["long"] |= {(row, tuple(line[-13:]))} if len(line) >= 13 else set()
    for kind, expected in kinds.items():
        rows, hashes = found.runs[kind]
        assert len(set(zip(rows.tolist(), hashes.tolist(), strict=True))) == len(expected)
        assert len(set(hashes.tolist())) == len({run for _, run in expected})
    assert len(set(found.whole.tolist())) == len({(t, tuple(sorted(c))) for t, c in zip(texts, choices, strict=True)})


# ── media ids ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "known", "ids"),
    [
        ("https://www.youtube.com/watch?v=-HG3Omg_89c&t=30", False, ["youtube:-HG3Omg_89c"]),
        ("https://www.youtube.com/watch?list=PL1&v=-HG3Omg_89c", False, ["youtube:-HG3Omg_89c"]),
        ("https://youtu.be/-HG3Omg_89c", False, ["youtube:-HG3Omg_89c"]),
        ("https://www.bilibili.com/video/BV1AeZzYTEKq/?spm_id=1", False, ["bilibili:BV1AeZzYTEKq"]),
        ("avqa/-HG3Omg_89c_000030", False, ["youtube:-HG3Omg_89c"]),
        ("./audio/qx8hrhBZJ98_00-01-32_00-02-02.wav", False, ["youtube:qx8hrhBZJ98"]),
        ("Y-HG3Omg_89c.wav", False, ["youtube:-HG3Omg_89c"]),
        ("-HG3Omg_89c_30.000_40.000.mp4.wav", False, ["youtube:-HG3Omg_89c"]),
        ("YHG3Omg_89c", True, ["youtube:YHG3Omg_89c"]),  # eleven characters, the first of them a Y
        ("https://freesound.org/people/a.b/sounds/123/", False, ["freesound:123"]),
        ("00123", True, ["freesound:123"]),
        ("00123", False, []),  # a running number
        ("sounds/123__some-one__a-dog.wav", False, ["freesound:123"]),
        ("1-100032-A-0.wav", False, ["freesound:100032"]),
        ("100032-3-0-0.wav", False, ["freesound:100032"]),
        ("Recording_4.wav", False, []),
        ("hello_world.wav", False, []),
        ("20240131104.wav", False, []),
        ("3fe64f3d-282c-4bc8-a753-68f8f6c35652.wav", False, []),  # MMAU
        ("my-own-recording-17", True, ["id:my-own-recording-17"]),
        ("", True, []),
    ],
)
def test_media_ids(name, known, ids):
    assert list(media_ids([name], known=known)) == ids


def test_a_clip_of_a_benchmarks_recording(tmp_path):
    mmar = {
        "id": "qx8hrhBZJ98_00-01-32_00-02-02",
        "url": "https://www.youtube.com/watch?v=qx8hrhBZJ98",
        "question": "What?",
        "choices": ["a", "b"],
        "audio_path": "./audio/qx8hrhBZJ98_00-01-32.wav",
    }
    (tmp_path / "ids.txt").write_text("-HG3Omg_89c\n\nhttps://freesound.org/s/77/\n00000000.wav\n")
    benchmarks = read([benchmark(tmp_path / "mmar.json", mmar), str(tmp_path / "ids.txt")])
    assert [source["media"] for source in benchmarks.sources] == [1, 3]
    rows = [
        ("avqa/-HG3Omg_89c_000030", "-HG3Omg_89c"),
        ("folder/qx8hrhBZJ98_10.wav", ""),
        ("clotho/a", "77"),
        ("x/77", ""),
    ]
    table = pl.DataFrame(
        {
            "question": ["?"] * 4,
            "choices": [["p", "q"]] * 4,
            "clip_id": [c for c, _ in rows],
            "media_id": [m for _, m in rows],
        }
    )
    found = compare(table, benchmarks)
    assert found["reason"].to_list() == ["media_id", "media_id", "media_id", ""]
    assert found["met"][0] == "ids.txt -HG3Omg_89c (youtube:-HG3Omg_89c)"
    assert found["met"][1] == "mmar.json qx8hrhBZJ98_00-01-32_00-02-02 (youtube:qx8hrhBZJ98)"


# ── names and files ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bare_name_is_a_folder_of_the_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("data/mmau", "elsewhere/mmau"):
        (tmp_path / folder).mkdir(parents=True)
        benchmark(tmp_path / folder / f"{folder[0]}.json", (ASKED, CHOICES))
    assert [source["name"] for source in read(["mmau"]).sources] == ["d.json"]
    monkeypatch.setenv("DATAGEN_DATA", str(tmp_path / "elsewhere"))
    assert [source["name"] for source in read(["mmau"]).sources] == ["e.json"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mmau", "--against mmau: no folder data/mmau: "),
        ("empty", "--against empty: data/empty holds no .parquet"),
        ("no.json", "no.json: no such file"),
        ("no.txt", "--against no.txt: No such file"),
        ("bytes.txt", "--against bytes.txt: "),
        ("words.json", "words.json: no multiple-choice set"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATAGEN_DATA", raising=False)
    (tmp_path / "data/empty").mkdir(parents=True)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "words.json").write_text('[{"text": "a"}]')
    with pytest.raises(UsageError) as error:
        read([name])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, "empty", "text"])
def test_a_folder_without_audio_is_said(tmp_path, content):
    folder = tmp_path / "audio"
    if content:
        folder.mkdir()
    if content == "text":
        (folder / "readme.txt").write_text("no audio")
    rows = pl.DataFrame(
        {
            "question": ["?"],
            "choices": [["a", "b"]],
            "path": ["x.wav"],
            "sha256": ["1"],
            "cut_start": [None],
            "cut_end": [None],
        }
    )
    with pytest.raises(UsageError, match="--against-audio"):
        compare(rows, read([], folder))


# ── in a build ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """A folder of four demo clips, and one of a benchmark's audio: the first as MP3, quieter; the second cut; noise."""
    clips, test = (tmp_path_factory.mktemp("leak") / name for name in ("clips", "test"))
    clips.mkdir()
    test.mkdir()
    rows = [json.loads(line) for line in (DEMO / "manifest.jsonl").read_text().splitlines()]
    long = sorted((row["file"] for row in rows), key=lambda name: -soundfile.info(DEMO / name).duration)[:4]
    for name in long:
        shutil.copy(DEMO / name, clips)
    sound, rate = soundfile.read(clips / long[0])
    soundfile.write(test / "a.mp3", 0.3 * sound, rate, format="MP3")
    sound, rate = soundfile.read(clips / long[1])
    soundfile.write(test / "b.wav", sound[len(sound) // 4 :], rate)
    soundfile.write(test / "c.wav", np.random.default_rng(0).normal(0, 0.1, 80_000), 16_000)
    (test / "d.wav").write_text("not audio")
    return clips, test, [Path(name).stem for name in long]


def test_a_build_leaves_out_what_a_benchmark_holds(tmp_path, heard):
    clips, test, names = heard
    config = Config("folder", tmp_path / "run", audio=clips, filters=("leakage",))
    before = build(config)
    assert not before["rejected"]
    state = json.loads((config.run / "run.json").read_text())
    assert state["funnel"][0]["skipped"] == "no --against"
    asked = pl.read_parquet(config.run / "questions.parquet").filter(pl.col("clip_id").str.contains(names[3]))
    item = benchmark(tmp_path / "b.json", *asked.select("question", "choices").rows())
    counts = build(replace(config, against=(item,), against_audio=test))
    assert counts["questions"] == before["questions"]
    rejected = pl.read_parquet(config.run / "rejected.parquet")
    by_sound = rejected.filter(pl.col("reason") == "same_audio")
    assert {Path(clip).stem for clip in by_sound["clip_id"]} <= set(names[:2])
    assert by_sound["error"].str.contains(r"^[ab]\.(?:mp3|wav): \d+ landmarks at ").all()
    by_text = rejected.filter(pl.col("reason") == "exact_question")
    assert set(by_text["question_id"]) >= set(asked["id"]) and asked.height
    left = pl.read_parquet(sorted((config.run / "dataset/data").glob("*.parquet")))["clip_id"]
    assert {Path(clip).stem for clip in left} == {names[2]}
    assert by_sound.height
    assert set(by_text["error"]) <= {f"b.json item{i}" for i in range(asked.height)}
    step = json.loads((config.run / "run.json").read_text())["funnel"][0]
    assert step["notes"]["audio_not_read"] == 1
    assert step["notes"]["against"].startswith("b.json ")


def test_equal_audio_of_any_length_is_found(tmp_path, heard):
    short = np.random.default_rng(1).normal(0, 0.1, 4_000)
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / f"{folder}.flac", short, 16_000)
    from datagen.audio import load, sha256

    path = tmp_path / "ours/ours.flac"
    rows = {"question": ["?"], "choices": [["a", "b"]], "path": [str(path)], "sha256": [sha256(load(path))],
            "cut_start": [None], "cut_end": [None]}  # fmt: skip
    [found] = compare(pl.DataFrame(rows), read([], tmp_path / "theirs")).rows()
    assert found == ("same_audio", 1.0, "theirs.flac: equal audio")


def test_against_without_its_filter_is_said(tmp_path):
    with pytest.raises(UsageError, match="add leakage to --filters"):
        Config("demo", tmp_path, filters=("wellformed",), against=("mmau",))
