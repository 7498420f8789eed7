"""Source `hub`: real sets in the forms that the `datasets` library reads, on disk and behind the loopback Hub."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tracemalloc
import wave
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Features, List, Value
from hub_server import HubServer, connect

from datagen.build import Config, build
from datagen.errors import AudioError, DatagenError, UsageError
from datagen.plugins import SourceOptions
from datagen.records import Clip, Failure
from datagen.run import Run
from datagen.sources.demo import CLIPS
from datagen.sources.hub import Hub, parse
from datagen.sources.hub_columns import choose
from datagen.sources.store import Store

FLACS = sorted(CLIPS.glob("*.flac"))
FEATURES = Features(
    {
        "audio": Audio(),
        "label": ClassLabel(names=["dog_bark", "rain"]),
        "caption": Value("string"),
        "youtube_id": Value("string"),
        "license": Value("string"),
        "id": Value("string"),
    }
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def row(number: int, **other):
    audio = {"bytes": FLACS[number % len(FLACS)].read_bytes(), "path": FLACS[number % len(FLACS)].name}
    return {
        "audio": audio, "label": number % 2, "caption": f"Sound  number {number}.", "youtube_id": f"yt{number}",
        "license": "CC0-1.0", "id": f"own{number}", **other,
    }  # fmt: skip


def parquet(folder: Path, rows, features: Features = FEATURES, name: str = "train-00000-of-00001.parquet") -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), folder / "data" / name)
    return folder


def noise(number: int) -> bytes:
    """A WAV file of 2 s, another one for each number."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(random.Random(number).randbytes(64_000))
    return file.getvalue()


def source(folder: Path, query: str = "", store: Path | None = None) -> Hub:
    return Hub(SourceOptions(Path(f"{folder}{query}"), store=store))


def refused(folder: Path | str, query: str = "") -> str:
    with pytest.raises(UsageError) as caught:
        Hub(SourceOptions(Path(f"{folder}{query}")))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ── what a row becomes ───────────────────────────────────────────────────────────────────────────────────────────────


def test_rows_of_parquet_become_clips_whose_audio_is_written_once(tmp_path):
    hub = source(parquet(tmp_path / "set", [row(i) for i in range(5)]), store=tmp_path / "store")
    clips = list(hub.clips())
    assert clips[3] == Clip(
        id="hub/set/train/3/own3", source="hub", path=clips[3].path, labels=("rain",),
        reference_captions=("Sound number 3.",), license="CC0-1.0", media_id="yt3",
    )  # fmt: skip
    assert [Path(c.path).read_bytes() for c in clips] == [f.read_bytes() for f in FLACS[:5]]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.flac")}
    assert len(written) == 5
    assert list(source(tmp_path / "set", store=tmp_path / "store").clips()) == clips
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.*")} == written


def test_the_listing_has_the_rows_without_reading_audio(tmp_path):
    hub = source(parquet(tmp_path / "set", [row(i) for i in range(40)]), store=tmp_path / "store")
    file = tmp_path / "set/data/train-00000-of-00001.parquet"
    chunk = pq.ParquetFile(file).metadata.row_group(0).column(0)  # audio.bytes
    assert chunk.path_in_schema == "audio.bytes"
    with file.open("r+b") as out:  # whoever reads the audio now, fails
        out.seek(chunk.data_page_offset)
        out.write(b"\xff" * 64)
    assert [c.id for c in hub.listing()] == [f"hub/set/train/{i}/own{i}" for i in range(40)]
    with pytest.raises(UsageError, match="cannot be read as a data set"):
        list(hub.clips())
    assert not (tmp_path / "store").exists()


def test_no_row_group_stays_in_memory_after_it_was_read(tmp_path):
    """pyarrow keeps every group until its iterator ends, 24 MB here."""
    rows = [row(i, audio={"bytes": os.urandom(100_000), "path": "x.wav"}) for i in range(240)]
    folder = tmp_path / "set"
    folder.mkdir()
    pq.write_table(
        pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema), folder / "train.parquet", row_group_size=40
    )
    found = source(folder).set.rows()
    tracemalloc.start()
    try:
        assert sum(1 for _ in found) == 240
        assert tracemalloc.get_traced_memory()[1] < 12_000_000
    finally:
        tracemalloc.stop()


