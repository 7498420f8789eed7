"""What a build is made of: the plug-ins and models that its configuration names, its clips, and its fingerprints."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.admission import Admission, Gate
from datagen.captioners import CAPTIONERS
from datagen.config import Config, filter_factory
from datagen.errors import UsageError
from datagen.estimate import worst
from datagen.llm import Budget, Client, Endpoint, Ledger
from datagen.llm.batch import server_client
from datagen.llm.budget import priced
from datagen.plugins import Context, content_hash, resolve
from datagen.prompts import Prompts
from datagen.questions import WRITERS
from datagen.questions.repair import Repair
from datagen.records import MEASURES, Clip, Failure, canonical
from datagen.sources import Listed

if TYPE_CHECKING:
    from datagen.captioners import Captioner
    from datagen.filters import Listener, Probe
    from datagen.leakage import Benchmarks
    from datagen.questions import Writer
    from datagen.sources import Source

__all__ = [
    "Part",
    "Parts",
    "Site",
    "Survey",
    "admitted",
    "asks",
    "derivation",
    "fingerprint",
    "limited",
    "make_clients",
    "make_filter",
    "make_parts",
    "survey_source",
    "within",
]

CLIP = tuple(field.name for field in fields(Clip))
NO_SERVER = {"labels", "acoustic", "transformers", "whisper", "yamnet"}
"""Captioners that ask no server."""


@dataclass(frozen=True)
class Part:
    """The stretch of clips that a process works on: a shard, or all of them."""

    first: int
    end: int
    last: bool
    """Whether what follows the last clip, a corpus's missing files, is its too."""

    def __len__(self) -> int:
        return self.end - self.first


@dataclass
class Parts:
    """The plug-ins of one build, and the clips that it works on."""

    source: Source
    captioners: dict[str, Captioner]
    writers: dict[str, Writer]
    probes: dict[str, Probe | Listener]
    repair: Repair | None
    context: Context
    part: Part
    gate: Gate | None = None
    """Asked before each clip where `--max-cost` is given."""

    @property
    def asks(self) -> bool:
        """Whether clips wait for models, so that many of them may be under way."""
        return bool(self.context.writer or self.context.captioner or "transformers" in self.captioners)


@dataclass
class Survey:
    """What one pass over the source's list says, before anything is decoded."""

    clips: int = 0
    listing: str = ""
    """Hash of everything that the source says of its clips, and of the size of each file; what a Listed source says."""
    vocabulary: Mapping[str, int] = field(default_factory=dict)
    together: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """What a shard that another process sent here has from it."""

    survey: Survey
    base: Path
    """Ledger of earlier answers, which is read and not written."""
    gate: Gate | None


def make_clients(config: Config, ledger: Ledger) -> dict[str, Client]:
    """Role → client; roles at the same endpoint and model share one, and its limiter, or its weights.

    Roles are writer, captioner, reader, second_reader and policy, and `transformers` for the captioner of that name.
    """
    roles: dict[str, tuple[str | None, str | None]] = {}
    asked = config.roles
    ears, local = config.captioner_model or config.model, {"transformers"}
    if "transformers" in config.captioners:
        roles["transformers"] = (config.captioners["transformers"] or ears, None)
        if roles["transformers"][0] is None:
            raise UsageError("captioner 'transformers' has no model: use transformers=FOLDER, or a Hub id for it")
        if NO_SERVER.issuperset(config.captioners):
            local.add("captioner")  # a filter that listens asks the same model
            ears = roles["transformers"][0]
    if "captioner" in asked or not NO_SERVER.issuperset(config.captioners):
        roles["captioner"] = (ears, config.captioner_url or config.base_url)
    if "llm" in config.writers or config.repair:
        roles["writer"] = (config.model, config.base_url)
    if "reader" in asked:
        roles["reader"] = (config.reader_model or config.model, config.reader_url or config.base_url)
    if "second_reader" in asked:
        roles["second_reader"] = (config.second_reader_model, config.second_reader_url or config.base_url)
    if "policy" in asked:
        roles["policy"] = (config.policy_model, config.policy_url or config.base_url)
    budget = Budget(config.share, ledger.totals(run=ledger.run).cost)
    made: dict[Endpoint | str, Client] = {}
    clients: dict[str, Client] = {}
    for role, (model, url) in roles.items():
        if model is None:
            if role == "captioner" and "openai" not in config.captioners and role not in asked:
                continue
            flag = "--model" if role == "writer" else f"--{role}-model".replace("_", "-")
            cure = f"add {flag} ID (and its URL)"
            raise UsageError(f"the {role} asks a model and none is named: {cure}")
        here = role in local or config.here(model, url)
        place = model if here else server(config, role, model, url)
        if place not in made:
            audio = role in ("transformers", "captioner")
            made[place] = make_client(config, ledger, budget, place, audio=audio)
        clients[role] = made[place]
    return clients


