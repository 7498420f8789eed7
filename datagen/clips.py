"""A folder of audio: which file is an item's clip, and the clip as a model is sent it.

Files are found by what a set calls them: its reference as a path below the folder, then the file of that name in any
folder, then one of that name with another ending, then the item's id. What the content really is (46 of
test-mini's .wav are MP3) is the decoder's business.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datagen.audio import RATE, Audio, encode, load, sha256
from datagen.errors import AudioError
from datagen.seeds import derive
from datagen.sources.files import SUFFIXES, find, folder, stem, walk

__all__ = ["Clip", "Clips", "noise", "silence"]

LOUDNESS = 0.05
"""Root mean square of `noise`, full scale 1: -26 dB, about that of speech."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Decoded audio, 16 kHz mono."""

    audio: Audio
    sha256: str
    """Of the audio, whatever file holds it."""

    def wav(self) -> str:
        """A WAV file, base64."""
        return base64.b64encode(encode(self.audio)).decode()


class Clips:
    """The folder of `--audio`. Raises UsageError where it is none."""

    def __init__(self, path: Path) -> None:
        self.root = folder(path, "--audio")
        self._by_name: dict[str, str] = {}
        for relative in sorted(walk(self.root), key=_preference):
            self._by_name.setdefault(relative.rpartition("/")[2], relative)
            self._by_name.setdefault(stem(relative), relative)

    def files(self, id: str, references: Sequence[str] | None) -> tuple[str | None, ...]:
        """Paths below the folder of the clips of an item (MMAU-Pro has several); None for one that is not there.

        `references`: what the benchmark file says of the item's audio, None where it says nothing.
        """
        return tuple(
            self._file(reference, id if len(references or ()) <= 1 else "") for reference in references or [id]
        )

    def _file(self, reference: str, id: str) -> str | None:
        name = reference.rpartition("/")[2]
        exact = find(self.root, reference) if name else "audio_missing"
        if isinstance(exact, Path):
            return exact.relative_to(self.root).as_posix()
        return next((self._by_name[key] for key in (name, stem(name), id) if key in self._by_name), None)

    def load(self, file: str) -> Clip:
        """Decodes a file below the folder. Raises AudioError."""
        path = find(self.root, file)
        if not isinstance(path, Path):
            raise AudioError(path, f"{file}: leads to no file below the folder")
        try:
            audio = load(path)
        except AudioError as error:  # without the folder, which is no part of a result
            raise AudioError(error.reason, str(error).replace(str(path), file)) from None
        return Clip(audio, sha256(audio))


def silence(clip: Clip) -> Clip:
    """Zeros of the length of `clip`."""
    return _made(np.zeros(_samples(clip), np.float32))


def noise(clip: Clip, seed: int, id: str) -> Clip:
    """White Gaussian noise of the length of `clip`, drawn by the seed and the item's id."""
    draw = np.random.default_rng(derive(seed, "noise", id))
    return _made(draw.standard_normal(_samples(clip), np.float32) * np.float32(LOUDNESS))


def _made(samples: np.ndarray) -> Clip:
    audio = Audio(samples[None], RATE, RATE, 1)
    return Clip(audio, sha256(audio))


def _samples(clip: Clip) -> int:
    return int(clip.audio.channels.shape[1])


def _preference(relative: str) -> tuple[int, str]:
    """Of two files of one name: the first kind in SUFFIXES, then the first path."""
    kind = next(place for place, suffix in enumerate(SUFFIXES) if relative.lower().endswith(suffix))
    return kind, relative
