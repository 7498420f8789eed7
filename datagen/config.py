"""What `datagen build` is asked for: the fields are the flags of the command line, and a file's keys.

`ClientOptions`, how models are asked, is shared with `datagen eval`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from datagen import language
from datagen.errors import UsageError
from datagen.filters import DEFAULT, FILTERS, PROBES
from datagen.llm.request import public_name
from datagen.plugins import resolve
from datagen.records import MEASURES

__all__ = ["ClientOptions", "Config", "filter_factory", "probe_factories", "public", "restored"]

ROLES = ("captioner", "writer", "reader", "second_reader", "policy")
MODELS = ("model", "captioner_model", "reader_model", "second_reader_model", "policy_model")
WAYS = ("online", "batch")
RANGES = {
    "captions_per_clip": (1, 1_000), "questions_per_clip": (1, 1_000), "readings": (1, 1_000),
    "policy_samples": (1, 10_000), "samples": (1, 10_000), "max_tokens": (1, 10_000_000), "limit": (1, inf),
    "target": (1, inf), "workers": (1, inf), "batch_rows": (1, inf), "in_flight": (1, 1_000_000), "max_cost": (0, 1e9),
    "patience": (0, inf),
}  # fmt: skip
"""Field of build or eval → least, most; above the most nothing ends, as all of a clip is held in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How models are asked, and for how much money."""

    ledger: Path | None = None
    max_cost: float | None = None
    price: tuple[float, float] | None = None
    patience: float = 300.0
    transport: str = "online"
    batch_rows: int = 50_000
    batch_poll: float = 30.0
    retry_failed: bool = False

    def check_options(self, roles: Iterable[str]) -> None:
        """Raises UsageError for a value that cannot be, and for a role that is none of `roles`."""
        for name, (least, most) in RANGES.items():
            value = getattr(self, name, None)
            if value is not None and not least <= value <= most:  # NaN too
                told = f"at most {most:,.0f}" if value > most else f"{least} or more"
                raise UsageError(f"--{name.replace('_', '-')} {value}: give {told}")
        if self.ledger is not None and self.ledger.is_dir():
            raise UsageError(f"--ledger {str(self.ledger)!r}: is a folder: give a file")
        if not 0 < self.batch_poll < inf:
            raise UsageError(f"--batch-poll {self.batch_poll}: give more than 0 seconds")
        for role, way in self.transports.items():
            if role and role not in roles:
                raise UsageError(f"--transport {role}={way}: no such role: use {', '.join(roles)}")
            if way not in WAYS:
                raise UsageError(f"--transport {way!r}: use {' or '.join(WAYS)}")

    @property
    def transports(self) -> dict[str, str]:
        """Role → `online` or `batch`; under "" that of the roles that are not named."""
        found = named_values("transport", "WAY", self.transport.split(","))
        general = [name for name, way in found.items() if way is None]
        if len(general) > 1:
            both = f"{general[0]} and {general[1]}"
            raise UsageError(f"--transport {self.transport!r}: names {both} for all roles: give one of them")
        return {"": general[0] if general else "online"} | {role: way for role, way in found.items() if way is not None}

    def by_batch(self, role: str) -> bool:
        """Whether the model of a role is asked by the Batch API."""
        return self.transports.get(role, self.transports[""]) == "batch"


@dataclass(frozen=True)
class Config(ClientOptions):
    """What `datagen build` was asked for; the fields are the flags of the command line."""

    source: str
    out: Path | None = None
    annotations: Path | None = None
    audio: Path | None = None
    captioner: str | None = None
    captions_per_clip: int = 3
    generator: str | None = None
    model: str | None = None
    base_url: str | None = None
    captioner_model: str | None = None
    captioner_url: str | None = None
    reader_model: str | None = None
    reader_url: str | None = None
    second_reader_model: str | None = None
    second_reader_url: str | None = None
    policy_model: str | None = None
    policy_url: str | None = None
    readings: int = 3
    policy_samples: int = 8
    repair: bool = False
    model_revision: str = ""
    questions: str = "generated"
    questions_per_clip: int = 4
    filters: tuple[str, ...] = DEFAULT
    prompts: Path | None = None
    language: str = "English"
    license: tuple[str, ...] = ()
    exclude_media: Path | None = None
    against: tuple[str, ...] = ()
    against_audio: Path | None = None
    limit: int | None = None
    target: int | None = None
    split: float = 0.1
    seed: int = 0
    workers: int | None = None
    in_flight: int = 256
    engine: str = "local"
    shard: str | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "language", language.name(self.language))
        self.check_options(ROLES)
        if self.shard is not None and self.shard != "{}/{}".format(*self.part):
            raise UsageError(f"--shard {self.shard}: write it {'{}/{}'.format(*self.part)}")
        if self.engine not in ("local", "ray"):
            raise UsageError(f"--engine {self.engine!r}: use local or ray")
        if self.engine == "ray" and self.shard is not None:
            raise UsageError(f"--shard {self.shard}: --engine ray makes its own shards: leave one of them out")
        if self.target is not None and (self.shard is not None or self.engine == "ray"):
            raise UsageError(
                f"--target {self.target}: what is kept is known only after the merge of the shards: use --limit"
            )
        if not self.captioners:
            raise UsageError(f"--captioner {self.captioner!r}: names none: leave it out, or name one")
        if self.base_url and not any(getattr(self, name) for name in MODELS):
            raise UsageError(
                f"--base-url {public_name(self.base_url)}: nobody asks it, as no model is named: add --model ID"
            )
        if self.second_reader_model and not (self.reader_model or self.model):
            raise UsageError(
                f"--second-reader-model {self.second_reader_model}: there is no first: add --reader-model ID"
            )
        if (self.against or self.against_audio) and "leakage" not in self.chain:
            raise UsageError("--against: no filter compares with it: add leakage to --filters")
        if not 0 <= self.split < 1:
            raise UsageError(f"--split {self.split}: give a share of clips for validation, 0 or more and less than 1")
        if self.questions not in ("generated", "human", "both"):
            raise UsageError(f"--questions {self.questions!r}: use generated, human or both")

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.out or Path("runs") / self.source.rsplit(":", 1)[-1]

    @property
    def part(self) -> tuple[int, int]:
        """`--shard i/n` as (i, n); (0, 1) where the whole is built. Raises UsageError for a shard that is none."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", "0/1" if self.shard is None else self.shard)
        if not found:
            raise UsageError(f"--shard {self.shard!r}: give i/n, such as 0/4 for the first of four")
        index, number = int(found[1]), int(found[2])
        if index >= number:
            last = f"of {number} the last is {number - 1}/{number}" if number else "give i/n with n of 1 or more"
            raise UsageError(f"--shard {self.shard}: there is no such shard: they are counted from 0, {last}")
        return index, number

    @property
    def share(self) -> float | None:
        """USD that this process may spend: a shard its part of --max-cost."""
        return None if self.max_cost is None else self.max_cost / self.part[1]

    @property
    def captioners(self) -> dict[str, str | None]:
        """Name → model, in order; None where the captioner takes its own, or none."""
        listener = self.captioner_model or self.model
        here = listener and self.here(listener, self.captioner_url or self.base_url)
        chosen = self.captioner or ("transformers" if here else "openai" if listener else "labels,acoustic")
        return named_values("captioner", "MODEL", chosen.split(","))

    @cached_property
    def chain(self) -> dict[str, str | None]:
        """Filters in order, each with its value; None where it has none."""
        return named_values("filters", "VALUE", self.filters)

    @staticmethod
    def here(model: str, url: str | None) -> bool:
        """Whether a model runs on this machine: an existing folder, and no server that could know it by that name."""
        return not (url or os.environ.get("OPENAI_BASE_URL")) and Path(model).expanduser().is_dir()

    @property
    def writers(self) -> tuple[str, ...]:
        """Names, in order."""
        generated = self.generator or ("llm" if self.model else "rules")
        return {"generated": (generated,), "human": ("human",), "both": ("human", generated)}[self.questions]

    @property
    def roles(self) -> set[str]:
        """Whose models the filters ask: reader, second_reader, captioner, policy."""
        found = {"second_reader"} if self.second_reader_model and "consistency" in self.chain else set()
        for name, factory in probe_factories(self).items():
            role = getattr(factory, "role", "reader")
            # Without a reader `consistency`, a default, is left out and the funnel says so; a measure was asked for.
            if role != "reader" or name in MEASURES or self.reader_model or self.model:
                found.add(role)
        return found


