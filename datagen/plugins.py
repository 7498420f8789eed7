"""What a source, captioner, writer or filter is given when it is made, and how a name becomes one.

A plug-in is a factory called with one argument; its Protocol, with one method, stands in the `__init__` of its
package beside the dict from name to factory. A name of the form `module:attribute` is imported, so that a user's own
plugs in from outside.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError

if TYPE_CHECKING:
    from datagen.leakage import Benchmarks
    from datagen.llm import Client
    from datagen.prompts import Prompts

__all__ = ["Context", "SourceOptions", "content_hash", "needs", "resolve"]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What a source is made from; None means that the source looks at its own default place."""

    annotations: Path | None = None
    audio: Path | None = None
    store: Path | None = None
    """Folder for audio that the source has to fetch; it need not be there yet."""


@dataclass(frozen=True)
class Context:
    """What captioners, writers and filters are made from."""

    seed: int
    prompts: Prompts
    captions_per_clip: int = 1
    questions_per_clip: int = 4
    language: str = "English"
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    """Every label of the source → number of its clips, in order of label."""
    together: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Every label of the source → the labels that stand beside it on some clip."""
    model: str | None = None
    """Model of the captioner that is being made (`--captioner name=MODEL`): a file, a folder or an id."""
    value: str | None = None
    """Value of the filter that is being made (`--filters name=VALUE`), as it was given."""
    readings: int = 3
    """How often a reader, or a model that listens, is asked one question, each time in another order of the choices."""
    policy_samples: int = 8
    captioner: Client | None = None
    writer: Client | None = None
    reader: Client | None = None
    second_reader: Client | None = None
    policy: Client | None = None
    roles: frozenset[str] = frozenset()
    """Roles for which a model was named; a merge of shards has no client for them."""
    against: Benchmarks | None = None
    """Test items that no question may meet (`--against`)."""


def resolve(kind: str, name: str, table: Mapping[str, str], *methods: str) -> Any:
    """The factory called `name`; a class must have one of `methods`. Raises UsageError that lists the known names."""
    if name not in table and ":" not in name:
        raise UsageError(f"unknown {kind} {name!r}: use one of {', '.join(table)}, or module:attribute of your own")
    factory = _load(kind, table.get(name, name))
    if isinstance(factory, type) and not any(hasattr(factory, method) for method in methods):
        raise UsageError(f"{kind} {name!r} has no method {' or '.join(methods)}: see the protocol of a {kind}")
    return factory


def _load(kind: str, path: str) -> Any:
    module, _, attribute = path.partition(":")
    try:
        if not all(part.isidentifier() for part in module.split(".")):
            raise ImportError(f"{module!r} is no name of a module")
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"{kind} {path!r} cannot be imported ({error}): check the path and the installed extras"
        ) from None
    if not callable(found):
        raise UsageError(f"{kind} {path!r} is a {type(found).__name__}: name a class or function that makes a {kind}")
    return found


def needs(extra: str, *modules: str) -> None:
    """Raises UsageError, with the `pip install` to run, unless all `modules` of that extra are installed."""
    for module in modules:
        if find_spec(module) is None:
            raise UsageError(f"{module} is not installed: pip install 'datagen-audioqa[{extra}]'")


def content_hash(model: Path) -> str:
    """Hex SHA-256 (16 characters) of a file, or of every file below a folder and its relative path.

    Raises UsageError for what cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(p for p in model.rglob("*") if p.is_file()) if model.is_dir() else [model]:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            name = path.relative_to(model).as_posix() if path != model else ""
            digest.update(f"{name}\0{content}\n".encode())
    except OSError as error:
        raise UsageError(f"model {model}: {error.strerror or error}: name a file or folder of a model") from None
    return digest.hexdigest()[:16]


def known(kind: str) -> dict[str, str]:
    """Name → what it is (the first sentence of its docstring), for `datagen list`."""
    tables = {
        "sources": [("datagen.sources", "SOURCES")],
        "captioners": [("datagen.captioners", "CAPTIONERS")],
        "generators": [("datagen.questions", "WRITERS")],
        "filters": [("datagen.filters", "FILTERS"), ("datagen.filters", "PROBES")],
        "exports": [("datagen.export", "EXPORTS")],
        "benchmarks": [("datagen.eval", "BENCHMARKS")],
    }
    if kind not in tables:
        raise UsageError(f"unknown kind {kind!r}: use one of {', '.join(tables)}")
    found: dict[str, str] = {}
    for module, table in tables[kind]:
        for name, path in getattr(importlib.import_module(module), table).items():
            plugin = path.record if kind == "exports" else _load(kind, path)
            found[name] = (plugin.__doc__ or "").strip().split("\n")[0]
    return found
