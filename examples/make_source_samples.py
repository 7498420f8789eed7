"""Small corpora in the published formats of six sources, with real audio (the demo clips), to rehearse `--source NAME`.

    python examples/make_source_samples.py data             # writes data/vggsound/, data/audiocaps/, data/clotho/, …
    datagen build --source vggsound --out runs/vggsound     # reads ./data/vggsound; so for each of the six

Each has rows that are as odd as the real ones: clips whose audio is gone, other names for the same clip, whole videos
instead of stretches, a stretch past the end of its video, a file of 0 s, a name that leads out of the folder.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from datagen.sources import demo

CLIPS = Path(demo.__file__).with_name("demo_clips")
ONTOLOGY = {"/m/04s8yn": "Crow", "/m/0395lw": "Bell", "/m/06rvn": "Snare drum", "/m/09x0r": "Speech"}


def sound(name: str, path: Path, before: float = 0.0, after: float = 0.0) -> None:
    """A demo clip under another name, between seconds of faint noise; an empty name writes 0 s of audio."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples, rate = np.zeros(0, np.float32), 16_000
    if name:
        samples, rate = soundfile.read(CLIPS / f"{name}.flac", dtype="float32", always_2d=True)
        noise = np.random.default_rng(0).normal(0, 1e-3, round(rate * max(before, after))).astype(np.float32)
        samples = np.concatenate([noise[: round(rate * before)], samples.mean(axis=1), noise[: round(rate * after)]])
    soundfile.write(path, samples, rate)


