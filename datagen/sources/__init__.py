"""Corpora: each file lists the clips of one. Adding one = a file, a line in SOURCES, a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from datagen.records import Clip, Failure

__all__ = ["SOURCES", "Listed", "Source"]


class Source(Protocol):
    """One corpus. Made by `factory(options: SourceOptions)`; the factory raises UsageError where nothing can start.

    `origin` and `reattach` are sentences for the dataset card: where the clips come from, and how a user of the
    text-only dataset puts the audio back by media_id, start and end.
    """

    origin: str
    reattach: str

    def clips(self) -> Iterator[Clip | Failure]:
        """Every clip in a fixed order, without decoding any; a Failure for each that the corpus names but lacks.

        May be called several times and yields the same rows each time, in flat memory.
        """
        ...


@runtime_checkable
class Listed(Protocol):
    """A source whose audio is fetched while `clips` is read, and whose rows can be had without it."""

    @property
    def identity(self) -> str:
        """What its rows depend on (a commit, the files); it stands for them in the run's fingerprint."""
        ...

    def listing(self) -> Iterator[Clip | Failure]:
        """The rows of `clips`, with no path, and read no further than they are asked for."""
        ...


# "module:attribute" strings are imported when asked for, so that `datagen --help` loads none of them.
SOURCES: dict[str, str] = {
    "demo": "datagen.sources.demo:Demo",
    "folder": "datagen.sources.folder:Folder",
    "avqa": "datagen.sources.avqa:Avqa",
    "hub": "datagen.sources.hub:Hub",
    "vggsound": "datagen.sources.vggsound:Vggsound",
    "audiocaps": "datagen.sources.audiocaps:Audiocaps",
    "clotho": "datagen.sources.clotho:Clotho",
    "musiccaps": "datagen.sources.musiccaps:Musiccaps",
    "wavcaps": "datagen.sources.wavcaps:Wavcaps",
    "audioset": "datagen.sources.audioset:Audioset",
}