def server(config: Config, role: str, model: str, url: str | None) -> Endpoint:
    """Where a role's model is served."""
    base = url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
    # A server that is named apart never gets the key of another.
    key = "OPENAI_API_KEY" if url == config.base_url else f"{role.upper()}_API_KEY"
    endpoint = Endpoint(model, base, config.model_revision, key, batch=config.by_batch(role))
    return priced(endpoint, config.price)


def make_client(config: Config, ledger: Ledger, budget: Budget, place: Endpoint | str, *, audio: bool) -> Client:
    """The client of an endpoint, or of a folder or Hub id whose model runs here; with `audio`, of one that listens."""
    if isinstance(place, Endpoint):
        return server_client(
            place, ledger, budget=budget, patience=config.patience, retry_failed=config.retry_failed,
            concurrency=config.in_flight, batch_rows=config.batch_rows, batch_poll=config.batch_poll,
        )  # fmt: skip
    from datagen.llm.local import local_client

    return local_client(
        place, ledger, audio=audio, revision=config.model_revision, budget=budget, retry_failed=config.retry_failed
    )


def benchmarks(config: Config) -> Benchmarks | None:
    """What `--against` and `--against-audio` name."""
    if not (config.against or config.against_audio):
        return None
    from datagen import leakage

    return leakage.read(config.against, config.against_audio)


def make_parts(
    config: Config, source: Source, survey: Survey, clients: Mapping[str, Client], gate: Gate | None = None
) -> Parts:
    """Every plug-in by its name. Raises UsageError for one that is not known."""
    context = Context(
        seed=config.seed, prompts=Prompts(config.prompts), captions_per_clip=config.captions_per_clip,
        questions_per_clip=config.questions_per_clip, language=config.language, vocabulary=survey.vocabulary,
        together=survey.together, readings=config.readings, policy_samples=config.policy_samples,
        captioner=clients.get("captioner"), writer=clients.get("writer"), reader=clients.get("reader"),
        second_reader=clients.get("second_reader"), policy=clients.get("policy"), roles=frozenset(clients),
        against=benchmarks(config),
    )  # fmt: skip
    index, number = config.part
    first, end = (survey.clips * place // number for place in (index, index + 1))
    made = {name: make_filter(name, value, context) for name, value in config.chain.items() if asks(name, context)}
    probes = {name: filter for name, filter in made.items() if not hasattr(filter, "judge")}
    if gate is None and config.share is not None:
        gate = Admission(config.share, worst(config, probes, clients), first, end)
    return Parts(
        source=source,
        captioners={
            name: resolve("captioner", name, CAPTIONERS, "caption")(
                replace(context, model=model, captioner=clients.get(name, context.captioner))
            )
            for name, model in config.captioners.items()
        },
        writers={name: resolve("generator", name, WRITERS, "write")(context) for name in config.writers},
        probes=probes,
        repair=Repair(context, made["blind"].probe if "blind" in made else None) if config.repair else None,
        context=context,
        part=Part(first, end, last=index + 1 == number),
        gate=gate,
    )


def make_filter(name: str, value: str | None, context: Context) -> Any:
    """The filter called `name`. Raises UsageError for a value that it does not take."""
    factory = filter_factory(name)
    if value is not None and not getattr(factory, "takes", ""):
        raise UsageError(f"--filters {name}={value}: {name} takes no value: give {name} alone")
    return factory(replace(context, value=value))


def asks(name: str, context: Context) -> bool:
    """Whether the filter can be put: false for one whose `role` is nobody's, so that it is left out."""
    factory = filter_factory(name)
    role = getattr(factory, "role", "" if hasattr(factory, "judge") else "reader")
    return not role or name in MEASURES or role in context.roles or getattr(context, role) is not None


def admitted(rows: Iterable[Clip | Failure], config: Config) -> Iterator[Clip | Failure]:
    """The source's rows, less the clips that --license and --exclude-media leave out."""
    excluded = read_lines(config.exclude_media) if config.exclude_media else set()
    for item in rows:
        if isinstance(item, Clip) and config.license and item.license not in config.license:
            yield Failure("source", "license_excluded", item.id, f"licence {item.license or 'unknown'!r}")
        elif isinstance(item, Clip) and item.media_id and item.media_id in excluded:
            yield Failure("source", "media_excluded", item.id, f"media id {item.media_id!r} is in --exclude-media")
        else:
            yield item


def limited(items: Iterable[Clip | Failure], limit: int | None) -> Iterator[Clip | Failure]:
    """The rows up to the `limit`-th clip."""
    clips = 0
    for item in items:
        clips += isinstance(item, Clip)
        yield item
        if clips == limit:  # before the source fetches one more
            return


def within(part: Part, items: Iterable[Clip | Failure]) -> Iterator[Clip | Failure]:
    """The rows of a part: its clips in order, each behind the failures that the source names before it."""
    clips = 0
    for item in items:
        if part.first <= clips and (clips < part.end or part.last):
            yield item
        clips += isinstance(item, Clip)
        if clips >= part.end and not part.last:  # before the source fetches one more
            return


def read_lines(path: Path) -> set[str]:
    """The words of a file, one a line."""
    try:
        return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8"
        raise UsageError(f"--exclude-media {path}: {why}: give a text file with one media id a line") from None


def survey_source(source: Source, config: Config) -> Survey:
    """Lists the source once; one that is Listed, up to --limit. Raises UsageError when it names no clip at all."""
    digest, labels, clips, others = hashlib.sha256(), Counter[str](), 0, 0
    together: dict[str, set[str]] = {}
    listed = source if isinstance(source, Listed) else None
    cells = attrgetter(*CLIP)  # a tenth of the time of `asdict`, which copies every cell
    rows = admitted(listed.listing() if listed else source.clips(), config)
    for item in limited(rows, config.limit if listed else None):
        if isinstance(item, Clip):
            clips += 1
            labels.update(item.labels)
            for label in item.labels:
                together.setdefault(label, set()).update(item.labels)
            row = dict(zip(CLIP, cells(item), strict=True), path="", questions=list(map(asdict, item.questions)))
            digest.update(canonical([row, _size(item.path)]).encode())
        else:
            others += 1
            digest.update(canonical(asdict(item) | {"error": ""}).encode())
    if not clips and not others:
        raise UsageError(f"source {config.source!r} lists no clips: check --annotations and --audio")
    total = min(clips, config.limit or clips)
    beside = {label: frozenset(others - {label}) for label, others in sorted(together.items())}
    identity = listed.identity if listed else digest.hexdigest()[:32]
    return Survey(total, identity, dict(sorted(labels.items())), beside)


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)  # noqa: PTH202  a third of what Path takes, and a corpus has millions
    except OSError:
        return -1