def table(path: Path, rows: Iterable[Iterable[Any]], head: str = "", encoding: str = "utf-8") -> None:
    """A CSV file; `head` stands before the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        file.write(head)
        csv.writer(file, lineterminator="\n").writerows(rows)


def vggsound(out: Path) -> None:
    """Six clips, of which one is lost, one empty and one past the end of its video; one row stands twice."""
    table(
        out / "vggsound.csv",
        [
            ("aaaaaaaaaa1", 30, "crow cawing", "train"),
            ("-bbbbbbbbb2", 1, "church bell ringing", "train"),
            ("c_ccccccc_3", 5, "playing snare drum", "test"),
            ("ddddddddd_4", 120, "train horning", "train"),
            ("eeeeeeeeee5", 40, "playing acoustic guitar", "train"),
            ("ffffffffff6", 0, "playing piano", "train"),
            ("-bbbbbbbbb2", 1, "church bell ringing", "train"),
        ],
    )
    sound("crow_calls", out / "audio/aaaaaaaaaa1_000030.wav")
    sound("bell_ring", out / "audio/-bbbbbbbbb2_1.flac")
    sound("snare_hits", out / "audio/c_ccccccc_3.wav", before=6, after=20)  # the whole video
    sound("guitar_chord", out / "audio/eeeeeeeeee5.wav", before=10, after=20)  # a whole video that ends before 40 s
    sound("", out / "audio/ffffffffff6_000000.wav")


def audiocaps(out: Path) -> None:
    """train.csv with one caption a clip; val.csv with five, mixed."""
    head = "audiocap_id,youtube_id,start_time,caption\n"
    table(
        out / "train.csv",
        [
            (91139, "aaaaaaaaaa1", 130, "A crow caws, then caws again"),
            (58146, "-bbbbbbbbb2", 20, "A bell rings, and fades"),
            (11542, "ccccccccc_3", 80, "A snare drum is hit"),
            (11543, "lostlostlos", 0, "Nobody has this any more"),
            (11544, "../../etc/x", 0, "A path, no id"),
        ],
        head,
    )
    clips = ((0, "aaaaaaaaaa1", 130, "crow"), (1, "ddddddddd_4", 10, "train"))
    rows = [(10 * n + k, video, start, f"A {what} is heard, {n}") for n in range(5) for k, video, start, what in clips]
    table(out / "val.csv", rows, head)
    sound("crow_calls", out / "audio/Yaaaaaaaaaa1_130.wav")
    sound("bell_ring", out / "audio/58146.wav")
    sound("snare_hits", out / "audio/ccccccccc_3_80000_90000.flac")
    sound("speech_train", out / "audio/ddddddddd_4.wav")


def clotho(out: Path) -> None:
    """Captions, and metadata in Latin-1 and in another order."""
    names = ("Crow calls.wav", "Bell.001.wav", "loop.mp3.wav", "gone.wav", "../secret.wav")
    captions = [(name, *(f"{name[:4]} is heard, way {n}" for n in range(1, 6))) for name in names]
    head = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n"
    table(out / "clotho_captions_development.csv", captions, head)
    link, cc = "https://freesound.org/people/x/sounds/", "http://creativecommons.org/"
    metadata = [
        ("Bell.001.wav", "bell;glöckchen", "80399", link + "80399", "[1024, 89224]", "x", cc + "licenses/by-nc/3.0/"),
        ("Crow calls.wav", "crow;bird", "54973", link + "54973", "", "Günter", cc + "publicdomain/zero/1.0/"),
        ("loop.mp3.wav", "loop", "Not found", "Not found", "", "", cc + "licenses/sampling+/1.0/"),
        ("gone.wav", "", "1", link + "1", "", "x", cc + "licenses/by/3.0/"),
        ("../secret.wav", "", "2", link + "2", "", "x", cc + "licenses/by/3.0/"),
    ]  # fmt: skip
    head = "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"
    table(out / "clotho_metadata_development.csv", metadata, head, encoding="latin-1")
    sound("crow_calls", out / "development/Crow calls.wav")
    sound("bell_ring", out / "development/Bell.001.wav")
    sound("snare_hits", out / "development/loop.mp3.wav")


def musiccaps(out: Path) -> None:
    """Four clips, one with an aspect list that is none."""
    head = "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,"
    head += "is_audioset_eval\n"
    table(
        out / "musiccaps-public.csv",
        [
            ("aaaaaaaaaa1", 30, 40, "/m/06rvn", "['snare drum', 'dry']", 'A snare, "dry".', 4, False, True),
            ("-bbbbbbbbb2", 0, 10, "/m/0395lw,/m/09x0r", "['bell', 'long decay']", "A bell rings.", 0, False, False),
            ("ccccccccc_3", 30, 40, "/m/09x0r", "['guitar', \"player's chord\"]", "A guitar chord.", 6, False, True),
            ("ddddddddd_4", 30, 40, "/m/09x0r", "piano", "A piano.", 6, False, True),
        ],
        head,
    )
    labels(out)
    sound("snare_hits", out / "audio/aaaaaaaaaa1.wav")
    sound("bell_ring", out / "audio/-bbbbbbbbb2.wav", after=60)  # the whole video
    sound("guitar_chord", out / "audio/[ccccccccc_3]-[30-40].wav")


def audioset(out: Path) -> None:
    """Five segments; one has a class that the ontology lacks, one ends before it starts."""
    head = (
        "# Segments csv created Sun Mar  5 10:54:31 2017\n"
        "# num_ytids=5, num_segs=5, num_unique_labels=4, num_positive_labels=6\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        'aaaaaaaaaa1, 30.000, 40.000, "/m/04s8yn"\n'
        '-bbbbbbbbb2, 0.000, 10.000, "/m/0395lw,/m/09x0r"\n'
        'ccccccccc_3, 22.500, 32.500, "/m/06rvn"\n'
        'ddddddddd_4, 30.000, 40.000, "/m/nothing"\n'
        'eeeeeeeeee5, 40.000, 30.000, "/m/09x0r"\n'
    )
    table(out / "balanced_train_segments.csv", [], head)
    ontology = [{"id": mid, "name": name, "description": "", "child_ids": []} for mid, name in ONTOLOGY.items()]
    (out / "ontology.json").write_text(json.dumps(ontology, indent=1), encoding="utf-8")
    sound("crow_calls", out / "audio/Yaaaaaaaaaa1.wav")
    sound("bell_ring", out / "audio/-bbbbbbbbb2.flac")
    sound("snare_hits", out / "audio/ccccccccc_3_22.500.wav")


def labels(out: Path) -> None:
    """class_labels_indices.csv"""
    rows = [(index, mid, name) for index, (mid, name) in enumerate(ONTOLOGY.items())]
    table(out / "class_labels_indices.csv", rows, "index,mid,display_name\n")


def wavcaps(out: Path) -> None:
    """Three subsets and a blacklist; one number is a Freesound id and a SoundBible id."""
    subsets: dict[str, list[dict[str, Any]]] = {
        "AudioSet_SL/as_final": [
            {"id": "Yaaaaaaaaaa1.wav", "caption": "A crow caws.", "audio": "wav_path", "duration": 10.0},
            {"id": "Y-bbbbbbbbb2.wav", "caption": "A bell rings.", "audio": "wav_path", "duration": 10.0},
        ],
        "FreeSound/fsd_final": [
            {"id": "2219", "tags": ["snare", "drum"], "caption": "A snare drum is hit.", "duration": 2.0},
            {"id": "180913", "tags": ["bell"], "caption": "A bell is ringing.", "duration": 3.2},
            {"id": "7", "tags": [], "caption": "", "duration": 1.0},
        ],
        "SoundBible/sb_final": [{"title": "Guitar", "caption": "A guitar is played.", "id": "2219", "duration": 2.0}],
    }  # fmt: skip
    for name, data in subsets.items():
        path = out / f"json_files/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"num_captions_per_audio": 1, "data": data}), encoding="utf-8")
    lists = {"AudioSet": ["Y-bbbbbbbbb2.wav"], "FreeSound": ["180913"]}
    (out / "json_files/blacklist").mkdir(exist_ok=True)
    (out / "json_files/blacklist/blacklist_exclude_test_ac.json").write_text(json.dumps(lists), encoding="utf-8")
    sound("crow_calls", out / "AudioSet_SL_flac/Yaaaaaaaaaa1.flac")
    sound("bell_ring", out / "AudioSet_SL_flac/Y-bbbbbbbbb2.flac")
    sound("snare_hits", out / "FreeSound_flac/2219.flac")
    sound("bell_ring", out / "FreeSound_flac/180913.flac")
    sound("guitar_chord", out / "SoundBible_flac/2219.flac")


SAMPLES = {
    "vggsound": vggsound,
    "audiocaps": audiocaps,
    "clotho": clotho,
    "musiccaps": musiccaps,
    "audioset": audioset,
    "wavcaps": wavcaps,
}


def main(out: Path) -> None:
    """Writes every sample below `out`."""
    for name, write in SAMPLES.items():
        write(out / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
