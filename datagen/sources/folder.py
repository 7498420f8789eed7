"""Source `folder`: any tree of audio files, labelled by its folders or by a table.

    AUDIO/                        --audio
      dog barking/a.wav           without a table the folder that a file is in is its label ("dog barking"); files at
      rain/b.mp3                  the top have none
    TABLE.csv or TABLE.jsonl      --annotations: the clips are its rows; --audio is then its own folder unless given

Columns of a table (a CSV has them in its first line): `file` (relative to --audio; the only one that must be there),
`label` or `labels`, `caption` or `captions`, `license` (SPDX id), `media_id`, `start`, `end` (seconds into the file),
`id`. In a CSV several labels or captions stand in one cell with `|` between; in JSON lines they may be a list.

A clip's id is `folder/` and its path below --audio, with `@start-end` for a stretch, or what the table's `id` says. A
file that lies outside --audio (by `..`, an absolute path or a link) is never opened.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from datagen.errors import UsageError
from datagen.plugins import SourceOptions
from datagen.records import Clip, Failure
from datagen.sources.files import MEANING, SUFFIXES, find, folder, printable, walk

__all__ = ["COLUMNS", "Folder"]

COLUMNS = ("file", "label", "labels", "caption", "captions", "license", "media_id", "start", "end", "id")


class Folder:
    """Clips of --audio and, where given, of the table --annotations. The table is checked whole at the start."""

    origin = "A folder of audio files on the machine of whoever built this dataset."
    reattach = "`folder/PATH` is the file PATH below the folder given as --audio, from start to end."

    def __init__(self, options: SourceOptions) -> None:
        self.table = options.annotations
        if options.audio is None and self.table is None:
            raise UsageError("--source folder: no folder given: add --audio DIR")
        self.root = folder(options.audio or self.table.parent, "--audio")  # type: ignore[union-attr]
        if self.table is not None:
            check_table(self.table)
        elif next(walk(self.root), None) is None:
            raise UsageError(f"--audio {options.audio}: no audio file below it: known are {' '.join(SUFFIXES)}")

    def clips(self) -> Iterator[Clip | Failure]:
        """In order of path, or of the table."""
        if self.table is None:
            yield from map(self._file, walk(self.root))
        else:
            for _, row in read_table(self.table):
                yield self._row(row)

    def _file(self, name: str) -> Clip | Failure:
        parent = PurePosixPath(name).parent.name
        label = " ".join(parent.replace("_", " ").split())
        return self._row({"file": name, "labels": (label,) if label else ()})

    def _row(self, row: Mapping[str, Any]) -> Clip | Failure:
        name: str = row["file"]
        clip_id = f"folder/{identity(row)}"
        if name != printable(name):
            return Failure("source", "audio_name_not_utf8", printable(clip_id), f"{name!a}: the name is not UTF-8")
        path = find(self.root, name)
        if isinstance(path, str):
            return Failure("source", path, clip_id, f"{name}: {MEANING[path]}")
        return Clip(
            id=clip_id,
            source="folder",
            path=str(path),
            start=row.get("start"),
            end=row.get("end"),
            labels=row.get("labels", ()),
            reference_captions=row.get("captions", ()),
            license=row.get("license", ""),
            media_id=row.get("media_id", ""),
        )


def identity(row: Mapping[str, Any]) -> str:
    """What follows `folder/` in the id of a row's clip."""
    start, end = row.get("start"), row.get("end")
    stretch = "" if start is None and end is None else f"@{start or 0:g}-{'' if end is None else f'{end:g}'}"
    return row.get("id") or str(PurePosixPath(row["file"])) + stretch


def check_table(path: Path) -> None:
    """Raises UsageError for a table that cannot be read to its end, has no row, or names one clip twice."""
    seen: dict[int, int] = {}  # hashes: a table may have millions of rows
    for line, row in read_table(path):
        name = identity(row)
        first = seen.setdefault(hash(name), line)
        if first != line:
            raise UsageError(
                f"--annotations {path}: line {line}: clip {name!r} stands on line {first} already: "
                "give each an id, or put all its labels and captions on one line"
            )
    if not seen:
        raise UsageError(f"--annotations {path}: it has no row: name a table with a row for each clip")


def read_table(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and checked row: file, labels, captions, license, media_id, start, end, id, where they are given.

    Raises UsageError that names the line.
    """
    readers = {".csv": _csv_rows, ".jsonl": _json_rows}
    if path.suffix.lower() not in readers:
        raise UsageError(f"--annotations {path}: unknown kind {path.suffix!r}: use .csv or .jsonl")
    try:
        for line, row in readers[path.suffix.lower()](path):
            yield line, _checked(f"--annotations {path}: line {line}", row)
    except OSError as error:
        raise UsageError(f"--annotations {path}: {error.strerror}: name a .csv or .jsonl file") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"--annotations {path}: {error.reason} at byte {error.start}: save it as UTF-8") from None


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            _check_columns(f"--annotations {path}: line 1", reader.fieldnames or ())
            for row in reader:
                if None in row or None in row.values():
                    n = len(reader.fieldnames or ())
                    raise UsageError(
                        f"--annotations {path}: line {reader.line_num}: not {n} cells as in line 1: mend it"
                    )
                cells = {key: value.strip() for key, value in row.items()}
                for many in ("labels", "captions", "label", "caption"):
                    if many in cells:
                        cells[many] = cells[many].split("|")
                yield reader.line_num, {key: value for key, value in cells.items() if value}
        except csv.Error as error:
            raise UsageError(f"--annotations {path}: line {reader.reader.line_num}: {error}: mend the CSV") from None


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"--annotations {path}: line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{place}: {error}: every line must be one JSON object") from None
            if not isinstance(row, dict):
                raise UsageError(f"{place}: a {type(row).__name__}: every line must be one JSON object")
            _check_columns(place, row)
            yield number, {key: value for key, value in row.items() if value is not None}


def _check_columns(place: str, columns: Any) -> None:
    known = ", ".join(COLUMNS)
    for column, times in Counter(list(columns)).items():
        if times > 1:
            raise UsageError(f"{place}: {times} columns {column!r}: name each once")
        if column not in COLUMNS:
            raise UsageError(f"{place}: unknown column {column!r}: known are {known}")
    if "file" not in columns:
        raise UsageError(f"{place}: no column 'file': known are {known}")


def _checked(place: str, row: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {"labels": (), "captions": ()}
    for key, value in row.items():
        if key in ("label", "labels", "caption", "captions"):
            many = "labels" if key.startswith("label") else "captions"
            out[many] += _texts(f"{place}: {key}", value)
        elif key in ("start", "end"):
            out[key] = _seconds(f"{place}: {key}", value)
        elif key in ("id", "media_id") and isinstance(value, int) and not isinstance(value, bool):
            out[key] = str(value)
        elif not isinstance(value, str) or value != printable(value):
            raise UsageError(f"{place}: {key} {value!r}: it must be a text")
        else:
            out[key] = value
    if not out.get("file"):
        raise UsageError(f"{place}: file is empty: name an audio file")
    if "end" in out and out["end"] <= out.get("start", 0.0):
        raise UsageError(f"{place}: end {out['end']:g} is not after start {out.get('start', 0.0):g}: mend it")
    return out


def _texts(place: str, value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    for text in values:
        if not isinstance(text, str) or text != printable(text):
            raise UsageError(f"{place} {text!r}: it must be a text or a list of texts")
    return tuple(dict.fromkeys(text for text in (" ".join(v.split()) for v in values) if text))


def _seconds(place: str, value: Any) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UsageError(f"{place} {value!r}: it must be a number of seconds, 0 or more")
    return seconds
