"""The six corpora: a build of each on small files in its published format, and what each does with bad input."""

from __future__ import annotations

import json
import re
import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import soundfile

from datagen.build import Config, build
from datagen.errors import RowError, UsageError
from datagen.plugins import SourceOptions, resolve
from datagen.records import Clip, Failure
from datagen.sources import SOURCES
from datagen.sources.clotho import spdx
from datagen.sources.files import MEANING
from datagen.sources.index import Index
from datagen.sources.tables import Csv, JsonArray, Listing, number, text
from datagen.sources.youtube import Segment, key, media, video

ROOT = Path(__file__).parents[1]
SAMPLES = runpy.run_path(str(ROOT / "examples/make_source_samples.py"))["SAMPLES"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with the sample of every corpus."""
    folder = tmp_path_factory.mktemp("data")
    for name, write in SAMPLES.items():
        write(folder / name)
    return folder


@pytest.fixture
def home(data, monkeypatch, tmp_path):
    """The samples in the default place, and an empty working folder."""
    monkeypatch.setenv("DATAGEN_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    return data


def made(name, **options):
    return resolve("source", name, SOURCES, "clips")(SourceOptions(**options))


def listed(name, **options):
    """Id (without the source) → the row; two passes give the same."""
    source = made(name, **options)
    rows = list(source.clips())
    assert list(source.clips()) == rows
    return {(row.id if isinstance(row, Clip) else f"{row.clip_id} {row.reason}").partition("/")[2]: row for row in rows}


# ------------------------------------------------------------------------------------------------------ whole builds

BUILDS = {
    "vggsound": (3, {"audio_missing", "row_repeated", "audio_outside", "audio_empty"}),
    "audiocaps": (3, {"audio_missing", "row_malformed"}),
    "clotho": (3, {"audio_missing", "audio_outside_folder"}),
    "musiccaps": (3, {"row_malformed"}),
    "audioset": (3, {"row_malformed"}),
    "wavcaps": (3, {"blacklisted", "row_malformed"}),
}
"""Clips that are used, and reasons of those that are not."""


def test_every_corpus_has_a_sample():
    assert set(BUILDS) == set(SAMPLES) == set(SOURCES) - {"demo", "folder", "avqa", "hub"}


def test_the_page_has_every_source_and_every_reason():
    page = (ROOT / "docs/sources.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \|(?:[^|\n]+\|){4}$", page.partition("## Licences")[0])
    assert sorted(rows) == sorted(SOURCES)
    for reason in ("row_malformed", "row_repeated", "metadata_missing", *MEANING, "blacklisted"):
        assert f"`{reason}`" in page or reason == "audio_not_cut", reason


@pytest.mark.parametrize("name", BUILDS)
def test_a_build_lists_what_it_could_not_use(home, tmp_path, name):
    clips, reasons = BUILDS[name]
    counts = build(Config(name, tmp_path / "run"))
    failures = pl.read_parquet(tmp_path / "run/rejected.parquet").filter(pl.col("stage").is_in(["source", "audio"]))
    assert (counts["clips"], set(failures["reason"])) == (clips, reasons)
    assert counts["questions"] >= clips
    kept = pl.read_parquet(tmp_path / "run/dataset/data/*.parquet")
    assert kept.height == counts["kept"] > 0
    assert set(kept["source"]) == {name}


def test_blacklisted_clips_are_left_out_and_not_failed(home, tmp_path, capsys):
    counts = build(Config("wavcaps", tmp_path / "run"))
    assert counts["failed"] == {"source": 1}, "the one object without a caption"
    assert capsys.readouterr().err.endswith(" 1 failed\n")


@pytest.mark.parametrize(
    ("name", "excluded", "license", "left"),
    [
        ("vggsound", "aaaaaaaaaa1", (), 4),
        ("audiocaps", "-bbbbbbbbb2", (), 2),
        ("clotho", "80399", (), 2),
        ("clotho", "x", ("CC0-1.0", "CC-BY-3.0"), 1),
        ("musiccaps", "ccccccccc_3", (), 2),
        ("audioset", "aaaaaaaaaa1", (), 2),
        ("wavcaps", "2219", (), 2),
    ],
)
def test_clips_are_left_out_by_media_and_licence(home, tmp_path, name, excluded, license, left):
    (tmp_path / "ids.txt").write_text(f"{excluded}\n")
    config = Config(name, tmp_path / "run", dry_run=True, license=license)
    assert build(replace(config, exclude_media=tmp_path / "ids.txt"))["clips"] == left


# ---------------------------------------------------------------------------------------------------- what rows mean


def test_vggsound_finds_stretches_and_whole_videos(home):
    rows = listed("vggsound")
    assert list(rows) == [
        "aaaaaaaaaa1_000030", "-bbbbbbbbb2_000001", "c_ccccccc_3_000005", "ddddddddd_4_000120 audio_missing",
        "eeeeeeeeee5_000040", "ffffffffff6_000000", "-bbbbbbbbb2_000001 row_repeated",
    ]  # fmt: skip
    cut, whole = rows["aaaaaaaaaa1_000030"], rows["c_ccccccc_3_000005"]
    assert (cut.labels, cut.media_id) == (("crow cawing",), "aaaaaaaaaa1")
    assert (cut.start, cut.end, cut.media_start, cut.media_end) == (None, None, 30.0, 40.0)
    assert (whole.start, whole.end, whole.media_start, whole.media_end) == (5.0, 15.0, None, None)
    assert rows["-bbbbbbbbb2_000001 row_repeated"].raw == "-bbbbbbbbb2,1,church bell ringing,train"


def test_audiocaps_joins_the_captions_of_a_clip(home, data):
    rows = listed("audiocaps")
    assert rows["-bbbbbbbbb2_000020"].reference_captions == ("A bell rings, and fades",)
    assert Path(rows["-bbbbbbbbb2_000020"].path).name == "58146.wav", "by its audiocap_id"
    assert Path(rows["ccccccccc_3_000080"].path).name == "ccccccccc_3_80000_90000.flac", "in milliseconds"
    assert "'../../etc/x' is no YouTube id" in rows["train.csv:6 row_malformed"].error
    rows = listed("audiocaps", annotations=data / "audiocaps/val.csv")
    assert [row.reference_captions for row in rows.values()] == [
        tuple(f"A {what} is heard, {n}" for n in range(5)) for what in ("crow", "train")
    ]


def test_clotho_takes_licence_and_recording_from_its_metadata(home):
    rows = listed("clotho")
    bell, crow, loop = rows["Bell.001.wav"], rows["Crow calls.wav"], rows["loop.mp3.wav"]
    assert (bell.license, bell.media_id, bell.labels) == ("CC-BY-NC-3.0", "80399", ("bell", "glöckchen"))
    assert (bell.media_start, bell.media_end) == (1024 / 44_100, 89_224 / 44_100)
    assert len(bell.reference_captions) == 5
    assert (crow.license, crow.media_start) == ("CC0-1.0", None)
    assert (loop.license, loop.media_id) == ("LicenseRef-CC-Sampling-Plus-1.0", ""), "its sound_id is 'Not found'"
    assert rows["../secret.wav audio_outside_folder"]


def test_clotho_without_a_row_of_metadata_is_a_failure(data, tmp_path):
    for kind in ("captions", "metadata"):
        lines = (data / f"clotho/clotho_{kind}_development.csv").read_text("latin-1").splitlines(keepends=True)
        kept = [line for line in lines if "Bell" not in line or kind == "captions"]
        (tmp_path / f"clotho_{kind}_evaluation.csv").write_text("".join(kept))
    rows = listed("clotho", annotations=tmp_path / "clotho_captions_evaluation.csv", audio=data / "clotho")
    assert "Crow calls.wav" in rows
    assert rows["Bell.001.wav metadata_missing"].error == "Bell.001.wav: no row in clotho_metadata_evaluation.csv"


@pytest.mark.parametrize(
    ("address", "id"),
    [
        ("http://creativecommons.org/licenses/by/3.0/", "CC-BY-3.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/", "CC-BY-NC-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("http://creativecommons.org/licenses/sampling+/1.0/", "LicenseRef-CC-Sampling-Plus-1.0"),
        ("", ""),
        ("all rights reserved", ""),
    ],
)
def test_creative_commons_addresses_become_spdx_ids(address, id):
    assert spdx(address) == id


def test_musiccaps_labels_are_aspects_and_classes(home):
    rows = listed("musiccaps")
    assert rows["aaaaaaaaaa1_000030"].labels == ("snare drum", "dry", "Snare drum")
    assert rows["aaaaaaaaaa1_000030"].reference_captions == ('A snare, "dry".',)
    assert (rows["-bbbbbbbbb2_000000"].start, rows["-bbbbbbbbb2_000000"].end) == (0.0, 10.0), "of a whole video"
    assert rows["ccccccccc_3_000030"].labels == ("guitar", "player's chord", "Speech")
    assert Path(rows["ccccccccc_3_000030"].path).name == "[ccccccccc_3]-[30-40].wav"


def test_audioset_names_its_classes(home, data, tmp_path):
    rows = listed("audioset")
    assert rows["-bbbbbbbbb2_000000"].labels == ("Bell", "Speech")
    assert (rows["ccccccccc_3_000022.500"].media_start, rows["ccccccccc_3_000022.500"].media_end) == (22.5, 32.5)
    assert "'/m/nothing', no class" in rows["balanced_train_segments.csv:7 row_malformed"].error
    assert "end 30 is not after start 40" in rows["balanced_train_segments.csv:8 row_malformed"].error
    file = tmp_path / "eval_segments.csv"
    file.write_bytes((data / "audioset/balanced_train_segments.csv").read_bytes())
    with pytest.raises(UsageError, match=r"neither ontology\.json nor class_labels_indices\.csv beside it: put"):
        made("audioset", annotations=file)
    (tmp_path / "class_labels_indices.csv").write_bytes((data / "musiccaps/class_labels_indices.csv").read_bytes())
    assert listed("audioset", annotations=file).keys() == {k.replace("balanced_train", "eval") for k in rows}


def test_wavcaps_tells_equal_numbers_of_two_subsets_apart(home, data):
    rows = listed("wavcaps")
    free, bible = rows["FreeSound/2219"], rows["SoundBible/2219"]
    assert Path(free.path).parent.name == "FreeSound_flac" and Path(bible.path).parent.name == "SoundBible_flac"
    assert (free.media_id, free.labels) == ("2219", ("snare", "drum"))
    assert bible.media_id == "", "no Freesound id"
    assert rows["AudioSet_SL/Yaaaaaaaaaa1"].media_id == "aaaaaaaaaa1"
    one = data / "wavcaps/json_files/FreeSound/fsd_final.json"
    alone = listed("wavcaps", annotations=one, audio=data / "wavcaps/FreeSound_flac")
    assert list(alone) == ["FreeSound/2219", "FreeSound/180913 blacklisted", "fsd_final.json:3 row_malformed"]


def test_wavcaps_asks_for_its_blacklists(data, tmp_path):
    (tmp_path / "sb_final.json").write_bytes((data / "wavcaps/json_files/SoundBible/sb_final.json").read_bytes())
    options = {"annotations": tmp_path, "audio": data / "wavcaps/SoundBible_flac"}
    with pytest.raises(UsageError, match=r"no blacklist\*\.json in it: take json_files/blacklist/ from"):
        made("wavcaps", **options)
    (tmp_path / "blacklist_none.json").write_text("{}")
    assert list(listed("wavcaps", **options)) == ["SoundBible/2219"]
    (tmp_path / "blacklist_none.json").write_text("[1]")
    with pytest.raises(UsageError, match="no object of lists"):
        made("wavcaps", **options)


# ---------------------------------------------------------------------------------------------------------- bad input

WRONG = [
    ("vggsound", "vggsound.csv", "id,start,label\na,1,b\n", "line 1: 3 cells, not 4"),
    ("vggsound", "vggsound.csv", "aaaaaaaaaa1,soon,crow,train\n", "start is 'soon', no number of seconds"),
    ("vggsound", "vggsound.csv", "", "it has no row"),
    ("audiocaps", "train.csv", "audiocap_id,youtube_id,start,caption\n1,a,2,b\n",
     "no column 'start_time': its columns are audiocap_id, youtube_id, start, caption: use AudioCaps' own"),
    ("audiocaps", "train.csv", "", "no column 'audiocap_id', .*: its columns are none"),
    ("audiocaps", "train.csv", "audiocap_id,youtube_id,start_time,caption\n1,a,2\n", "line 2: 3 cells, not 4"),
    ("clotho", "clotho_captions_development.csv", "file_name,caption\n", "no column 'caption_1', 'caption_2'"),
    ("clotho", "clotho_metadata_development.csv", "file_name,keywords\n", "no column 'sound_id', .* file_name, keywo"),
    ("musiccaps", "musiccaps-public.csv", "ytid,start_s\n", "no column 'end_s', 'audioset_positive_labels', 'asp"),
    ("musiccaps", "class_labels_indices.csv", "index,mid\n", "no column 'display_name': its columns are index, mid"),
    ("audioset", "balanced_train_segments.csv", "# YTID\na,1\n", "line 2: 2 cells, not 4"),
    ("audioset", "ontology.json", '[{"id": "/m/1"}]', "not a list of objects with id and name"),
    ("audioset", "ontology.json", '[{"id": ', "ontology.json: Expecting value"),
    ("wavcaps", "json_files/FreeSound/fsd_final.json", '{"num_captions_per_audio": 1, "data": [{"id": "1", "cap',
     "fsd_final.json: .*: take it from"),
    ("wavcaps", "json_files/FreeSound/fsd_final.json", '{"rows": [1], "n": 2}', "no array 'data': it holds rows, n"),
    ("wavcaps", "json_files/FreeSound/fsd_final.json", "version https://git-lfs.github.com/spec/v1\n", "take it from"),
    ("wavcaps", "json_files/FreeSound/fsd_final.json", '{"data": [{"id": "1", "text": "x"}]}',
     "no row can be read: object 1: caption is None"),
    ("wavcaps", "json_files/blacklist/blacklist_exclude_test_ac.json", '{"AudioSet": [', "blacklist_exclude_test_ac"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "content", "error"), WRONG)
def test_a_file_that_is_not_of_its_form_stops_with_one_line(tmp_path, name, file, content, error):
    SAMPLES[name](tmp_path / name)
    (tmp_path / name / file).write_text(content)
    with pytest.raises(UsageError, match=error) as caught:
        list(made(name, annotations=tmp_path / name, audio=tmp_path / name).clips())
    assert "\n" not in str(caught.value) and Path(file).name in str(caught.value)


@pytest.mark.parametrize("name", BUILDS)
def test_a_corpus_that_is_nowhere_says_where_from_and_where_to(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATAGEN_DATA", "/nowhere")
    with pytest.raises(UsageError, match=rf"--source {name}: no folder /nowhere/{name} or data/{name}: put .*https://"):
        made(name)
    (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(UsageError, match=r"No such file or directory|none of as_final\.json|neither ontology\.json"):
        made(name)


@pytest.mark.parametrize("name", BUILDS)
def test_a_corpus_without_audio_says_what_goes_there(data, tmp_path, name):
    (tmp_path / "audio").mkdir()
    with pytest.raises(UsageError, match=r"audio: no audio file below it: put .*https://"):
        made(name, annotations=data / name, audio=tmp_path / "audio")


# ------------------------------------------------------------------------------------------------ tables and the index


def segments(path, rows):
    path.write_bytes(rows)
    table = Csv(path, ("id", "start", "label"), "mend it", header=False)
    return Listing("x", table, lambda cells: Segment(video(text(cells, "id")), s := number(cells, "start"), s + 10))


def test_a_bad_row_is_a_failure_with_its_text_and_the_rest_is_read(tmp_path):
    rows = b'a,1,x\nb,1\n\nc,1,"x"y\nd,-1,x\n../e,1,x\nf,1,"two\nlines"\ng,nan,x\n\xe9\xe9,1,x\nh,2,x\ni,1,"open\n'
    found = list(segments(tmp_path / "t.csv", rows).entries())
    assert [row.key for row in found if isinstance(row, Segment)] == ["a_000001", "f_000001", "h_000002"]
    failures = [row for row in found if isinstance(row, Failure)]
    assert [(row.clip_id, row.raw) for row in failures] == [
        ("x/t.csv:2", "b,1"), ("x/t.csv:4", 'c,1,"x"y'), ("x/t.csv:5", "d,-1,x"), ("x/t.csv:6", "../e,1,x"),
        ("x/t.csv:9", "g,nan,x"), ("x/t.csv:10", "éé,1,x"), ("x/t.csv:12", 'i,1,"open'),
    ]  # fmt: skip
    assert {(row.stage, row.reason) for row in failures} == {("source", "row_malformed")}
    assert failures[0].error == "line 2: 2 cells, not 3 (id,start,label)"


def test_an_object_that_is_none_is_a_failure(tmp_path):
    (tmp_path / "t.json").write_text('{"data": [3, {"id": "a\\u0000"}, {"id": ["b"]}]}')
    parse = lambda cells: Segment(text(cells, "id"), 0, 1)  # noqa: E731
    found = list(Listing("x", JsonArray(tmp_path / "t.json", "mend it"), parse).entries())
    assert [getattr(row, "error", getattr(row, "key", "")) for row in found] == [
        "object 1: a int, no object", "a\\x00_000000", "object 3: id is ['b'], no text",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("-HG3Omg_89c_30.wav", ("-HG3Omg_89c", 30)),
        ("-HG3Omg_89c_000030.mp4", ("-HG3Omg_89c", 30)),
        ("x/Y-HG3Omg_89c_30.000.mp3", ("-HG3Omg_89c", 30)),
        ("-HG3Omg_89c_30000_40000.flac", ("-HG3Omg_89c", 30_000)),
        ("-HG3Omg_89c_22.5_32.5.flac", ("-HG3Omg_89c", 22.5)),
        ("[-HG3Omg_89c]-[30-40].wav", ("-HG3Omg_89c", 30)),
        ("-HG3Omg_89c.m4a", ("-HG3Omg_89c", None)),
        ("Y-HG3Omg_89c.wav", ("-HG3Omg_89c", None)),
        ("YHG3Omg_89c.wav", ("YHG3Omg_89c", None)),
        ("YHG3Omg_89c_30.wav", ("YHG3Omg_89c", 30)),
        ("Omg_1234567.wav", ("Omg_1234567", None)),
        ("91139.wav", ("91139", None)),
    ],
)
def test_names_of_files_say_video_and_second(name, found):
    assert media(name) == found


def test_the_index_prefers_sound_to_video_and_takes_little_memory(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    for number_ in range(2_000):
        (folder / f"{number_:011d}_000030.wav").touch()
    (folder / "00000000007_30.mp4").touch()
    (tmp_path / "00000000007_30000.flac").touch()
    index = Index(tmp_path, key, "none")
    assert index.find("00000000007@30") == folder / "00000000007_000030.wav"
    assert index.find("00000000007@30000") == tmp_path / "00000000007_30000.flac"
    assert index.find("00000000007@31") == "audio_missing"
    held = [value for value in vars(index).values() if hasattr(value, "nbytes")]
    assert (sum(value.nbytes for value in held) + len(index._names)) / 2_002 < 60


def test_keys_of_one_hash_are_told_apart(home, data, monkeypatch):
    names = ("vggsound", "audiocaps", "clotho", "wavcaps")
    val = {"annotations": data / "audiocaps/val.csv", "audio": data / "audiocaps"}
    before = [*(listed(name) for name in names), listed("audiocaps", **val)]
    monkeypatch.setattr("datagen.sources.index.hashed", lambda key: 7)
    monkeypatch.setattr("datagen.sources.tables.hashed", lambda key: 7)
    assert [*(listed(name) for name in names), listed("audiocaps", **val)] == before


def test_a_link_out_of_the_folder_is_not_opened(home, data, tmp_path):
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, [0.0, 0.1], 16_000)
    SAMPLES["vggsound"](tmp_path / "vggsound")
    (tmp_path / "vggsound/audio/ddddddddd_4_120.wav").symlink_to(secret)
    rows = listed("vggsound", annotations=tmp_path / "vggsound", audio=tmp_path / "vggsound/audio")
    assert "ddddddddd_4_000120 audio_outside_folder" in rows


def test_segments_refuse_what_is_no_stretch():
    with pytest.raises(RowError, match="end 3 is not after start 3"):
        Segment("a", 3, 3)
    assert Counter(row.key for row in (Segment("a", 3, 4), Segment("a", 3.25, 4))) == {"a_000003": 1, "a_000003.250": 1}
    assert json.dumps(Segment("a", 3, 4).key)
