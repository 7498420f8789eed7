"""Source `clotho`: Clotho 2.1 (Drossos et al., ICASSP 2020), 15 to 30 s of Freesound recordings, five captions each.

    https://zenodo.org/records/4783391      clotho_captions_development.csv, also _validation and _evaluation:
        file_name,caption_1,caption_2,caption_3,caption_4,caption_5
        FR.CTC.08.CoyuyoS.001.wav,A sequences of static chattering followed by a loud squealing repeats twice.,…
    and clotho_metadata_development.csv, in Latin-1:
        file_name,keywords,sound_id,sound_link,start_end_samples,manufacturer,license
        Radio Garble.wav,garbled-radio;garble;police;…,80399,https://freesound.org/people/Benboncan/sounds/80399,
        "[1024, 845524]",Benboncan,http://creativecommons.org/licenses/by/3.0/

    $DATAGEN_DATA/clotho/ or ./data/clotho/     (--annotations a file or the folder, --audio another folder)
      clotho_captions_development.csv           read unless --annotations names that of another split
      clotho_metadata_development.csv           beside it: licence, Freesound id and keywords (the labels) of each clip
      development/FR.CTC.08.CoyuyoS.001.wav     of clotho_audio_development.7z, or any folder below

The captions are under Tampere University's licence (attribution, not for commerce). Each sound has the licence that its
metadata name, as SPDX id: CC0-1.0, CC-BY-3.0, CC-BY-NC-3.0, or LicenseRef-CC-Sampling-Plus-1.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from datagen.errors import RowError, UsageError
from datagen.plugins import SourceOptions
from datagen.records import Clip, Failure
from datagen.sources.files import MEANING, find, places
from datagen.sources.index import Index
from datagen.sources.tables import Csv, Listing, Row, text, texts

__all__ = ["Clotho", "spdx"]

RATE = 44_100
"""Hz of `start_end_samples`."""
CAPTIONS = tuple(f"caption_{n}" for n in range(1, 6))
METADATA = ("file_name", "keywords", "sound_id", "start_end_samples", "license")
WHERE = "from https://zenodo.org/records/4783391"


@dataclass(frozen=True, slots=True)
class Captioned:
    """A row of the captions."""

    key: str
    captions: tuple[str, ...]


class Clotho:
    """One clip for each row of the captions, in order."""

    origin = (
        "Clotho (https://zenodo.org/records/4783391), captions by people, under Tampere University's licence, of 15 to "
        "30 s of Freesound recordings, each under the Creative Commons licence in its row."
    )
    reattach = "`media_id` is a Freesound id; the clip is that recording's sound from `start` to `end` (s)."

    def __init__(self, options: SourceOptions) -> None:
        cure = f"put clotho_captions_development.csv, clotho_metadata_development.csv and development/ ({WHERE}) there"
        file, root = places(options, "clotho", "clotho_captions_development.csv", cure)
        self.listing = Listing("clotho", Csv(file, ("file_name", *CAPTIONS), f"take it {WHERE}"), _captioned)
        beside = file.with_name(file.name.replace("captions", "metadata"))
        if beside == file or not beside.is_file():
            raise UsageError(f"--annotations {file}: no {beside.name} beside it: take it {WHERE}: it has the licences")
        self.metadata = Csv(beside, METADATA, f"take it {WHERE}", option="")
        split = root / file.stem.rpartition("_")[2]  # of one name in two splits, that of this one
        self.files = Index(split if split.is_dir() else root, _stem, cure)

    def clips(self) -> Iterator[Clip | Failure]:
        """A Failure for each row that is malformed, or whose audio is not there."""
        beside = Beside(self.metadata.rows())
        for entry in self.listing.entries():
            yield entry if isinstance(entry, Failure) else self._clip(entry, beside.get(entry.key))

    def _clip(self, entry: Captioned, about: Mapping[str, str] | None) -> Clip | Failure:
        clip_id, name = f"clotho/{entry.key}", entry.key
        if about is None:
            return Failure("source", "metadata_missing", clip_id, f"{name}: no row in {self.metadata.path.name}")
        path = find(self.files.root, name) if "/" in name else self.files.find(_stem(name))
        if isinstance(path, str):
            return Failure("source", path, clip_id, f"{name}: {MEANING[path]}")
        start, end = _seconds(about["start_end_samples"])
        sound = about["sound_id"].strip()
        return Clip(
            id=clip_id,
            source="clotho",
            path=str(path),
            labels=texts(about["keywords"].split(";")),
            reference_captions=entry.captions,
            license=spdx(about["license"]),
            media_id=sound if sound.isdecimal() else "",  # else "Not found"
            media_start=start,
            media_end=end,
        )


class Beside:
    """Rows of the metadata by file name; those that the captions skip wait in memory, so equal orders cost nothing."""

    def __init__(self, rows: Iterator[Row]) -> None:
        self.rows = rows
        self.waiting: dict[str, Mapping[str, str]] = {}

    def get(self, name: str) -> Mapping[str, str] | None:
        """The row of a file."""
        if name in self.waiting:
            return self.waiting.pop(name)
        for row in self.rows:
            found = "" if row.error else " ".join(row.cells["file_name"].split())
            if found == name:
                return row.cells
            self.waiting[found] = row.cells
        return None


def _stem(path: str) -> str:
    """A Freesound name may itself end in `.mp3`, so only the last suffix goes."""
    return PurePosixPath(path).stem


def _captioned(cells: Mapping[str, Any]) -> Captioned:
    captions = texts(cells[column] for column in CAPTIONS)
    if not captions:
        raise RowError("no caption in caption_1 to caption_5")
    return Captioned(text(cells, "file_name"), captions)


def _seconds(samples: str) -> tuple[float | None, float | None]:
    match = re.fullmatch(r"\[\s*([0-9]{1,12}),\s*([0-9]{1,12})\s*\]", samples.strip())
    return (int(match[1]) / RATE, int(match[2]) / RATE) if match else (None, None)


def spdx(license: str) -> str:
    """The SPDX id of a Creative Commons address, e.g. CC-BY-NC-3.0; empty for what is none."""
    match = re.search(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z+-]+)/([0-9.]+)", license.lower())
    if match is None:
        return ""
    kind, version = match[1], match[2].strip(".")
    special = {"zero": "CC0", "mark": "CC-PDM", "sampling+": "LicenseRef-CC-Sampling-Plus"}
    return f"{special.get(kind, f'CC-{kind.upper()}')}-{version}"
