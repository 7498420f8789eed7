"""A model on this machine: its folder, whether it can be run, and the name that its content gives it.

A folder is what `save_pretrained` writes: config.json, weights as safetensors, tokenizer, chat template and, for a
model that listens, its processor. A Hub id is downloaded once into the Hub's own cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.errors import UsageError

__all__ = ["Folder", "identify", "open_folder"]

DECIDING = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".tiktoken")
"""Ends of the names of files that decide answers: weights, configuration, tokenizer, chat template."""
NOT_DECIDING = ("trainer_state.json", "training_args.bin", "optimizer.bin", "scheduler.bin", "requirements.txt")
VOICES = "spk_dict.pt"
"""A whole Qwen2.5-Omni does not load without it; no answer in text depends on it."""
LARGE = 2**20
"""Bytes from which a file's hash is remembered by its size and time of change."""
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
NO_AUDIO = "name the folder of one that listens, such as Qwen2-Audio's or Qwen2.5-Omni's"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that was looked at; nothing of it is loaded yet."""

    path: Path
    name: str
    """The Hub id, or the folder's own name: for people, no part of the identity."""
    config: Mapping[str, Any]
    """config.json"""

    @property
    def type(self) -> str:
        """`model_type` of the configuration."""
        return str(self.config["model_type"])

    @property
    def hears(self) -> bool:
        """Whether it takes audio."""
        inner = self.config.get("thinker_config") or self.config
        return any(name in inner for name in ("audio_config", "audio_token_id", "audio_token_index"))


def open_folder(name: str, *, audio: bool, revision: str = "") -> Folder:
    """The folder called `name`, or the downloaded one of that Hub id; with `audio`, one of a model that listens.

    Raises UsageError, one line, for one that is missing or cannot be run.
    """
    path = Path(name).expanduser()
    if not path.is_dir():
        path = _download(name, revision)
    else:
        name = path.resolve().name
    folder = Folder(path, name, _config(path))
    if audio and not folder.hears:
        what = ", ".join(folder.config.get("architectures") or [folder.type])
        raise UsageError(f"model {path}: {what} takes no audio: {NO_AUDIO}")
    _check_files(folder)
    return folder


def identify(folder: Folder, dtype: str) -> str:
    """32 hex characters: a hash of weights, configuration, tokenizer, chat template and `dtype`.

    Hashes of large files are remembered in the user's cache by path, size and time of change.
    """
    files = sorted(file for file in folder.path.iterdir() if _decides(file))
    known = _remembered()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        hashes = list(pool.map(lambda file: _hash(file, known), files))
    _remember({_place(file): [*_stamp(file), found] for file, found in zip(files, hashes, strict=True) if _big(file)})
    named = [[file.name, found] for file, found in zip(files, hashes, strict=True)]
    return hashlib.sha256(json.dumps([dtype, named]).encode()).hexdigest()[:32]


def _download(name: str, revision: str) -> Path:
    if not HUB_ID.fullmatch(name):
        raise UsageError(f"model {name!r}: no such folder, and no Hub id of the form owner/name")
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    patterns = [*(f"*{end}" for end in DECIDING), VOICES]
    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, revision=revision or None, allow_patterns=patterns, ignore_patterns=["*/*", "original/*"]
            )
        )
    except GatedRepoError:
        raise UsageError(f"model {name!r}: its owner asks for consent: give it on the Hub and set $HF_TOKEN") from None
    except RevisionNotFoundError:
        raise UsageError(f"model {name!r}: the Hub has no revision {revision!r} of it") from None
    except RepositoryNotFoundError:
        raise UsageError(f"model {name!r}: no such folder, and the Hub has none that is open to you") from None
    except (OSError, ValueError) as error:  # no network, no room, a name that the Hub's client refuses
        why = " ".join(str(error).split())[:80]
        raise UsageError(
            f"model {name!r}: no such folder, and the Hub cannot be reached ({why}): give the folder of a download"
        ) from None


def _config(path: Path) -> Mapping[str, Any]:
    file = path / "config.json"
    if (path / "adapter_config.json").exists() and not file.exists():
        raise UsageError(f"model {path}: holds an adapter alone: merge it into its base and give that folder")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config["model_type"], str):
            raise ValueError("model_type is no text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise UsageError(f"model {path}: config.json: {why}: give a folder as save_pretrained writes it") from None
    return dict(config)


def _check_files(folder: Folder) -> None:
    path = folder.path
    index = path / "model.safetensors.index.json"
    shards = sorted({*json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}) if index.exists() else []
    found = [path / shard for shard in shards] or sorted(path.glob("*.safetensors")) or sorted(path.glob("*.bin"))
    if not found:
        raise UsageError(f"model {path}: holds no weights (*.safetensors): copy the whole folder")
    for file in found:
        if not file.exists():
            raise UsageError(f"model {path}: {file.name} is missing: copy the whole folder")
        if file.suffix == ".safetensors" and not _whole(file):
            raise UsageError(f"model {path}: {file.name} is cut short or no safetensors file: copy it again")
    if not any((path / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")):
        raise UsageError(f"model {path}: holds no tokenizer: copy tokenizer.json beside the weights")
    if folder.hears and not any((path / f"{name}_config.json").exists() for name in ("processor", "preprocessor")):
        raise UsageError(f"model {path}: holds no processor_config.json or preprocessor_config.json: copy it beside")


def _whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says (https://github.com/huggingface/safetensors)."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > file.stat().st_size:
                return False
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return bool(file.stat().st_size == 8 + length + max(ends, default=0))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _decides(file: Path) -> bool:
    return file.is_file() and file.suffix in DECIDING and file.name not in NOT_DECIDING


def _big(file: Path) -> bool:
    return file.stat().st_size >= LARGE


def _place(file: Path) -> str:
    return str(file.resolve())


def _stamp(file: Path) -> list[int]:
    state = file.stat()
    return [state.st_size, state.st_mtime_ns]


def _hash(file: Path, known: Mapping[str, Any]) -> str:
    remembered = known.get(_place(file))
    if _big(file) and isinstance(remembered, list) and remembered[:2] == _stamp(file):
        return str(remembered[2])
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"model {file}: {error.strerror}: make it readable") from None


def _memory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "datagen" / "weights.json"


def _remembered() -> dict[str, Any]:
    try:
        found = json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or of another shape: it is made anew
        return {}
    return found if isinstance(found, dict) else {}


def _remember(hashes: Mapping[str, Any]) -> None:
    """Written whole and renamed; a cache that cannot be written only costs the hashing again."""
    if not hashes:
        return
    with contextlib.suppress(OSError):
        _memory().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=_memory().parent, delete=False, encoding="utf-8") as file:
            json.dump({**_remembered(), **hashes}, file)
        Path(file.name).replace(_memory())