def fingerprint(config: Config, survey: Survey, context: Context, clients: Mapping[str, Client]) -> dict[str, Any]:
    """What the questions depend on: a run directory holds one value of it."""
    makers = {"transformers", *({"writer"} if "llm" in config.writers else ())}
    makers |= set() if NO_SERVER.issuperset(config.captioners) else {"captioner"}
    return {
        "source": config.source, "clips": survey.listing, "captioner": identities(config, clients),
        "captions_per_clip": config.captions_per_clip, "generator": list(config.writers),
        "questions_per_clip": config.questions_per_clip, "language": config.language, "seed": config.seed,
        "prompts": context.prompts.hashes(),
        "models": {role: client.endpoint.identity for role, client in sorted(clients.items()) if role in makers},
        **({"shard": config.shard} if config.shard else {}),
    }  # fmt: skip


def identities(config: Config, clients: Mapping[str, Client]) -> list[str]:
    """Captioners in order, each as `name` or `name=identity of its model`: the content hash of what is on disk.

    That of a captioner with a client of its own stands among the models.
    """
    return [
        name
        if model is None or name in clients
        else f"{name}={content_hash(Path(model)) if Path(model).exists() else model}"
        for name, model in config.captioners.items()
    ]


def derivation(config: Config, context: Context) -> dict[str, Any]:
    """What only the dataset depends on: it may change in place, and nothing is paid again."""
    from importlib.metadata import version

    return {
        "filters": list(config.filters), "reader": config.reader_model or config.model, "readings": config.readings,
        "second_reader": config.second_reader_model, "policy": config.policy_model,
        "policy_samples": config.policy_samples, "repair": config.repair,
        "against": context.against.identity if context.against else [],
        "split": config.split, "limit": config.limit,
        "target": config.target, "version": version("datagen-audioqa"),
    }  # fmt: skip
