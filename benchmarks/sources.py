"""How fast, and in how much memory, does each corpus's source list its clips?

    python benchmarks/sources.py [--rows 100000] [--only vggsound ...] [--json]

Writes for each source a table of so many rows in its published format, and an empty audio file for one row in ten, as
making files takes longer than reading them. The clips are listed in a process of its own: `read` is the making of the
source (checks the table whole, indexes the folder), `list` one pass over the clips, which looks up every file.
`rows_per_second` counts both. `growth_mb` is the peak of the resident memory above what the process had with everything
imported and 100 rows listed. An index of audio files takes some 50 bytes more for each. Takes about a minute.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

MIDS = ("/m/04s8yn", "/m/0395lw", "/m/06rvn", "/m/09x0r")
CAPTION = "A low humming is followed by voices and the clatter of dishes, number {}"
LIMIT_MB = 30
MEASURE = """
import json, sys, time
from pathlib import Path
from datagen.plugins import SourceOptions, resolve
from datagen.records import Clip
from datagen.sources import SOURCES

def memory(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024

def make(annotations, audio):
    options = SourceOptions(Path(annotations), Path(audio))
    return resolve("source", sys.argv[1], SOURCES, "clips")(options)

for _ in make(*sys.argv[2:4]).clips():
    pass
Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
before, started = memory("VmRSS"), time.perf_counter()
source = make(*sys.argv[4:6])
made = time.perf_counter()
clips = sum(isinstance(row, Clip) for row in source.clips())
ended = time.perf_counter()
growth = memory("VmHWM") - before
print(json.dumps({"clips": clips, "read_s": made - started, "list_s": ended - made, "growth_mb": growth}))
"""


def name_of(number: int) -> str:
    """An id of 11 characters."""
    return f"-v{number:09d}"


def table(path: Path, head: str, rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(head)
        csv.writer(file, lineterminator="\n").writerows(rows)


def files(folder: Path, names: Iterable[str]) -> None:
    """Empty files, every tenth of the names."""
    folder.mkdir(parents=True)
    for name in islice(names, 0, None, 10):
        (folder / name).touch()


def vggsound(out: Path, n: int) -> str:
    table(out / "t.csv", "", ((name_of(i), i % 300, f"label {i % 309}", "train") for i in range(n)))
    files(out / "audio", (f"{name_of(i)}_{i % 300:06d}.wav" for i in range(n)))
    return "t.csv"


def audiocaps(out: Path, n: int) -> str:
    rows = ((i, name_of(i), i % 300, CAPTION.format(i)) for i in range(n))
    table(out / "t.csv", "audiocap_id,youtube_id,start_time,caption\n", rows)
    files(out / "audio", (f"Y{name_of(i)}_{i % 300}.wav" for i in range(n)))
    return "t.csv"


def audiocaps_five(out: Path, n: int) -> str:
    """Five captions a clip, the five far from each other, as in val.csv and test.csv."""
    clips = n // 5
    rows = ((i, name_of(i % clips), i % clips % 300, CAPTION.format(i)) for i in range(n))
    table(out / "t.csv", "audiocap_id,youtube_id,start_time,caption\n", rows)
    files(out / "audio", (f"{name_of(i)}_{i % 300}.wav" for i in range(clips)))
    return "t.csv"


def clotho(out: Path, n: int) -> str:
    captions = ((f"sound {i}.wav", *[CAPTION.format(i + k) for k in range(5)]) for i in range(n))
    table(out / "clotho_captions_x.csv", "file_name,caption_1,caption_2,caption_3,caption_4,caption_5\n", captions)
    cc = "http://creativecommons.org/licenses/by/3.0/"
    link = "https://freesound.org/people/x/sounds/"
    metadata = ((f"sound {i}.wav", "a;b;c", i, f"{link}{i}", "[0, 44100]", "x", cc) for i in range(n))
    head = "file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license\n"
    table(out / "clotho_metadata_x.csv", head, metadata)
    files(out / "audio", (f"sound {i}.wav" for i in range(n)))
    return "clotho_captions_x.csv"


def musiccaps(out: Path, n: int) -> str:
    aspects = "['low quality', 'sustained strings melody', 'soft female vocal', 'mellow piano melody', 'sad']"
    rows = ((name_of(i), 30, 40, ",".join(MIDS), aspects, CAPTION.format(i), 4, False, True) for i in range(n))
    head = (
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,is_audioset_eval"
    )
    table(out / "t.csv", f"{head}\n", rows)
    files(out / "audio", (f"[{name_of(i)}]-[30-40].wav" for i in range(n)))
    return "t.csv"


def audioset(out: Path, n: int) -> str:
    with (out / "t.csv").open("w") as file:
        file.write("# Segments csv created\n# num_ytids\n# YTID, start_seconds, end_seconds, positive_labels\n")
        file.writelines(f'{name_of(i)}, 30.000, 40.000, "{MIDS[i % 4]},{MIDS[(i + 1) % 4]}"\n' for i in range(n))
    (out / "ontology.json").write_text(json.dumps([{"id": mid, "name": mid[3:]} for mid in MIDS]))
    files(out / "audio", (f"Y{name_of(i)}_30000.wav" for i in range(n)))
    return "t.csv"


def wavcaps(out: Path, n: int) -> str:
    with (out / "fsd_final.json").open("w") as file:
        file.write('{"num_captions_per_audio": 1, "data": [')
        for i in range(n):
            item = {
                "id": str(i), "file_name": "x.wav", "href": f"/people/x/sounds/{i}/", "tags": ["a", "b"], "author": "x",
                "description": "A long description by the author. " * 8, "duration": 3.2,
                "caption": CAPTION.format(i), "audio": "wav_path",
            }  # fmt: skip
            file.write(("" if i == 0 else ", ") + json.dumps(item))
        file.write("]}")
    (out / "blacklist_x.json").write_text(json.dumps({"FreeSound": [str(i) for i in range(0, 1000, 10)]}))
    files(out / "audio/FreeSound_flac", (f"{i}.flac" for i in range(n)))
    return "fsd_final.json"


WRITERS: dict[str, Callable[[Path, int], str]] = {
    "vggsound": vggsound,
    "audiocaps": audiocaps,
    "audiocaps, 5 captions": audiocaps_five,
    "clotho": clotho,
    "musiccaps": musiccaps,
    "audioset": audioset,
    "wavcaps": wavcaps,
}


def measure(name: str, rows: int) -> dict[str, Any]:
    """One source, in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        places: list[str] = []
        for number in (100, rows):
            out = Path(folder) / str(number)
            out.mkdir()
            places += [str(out / WRITERS[name](out, number)), str(out / "audio")]
        command = [sys.executable, "-c", MEASURE, name.partition(",")[0], *places]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return {"source": name, "rows": rows, **found, "rows_per_second": rows / (found["read_s"] + found["list_s"])}


def main() -> None:
    """Prints a row for each source; exit 1 when one grows by more than LIMIT_MB."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", choices=list(WRITERS), default=list(WRITERS))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    found = [measure(name, args.rows) for name in args.only]
    if args.json:
        print(json.dumps({"limit_mb": LIMIT_MB, "sources": found}))
    else:
        for row in found:
            print("{source:22} {rows_per_second:8.0f} rows/s {growth_mb:6.1f} MB {clips:7} clips".format(**row))
    sys.exit(any(row["growth_mb"] > LIMIT_MB for row in found))


if __name__ == "__main__":
    main()
