"""Source `hub`: any set of the `datasets` library that has an audio column, on the Hub or in a folder.

    --annotations OWNER/NAME              a set of https://huggingface.co/datasets (HF_TOKEN for a private or gated one)
    --annotations FOLDER                  what `save_to_disk` wrote, parquet, an AudioFolder
                                          (https://huggingface.co/docs/datasets/audio_dataset), or a clone of a set
    --annotations 'OWNER/NAME?split=test&labels=category'

After `?`, joined by `&`: `config`, `split`, `revision` of the set, and which of its columns are `audio`, `caption`,
`labels` (one or several, with commas), `media_id`, `license`; an empty name says that there is none. What is left out
is found by type and name, see hub_columns; where that is not clear, the error lists the columns. A row looks like

    {"audio": {"bytes": b"fLaC…", "path": "1-100032-A-0.flac"}, "label": 0, "caption": "a dog barks twice"}

A set of the Hub is pinned to the commit that its revision (`main`) is at when the build starts: the commit and the list
of files go into the run's fingerprint. Rows come in the order of the files. A clip's id is `hub/`, the set's name, its
configuration unless that is `default`, the split, the number of the row, and the set's own id where it has one.

The audio is streamed, written once as it is to RUN/audio (the newest 10 GB stay there), and decoded by datagen; files
of a folder stay where they are. To know the labels, parquet is read once more without its audio, other kinds but
AudioFolder with it; with --limit N, only the first N rows. `license` is that of the row, else of the set's card.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from datagen.errors import AudioError, UsageError
from datagen.plugins import SourceOptions
from datagen.records import Clip, Failure
from datagen.sources.files import MEANING, find, printable
from datagen.sources.hub_columns import choose
from datagen.sources.hub_set import errors, open_set
from datagen.sources.store import Store

__all__ = ["Hub", "parse"]

PLACES = ("config", "split", "revision")
ROLES = ("audio", "caption", "labels", "media_id", "license")
BLOCK = 1 << 20


class Hub:
    """One split of a set; takes no --audio."""

    origin = "A set of the `datasets` library with an audio column."
    reattach = "`hub/NAME/SPLIT/N` is row N of that split, counted from 0."

    def __init__(self, options: SourceOptions) -> None:
        if options.annotations is None:
            raise UsageError("--source hub: no set named: add --annotations OWNER/NAME, or a folder")
        if options.audio is not None:
            raise UsageError(f"--audio {options.audio}: the source hub has its audio in the set: leave it out")
        name, asked = parse(str(options.annotations))
        self.set = open_set(name, config=asked.get("config"), split=asked.get("split"), revision=asked.get("revision"))
        named = {role: asked[role] for role in ROLES if role in asked}
        self.columns = choose(self.set.where, self.set.features, named)
        self.store = Store(options.store)
        config = "" if self.set.config == "default" else f"{self.set.config}/"
        self.prefix = f"hub/{printable(self.set.name)}/{config}{self.set.split}"
        if self.set.revision:
            at = f"https://huggingface.co/datasets/{self.set.name}/tree/{self.set.revision}"
            self.origin = f"Split {self.set.split} of the set {self.set.name} of the Hugging Face Hub ({at})."
            self.reattach = f"`{self.prefix}/N` is row N of that split at that commit, counted from 0."

    @property
    def identity(self) -> str:
        """The set, its commit, a hash of the list of files, and the columns."""
        return " ".join([self.set.identity, self.columns.audio, *self.columns.light])

    def listing(self) -> Iterator[Clip | Failure]:
        """Every row as a clip without a path."""
        for number, row in enumerate(self.set.rows(self.columns.light)):
            yield self._clip(number, row, "")

    def clips(self) -> Iterator[Clip | Failure]:
        """In the order of the rows; writes the audio that is no file to the store."""
        for number, row in enumerate(self.set.rows()):
            try:
                yield self._clip(number, row, str(self._file(row.get(self.columns.audio))))
            except AudioError as error:
                yield Failure("audio", error.reason, self._id(number, row), printable(str(error)))

    def _id(self, number: int, row: Mapping[str, Any]) -> str:
        own = self.columns.text(row, self.columns.id)
        return f"{self.prefix}/{number}" + (f"/{own}" if own else "")

    def _clip(self, number: int, row: Mapping[str, Any], path: str) -> Clip:
        columns = self.columns
        return Clip(
            id=self._id(number, row),
            source="hub",
            path=path,
            labels=columns.texts(row, columns.labels),
            reference_captions=columns.texts(row, columns.captions),
            license=columns.text(row, columns.license) or self.set.license,
            media_id=columns.text(row, columns.media_id),
        )

    def _file(self, value: Any) -> Path:
        """The file with the audio of a row: {"bytes", "path"}, bytes alone or a path alone. Raises AudioError."""
        value = value if isinstance(value, Mapping) else {"bytes" if isinstance(value, bytes) else "path": value}
        content, name = value.get("bytes"), printable(str(value.get("path") or ""))
        if content:
            return self.store.put(content, name)
        if not name or content is not None:
            raise AudioError("audio_empty" if content is not None else "audio_missing", "the row holds no audio")
        if self.set.root is not None and "::" not in name:
            path = find(self.set.root, name)
            if isinstance(path, str):
                raise AudioError(path, f"{name}: {MEANING[path].replace('--audio', 'the set')}")
            return path
        return self._fetched(self._url(name))

    def _url(self, name: str) -> str:
        """Where a name leads, inside the set; a row must not make us open anything else. Raises AudioError."""
        hops = name.split("::")
        archive = len(hops) == 2 and hops[0].startswith("zip://")
        if self.set.root is not None:
            if archive and isinstance(find(self.set.root, hops[1]), Path):
                return name
        else:
            base = f"hf://datasets/{self.set.name}@{self.set.revision}/"
            if len(hops) == 1 and "://" not in name:
                return base + name.lstrip("/")
            if (len(hops) == 1 or archive) and hops[-1].startswith(base) and ".." not in hops[-1].split("/"):
                return name
        raise AudioError("audio_outside_folder", f"{name}: leads out of the set, and is not opened")

    def _fetched(self, url: str) -> Path:
        with errors(self.set.where):
            return self.store.fetch(hashlib.sha256(url.encode()).hexdigest(), url.split("::")[0], _blocks(url))


def _blocks(url: str) -> Iterator[bytes]:
    import fsspec
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

    try:
        with fsspec.open(url, "rb") as file:
            while block := file.read(BLOCK):
                yield block
    except (FileNotFoundError, EntryNotFoundError, HfHubHTTPError) as error:
        gone = not isinstance(error, HfHubHTTPError) or error.response.status_code == 404
        if isinstance(error, RepositoryNotFoundError) or not gone:
            raise
        raise AudioError("audio_missing", f"{url}: no such file in the set") from None


def parse(text: str) -> tuple[str, dict[str, str]]:
    """`NAME?key=value&…` as the name and what is asked of it. Raises UsageError for a key that is not known."""
    name, _, query = text.partition("?")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    for key in asked:
        if key not in PLACES + ROLES:
            raise UsageError(f"--annotations {text}: unknown {key!r} after '?': use {', '.join(PLACES + ROLES)}")
    return name, {key: value for key, value in asked.items() if value or key in ROLES}
