"""Puts audio back to rows that have none: which file below a folder is the sound of a clip."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datagen.errors import UsageError
from datagen.sources.avqa import by_media
from datagen.sources.files import SUFFIXES, find, folder, walk

__all__ = ["AudioFolder"]


class AudioFolder:
    """The audio files below one folder, found by what the published columns say of a clip.

    A row's file is the one named by its `media_id` and `start`, as mirrors of VGGSound name their cuts
    (`<id>_000030.wav`, `<id>_30.mp4` …), else the one named like its clip: `folder/a/b.wav` is a/b.wav, `demo/x` is
    x.wav, x.flac …. Where there is no `media_id`, `start` and `end` are seconds into that file, so the file is no cut.
    """

    def __init__(self, path: Path) -> None:
        self.root = folder(path, "--audio")
        self.by_media = by_media(self.root)
        self.by_stem: dict[str, str] = {}
        for suffix, name in sorted(((_rank(name), name) for name in walk(self.root)), reverse=True):
            self.by_stem[name[: -len(SUFFIXES[suffix])]] = name  # the preferred suffix comes last
        if not self.by_stem:
            raise UsageError(f"--audio {path}: no audio file below it: known are {' '.join(SUFFIXES)}")

    def find(self, row: Mapping[str, Any]) -> Path | str:
        """The file of a row (`clip_id`, `source`, `media_id`, `start`, `end`), or why there is none: see MEANING."""
        start, stretch = row["start"], row["start"] is not None or row["end"] is not None
        if row["media_id"] and start is not None and start == int(start):
            cut = self.by_media.get((row["media_id"], int(start)))
            if cut is not None:
                return find(self.root, cut)
        name = row["clip_id"].removeprefix(f"{row['source']}/")
        if stretch and not row["media_id"]:
            whole = find(self.root, re.sub(r"@[^@/]*$", "", name))
            return "audio_not_cut" if isinstance(whole, Path) else whole
        return find(self.root, self.by_stem.get(name, name))


def _rank(name: str) -> int:
    return SUFFIXES.index(name[name.rindex(".") :].lower())
