"""Clips as a browser plays them: decoded by `datagen.audio`, kept as FLAC beside a picture of the spectrogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen import audio
from datagen.errors import AudioError
from datagen.report import spectrogram

__all__ = ["Clips", "Playable"]

RATE = 44_100
"""Hz: every browser plays it, and it holds what people hear. Channels stay: some questions are about sides."""


@dataclass(frozen=True)
class Playable:
    """Names of the files of one clip in the folder; empty, with the reason in `silent`, where it cannot be decoded."""

    sound: str = ""
    picture: str = ""
    seconds: float = 0.0
    top: float = 0.0
    """kHz at the picture's upper edge."""
    silent: str = ""


class Clips:
    """The clips of a sample, decoded when they are first asked for. Not safe for threads."""

    def __init__(self, clips: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> None:
        self._clips, self.folder = clips, folder
        self._made: dict[str, Playable] = {}

    def play(self, clip_id: str) -> Playable:
        """The files of a clip of `clips.parquet`."""
        if clip_id not in self._made:
            try:
                self._made[clip_id] = self._make(clip_id, f"clip{len(self._made)}")
            except AudioError as error:
                self._made[clip_id] = Playable(silent=f"{error.reason}: {error}")
        return self._made[clip_id]

    def _make(self, clip_id: str, name: str) -> Playable:
        import soundfile

        if clip_id not in self._clips:
            raise AudioError("audio_missing", f"clips.parquet does not hold {clip_id}")
        row = self._clips[clip_id][0]
        heard = audio.load(row["path"], start=row["start"], end=row["end"], rate=RATE)
        # As in a WAV of 16 bits; what a float file holds beyond full scale is clipped, as any player does.
        soundfile.write(self.folder / f"{name}.flac", heard.channels.T, RATE, subtype="PCM_16")
        top = min(heard.native_rate, audio.RATE * 2)
        shown = audio.load(row["path"], start=row["start"], end=row["end"], rate=top)
        (self.folder / f"{name}.png").write_bytes(spectrogram(shown.mono, top, width=900, height=200))
        return Playable(f"{name}.flac", f"{name}.png", heard.duration, top / 2000)