def restored(values: Mapping[str, Any]) -> Config:
    """The configuration that `public` wrote, less what only one machine had: its folder, ledger and shard."""
    found: dict[str, Any] = {}
    for field in fields(Config):
        value = values.get(field.name, field.default)
        if str(field.type).startswith("Path") and value is not None:
            value = Path(value)
        found[field.name] = tuple(value) if isinstance(value, list) else value
    return Config(**found | {"out": None, "ledger": None, "shard": None})


def named_values(flag: str, value: str, items: Iterable[str]) -> dict[str, str | None]:
    """`NAME` and `NAME=VALUE` → name → value, in order. Raises UsageError for a name without its value, or twice."""
    found: dict[str, str | None] = {}
    for item in filter(None, (item.strip() for item in items)):
        name, equals, given = (part.strip() for part in item.partition("="))
        if name in found:
            raise UsageError(f"--{flag} {item!r}: names {name!r} twice: name it once")
        if equals and not given:
            raise UsageError(f"--{flag} {item!r}: names no {value}: use {name}={value}, or {name} alone")
        found[name] = given or None
    return found


def filter_factory(name: str) -> Any:
    """What makes the filter called `name`."""
    return resolve("filter", name, {**FILTERS, **PROBES}, "judge", "probe", "hear")


def probe_factories(config: Config) -> dict[str, Any]:
    """The filters of the call that ask a model, by name."""
    found = {name: filter_factory(name) for name in config.chain}
    return {name: factory for name, factory in found.items() if hasattr(factory, "probe") or hasattr(factory, "hear")}


def public(config: Config) -> dict[str, Any]:
    """The configuration for run.json, with no password that a URL may carry."""
    values: dict[str, Any] = {}
    for name, value in asdict(config).items():
        if isinstance(value, Path):
            value = str(value)
        if isinstance(value, str) and name.endswith("url"):
            url = urlsplit(value)
            value = urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))
        values[name] = value
    return values
