"""Source `wavcaps`: WavCaps (Mei et al., TASLP 2024), 403,050 sounds with captions that ChatGPT made of their texts.

    https://huggingface.co/datasets/cvssp/WavCaps and https://github.com/XinhaoMei/WavCaps: four files of the form
        {"num_captions_per_audio": 1, "data": [{"id": "180913", "file_name": "UK Mello.wav", "duration": 3.204375,
         "caption": "A traditional ringtone is playing.", "description": …, "tags": […], "author": …, …}, …]}
    and blacklists of the clips that stand in the test sets of others:
        {"AudioSet": ["Yr1nicOVtvkQ.wav", …], "FreeSound": ["117790", …]}

    $DATAGEN_DATA/wavcaps/ or ./data/wavcaps/         (--annotations one file or the folder, --audio another folder)
      json_files/AudioSet_SL/as_final.json            all of these that are there, in this order
      json_files/BBC_Sound_Effects/bbc_final.json
      json_files/FreeSound/fsd_final.json
      json_files/SoundBible/sb_final.json
      json_files/blacklist/blacklist_*.json           every one that is there is applied; move away what you do not want
      …/FreeSound_flac/180913.flac                    the unpacked Zip_files/: any folder whose name begins with the
                                                      subset's; with one JSON file any folder at all

A blacklisted clip is listed as `blacklisted` and left out. For academic use only, with Freesound's, the BBC's and
SoundBible's own terms; the files name no licence for a sound, so `license` is left empty. `media_id` is the Freesound
or YouTube id; AudioSet's clips have no start here (see its strong labels).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from datagen.errors import RowError, UsageError
from datagen.plugins import SourceOptions
from datagen.records import Clip, Failure
from datagen.sources.files import MEANING, find, places, stem
from datagen.sources.index import Index
from datagen.sources.tables import JsonArray, Listing, read_json, text, texts

__all__ = ["Wavcaps"]

SUBSETS = {
    "as_final": "AudioSet_SL",
    "bbc_final": "BBC_Sound_Effects",
    "fsd_final": "FreeSound",
    "sb_final": "SoundBible",
}
"""What a file's name holds → its subset; in order of reading."""
BLACKLISTED = {"AudioSet_SL": "AudioSet", "FreeSound": "FreeSound"}
"""Subset → its key in a blacklist."""
WHERE = "from https://huggingface.co/datasets/cvssp/WavCaps"


@dataclass(frozen=True, slots=True)
class Described:
    """An object of a subset's file."""

    subset: str
    id: str
    caption: str
    tags: tuple[str, ...]

    @property
    def key(self) -> str:
        """`FreeSound/180913`"""
        return f"{self.subset}/{self.id}"


class Wavcaps:
    """One clip for each object of each subset's file, in order."""

    origin = (
        "WavCaps (https://huggingface.co/datasets/cvssp/WavCaps), for academic use only: captions by ChatGPT of "
        "recordings of Freesound, the BBC's sound effects, SoundBible and AudioSet."
    )
    reattach = (
        "`media_id` is a Freesound id for `wavcaps/FreeSound/…` and a YouTube id for `wavcaps/AudioSet_SL/…`; the "
        "others' ids stand in `clip_id`. The clip is the whole file of WavCaps."
    )

    def __init__(self, options: SourceOptions) -> None:
        cure = f"put json_files/ and the unpacked Zip_files/ ({WHERE}) there"
        place, root = places(options, "wavcaps", "", cure)
        if (place / "json_files").is_dir():
            place /= "json_files"
        self.files = _files(place)
        self.listings = {
            subset: Listing("wavcaps", JsonArray(file, f"take it {WHERE}"), Parser(subset))
            for subset, file in self.files.items()
        }
        self.blacklists = _blacklists(place if place.is_dir() else place.parent)
        self.audio = Index(root, _key, cure)

    def clips(self) -> Iterator[Clip | Failure]:
        """A Failure for each object that is malformed or blacklisted, or whose audio is not there."""
        for listing in self.listings.values():
            for entry in listing.entries():
                yield entry if isinstance(entry, Failure) else self._clip(entry)

    def _clip(self, entry: Described) -> Clip | Failure:
        clip_id = f"wavcaps/{entry.key}"
        blacklist = self.blacklists.get((BLACKLISTED.get(entry.subset, ""), entry.id))
        if blacklist:
            return Failure("source", "blacklisted", clip_id, f"{entry.id}: stands in {blacklist}")
        path = self._path(entry)
        if isinstance(path, str):
            return Failure("source", path, clip_id, f"{entry.key}: {MEANING[path]}")
        media = {"AudioSet_SL": entry.id.removeprefix("Y"), "FreeSound": entry.id}.get(entry.subset, "")
        return Clip(
            id=clip_id,
            source="wavcaps",
            path=str(path),
            labels=entry.tags,
            reference_captions=(entry.caption,),
            media_id=media,
        )

    def _path(self, entry: Described) -> Path | str:
        if "/" in entry.id:
            return find(self.audio.root, entry.id)
        path = self.audio.find(entry.key)
        # ids of Freesound and SoundBible are numbers, so a folder of both has to say which is whose
        return self.audio.find(f"/{entry.id}") if path == "audio_missing" and len(self.files) == 1 else path


@dataclass(frozen=True)
class Parser:
    """Objects of one subset's file → entries."""

    subset: str

    def __call__(self, cells: Mapping[str, Any]) -> Described:
        """Raises RowError."""
        name = text(cells, "id")
        tags = cells.get("tags") or ()
        if not isinstance(tags, list | tuple):
            raise RowError(f"tags is {tags!r}, no list")
        return Described(self.subset, name.removesuffix(".wav"), text(cells, "caption"), texts(tags))


def _files(place: Path) -> dict[str, Path]:
    """Subset → its file. Raises UsageError where there is none."""
    files = sorted(place.rglob("*_final*.json")) if place.is_dir() else [place]
    found = {subset: file for part, subset in SUBSETS.items() for file in files if file.stem.endswith(part)}
    if not found:
        names = ", ".join(f"{part}.json" for part in SUBSETS)
        raise UsageError(f"--annotations {place}: none of {names}: take json_files/ {WHERE}")
    return found


def _blacklists(place: Path) -> dict[tuple[str, str], str]:
    """(key, id) → the blacklist that names it. Raises UsageError where there is none at all."""
    near = [folder for folder in (place, place.parent / "blacklist") if folder.is_dir()]
    files = sorted({file for folder in near for file in folder.rglob("blacklist*.json")})
    if not files:
        raise UsageError(
            f"{place}: no blacklist*.json in it: take json_files/blacklist/ {WHERE}, or write {{}} into "
            "blacklist_none.json to keep the clips of others' test sets"
        )
    found: dict[tuple[str, str], str] = {}
    for file in files:
        cure = 'use WavCaps\' own, {"AudioSet": [ids], "FreeSound": [ids]}'
        lists = read_json(file, cure)
        if not isinstance(lists, dict) or not all(isinstance(ids, list) for ids in lists.values()):
            raise UsageError(f"{file}: no object of lists: {cure}")
        for key, ids in lists.items():
            found |= {(key, str(name).removesuffix(".wav")): file.name for name in ids}
    return found


def _key(path: str) -> str:
    """`FreeSound/180913` for a file below a folder whose name begins with that subset's, else `/180913`."""
    for part in PurePosixPath(path).parts[:-1]:
        for subset in SUBSETS.values():
            if part.startswith(subset):
                return f"{subset}/{stem(path)}"
    return f"/{stem(path)}"
