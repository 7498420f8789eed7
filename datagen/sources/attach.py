"""Puts audio back to rows that have none: which file below a folder is the sound of a clip."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.sources.files import SUFFIXES, find
from datagen.sources.index import Index
from datagen.sources.youtube import key, locate

__all__ = ["AudioFolder"]


class AudioFolder:
    """The audio files below one folder, found by what the published columns say of a clip.

    A row's file is the one named by its `media_id` and `start`, as mirrors name their cuts (`<id>_000030.wav`,
    `<id>_30.mp4` …, see `youtube`), else the one named like its clip: `folder/a/b.wav` is a/b.wav, `demo/x` is x.wav,
    x.flac …. A whole recording is no cut; nor is a file where there is no `media_id`, as `start` and `end` are then
    seconds into it.
    """

    def __init__(self, path: Path) -> None:
        cure = f"known are {' '.join(SUFFIXES)}"
        self.by_media, self.by_stem = Index(path, key, cure), Index(path, _without_suffix, cure)
        self.root = self.by_media.root

    def find(self, row: Mapping[str, Any]) -> Path | str:
        """The file of a row (`clip_id`, `source`, `media_id`, `start`, `end`), or why there is none: see MEANING."""
        start, stretch = row["start"], row["start"] is not None or row["end"] is not None
        if row["media_id"] and start is not None:
            path, is_whole = locate(self.by_media, row["media_id"], start, row["end"])
            if is_whole:
                return "audio_not_cut"
            if path != "audio_missing":
                return path
        name = row["clip_id"].removeprefix(f"{row['source']}/")
        if stretch and not row["media_id"]:
            whole = find(self.root, re.sub(r"@[^@/]*$", "", name))
            return "audio_not_cut" if isinstance(whole, Path) else whole
        path = self.by_stem.find(name)
        return find(self.root, name) if path == "audio_missing" else path


def _without_suffix(path: str) -> str:
    return path[: path.rindex(".")]