def test_only_as_many_rows_as_asked_for_are_read(tmp_path):
    for part in range(3):
        parquet(tmp_path / "set", [row(i) for i in range(8)], name=f"train-0000{part}-of-00003.parquet")
    hub = source(tmp_path / "set", store=tmp_path / "store")
    for part in (1, 2):
        (tmp_path / f"set/data/train-0000{part}-of-00003.parquet").write_bytes(b"broken")
    clips, listing = hub.clips(), hub.listing()
    assert [next(clips).id, next(listing).id] == ["hub/set/train/0/own0"] * 2
    assert len(list((tmp_path / "store").rglob("*.flac"))) == 1


def test_audio_folder_is_read_in_place(tmp_path):
    for i in range(6):
        place = tmp_path / "set" / "train" / ("dog_bark", "rain")[i % 2] / FLACS[i].name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(FLACS[i].read_bytes())
    hub = source(tmp_path / "set", store=tmp_path / "store")
    found = [(c.id, c.labels, Path(c.path).parent.name) for c in hub.clips()]
    assert found == [
        (f"hub/set/train/{i}", (x.replace("_", " "),), x) for i, x in enumerate(["dog_bark"] * 3 + ["rain"] * 3)
    ]
    assert [c.labels for c in hub.listing()] == [labels for _, labels, _ in found]
    assert not (tmp_path / "store").exists()


def test_audio_folder_with_metadata_in_an_archive_too(tmp_path):
    (tmp_path / "set").mkdir()
    with zipfile.ZipFile(tmp_path / "set" / "train.zip", "w") as archive:
        for i in range(2):
            archive.write(FLACS[i], f"clips/{i}.flac")
        lines = [json.dumps({"file_name": f"{i}.flac", "caption": f"Sound {i}."}) for i in range(2)]
        archive.writestr("clips/metadata.jsonl", "\n".join(lines))
    clips = list(source(tmp_path / "set", store=tmp_path / "store").clips())
    assert [c.reference_captions for c in clips] == [("Sound 0.",), ("Sound 1.",)]
    assert [Path(c.path).read_bytes() for c in clips] == [f.read_bytes() for f in FLACS[:2]]


def test_what_save_to_disk_wrote_and_web_dataset(tmp_path):
    table = pa.Table.from_pylist([row(i) for i in range(3)], schema=FEATURES.arrow_schema)
    datasets.DatasetDict({"test": datasets.Dataset(table)}).save_to_disk(tmp_path / "saved")
    assert [c.labels for c in source(tmp_path / "saved").clips()] == [("dog bark",), ("rain",), ("dog bark",)]

    import tarfile

    (tmp_path / "web").mkdir()
    with tarfile.open(tmp_path / "web" / "train-0.tar", "w") as tar:
        for i in range(2):
            tar.add(FLACS[i], f"{i}.flac")
    hub = source(tmp_path / "web", store=tmp_path / "store")
    assert [(c.id, Path(c.path).read_bytes()) for c in hub.clips()] == [
        (f"hub/web/train/{i}/{i}", FLACS[i].read_bytes()) for i in range(2)
    ]


