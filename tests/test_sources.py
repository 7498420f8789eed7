"""Sources: real files in the forms that are published, and each odd case that folders and annotations have."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import struct
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from datagen.captioners.labels import Labels
from datagen.errors import UsageError
from datagen.plugins import SourceOptions, resolve
from datagen.records import Clip, Failure, canonical
from datagen.sources import SOURCES
from datagen.sources.avqa import Avqa
from datagen.sources.demo import CLIPS, Demo
from datagen.sources.folder import Folder
from datagen.sources.youtube import media

MANIFEST = [json.loads(line) for line in (CLIPS / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def wav(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(struct.pack("<4h", 0, 100, -100, 0))
    return path


def rows(source) -> list[Clip | Failure]:
    first = list(source.clips())
    assert list(source.clips()) == first, "a second pass yields other rows"
    return first


def brief(source) -> list[str]:
    """Ids of the clips; id and reason of the failures."""
    return [r.id if isinstance(r, Clip) else f"{r.clip_id} {r.reason}" for r in rows(source)]


# ---------------------------------------------------------------------------------------------------------------- demo


def test_demo_has_the_promised_clips() -> None:
    recorded = [row for row in MANIFEST if row["kind"] == "recorded"]
    assert len(MANIFEST) >= 40
    assert len(recorded) >= 24
    assert len({row["class"] for row in recorded}) >= 12
    assert {row["kind"] for row in MANIFEST} == {"recorded", "arranged", "generated"}
    assert {"sound", "music", "speech", "mixed"} == {row["family"] for row in MANIFEST}
    assert sum(file.stat().st_size for file in CLIPS.iterdir()) <= 3_000_000


def test_demo_manifest_names_every_file_and_its_bytes() -> None:
    assert {row["file"] for row in MANIFEST} == {file.name for file in CLIPS.glob("*.flac")}
    for row in MANIFEST:
        content = (CLIPS / row["file"]).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (row["sha256"], row["bytes"]), row["file"]
        assert row["license"] == "CC0-1.0"
        assert row["kind"] == "generated" or "freesound.org/people/" in row["origin"], row["file"]
        assert row["class"] == row["labels"][0]


def test_demo_clips_decode_and_are_neither_silent_nor_clipped() -> None:
    stereo = set()
    for row in MANIFEST:
        signal, rate = soundfile.read(CLIPS / row["file"], dtype="float32", always_2d=True)
        assert rate == 16_000
        assert 0.5 <= len(signal) / rate <= 8, row["file"]
        assert 0.05 < np.abs(signal).max() < 1, row["file"]
        if signal.shape[1] == 2:
            stereo.add(row["file"])
            assert not np.allclose(signal[:, 0], signal[:, 1]), row["file"]
    assert len(stereo) >= 4


def test_demo_clips_carry_labels_caption_and_licence() -> None:
    clips = rows(Demo(SourceOptions()))
    assert len(clips) == len(MANIFEST)
    crow = next(clip for clip in clips if clip.id == "demo/crow_call")
    assert (crow.labels, crow.license, crow.media_id) == (("crow",), "CC0-1.0", "54973")
    assert crow.reference_captions == ("A crow caws once.",)
    assert Path(crow.path).is_file()


def test_clips_of_one_recording_share_its_media_id() -> None:
    ids = {row["file"]: row["media_id"] for row in MANIFEST}
    assert ids["crow_call.flac"] == ids["crow_calls.flac"] != ""
    assert ids["scale_up.flac"] == ids["crow_bell_snare.flac"] == ""


def test_demo_refuses_options_that_it_would_ignore(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--audio .*: the source demo has its own clips"):
        Demo(SourceOptions(audio=tmp_path))


def test_every_source_has_its_sentences_for_the_card() -> None:
    for name in SOURCES:
        factory = resolve("source", name, SOURCES, "clips")
        assert factory.origin.endswith(".") and factory.reattach.endswith("."), name


# -------------------------------------------------------------------------------------------------------------- folder


def test_folder_lists_audio_in_order_labelled_by_its_folders(tmp_path: Path) -> None:
    for name in (
        "rain/b.wav",
        "dog_barking/2.WAV",
        "dog_barking/10.wav",
        "top.wav",
        "a/heavy  rain/x.mp3",
        "ünïcode/é.wav",
    ):
        wav(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no audio")
    wav(tmp_path / "rain" / "._b.wav")
    clips = rows(Folder(SourceOptions(audio=tmp_path)))
    assert [(clip.id, clip.labels) for clip in clips] == [
        ("folder/a/heavy  rain/x.mp3", ("heavy rain",)),
        ("folder/dog_barking/10.wav", ("dog barking",)),
        ("folder/dog_barking/2.WAV", ("dog barking",)),
        ("folder/rain/b.wav", ("rain",)),
        ("folder/top.wav", ()),
        ("folder/ünïcode/é.wav", ("ünïcode",)),
    ]
    assert all(Path(clip.path).is_file() for clip in clips)


def test_folder_opens_nothing_outside_itself(tmp_path: Path) -> None:
    root = tmp_path / "audio"
    wav(root / "in.wav")
    wav(tmp_path / "audio-secret" / "out.wav")  # the root is a prefix of its name
    (root / "to_out.wav").symlink_to(tmp_path / "audio-secret" / "out.wav")
    (root / "to_in.wav").symlink_to("in.wav")
    (root / "gone.wav").symlink_to("nowhere.wav")
    (root / "loop.wav").symlink_to("loop.wav")
    (root / "folder").symlink_to(tmp_path / "audio-secret")
    assert brief(Folder(SourceOptions(audio=root))) == [
        "folder/gone.wav audio_missing",
        "folder/in.wav",
        "folder/loop.wav audio_missing",
        "folder/to_in.wav",
        "folder/to_out.wav audio_outside_folder",
    ]


def test_folder_lists_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    wav(Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.wav")))
    assert brief(Folder(SourceOptions(audio=tmp_path))) == ["folder/a.wav", r"folder/b\udcff.wav audio_name_not_utf8"]


def table(tmp_path: Path, name: str, text: str) -> Folder:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return Folder(SourceOptions(annotations=tmp_path / name, audio=tmp_path / "audio"))


def test_csv_gives_labels_captions_licence_and_stretches(tmp_path: Path) -> None:
    wav(tmp_path / "audio" / "x" / "a.wav")
    wav(tmp_path / "audio" / "b,c.wav")
    source = table(
        tmp_path, "t.csv",
        "\ufefffile,labels,caption,license,media_id,start,end,id\n"
        'x/a.wav,dog | rain|dog,"A dog, then rain.",CC-BY-4.0,yt1,0.5,2,\n'
        "x/a.wav,,,,,2,,\n"
        'x/a.wav,,,,,,,"own id"\n'
        '"b,c.wav",cat,"One.|Two.",,,,,\n',
    )  # fmt: skip
    one, two, three, four = rows(source)
    assert (one.id, one.labels, one.reference_captions) == (
        "folder/x/a.wav@0.5-2",
        ("dog", "rain"),
        ("A dog, then rain.",),
    )
    assert (one.license, one.media_id, one.start, one.end) == ("CC-BY-4.0", "yt1", 0.5, 2.0)
    assert (two.id, two.start, two.end, two.labels) == ("folder/x/a.wav@2-", 2.0, None, ())
    assert (three.id, three.start, three.license) == ("folder/own id", None, "")
    assert (four.id, four.labels, four.reference_captions) == ("folder/b,c.wav", ("cat",), ("One.", "Two."))


def test_json_lines_take_lists_and_texts(tmp_path: Path) -> None:
    wav(tmp_path / "audio" / "a.wav")
    lines = '{"file": "a.wav", "label": "dog|cat", "captions": ["One.", " "], "media_id": 7, "start": 4000}\n\n'
    (clip,) = rows(table(tmp_path, "t.jsonl", lines))
    assert (clip.labels, clip.reference_captions, clip.media_id, clip.start) == (("dog|cat",), ("One.",), "7", 4000.0)


def test_table_beside_the_audio_needs_no_audio_option(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "t.csv").write_text("file\na.wav\n")
    assert brief(Folder(SourceOptions(annotations=tmp_path / "t.csv"))) == ["folder/a.wav"]


def test_table_names_files_that_are_not_there_or_not_ours(tmp_path: Path) -> None:
    wav(tmp_path / "audio" / "a.wav")
    secret = wav(tmp_path / "secret.wav")
    (tmp_path / "audio" / "link.wav").symlink_to(secret)
    text = f"file\n{'x' * 300}.wav\na.wav\nmissing.wav\n../secret.wav\n{secret}\nlink.wav\nsub/../a.wav\n.\n"
    assert brief(table(tmp_path, "t.csv", text)) == [
        f"folder/{'x' * 300}.wav audio_missing",
        "folder/a.wav",
        "folder/missing.wav audio_missing",
        "folder/../secret.wav audio_outside_folder",
        f"folder/{secret} audio_outside_folder",
        "folder/link.wav audio_outside_folder",
        "folder/sub/../a.wav",
        "folder/. audio_missing",
    ]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("t.csv", "file,lable\na.wav,x\n", "line 1: unknown column 'lable': known are file, label, labels, "),
        ("t.csv", "label\nx\n", "line 1: no column 'file'"),
        ("t.csv", "", "line 1: no column 'file'"),
        ("t.csv", "file\n", "it has no row"),
        ("t.csv", "file,label\na.wav\n", "line 2: not 2 cells"),
        ("t.csv", "file,label\na.wav,x,y\n", "line 2: not 2 cells"),
        ("t.csv", 'file,label\na.wav,"x"y\n', "line 2: .* expected after"),
        ("t.csv", "file,label\n,x\n", "line 2: file is empty"),
        ("t.csv", "file\na.wav\n./a.wav\n", "line 3: clip 'a.wav' stands on line 2 already: give each an id"),
        ("t.csv", "file,start\na.wav,soon\n", "line 2: start 'soon': it must be a number of seconds"),
        ("t.csv", "file,start\na.wav,-1\n", "line 2: start '-1'"),
        ("t.csv", "file,end\na.wav,nan\n", "line 2: end 'nan'"),
        ("t.csv", "file,end\na.wav,inf\n", "line 2: end 'inf'"),
        ("t.csv", "file,start,end\na.wav,3,3\n", "line 2: end 3 is not after start 3"),
        ("t.csv", "file,end\na.wav,0\n", "line 2: end 0 is not after start 0"),
        ("t.jsonl", '{"file": "a.wav"}\n{"file": \n', "line 2: Expecting value"),
        ("t.jsonl", "[1]\n", "line 1: a list: every line must be one JSON object"),
        ("t.jsonl", '{"path": "a.wav"}\n', "line 1: unknown column 'path': known are file"),
        ("t.jsonl", '{"file": 3}\n', "line 1: file 3: it must be a text"),
        ("t.jsonl", r'{"file": "\ud800.wav"}', "line 1: file .* it must be a text"),
        ("t.jsonl", r'{"file": "a\u0000.wav"}', "line 1: file .* it must be a text"),
        ("t.jsonl", '{"file": "a.wav", "labels": [1]}\n', "line 1: labels 1: it must be a text or a list of texts"),
        ("t.jsonl", '{"file": "a.wav", "start": true}\n', "line 1: start True"),
        ("t.jsonl", "[" * 200_000, "line 1: "),
        ("t.tsv", "file\n", "unknown kind '.tsv': use .csv or .jsonl"),
    ],
)
def test_table_that_is_wrong_stops_with_one_line(tmp_path: Path, name: str, text: str, error: str) -> None:
    wav(tmp_path / "audio" / "a.wav")
    with pytest.raises(UsageError, match=error) as caught:
        table(tmp_path, name, text)
    assert "\n" not in str(caught.value)


def test_table_that_cannot_be_read_stops_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        Folder(SourceOptions(annotations=tmp_path / "t.csv"))
    (tmp_path / "latin.csv").write_bytes("file\né.wav\n".encode("latin-1"))
    with pytest.raises(UsageError, match="save it as UTF-8"):
        Folder(SourceOptions(annotations=tmp_path / "latin.csv"))


def test_folder_without_audio_stops_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    with pytest.raises(UsageError, match=r"no audio file below it: known are \.wav"):
        Folder(SourceOptions(audio=tmp_path))
    with pytest.raises(UsageError, match="No such file"):
        Folder(SourceOptions(audio=tmp_path / "none"))
    with pytest.raises(UsageError, match="Not a directory"):
        Folder(SourceOptions(audio=tmp_path / "notes.txt"))
    with pytest.raises(UsageError, match="no folder given: add --audio DIR"):
        Folder(SourceOptions())


# ---------------------------------------------------------------------------------------------------------------- avqa

PUBLISHED = {
    "id": 183,
    "video_name": "-HG3Omg_89c_000030",
    "video_id": 341,
    "question_text": "What happened in the video?",
    "multi_choice": ["motorboat", "Yacht consignment", "Sailboat set sail", "Consignment car"],
    "answer": 1,
    "question_relation": "View",
    "question_type": "Happening",
}


def avqa(home: Path, items: object, *files: str) -> Avqa:
    home.mkdir(exist_ok=True)
    (home / "train_qa.json").write_text(json.dumps(items))
    for name in files:
        wav(home / "audio" / name)
    return Avqa(SourceOptions(annotations=home, audio=home / "audio"))


def test_avqa_item_as_published(tmp_path: Path) -> None:
    (clip,) = rows(avqa(tmp_path, [PUBLISHED], "-HG3Omg_89c_000030.wav"))
    assert (clip.id, clip.media_id) == ("avqa/-HG3Omg_89c_000030", "-HG3Omg_89c")
    assert (clip.start, clip.end) == (None, None), "the file is the clip"
    assert (clip.media_start, clip.media_end) == (30.0, 40.0), "where the clip is in the video"
    (question,) = clip.questions
    assert (question.id, question.question, question.answer_index) == ("183", "What happened in the video?", 1)
    assert list(question.choices) == PUBLISHED["multi_choice"]
    assert question.attributes == {"question_relation": "View", "question_type": "Happening"}


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("-HG3Omg_89c_000030", ("-HG3Omg_89c", 30)),
        ("-HG3Omg_89c_30", ("-HG3Omg_89c", 30)),
        ("-HG3Omg_89c_000030.mp4", ("-HG3Omg_89c", 30)),
        ("-HG3Omg_89c_000030.MP4.wav", ("-HG3Omg_89c", 30)),
        ("0_-a_12345__000000", ("0_-a_12345_", 0)),
        ("-HG3Omg-89c", ("-HG3Omg-89c", None)),
    ],
)
def test_video_names_padded_unpadded_and_with_suffix(name: str, parsed: tuple[str, int | None]) -> None:
    assert media(name) == parsed


@pytest.mark.parametrize(
    "file",
    ["-HG3Omg_89c_000030.wav", "-HG3Omg_89c_30.wav", "-HG3Omg_89c_000030.mp4", "-HG3Omg_89c_30.FLAC",
     "train/x/-HG3Omg_89c_30.mp3", "-HG3Omg_89c_000030.mp4.wav"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["-HG3Omg_89c_000030", "-HG3Omg_89c_30", "-HG3Omg_89c_000030.mp4"])
def test_avqa_finds_a_clip_by_every_name_that_mirrors_use(tmp_path: Path, file: str, name: str) -> None:
    (clip,) = rows(avqa(tmp_path, [PUBLISHED | {"video_name": name}], file, "-HG3Omg_89c_000040.wav"))
    assert clip.id == "avqa/-HG3Omg_89c_000030"
    assert clip.path == str(tmp_path.resolve() / "audio" / file)


def test_avqa_takes_sound_before_video_and_the_first_of_equals(tmp_path: Path) -> None:
    source = avqa(tmp_path, [PUBLISHED], "a/-HG3Omg_89c_30.mp4", "b/-HG3Omg_89c_30.wav", "c/-HG3Omg_89c_000030.wav")
    assert [Path(clip.path).parent.name for clip in rows(source)] == ["b"]


def test_avqa_clip_with_several_questions_comes_once_at_its_first(tmp_path: Path) -> None:
    items = [
        PUBLISHED | {"id": 1, "video_name": "bbbbbbbbbbb_000005"},
        PUBLISHED | {"id": 2, "video_name": "aaaaaaaaaaa_000010", "multi_choice": [None, 3, "x", "y"], "answer": None},
        PUBLISHED | {"id": 3, "video_name": "bbbbbbbbbbb_5.mp4", "question_relation": None},
        PUBLISHED | {"id": 4, "video_name": "bbbbbbbbbbb_000015"},
    ]
    clips = rows(avqa(tmp_path, items, "aaaaaaaaaaa_10.wav", "bbbbbbbbbbb_5.wav", "bbbbbbbbbbb_15.wav"))
    assert [(clip.id, [q.id for q in clip.questions]) for clip in clips] == [
        ("avqa/bbbbbbbbbbb_000005", ["1", "3"]),
        ("avqa/aaaaaaaaaaa_000010", ["2"]),
        ("avqa/bbbbbbbbbbb_000015", ["4"]),
    ]
    assert clips[1].questions[0].choices == [None, 3, "x", "y"]
    assert clips[0].questions[1].attributes == {"question_type": "Happening"}


def test_avqa_values_that_no_table_can_hold_become_ones_that_can(tmp_path: Path) -> None:
    item = json.dumps(PUBLISHED | {"multi_choice": ["CHOICES"]})
    item = item.replace('"CHOICES"', r'1.50, NaN, 1e999, -Infinity, "a\ud800", {"b\u0000": 2}')
    (tmp_path / "train_qa.json").write_text(f"[{item}]")
    wav(tmp_path / "-HG3Omg_89c_30.wav")
    (clip,) = rows(Avqa(SourceOptions(annotations=tmp_path, audio=tmp_path)))
    assert clip.questions[0].choices == ["1.50", None, "1e999", None, r"a\ud800", {r"b\x00": 2}]
    canonical(clip.questions[0].choices).encode()


def test_avqa_lists_missing_audio_and_goes_on(tmp_path: Path) -> None:
    items = [PUBLISHED, PUBLISHED | {"video_name": "aaaaaaaaaaa_000010"}, PUBLISHED | {"video_name": "link-video1_1"}]
    source = avqa(tmp_path, items, "aaaaaaaaaaa_10.wav")
    (tmp_path / "audio" / "link-video1_1.wav").symlink_to(wav(tmp_path / "secret.wav"))
    source = Avqa(SourceOptions(annotations=tmp_path, audio=tmp_path / "audio"))
    assert brief(source) == [
        "avqa/-HG3Omg_89c_000030 audio_missing",
        "avqa/aaaaaaaaaaa_000010",
        "avqa/link-video1_000001 audio_outside_folder",
    ]


def test_avqa_takes_labels_from_vggsounds_own_list(tmp_path: Path) -> None:
    tmp_path.joinpath("vggsound.csv").write_text(
        '-HG3Omg_89c,30,"sailing, motorboat",train\n-HG3Omg_89c,40,other,test\n'
    )
    (clip,) = rows(avqa(tmp_path, [PUBLISHED], "-HG3Omg_89c_30.wav"))
    assert clip.labels == ("sailing, motorboat",)
    tmp_path.joinpath("vggsound.csv").write_text("youtube_id,start,label,split\n")
    with pytest.raises(UsageError, match=r"vggsound\.csv: no row can be read: line 1: start is 'start', no number"):
        avqa(tmp_path, [PUBLISHED])


def test_avqa_looks_in_its_default_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATAGEN_DATA", raising=False)
    with pytest.raises(UsageError, match=r"no folder data/avqa: put train_qa\.json \(from https://mn\.cs\.tsinghua"):
        Avqa(SourceOptions())
    (tmp_path / "data").mkdir()
    avqa(tmp_path / "data" / "avqa", [PUBLISHED], "-HG3Omg_89c_30.wav")
    assert brief(Avqa(SourceOptions())) == ["avqa/-HG3Omg_89c_000030"]
    monkeypatch.setenv("DATAGEN_DATA", str(tmp_path / "corpora"))
    assert brief(Avqa(SourceOptions())) == ["avqa/-HG3Omg_89c_000030"], "falls back"
    (tmp_path / "corpora").mkdir()
    avqa(tmp_path / "corpora" / "avqa", [PUBLISHED | {"video_name": "x_1"}], "x_1.wav")
    assert brief(Avqa(SourceOptions())) == ["avqa/x_000001"]
    validation = tmp_path / "val_qa.json"
    validation.write_text(json.dumps([PUBLISHED]))
    assert brief(Avqa(SourceOptions(annotations=validation))) == ["avqa/-HG3Omg_89c_000030 audio_missing"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('[{"id": 1,}]', "line 1 column 1[01]: .*: it must be one JSON array"),
        ('{"id": 1}\n{"id": 2}\n', "line 2 column 1: Extra data: it must be one JSON array"),
        ('{"id": 1}', "holds a dict: it must be one JSON array"),
        ("[]", "it holds no question"),
        ("", "line 1 column 1"),
        ("[3]", "item 0 has no text 'video_name'"),
        ('[{"video_name": "a_1"}, {"video_id": 3}]', "item 1 has no text 'video_name'"),
        ('[{"video_name": null}]', "item 0 has no text 'video_name'"),
        (r'[{"video_name": "\ud800_1"}]', "item 0 has no text 'video_name'"),
        ("[" * 200_000, "it must be one JSON array"),
        ("[" + "9" * 5_000 + "]", "it must be one JSON array"),
        ("[\udcff]", "it must be one JSON array in UTF-8"),
    ],
)
def test_avqa_annotations_that_are_wrong_stop_with_one_line(tmp_path: Path, text: str, error: str) -> None:
    wav(tmp_path / "a_1.wav")
    (tmp_path / "train_qa.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UsageError, match=error) as caught:
        Avqa(SourceOptions(annotations=tmp_path, audio=tmp_path))
    assert "\n" not in str(caught.value)


def test_avqa_without_audio_or_annotations_stops_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train_qa\.json: No such file or directory: take train_qa\.json from"):
        Avqa(SourceOptions(annotations=tmp_path, audio=tmp_path))
    (tmp_path / "train_qa.json").write_text(json.dumps([PUBLISHED]))
    with pytest.raises(UsageError, match="no audio file below it: put the clips of a VGGSound mirror there"):
        Avqa(SourceOptions(annotations=tmp_path, audio=tmp_path))


# -------------------------------------------------------------------------------------------------- captioner `labels`


def said(clip: Clip) -> list[tuple[int, str, str]]:
    captions = asyncio.run(Labels(None).caption(clip, None))  # type: ignore[arg-type]
    assert all((c.clip_id, c.captioner, c.facts, c.key) == (clip.id, "labels", (), "") for c in captions)
    return [(c.index, c.aspect, c.text) for c in captions]


def test_labels_captioner_says_what_the_corpus_says() -> None:
    clip = Clip(
        "x/1", "x", "f", labels=("dog barking", "rain"), reference_captions=("A dog barks.", " ", "Rain falls. ")
    )
    assert said(clip) == [
        (0, "reference", "A dog barks."),
        (1, "reference", "Rain falls."),
        (2, "labels", "The sounds labelled in this clip: dog barking, rain."),
    ]


def test_labels_captioner_says_nothing_of_a_bare_clip() -> None:
    assert said(Clip("x/1", "x", "f")) == []


def test_demo_vocabulary_is_spread_over_clips() -> None:
    clips = Counter(label for row in MANIFEST for label in row["labels"])
    assert len(clips) >= 20
    assert max(clips.values()) <= len(MANIFEST) / 5
    with (CLIPS / "LICENSE.md").open(encoding="utf-8") as page:
        assert "CC0 1.0" in page.read()
