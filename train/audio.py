"""The audio of a set's questions: which stretch of which file it is, and whether a policy can hear it.

    Recordings.of(row)  ─▶ Recording: path, start, end     nothing where the file is not there: `audio_missing`
    audible(material)   ─▶ the same with the hash of their sound; what cannot be heard is left out with its reason

Every recording is decoded once before the first step, so that none of them ends a run later. Reasons are those of
`datagen.audio`, and

    audio_longer_than_model    more seconds than the model takes: nothing is ever cut off
    audio_too_short            less than one window of the features
    audio_token_in_text        question or choices hold the text that stands for audio in a prompt
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.audio import load, probe, sha256
from datagen.clips import Clips
from datagen.errors import AudioError, UsageError
from datagen.llm.local_model import TO_LENGTH, WINDOW
from datagen.rows import some
from datagen.train.data import LeftOut, Material
from datagen.train.ranks import of_all, part_of

if TYPE_CHECKING:
    import numpy as np

    from datagen.llm.local_model import LocalModel
    from datagen.train.data import Example

__all__ = [
    "TOKENS",
    "TYPES",
    "Recording",
    "Recordings",
    "audible",
    "recordings_in",
    "samples_of",
    "seconds_of",
    "text_in",
]

TYPES = TO_LENGTH | {"qwen2_audio"}
"""model_type of the policies that are trained with audio."""
TOKENS = 25
"""Places that a second of audio takes in a prompt, at most."""
MOST_LOST = 0.5
"""Share of a set whose audio cannot be had, from which the folder is taken to be the wrong one."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What one question is about: a file, or a stretch of it in seconds."""

    path: Path
    start: float | None = None
    end: float | None = None
    sha256: str = ""
    """Of the sound, once it was decoded."""
    seconds: float = 0.0
    """Likewise."""


class Recordings:
    """Where the audio of a set lies: below the folder of `--audio`, else where a run of ours has its clips.

    Raises UsageError where there is neither.
    """

    def __init__(self, data: str | Path, audio: Path | None) -> None:
        self.clips = Clips(audio) if audio else None
        self.known = {} if audio else _clips_of_run(Path(data))

    def of(self, id: str, references: Sequence[str] | None, clip_id: str | None) -> tuple[Recording, ...]:
        """The recordings of a row, in the order of its prompt; none where one of them is not there."""
        if self.clips is None:
            return (self.known[clip_id],) if clip_id in self.known else ()
        files = self.clips.files(id, references or ([clip_id] if clip_id else None))
        found = [Recording(self.clips.root / file) for file in files if file is not None]
        return tuple(found) if len(found) == len(files) else ()


def _clips_of_run(run: Path) -> dict[str, Recording]:
    import polars as pl

    if not (run / "clips.parquet").is_file():
        raise UsageError(f"--data {run}: is no run that knows its clips: add --audio DIR, or use --modality text")
    rows = pl.read_parquet(run / "clips.parquet", columns=["id", "path", "start", "end"]).iter_rows()
    return {id: Recording(Path(path), start, end) for id, path, start, end in rows if path}


def samples_of(recording: Recording) -> np.ndarray:
    """float32 (samples,), mono at 16 kHz. Raises AudioError."""
    return load(recording.path, start=recording.start, end=recording.end).mono


def recordings_in(messages: Sequence[Mapping[str, Any]]) -> list[Recording]:
    """What is heard in a conversation, in order."""
    parts = [part for message in messages if not isinstance(message["content"], str) for part in message["content"]]
    return [part["recording"] for part in parts if part["type"] == "audio"]


def text_in(messages: Sequence[Mapping[str, Any]]) -> str:
    """What is written in a conversation of one turn."""
    content = messages[0]["content"]
    return str(content if isinstance(content, str) else content[-1]["text"])


def seconds_of(recording: Recording) -> float:
    """By its header, for an estimate; 0 for one that cannot be opened."""
    if recording.end is not None:
        return recording.end - (recording.start or 0.0)
    try:
        return probe(recording.path).duration - (recording.start or 0.0)
    except AudioError:
        return 0.0


def audible(material: Material, model: LocalModel) -> Material:
    """The examples whose audio `model` can hear, their recordings with hashes; the others are left out.

    Raises UsageError where these are more than half, or where fewer than two examples stay.
    """
    hears = model.processor.feature_extractor
    said = _examined((r for example in material.examples for r in example.recordings), hears.n_samples)
    kept: list[Example] = []
    lost = [row for row in material.left_out if row.reason.startswith("audio_")]
    for example in material.examples:
        reason = _why_not(example, said, model.processor.audio_token)
        if reason:
            lost.append(LeftOut(example.id, reason))
        else:
            heard = (replace(r, sha256=said[r].sha256, seconds=said[r].seconds) for r in example.recordings)
            kept.append(replace(example, recordings=tuple(heard)))
    if len(lost) > MOST_LOST * (len(kept) + len(lost)) or len(kept) < 2:
        raise UsageError(_too_many(material, lost, len(kept)))
    others = tuple(row for row in material.left_out if not row.reason.startswith("audio_"))
    return replace(material, examples=tuple(kept), left_out=(*others, *lost))


def _why_not(example: Example, said: Mapping[Recording, _Said], token: str) -> str:
    if token in "\n".join((example.question, *example.choices)):
        return "audio_token_in_text"
    return next((said[recording].reason for recording in example.recordings if said[recording].reason), "")


@dataclass(frozen=True, slots=True)
class _Said:
    """What decoding a recording brought."""

    sha256: str = ""
    seconds: float = 0.0
    reason: str = ""


def _examined(recordings: Iterable[Recording], most: int) -> dict[Recording, _Said]:
    """`most`: samples that the model takes. Of several processes each decodes its part."""

    def one(recording: Recording) -> _Said:
        try:
            audio = load(recording.path, start=recording.start, end=recording.end)
        except AudioError as error:
            return _Said(reason=error.reason)
        if not WINDOW <= len(audio.mono) <= most:
            return _Said(reason="audio_too_short" if len(audio.mono) < WINDOW else "audio_longer_than_model")
        return _Said(sha256(audio), len(audio.mono) / audio.rate)

    mine = part_of(list(dict.fromkeys(recordings)))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode") as pool:
        found = of_all(dict(zip(mine, pool.map(one, mine), strict=True)))
    return {recording: said for part in found for recording, said in part.items()}


def _too_many(material: Material, lost: Sequence[LeftOut], kept: int) -> str:
    reasons = Counter(row.reason for row in lost)
    why = "; ".join(f"{reason} {n} ({some(r.id for r in lost if r.reason == reason)})" for reason, n in reasons.items())
    return (
        f"--data {material.name}: the audio of {len(lost)} of {kept + len(lost)} questions cannot be had ({why}): "
        "give the folder that holds it by --audio, or use --modality text"
    )
