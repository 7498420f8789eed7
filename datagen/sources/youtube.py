"""Corpora that are tables of stretches of YouTube videos, and the names under which their audio is passed round.

    <id>_30.wav  <id>_000030.wav  <id>_30000.wav (ms)  <id>_30.000.wav       the stretch that begins at 30 s
    <id>_30_40.wav  <id>_30000_40000.flac  [<id>]-[30-40].wav                the same, with its end
    <id>.wav                                  the stretch alone, or the whole video: its length tells which
    Y<id>…                                    any of these, as PANNs, AudioCaps and WavCaps name them

Any audio or video suffix will do (`files.SUFFIXES`), also two (`x.mp4.wav`), in any folder below --audio.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from datagen.audio import probe
from datagen.errors import AudioError, RowError
from datagen.plugins import SourceOptions
from datagen.records import Clip, Failure
from datagen.sources.files import MEANING, places, stem
from datagen.sources.index import Index
from datagen.sources.tables import Listing, Table

__all__ = ["REATTACH", "Segment", "YouTubeCorpus", "key", "locate", "media", "video"]

REATTACH = "`media_id` is a YouTube id; the clip is that video's sound from `start` to `end` (s)."
SLACK = 1.0
"""Seconds by which a file may be longer than its stretch: cutters keep whole frames. A longer one is a whole video."""

_SECONDS = r"([0-9]{1,9}(?:\.[0-9]{1,6})?)"
_NAMES = (
    re.compile(rf"\[Y?([\w-]{{11}})\]-\[{_SECONDS}-{_SECONDS}\]", re.ASCII),
    re.compile(rf"Y?([\w-]{{11}})(?:_{_SECONDS}(?:_{_SECONDS})?)?", re.ASCII),
    re.compile(rf"(.+)_{_SECONDS}"),
)
"""Ids have 11 characters, among them `_` and digits; the last form takes the rest."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a video."""

    video: str
    start: float
    end: float
    """Seconds into the video."""
    labels: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Other stems under which a file holds just this stretch."""

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise RowError(f"end {self.end:g} is not after start {self.start:g}")

    @property
    def key(self) -> str:
        """`<id>_000030`, as VGGSound's files are named; a fraction of a second stands after it."""
        fraction = f"{self.start % 1:.3f}"[1:] if self.start % 1 else ""
        return f"{self.video}_{int(self.start):06d}{fraction}"


def together(one: Segment, other: Segment) -> Segment:
    """One stretch with the captions and names of two rows."""
    captions = dict.fromkeys(one.captions + other.captions)
    return replace(one, captions=tuple(captions), names=one.names + other.names)


class YouTubeCorpus(ABC):
    """One clip for each row of a table. A corpus names its table and says what a row means."""

    name: ClassVar[str]
    file: ClassVar[str]
    """The table in the corpus's folder that is read unless --annotations names one."""
    cure: ClassVar[str]
    """What to put where, with the address."""
    origin: str
    reattach = REATTACH
    several_rows: ClassVar[bool] = False
    """Whether the rows of one stretch make one clip with the captions of all."""

    def __init__(self, options: SourceOptions) -> None:
        file, root = places(options, self.name, self.file, self.cure)
        self.listing = Listing(self.name, self.table(file), self.parse, together if self.several_rows else None)
        self.files = Index(root, key, self.cure)

    @abstractmethod
    def table(self, file: Path) -> Table:
        """The corpus's table in its published form."""

    @abstractmethod
    def parse(self, cells: Mapping[str, Any]) -> Segment:
        """What a row means. Raises RowError."""

    def clips(self) -> Iterator[Clip | Failure]:
        """In order of the table; a Failure for each row that is malformed, or whose audio is not there."""
        for entry in self.listing.entries():
            yield entry if isinstance(entry, Failure) else self._clip(entry)

    def _clip(self, segment: Segment) -> Clip | Failure:
        clip_id = f"{self.name}/{segment.key}"
        path, whole = locate(self.files, segment.video, segment.start, segment.end, segment.names)
        if isinstance(path, str):
            return Failure("source", path, clip_id, f"{segment.key}: {MEANING[path]}")
        return Clip(
            id=clip_id,
            source=self.name,
            path=str(path),
            start=segment.start if whole else None,
            end=segment.end if whole else None,
            labels=segment.labels,
            reference_captions=segment.captions,
            media_id=segment.video,
            media_start=None if whole else segment.start,
            media_end=None if whole else segment.end,
        )


def locate(
    files: Index, video: str, start: float, end: float | None, names: Iterable[str] = ()
) -> tuple[Path | str, bool]:
    """The file of a stretch (s), or why there is none; and whether it is the whole video. `files` is one by `key`."""
    for name in (_key(video, start), _key(video, start * 1000), *names):
        path = files.find(name)
        if path != "audio_missing":
            return path, False
    path = files.find(video)
    return path, isinstance(path, Path) and end is not None and _longer(path, end - start + SLACK)


def _longer(path: Path, seconds: float) -> bool:
    try:
        return probe(path).duration > seconds
    except AudioError:
        return False  # the build says what is wrong with it


def media(name: str) -> tuple[str, float | None]:
    """YouTube id and first second of a video or file name: `-a_b_000030.mp4` and `-a_b_30` are both ("-a_b", 30)."""
    name = stem(name)
    for form in _NAMES:
        if match := form.fullmatch(name):
            return match[1], None if match[2] is None else float(match[2])
    return name, None


def key(path: str) -> str:
    """What an Index of such files is asked for: the id, with `@` and the second where the name has one."""
    return _key(*media(path))


def _key(video: str, start: float | None) -> str:
    return video if start is None else f"{video}@{round(start, 3):.12g}"


def video(text: str) -> str:
    """A YouTube id. Raises RowError for what is none, and could be a path."""
    if not re.fullmatch(r"[\w-]+", text, re.ASCII):
        raise RowError(f"{text!r} is no YouTube id")
    return text
