"""Source `demo`: 80 small clips in the package itself: CC0 recordings, arrangements of them, music and speech.

    datagen/sources/demo_clips/
      *.flac           16 kHz, mono where left and right do not matter, 1 to 5 s
      manifest.jsonl   a line each: labels, caption, origin, licence, SHA-256 of the file
      LICENSE.md       CC0-1.0, and where everything is from

Made by `examples/make_demo_clips.py`; the recordings are from Freesound, by way of Debian's `sonic-pi-samples`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from datagen.errors import UsageError
from datagen.plugins import SourceOptions
from datagen.records import Clip, Failure

__all__ = ["CLIPS", "Demo"]

CLIPS = Path(__file__).resolve().parent / "demo_clips"


class Demo:
    """The clips of the package; takes neither --annotations nor --audio."""

    origin = (
        "Clips that come with datagen: CC0 recordings from Freesound, by way of Debian's sonic-pi-samples, "
        "and generated music and speech."
    )
    reattach = (
        "The audio of `demo/NAME` is the file datagen/sources/demo_clips/NAME.flac of the package datagen-audioqa."
    )

    def __init__(self, options: SourceOptions) -> None:
        for option, value in (("--annotations", options.annotations), ("--audio", options.audio)):
            if value is not None:
                raise UsageError(
                    f"{option} {value}: the source demo has its own clips: use --source folder, or leave it out"
                )

    def clips(self) -> Iterator[Clip | Failure]:
        """In order of file name."""
        with (CLIPS / "manifest.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                yield Clip(
                    id=f"demo/{Path(row['file']).stem}",
                    source="demo",
                    path=str(CLIPS / row["file"]),
                    labels=tuple(row["labels"]),
                    reference_captions=(row["caption"],),
                    license=row["license"],
                    media_id=row["media_id"],
                )
