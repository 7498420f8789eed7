"""Which column of a `datasets` set holds the audio, captions, labels, media ids, licence and ids.

What the call names comes first, then the type of a column (Audio, ClassLabel), then its name. Where several would do,
nothing is guessed: one line says which there are, and how to name one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datagen.errors import UsageError
from datagen.sources.files import printable

__all__ = ["Columns", "choose"]

AUDIO = re.compile(r"audio|wav|flac|mp3|ogg|opus|m4a|sound")
CAPTIONS = (re.compile(r"captions?|captions?_\d+"), re.compile(r"descriptions?"))
"""In order. `text`, `sentence` and the like are mostly what is said, so they are taken only where the call says so."""
LABELS = (re.compile(r"labels?|human_labels"), re.compile(r"categor(y|ies)|class(es)?|tags?|events?"))
MEDIA = re.compile(r"media_id|youtube_id|ytid|yt_id|freesound_id|video_id")
LICENSE = re.compile(r"licen[sc]e")
IDS = ("id", "audio_id", "clip_id", "uid", "utterance_id", "__key__")


@dataclass(frozen=True)
class Columns:
    """The names of the columns that are read."""

    audio: str
    captions: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    media_id: str = ""
    license: str = ""
    id: str = ""
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Column → names of its classes, for those whose numbers stand for names."""

    @property
    def light(self) -> list[str]:
        """All but the audio."""
        found = [*self.captions, *self.labels, self.media_id, self.license, self.id]
        return list(dict.fromkeys(name for name in found if name))

    def texts(self, row: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
        """What stands in `columns` of a row: texts, lists of texts, classes (`dog_bark`: dog bark); each once."""
        found = []
        for column in columns:
            value = row.get(column)
            for item in value if isinstance(value, list | tuple) else [value]:
                names = self.classes.get(column)
                if names is not None and isinstance(item, int):
                    item = names[item] if 0 <= item < len(names) else None
                if item is not None and not isinstance(item, dict | list | bytes):
                    text = printable(str(item))
                    found.append(" ".join((text if names is None else text.replace("_", " ")).split()))
        return tuple(dict.fromkeys(text for text in found if text))

    def text(self, row: Mapping[str, Any], column: str) -> str:
        """What stands in one column of a row, or ''."""
        return next(iter(self.texts(row, [column])), "") if column else ""


def choose(where: str, features: Mapping[str, Any], named: Mapping[str, str]) -> Columns:
    """The columns of a set with `features`; `named` (audio, caption, labels, media_id, license) is what the call says.

    An empty name in `named` means that there is none. Raises UsageError that lists the columns.
    """
    pick = _Pick(where, features, named)
    audio = pick.one("audio", [_is_audio, lambda name, kind: bool(AUDIO.fullmatch(name)) and _holds_bytes(kind)])
    if not audio:
        raise UsageError(
            f"{where}: has no audio column, only {pick.listed}: name a set with audio, or add ?audio=COLUMN"
        )
    labels = pick.many("labels", [_is_class, *(_texts_called(form) for form in LABELS)])
    return Columns(
        audio=audio,
        captions=pick.many("caption", [_texts_called(form) for form in CAPTIONS]),
        labels=labels,
        media_id=pick.one("media_id", [_texts_called(MEDIA)]),
        license=pick.one("license", [_texts_called(LICENSE)]),
        id=next((name for name in IDS if name in features and name != audio), ""),
        classes={name: _classes(kind) for name, kind in features.items() if _is_class(name, kind)},
    )


Test = Callable[[str, Any], bool]


class _Pick:
    def __init__(self, where: str, features: Mapping[str, Any], named: Mapping[str, str]) -> None:
        self.where, self.features, self.named = where, features, named
        self.listed = ", ".join(map(printable, features)) or "none"

    def one(self, role: str, tests: Sequence[Test]) -> str:
        found = self.many(role, tests)
        if len(found) > 1:
            raise UsageError(f"{self.where}: {role}={','.join(found)}: name one column")
        return found[0] if found else ""

    def many(self, role: str, tests: Sequence[Test]) -> tuple[str, ...]:
        if role in self.named:
            return self._said(role)
        for test in tests:
            found = [name for name, kind in self.features.items() if test(name, kind)]
            if found and (len(found) == 1 or _numbered(found)):
                return tuple(found)
            if found:
                raise UsageError(
                    f"{self.where}: {' and '.join(map(printable, found))} could all be its {role}: "
                    f"add ?{role}=COLUMN to --annotations (it has {self.listed})"
                )
        return ()

    def _said(self, role: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in self.named[role].split(",") if name.strip())
        for name in names:
            if name not in self.features:
                raise UsageError(f"{self.where}: has no column {name!r} for {role}: it has {self.listed}")
        return names


def _numbered(names: Sequence[str]) -> bool:
    """caption_1, caption_2 … are one thing."""
    return len({re.sub(r"\d+", "", name) for name in names}) == 1


def _kind(feature: Any) -> str:
    """The type of a feature, of its items where it is a list."""
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", feature)
    name = str(getattr(inner, "_type", ""))
    return str(getattr(inner, "dtype", "")) if name == "Value" else name


def _is_audio(name: str, feature: Any) -> bool:
    return bool(getattr(feature, "_type", "") == "Audio")


def _holds_bytes(feature: Any) -> bool:
    return (isinstance(feature, dict) and "bytes" in feature) or _kind(feature) in ("binary", "large_binary")


def _is_class(name: str, feature: Any) -> bool:
    return _kind(feature) == "ClassLabel"


def _classes(feature: Any) -> list[str]:
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
    return [str(name) for name in inner.names]


def _texts_called(form: re.Pattern[str]) -> Test:
    return lambda name, feature: bool(form.fullmatch(name)) and _kind(feature) in ("string", "large_string")