def test_neither_torch_nor_a_decoder_of_datasets_is_needed(tmp_path):
    """`datasets` 5 asks for torchcodec to pass on even the name of a file; we must not come to that place."""
    place = tmp_path / "set" / "train" / "a"
    place.mkdir(parents=True)
    (place / "x.flac").write_bytes(FLACS[0].read_bytes())
    code = f"""
import sys
from pathlib import Path
from datagen.plugins import SourceOptions
from datagen.sources.hub import Hub
clips = list(Hub(SourceOptions(Path({str(tmp_path / "set")!r}))).clips())
print(len(clips), {{"torch", "torchcodec"}} & {{*sys.modules}})
"""
    environment = {**os.environ, "USE_TORCH": "0", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "1 set()\n", done.stderr


# ── rows that cannot be used ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_must_not_make_us_open_a_file_outside_the_set(tmp_path):
    (tmp_path / "secret.flac").write_bytes(FLACS[0].read_bytes())
    with zipfile.ZipFile(tmp_path / "secret.zip", "w") as archive:
        archive.write(FLACS[0], "x.wav")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link.zip").symlink_to(tmp_path / "secret.zip")
    paths = [
        str(tmp_path / "secret.flac"), "../secret.flac", "file:///etc/passwd", "zip://x.wav::/etc/passwd",
        f"zip://x.wav::{tmp_path}/set/../secret.zip", f"zip://x.wav::{tmp_path}/set/link.zip",
        "https://example.com/x.wav", "no\0thing.wav", "", None,
    ]  # fmt: skip
    rows = [row(i, audio={"bytes": None, "path": path}) for i, path in enumerate(paths)]
    rows += [row(9, audio=None), row(10, audio={"bytes": b"", "path": "a.wav"})]
    found = list(source(parquet(tmp_path / "set", rows)).clips())
    assert all(isinstance(item, Failure) for item in found)
    assert [item.reason.removeprefix("audio_") for item in found] == [
        "outside_folder", "outside_folder", "missing", "outside_folder", "outside_folder", "outside_folder", "missing",
        "missing", "missing", "missing", "missing", "empty",
    ]  # fmt: skip
    assert found[0].clip_id == "hub/set/train/0/own0"


def test_a_build_lists_broken_rows_and_keeps_the_rest(tmp_path):
    rows = [row(i) for i in range(12)]
    rows[4]["audio"] = {"bytes": b"RIFF no audio at all", "path": "x.wav"}
    rows[7]["audio"] = None
    folder = parquet(tmp_path / "set", rows)
    counts = build(Config(source="hub", annotations=folder, out=tmp_path / "run"))
    rejected = Run(tmp_path / "run").read(Failure).filter(stage="audio").select("clip_id", "reason").rows()
    assert rejected == [("hub/set/train/4/own4", "audio_corrupt"), ("hub/set/train/7/own7", "audio_missing")]
    assert (counts["clips"], counts["failed"]) == (10, {"audio": 2})
    clips = Run(tmp_path / "run").read(Clip)
    assert all(Path(path).is_relative_to(tmp_path / "run" / "audio") for path in clips["path"])
    card = (tmp_path / "run/dataset/README.md").read_text()
    assert str(tmp_path) not in card


def test_a_build_goes_on_and_refuses_another_set_or_split(tmp_path):
    folder = parquet(tmp_path / "set", [row(i) for i in range(8)])
    parquet(folder, [row(i) for i in range(8, 10)], name="test-00000-of-00001.parquet")
    config = Config(source="hub", annotations=folder, out=tmp_path / "run", limit=4)
    first = build(config)
    assert (first["clips"], len(list((tmp_path / "run/audio").rglob("*.flac")))) == (4, 4)
    assert build(Config(source="hub", annotations=folder, out=tmp_path / "run"))["clips"] == 8  # no other inputs
    with pytest.raises(UsageError, match=r'clips was "set@local default train .*, now "set@local default test '):
        build(Config(source="hub", annotations=Path(f"{folder}?split=test"), out=tmp_path / "run"))
    parquet(folder, [row(i, caption="Another.") for i in range(8)])
    with pytest.raises(UsageError, match="holds a run of other inputs: clips was"):
        build(config)


def test_excluded_licences_and_media_are_left_out(tmp_path):
    rows = [row(0), row(1, license="CC-BY-4.0"), row(2)]
    (tmp_path / "media.txt").write_text("yt2\n")
    config = Config(
        source="hub", annotations=parquet(tmp_path / "set", rows), out=tmp_path / "run", license=("CC0-1.0",),
        exclude_media=tmp_path / "media.txt",
    )  # fmt: skip
    assert build(config)["clips"] == 1


# ── which column is which ────────────────────────────────────────────────────────────────────────────────────────────

TEXT, NUMBER = Value("string"), Value("int64")


@pytest.mark.parametrize(
    ("features", "named", "found"),
    [
        # ashraq/esc50: `target` is a number without names
        ({"filename": TEXT, "target": NUMBER, "category": TEXT, "audio": Audio()}, {}, ("audio", (), ("category",))),
        ({"a": Audio(), "label": TEXT, "category": ClassLabel(names=["x"])}, {}, ("a", (), ("category",))),
        ({"audio": Audio(), "labels": List(ClassLabel(names=["x"])), "label": TEXT}, {}, ("audio", (), ("labels",))),
        ({"audio": Audio(), "caption_1": TEXT, "caption_2": TEXT}, {}, ("audio", ("caption_1", "caption_2"), ())),
        ({"audio": Audio(), "text": TEXT}, {}, ("audio", (), ())),  # mostly what is said, no caption
        ({"audio": Audio(), "text": TEXT}, {"caption": "text"}, ("audio", ("text",), ())),
        ({"x": Audio(), "y": Audio(), "label": TEXT}, {"audio": "y", "labels": ""}, ("y", (), ())),
        ({"wav": Value("binary"), "tags": List(TEXT)}, {}, ("wav", (), ("tags",))),
        ({"audio": {"bytes": Value("binary"), "path": TEXT}}, {}, ("audio", (), ())),
        ({"file": TEXT, "label": TEXT}, {"audio": "file"}, ("file", (), ("label",))),
    ],
)  # fmt: skip
def test_columns_are_found_by_the_call_then_type_then_name(features, named, found):
    columns = choose("here", features, named)
    assert (columns.audio, columns.captions, columns.labels) == found


@pytest.mark.parametrize(
    ("features", "named", "problem"),
    [
        ({"text": TEXT, "label": TEXT}, {}, "here: has no audio column, only text, label: name a set with audio"),
        ({}, {}, "has no audio column, only none"),
        ({"x": Audio(), "y": Audio()}, {}, r"x and y could all be its audio: add \?audio=COLUMN to --annotations"),
        ({"audio": Audio(), "caption": TEXT, "captions": List(TEXT)}, {}, "caption and captions could all be its cap"),
        ({"audio": Audio(), "class": TEXT, "tags": TEXT}, {}, "class and tags could all be its labels"),
        ({"audio": Audio()}, {"labels": "nope"}, "has no column 'nope' for labels: it has audio"),
        ({"audio": Audio(), "b": TEXT}, {"audio": "audio,b"}, "audio=audio,b: name one column"),
        ({"audio": Audio()}, {"audio": ""}, "has no audio column"),
    ],
)  # fmt: skip
def test_columns_that_are_not_clear_are_asked_for(features, named, problem):
    with pytest.raises(UsageError, match=problem):
        choose("here", features, named)


def test_odd_values_of_a_row_are_told_apart_or_left_out():
    kinds = {"audio": Audio(), "labels": List(ClassLabel(names=["dog_bark", "rain"])), "caption": TEXT, "id": NUMBER}
    columns = choose("here", kinds, {})
    assert columns.texts({"labels": [1, 0, 1, -1, 7, None]}, ["labels"]) == ("rain", "dog bark")
    assert columns.texts({"labels": None}, ["labels"]) == columns.texts({}, ["labels"]) == ()
    assert columns.texts({"labels": ["rain"]}, ["labels"]) == ("rain",)  # AudioFolder gives names
    assert columns.texts({"caption": " a\tb\0 "}, ["caption"]) == ("a b\\x00",)
    assert columns.text({"id": 0}, "id") == "0"


# ── what is no set ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_wrong_calls_and_folders_are_told_in_one_line(tmp_path):
    folder = parquet(tmp_path / "set", [row(0)])
    parquet(folder, [row(1)], name="test-00000-of-00001.parquet")
    assert "has no split 'dev': add ?split=NAME, one of train, test" in refused(folder, "?split=dev")
    assert "has no configuration 'x': it has default" in refused(folder, "?config=x")
    assert "unknown 'splt' after '?': use config, split, revision, audio" in refused(folder, "?splt=dev")
    assert "no such folder" in refused(tmp_path / "absent")
    assert "no such folder" in refused("../absent")
    assert "no such folder" in refused("absent/train/data")
    assert "one looks like OWNER/NAME" in refused("absent")
    assert "is a file: name the folder" in refused(folder / "data/train-00000-of-00001.parquet")
    with pytest.raises(UsageError, match="no set named: add --annotations OWNER/NAME"):
        Hub(SourceOptions())
    with pytest.raises(UsageError, match=r"--audio .*: the source hub has its audio in the set"):
        Hub(SourceOptions(folder, tmp_path))
    (tmp_path / "empty").mkdir()
    assert "cannot be read as a data set" in refused(tmp_path / "empty")
    (folder / "data/train-00000-of-00001.parquet").write_bytes(b"PAR1 not at all")
    assert "cannot be read as a data set: " in refused(folder)
    text = parquet(tmp_path / "text", [{"text": "x"}], Features({"text": TEXT}))
    assert "has no audio column, only text" in refused(text)


def test_a_set_without_rows_is_told(tmp_path):
    folder = parquet(tmp_path / "set", [])
    with pytest.raises(UsageError, match="source 'hub' lists no clips"):
        build(Config(source="hub", annotations=folder, out=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_query_is_read_as_one_of_a_url():
    assert parse("a/b?split=test&labels=x%20y,z&caption=") == (
        "a/b",
        {"split": "test", "labels": "x y,z", "caption": ""},
    )
    assert parse("a/b?config=") == ("a/b", {})


# ── the store ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_store_forgets_the_oldest_first_and_never_the_newest(tmp_path):
    store = Store(tmp_path, limit=250, newest=2)
    paths = [store.put(bytes([i]) * 100, "a.wav") for i in range(4)]
    assert [path.exists() for path in paths] == [False, False, True, True]
    again = Store(tmp_path, limit=150, newest=2)  # two of 100 bytes stay, though over the limit
    assert again.put(bytes([3]) * 100, "a.wav") == paths[3]
    paths.append(again.put(b"x", "a.exe"))
    assert [path.exists() for path in paths] == [False, False, False, True, True]
    assert paths[-1].suffix == ""
    with pytest.raises(AudioError, match="more than"):
        store.put(b"x" * 251, "a.wav")
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_file_half_written_by_a_killed_run_is_no_file_of_the_store(tmp_path):
    def broken():
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        Store(tmp_path).fetch("ab" * 32, "a.wav", broken())
    path = Store(tmp_path).fetch("ab" * 32, "a.wav", [b"who", b"le"])
    assert path.read_bytes() == b"whole"


def test_a_store_without_a_folder_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = Store(None)
    assert store.put(b"x", "a.wav").is_relative_to(tmp_path)
    del store
    assert not list(tmp_path.iterdir())


# ── behind the Hub ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def server(tmp_path, monkeypatch):
    with HubServer(tmp_path / "hub") as hub:
        connect(hub, monkeypatch)
        yield hub
        huggingface_hub.close_session()


CARD = b"---\nlicense: cc-by-4.0\n---\n# A set\n"


def published(server, folder: Path, repo: str = "me/set", **options) -> str:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return server.write(repo, {"README.md": CARD, **files}, **options)


def fetched(server) -> Counter[str]:
    """Name of a file → how often something of it was asked for."""
    return Counter(r.rpartition("/")[2] for r in server.requests if r.startswith("GET") and "/resolve/" in r)


def test_a_set_of_the_hub_is_pinned_to_its_commit(server, tmp_path):
    rows = [row(i, license=None) for i in range(4)]
    commit = published(server, parquet(tmp_path / "set", rows))
    hub = source(Path("me/set"), store=tmp_path / "store")
    identity = hub.identity
    assert identity.startswith(f"me/set@{commit} default train ")
    published(server, parquet(tmp_path / "set", rows[:1]))  # while the build is at work
    clips = list(hub.clips())
    assert [c.id for c in clips] == [c.id for c in hub.listing()] == [f"hub/me/set/train/{i}/own{i}" for i in range(4)]
    assert [Path(c.path).read_bytes() for c in clips] == [f.read_bytes() for f in FLACS[:4]]
    assert {c.license for c in clips} == {"CC-BY-4.0"}
    assert hub.identity == identity
    assert commit in hub.origin and hub.origin.endswith(".")
    assert commit not in source(Path("me/set")).identity
    assert source(Path(f"me/set?revision={commit}")).identity == identity


def test_a_limit_fetches_no_more_than_it_needs(server, tmp_path):
    for part in range(3):
        parquet(tmp_path / "set", [row(i) for i in range(8)], name=f"train-0000{part}-of-00003.parquet")
    published(server, tmp_path / "set")
    counts = build(Config(source="hub", annotations=Path("me/set"), out=tmp_path / "run", limit=3))
    assert (counts["clips"], len(list((tmp_path / "run/audio").rglob("*.flac")))) == (3, 3)
    asked = fetched(server)
    assert asked["train-00000-of-00003.parquet"] and not asked["train-00001-of-00003.parquet"]


def audio_folder(folder: Path, files: int) -> Path:
    for i in range(files):
        place = folder / "train" / ("dog_bark", "rain")[i % 2] / f"{i}.flac"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(FLACS[i].read_bytes())
    return folder


def test_files_of_an_audio_folder_on_the_hub_are_fetched_once(server, tmp_path):
    published(server, audio_folder(tmp_path / "set", 6), "lab/sounds")
    config = Config(source="hub", annotations=Path("lab/sounds"), out=tmp_path / "run", limit=4)
    assert build(config)["clips"] == 4
    assert fetched(server) - Counter(["README.md"]) == Counter(f"{i}.flac" for i in (0, 2, 4, 1))
    assert build(replace(config, limit=None))["clips"] == 6
    assert fetched(server) - Counter({"README.md": 9}) == Counter(f"{i}.flac" for i in range(6))
    labels = Run(tmp_path / "run").read(Clip)["labels"].to_list()
    assert labels == [["dog bark"]] * 3 + [["rain"]] * 3


def test_a_row_of_the_hub_leads_to_files_of_its_commit_only(server, tmp_path):
    (tmp_path / "secret.flac").write_bytes(FLACS[0].read_bytes())
    published(server, audio_folder(tmp_path / "other", 1), "me/other")
    paths = [
        "clips/a.flac", "clips/none.flac", f"{tmp_path}/secret.flac", f"file://{tmp_path}/secret.flac",
        "hf://datasets/me/other@main/train/dog_bark/0.flac", f"zip://x.wav::{tmp_path}/secret.zip", "../other/0.flac",
    ]  # fmt: skip
    parquet(tmp_path / "set", [row(i, audio={"bytes": None, "path": path}) for i, path in enumerate(paths)])
    (tmp_path / "set" / "clips").mkdir()
    (tmp_path / "set" / "clips" / "a.flac").write_bytes(FLACS[5].read_bytes())
    card = b"---\nconfigs:\n- config_name: default\n  data_files: data/*.parquet\n---\n"
    published(server, tmp_path / "set")
    server.write("me/set", {"README.md": card})
    first, *others = source(Path("me/set"), store=tmp_path / "store").clips()
    assert Path(first.path).read_bytes() == FLACS[5].read_bytes()
    assert [item.reason.removeprefix("audio_") for item in others] == [
        "missing", "missing", "outside_folder", "outside_folder", "outside_folder", "missing",
    ]  # fmt: skip


def test_a_file_that_the_hub_lost_is_a_row_in_rejected(server, tmp_path):
    published(server, audio_folder(tmp_path / "set", 3))
    server.fail(r"/resolve/.*/2\.flac", 404)
    found = {item.clip_id if isinstance(item, Failure) else item.id: item for item in source(Path("me/set")).clips()}
    assert found["hub/me/set/train/1"].reason == "audio_missing"
    assert [type(item) for item in found.values()] == [Clip, Failure, Clip]


def test_a_broken_connection_is_taken_up_again(server, tmp_path):
    published(server, parquet(tmp_path / "set", [row(i) for i in range(12)]))
    server.cut(r"GET .*/resolve/.*parquet", after=50_000, times=2)
    assert len(list(source(Path("me/set"), store=tmp_path / "store").clips())) == 12


def test_what_the_hub_refuses_is_told_in_one_line(server, tmp_path, monkeypatch):
    published(server, parquet(tmp_path / "set", [row(0)]))
    assert "me/none: no such data set on the Hub, or a private one" in refused("me/none")
    assert "no such revision" in refused("me/set", "?revision=v9")
    assert "has no split 'dev': add ?split=NAME, one of train" in refused("me/set", "?split=dev")
    assert "has no audio column, only text" in refused(text_set(server, tmp_path))
    for name in ("me/ set", "-me/set", "me/set..x", "a/b/c"):
        assert "--annotations" in refused(name)
    published(server, tmp_path / "set", "me/secret", private=True)
    assert source(Path("me/secret")).set.name == "me/secret"
    server.repos["dataset", "me/set"].gated = True
    assert "is gated: ask for access on its page, then set HF_TOKEN" in refused("me/set")
    connect(server, monkeypatch, token=None)
    assert "no such data set on the Hub, or a private one: check the name, or set HF_TOKEN" in refused("me/secret")
    server.fail("GET /api/datasets/me/set", 401)
    assert "set HF_TOKEN" in refused("me/set")


def text_set(server, tmp_path: Path) -> str:
    published(server, parquet(tmp_path / "text", [{"text": "x"}], Features({"text": TEXT})), "me/text")
    return "me/text"


def test_several_configurations_are_listed(server, tmp_path):
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.parquet\n" for name in "ab")
    card = f"---\nconfigs:\n{configs}---\n".encode()
    for name in "ab":
        parquet(tmp_path / name, [row(0, id=name)])
    files = {f"{name}/x.parquet": next((tmp_path / name).rglob("*.parquet")) for name in "ab"}
    server.write("me/two", {"README.md": card, **files})
    assert "has several configurations: add ?config=NAME, one of a, b" in refused("me/two")
    assert "has no configuration 'c': it has a, b" in refused("me/two", "?config=c")
    assert [c.id for c in source(Path("me/two"), "?config=b").clips()] == ["hub/me/two/b/train/0/b"]


def test_a_hub_out_of_reach_is_no_fault_of_the_call(tmp_path, monkeypatch):
    with HubServer(tmp_path / "hub") as hub:
        connect(hub, monkeypatch)
    with pytest.raises(DatagenError, match="the Hub cannot be reached") as caught:
        source(Path("me/set"))
    assert not isinstance(caught.value, UsageError) and "\n" not in str(caught.value)


@pytest.mark.slow  # the Hub's client waits 24 s before it gives up
@pytest.mark.parametrize("end", ["killed", "lost"])
def test_a_build_that_was_killed_or_lost_the_hub_writes_no_audio_twice(end, tmp_path):
    content = [noise(i) for i in range(600)]
    rows = [row(i, audio={"bytes": content[i], "path": "x.wav"}) for i in range(600)]
    (tmp_path / "set").mkdir()
    table = pa.Table.from_pylist(rows, schema=FEATURES.arrow_schema)
    pq.write_table(table, tmp_path / "set" / "train.parquet", row_group_size=50)
    with HubServer(tmp_path / "hub") as hub:
        published(hub, tmp_path / "set")
        call = ["build", "--source", "hub", "--annotations", "me/set", "--captioner", "labels", "--out"]
        command = [sys.executable, "-c", "from datagen.cli import main; main()", *call, str(tmp_path / "run")]
        environment = {**os.environ, **hub.environment()}
        work = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        while len(list((tmp_path / "run").rglob("*.wav"))) < 100:
            assert work.poll() is None, work.communicate()
        if end == "killed":
            work.kill()
        else:
            hub.cut("GET .*/resolve/.*parquet")
        said = work.communicate(timeout=120)[1].strip().splitlines()
        if end == "lost":
            assert work.returncode == 1
            assert "the Hub cannot be reached" in said[-1] and "the same command goes on" in said[-1]
        hub.faults.clear()
        written = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.wav")}
        assert 100 <= len(written) < 600
        again = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert "600 clips" in again.stderr, again.stderr
        assert {path: path.stat().st_mtime_ns for path in written} == written
        assert {path.read_bytes() for path in (tmp_path / "run/audio").rglob("*.*")} == set(content)
