"""`datagen build`: clips → captions → questions → verdicts → dataset, read from top to bottom in `pipeline`.

Clips are worked on by a bounded pool, each by one coroutine, with no barrier between stages; their rows leave the pool
in the order of the source, so that the tables do not depend on the number of workers. The ledger remembers every answer
of a model; everything else is computed again, so a run killed at any instant goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from datagen import language, leakage
from datagen.audio import Audio, decode_ahead, input_audio, sha256, silenced
from datagen.baselines import baselines
from datagen.captioners import CAPTIONERS
from datagen.errors import AudioError, OverBudget, UsageError
from datagen.estimate import estimate
from datagen.filters import DEFAULT, FILTERS, PROBES, answerable, modality, wellformed
from datagen.gates import gates, worth
from datagen.llm import Budget, Client, Endpoint, Ledger, Usage, metered
from datagen.llm.request import public_name
from datagen.plugins import Context, SourceOptions, content_hash, resolve
from datagen.progress import Progress
from datagen.prompts import Prompts
from datagen.questions import WRITERS
from datagen.questions.repair import Repair, kinds, unlabelled
from datagen.records import LEFT_OUT, MEASURES, Caption, Clip, Failure, Question, Verdict, canonical, schema
from datagen.run import Run, Spool, disk_free, run_to_end
from datagen.sources import SOURCES, Listed
from datagen.statistics import clustered_mean

if TYPE_CHECKING:
    import polars as pl

    from datagen.captioners import Captioner
    from datagen.filters import Listener, Probe
    from datagen.questions import Writer
    from datagen.sources import Source

__all__ = ["Config", "build"]

NO_SERVER = {"labels", "acoustic", "transformers", "whisper", "yamnet"}
"""Captioners that ask no server."""
PROBLEMS = {"wellformed": wellformed.problem, "answerable": answerable.problem, "modality": modality.problem}
"""Filters that can judge one question alone: what they drop is not worth a probe's calls."""


@dataclass(frozen=True)
class Config:
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
    ledger: Path | None = None
    max_cost: float | None = None
    price: tuple[float, float] | None = None
    patience: float = 300.0
    retry_failed: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "language", language.name(self.language))
        for name, least in (
            ("captions_per_clip", 1),
            ("questions_per_clip", 1),
            ("readings", 1),
            ("policy_samples", 1),
            ("limit", 1),
            ("target", 1),
            ("workers", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"--{name.replace('_', '-')} {value}: give {least} or more")
        for name in ("max_cost", "patience"):
            value = getattr(self, name)
            if value is not None and not value >= 0:  # NaN too
                raise UsageError(f"--{name.replace('_', '-')} {value}: give 0 or more")
        if not self.captioners:
            raise UsageError(f"--captioner {self.captioner!r}: names none: leave it out, or name one")
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
    def captioners(self) -> dict[str, str | None]:
        """Name → model, in order; None where the captioner takes its own, or none."""
        listener = self.captioner_model or self.model
        here = listener and self.here(listener, self.captioner_url or self.base_url)
        chosen = self.captioner or ("transformers" if here else "openai" if listener else "labels,acoustic")
        return named_values("captioner", "MODEL", chosen.split(","))

    @property
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


@dataclass
class Parts:
    """The plug-ins of one build."""

    source: Source
    captioners: dict[str, Captioner]
    writers: dict[str, Writer]
    probes: dict[str, Probe | Listener]
    repair: Repair | None
    context: Context

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


def build(config: Config) -> dict[str, Any]:
    """Runs (or goes on with) one build and returns its counts, the shape of `datagen build --json`.

    Raises UsageError (exit 2) before any work is done, other DatagenErrors (exit 1) or Interrupted (exit 130) with the
    run left resumable.
    """
    run = Run(config.run)
    if config.dry_run:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.closing(Ledger(Path(folder) / "empty.sqlite")) as ledger,
        ):
            return asyncio.run(pipeline(config, run, ledger))
    with run.held():
        disk_free(run.path, 50_000_000)
        run.state = {"id": (run.earlier() or {}).get("id") or uuid.uuid4().hex}
        with contextlib.closing(Ledger(config.ledger or run.path / "ledger.sqlite", run.state["id"])) as ledger:
            return run_to_end(pipeline(config, run, ledger), run.path)


async def pipeline(config: Config, run: Run, ledger: Ledger) -> dict[str, Any]:
    """The whole data flow."""
    started = time.monotonic()
    clients = make_clients(config, ledger)
    try:
        await asyncio.gather(*(client.preflight() for client in set(clients.values())))
        source: Source = resolve("source", config.source, SOURCES, "clips")(
            SourceOptions(config.annotations, config.audio, None if config.dry_run else run.path / "audio")
        )
        survey = survey_source(source, config)
        parts = make_parts(config, source, survey, clients)
        inputs = fingerprint(config, survey, parts.context, clients)
        run.check_inputs(inputs)
        if config.dry_run:
            return estimate(config, survey.clips, parts.probes, clients)
        fingerprints = {"inputs": inputs, "derivation": derivation(config, parts.context)}
        run.save(status="running", config=public(config), fingerprints=fingerprints)

        spool, meter = Spool(run), Usage()
        with Progress(total=survey.clips, clients=clients) as progress:
            run.save(stopped=await generate(config, parts, spool, meter, progress))
        spool.close_segment()
        judged = judge(config, parts.context, spool)
    finally:
        for client in set(clients.values()):
            await client.close()
    return finish(config, run, spool, judged, source, meter, clients, started)


# ── what a build is made of ──────────────────────────────────────────────────────────────────────────────────────────


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
    budget = Budget(config.max_cost, ledger.totals(run=ledger.run).cost)
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
    return Endpoint(model, base, config.model_revision, key, *(config.price or (None, None)))


def make_client(config: Config, ledger: Ledger, budget: Budget, place: Endpoint | str, *, audio: bool) -> Client:
    """The client of an endpoint, or of a folder or Hub id whose model runs here; with `audio`, of one that listens."""
    if isinstance(place, Endpoint):
        return Client(place, ledger, budget=budget, patience=config.patience, retry_failed=config.retry_failed)
    from datagen.llm.local import local_client

    return local_client(
        place, ledger, audio=audio, revision=config.model_revision, budget=budget, retry_failed=config.retry_failed
    )


def make_parts(config: Config, source: Source, survey: Survey, clients: Mapping[str, Client]) -> Parts:
    """Every plug-in by its name. Raises UsageError for one that is not known."""
    context = Context(
        seed=config.seed, prompts=Prompts(config.prompts), captions_per_clip=config.captions_per_clip,
        questions_per_clip=config.questions_per_clip, language=config.language, vocabulary=survey.vocabulary,
        together=survey.together, readings=config.readings, policy_samples=config.policy_samples,
        captioner=clients.get("captioner"), writer=clients.get("writer"), reader=clients.get("reader"),
        second_reader=clients.get("second_reader"), policy=clients.get("policy"),
        against=leakage.read(config.against, config.against_audio) if config.against or config.against_audio else None,
    )  # fmt: skip
    made = {name: make_filter(name, value, context) for name, value in config.chain.items() if asks(name, context)}
    return Parts(
        source=source,
        captioners={
            name: resolve("captioner", name, CAPTIONERS, "caption")(
                replace(context, model=model, captioner=clients.get(name, context.captioner))
            )
            for name, model in config.captioners.items()
        },
        writers={name: resolve("generator", name, WRITERS, "write")(context) for name in config.writers},
        probes={name: filter for name, filter in made.items() if not hasattr(filter, "judge")},
        repair=Repair(context, made["blind"].probe if "blind" in made else None) if config.repair else None,
        context=context,
    )


def filter_factory(name: str) -> Any:
    """What makes the filter called `name`."""
    return resolve("filter", name, {**FILTERS, **PROBES}, "judge", "probe", "hear")


def probe_factories(config: Config) -> dict[str, Any]:
    """The filters of the call that ask a model, by name."""
    found = {name: filter_factory(name) for name in config.chain}
    return {name: factory for name, factory in found.items() if hasattr(factory, "probe") or hasattr(factory, "hear")}


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
    return not role or name in MEASURES or getattr(context, role) is not None


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


def read_lines(path: Path) -> set[str]:
    """The words of a file, one a line."""
    try:
        return {line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--exclude-media {path}: {error}: give a text file with one media id a line") from None


def survey_source(source: Source, config: Config) -> Survey:
    """Lists the source once; one that is Listed, up to --limit. Raises UsageError when it names no clip at all."""
    digest, labels, clips, others = hashlib.sha256(), Counter[str](), 0, 0
    together: dict[str, set[str]] = {}
    listed = source if isinstance(source, Listed) else None
    rows = admitted(listed.listing() if listed else source.clips(), config)
    for item in limited(rows, config.limit if listed else None):
        if isinstance(item, Clip):
            clips += 1
            labels.update(item.labels)
            for label in item.labels:
                together.setdefault(label, set()).update(item.labels)
            row = asdict(item) | {"path": ""}
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
        return Path(path).stat().st_size
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


# ── clips at work ────────────────────────────────────────────────────────────────────────────────────────────────────

Row = Clip | Caption | Question | Verdict | Failure


@dataclass
class Done:
    """What came of one clip."""

    rows: list[Row]
    usage: Usage
    survivors: int = 0
    """Questions that neither the filters of PROBLEMS nor a probe dropped."""
    over_budget: bool = False


async def generate(config: Config, parts: Parts, spool: Spool, meter: Usage, progress: Progress) -> str:
    """Works on the clips until the list, the target or the money ends; returns why it stopped early, or ''."""
    survivors, need = 0, config.target
    async with contextlib.aclosing(work_in_order(config, parts)) as results:
        async for done in results:
            spool.add(done.rows)
            meter.add(done.usage)
            survivors += done.survivors
            progress.clip(done.rows)
            if done.over_budget:
                return f"--max-cost {config.max_cost}: the money ended before the clips did"
            if need is not None and survivors >= need and config.target:
                spool.close_segment()
                kept = judge(config, parts.context, spool).kept.height
                if kept >= config.target:
                    return ""
                need = survivors + max(1, (config.target - kept) * survivors // max(kept, 1))
    return ""


async def work_in_order(config: Config, parts: Parts) -> AsyncGenerator[Done, None]:
    """What came of each clip, in the order of the source, whatever the number of workers.

    At most `workers` clips are held in memory with their audio, and 16 times as many finished ones without it while
    they wait for a slow one before them.
    """
    cores = os.cpu_count() or 1
    workers = config.workers or (128 if parts.asks else 2 * cores)
    slots = asyncio.Semaphore(workers)
    pending: deque[asyncio.Task[Done]] = deque()
    items = limited(admitted(parts.source.clips(), config), config.limit)
    try:
        async with contextlib.aclosing(decode_ahead(items, threads=cores, ahead=2 * cores)) as decoded:
            async for item, audio in decoded:
                await slots.acquire()
                task = asyncio.create_task(work(config, parts, item, audio))
                task.add_done_callback(lambda _: slots.release())
                pending.append(task)
                del audio
                while pending and (pending[0].done() or len(pending) >= 16 * workers):
                    yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def work(config: Config, parts: Parts, item: Clip | Failure, audio: Audio | AudioError | None) -> Done:
    """One clip: captions, then questions, then the probes of each question."""
    if isinstance(item, Failure):
        return Done([item], Usage())
    if not isinstance(audio, Audio):
        reason = audio.reason if isinstance(audio, AudioError) else "audio_missing"
        return Done([Failure("audio", reason, item.id, str(audio))], Usage())
    clip = replace(item, sha256=await asyncio.to_thread(sha256, audio))
    with metered() as usage:
        done = Done([clip], usage)
        stage = "caption"
        try:
            captions = take(
                done, Caption, await asyncio.gather(*(c.caption(clip, audio) for c in parts.captioners.values()))
            )
            heard = await sounds(parts, audio)
            del audio
            stage = "write"
            questions = take(
                done, Question, await asyncio.gather(*(w.write(clip, captions) for w in parts.writers.values()))
            )
            if parts.repair:
                stage = "repair"
                questions = await mended(config, parts.repair, done, questions, captions)
            stage = "read"
            await probe(config, parts, done, questions, captions, heard)
        except OverBudget as error:
            done.over_budget = True
            done.rows.append(Failure(stage, error.reason, clip.id, str(error)))
    return done


def take(done: Done, kind: type, batches: Iterable[Sequence[Any]]) -> list[Any]:
    """Keeps every row that a plug-in gave, and returns those of `kind`; an id that comes twice is kept once."""
    rows = [row for batch in batches for row in batch]
    if kind is Question:
        rows = list({getattr(row, "id", None) or (i, "failure"): row for i, row in enumerate(rows)}.values())
    done.rows += rows
    return [row for row in rows if isinstance(row, kind)]


async def mended(
    config: Config, repair: Repair, done: Done, questions: list[Question], captions: list[Caption]
) -> list[Question]:
    """The questions, each mended where it can be; the mended one takes the place of what was."""

    async def one(question: Question) -> Sequence[Question | Failure]:
        # Only the labels are worth anything where the wording is dropped all the same; these cost nothing.
        return [question] if hopeless(config, unlabelled(question)) else await repair.mend(question, captions)

    found = await asyncio.gather(*map(one, questions))
    done.rows = [row for row in done.rows if not isinstance(row, Question)]
    return take(done, Question, found)


def hopeless(config: Config, question: Question) -> bool:
    """Whether a filter of PROBLEMS drops the question by its wording."""
    return any(problem(question) for name, problem in PROBLEMS.items() if name in config.chain)


async def sounds(parts: Parts, audio: Audio) -> tuple[Any, ...]:
    """The clip and silence of its length as a model gets them; nothing where no filter listens."""
    if not any(hasattr(filter, "hear") for filter in parts.probes.values()):
        return ()
    return await asyncio.to_thread(lambda: (input_audio(audio), input_audio(silenced(audio))))


async def probe(
    config: Config, parts: Parts, done: Done, questions: list[Question], captions: list[Caption],
    heard: tuple[Any, ...],
) -> None:  # fmt: skip
    """Puts every probe to every question that the filters of PROBLEMS let through."""
    questions = [question for question in questions if not hopeless(config, question)]

    def put(filter: Any, question: Question) -> Any:
        return filter.hear(question, *heard) if hasattr(filter, "hear") else filter.probe(question, captions)

    asked = [asyncio.gather(*(put(filter, question) for filter in parts.probes.values())) for question in questions]
    for results in await asyncio.gather(*asked):
        done.rows += results
        done.survivors += all(
            result.keep if isinstance(result, Verdict) else name in MEASURES
            for name, result in zip(parts.probes, results, strict=True)
        )


# ── the whole table ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Judged:
    """Every question's fate."""

    kept: pl.DataFrame
    """The dataset's columns and `split`."""
    verdicts: pl.DataFrame
    dropped: pl.DataFrame
    """Rows of `rejected.parquet`."""
    funnel: list[dict[str, Any]]


def judge(config: Config, context: Context, spool: Spool) -> Judged:
    """Puts the filters to all questions, in the order of the call; a question leaves at the first that drops it."""
    import polars as pl

    alive, probed = questions_with_captions(spool), spool.read(Verdict)
    verdicts, dropped, funnel = [], [], []
    for name, value in config.chain.items():
        found, notes = verdicts_of(name, value, context, alive, probed)
        if found is None:
            funnel.append({"filter": name, "in": alive.height, "out": alive.height, "reasons": {}} | notes)
            continue
        if name in MEASURES:
            low, high = found["low"].alias(f"{name}_low"), found["high"].alias(f"{name}_high")
            alive = alive.with_columns(found["score"].alias(name), low, high)
        out = alive.filter(~found["keep"]).with_columns(
            stage=pl.lit(name),
            **{name: found.filter(~pl.col("keep"))[name] for name in ("reason", "score", "error")},
        )
        step = {"filter": name, "in": alive.height, "out": alive.height - out.height, "reasons": reasons(out)}
        funnel.append(step | notes)
        alive = alive.filter(found["keep"])
        verdicts.append(found.drop("error"))
        dropped.append(rejected_rows(out))
    if config.target and alive.height > config.target:
        alive, surplus = to_target(alive, config)
        funnel.append(
            {"filter": "target", "in": alive.height + surplus.height, "out": alive.height, "reasons": reasons(surplus)}
        )
        dropped.append(rejected_rows(surplus))
    return Judged(
        kept=finished_questions(alive, config),
        verdicts=pl.concat([probed.clear(), *verdicts], how="vertical_relaxed"),
        dropped=pl.concat([spool.read(Failure).clear(), *dropped], how="vertical_relaxed"),
        funnel=funnel,
    )


def verdicts_of(
    name: str, value: str | None, context: Context, alive: pl.DataFrame, probed: pl.DataFrame
) -> tuple[pl.DataFrame | None, dict[str, Any]]:
    """What one filter says of `alive`, in its order, with `error`, and what the funnel says beside the counts.

    A probe without a reader has no verdicts and is `skipped`; other filters may have `notes` (name → figure or text).
    """
    import polars as pl

    said: dict[str, Any] = {}
    if not asks(name, context):
        return None, {"skipped": "no --against" if name == "leakage" else "no reader"}
    judge = make_filter(name, value, context)
    if hasattr(judge, "judge"):
        found = judge.judge(alive)
        if notes := getattr(judge, "notes", {}):
            said = {"notes": notes}
    else:
        found = probe_verdicts(alive, probed.filter(pl.col("filter") == name), measure=name in MEASURES)
    none = pl.lit(None, pl.Float64)
    blank = {"keys": pl.lit([], pl.List(pl.String)), "low": none, "high": none, "error": pl.lit("")}
    found = found.with_columns(**{column: value for column, value in blank.items() if column not in found.columns})
    return found.with_columns(filter=pl.lit(name)).select(*schema(Verdict).names, "error"), said


def questions_with_captions(spool: Spool) -> pl.DataFrame:
    """The questions in order, with `captions` (list[str]), what the dataset says of the clip, and where its audio is.

    `start` and `end` are seconds into the recording that `media_id` names, or into the file where there is none;
    `cut_start` and `cut_end` into the file `path`.
    """
    import polars as pl

    captions = spool.read(Caption).group_by("clip_id", maintain_order=True).agg(pl.col("text").alias("captions"))
    clips = spool.read(Clip).rename({"id": "clip_id"})
    offset = pl.col("media_start")
    clips = clips.select(
        "clip_id", "source", "media_id", "sha256", "path", cut_start="start", cut_end="end",
        start=pl.coalesce(offset + pl.col("start").fill_null(0.0), "start"),
        end=pl.coalesce(offset + pl.col("end"), "end", "media_end"),
    )  # fmt: skip
    return (
        spool.read(Question)
        .join(clips, on="clip_id", how="left", maintain_order="left")
        .join(captions, on="clip_id", how="left", maintain_order="left")
        .with_columns(pl.col("captions").fill_null([]))
    )


def probe_verdicts(alive: pl.DataFrame, probed: pl.DataFrame, *, measure: bool) -> pl.DataFrame:
    """The probe's verdicts for `alive`, in its order; a question that could not be read is dropped as `unread`.

    A measure drops nothing that it could not measure: its score is null then.
    """
    import polars as pl

    joined = alive.select(question_id="id").join(probed, on="question_id", how="left", maintain_order="left")
    return joined.with_columns(
        reason=pl.col("reason").fill_null("" if measure else "unread"), keep=pl.col("keep").fill_null(measure)
    )


def reasons(out: pl.DataFrame) -> dict[str, int]:
    """Reason → rows, most first."""
    return dict(Counter(out["reason"].to_list()).most_common())


def rejected_rows(out: pl.DataFrame) -> pl.DataFrame:
    """Dropped questions in the form of rejected.parquet."""
    import polars as pl

    out = out.rename({"id": "question_id"}).with_columns(raw=pl.lit(""), key=pl.lit(""))
    return out.select(schema(Failure).names)


def to_target(alive: pl.DataFrame, config: Config) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`--target` rows and the surplus; which ones go is drawn by (seed, question id)."""
    import polars as pl

    from datagen.seeds import derive

    rank = pl.Series([derive(config.seed, "target", q) for q in alive["id"]], dtype=pl.UInt64).rank("ordinal")
    surplus = alive.filter(rank > config.target).with_columns(
        stage=pl.lit("target"), reason=pl.lit("beyond_target"), score=pl.lit(None, pl.Float64), error=pl.lit("")
    )
    return alive.filter(rank <= config.target), surplus


def finished_questions(alive: pl.DataFrame, config: Config) -> pl.DataFrame:
    """The kept questions with their split and balanced answer positions."""
    from datagen.dataset import split
    from datagen.filters.positions import reletter

    table = alive.with_columns(split=split(alive, config.split, config.seed))
    return reletter(table, config.seed) if {"positions", "balance"} & set(config.chain) else table


# ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────────


def finish(
    config: Config, run: Run, spool: Spool, judged: Judged, source: Source, meter: Usage, clients: Mapping[str, Client],
    started: float,
) -> dict[str, Any]:  # fmt: skip
    """Writes the tables, the dataset with its card and the report; run.json says `done` last of all."""
    import polars as pl

    from datagen.dataset import write_dataset
    from datagen.report import write_report

    failures = spool.read(Failure)
    failed = failures.filter(~pl.col("reason").is_in(LEFT_OUT))
    for record in (Clip, Caption, Question):
        spool.keep(record)
    run.write(Verdict, judged.verdicts)
    run.write(Failure, pl.concat([failures, judged.dropped], how="vertical_relaxed"))
    judged.verdicts = judged.dropped = failures.clear()  # written; what follows needs the memory
    card = describe(config, run, judged, source, meter, clients)
    write_dataset(judged.kept, run.path / "dataset", card)
    counts = count(run, judged, failed, clients, started)
    judged.kept = judged.kept.clear()
    run.save(**card, config=public(config), counts=counts, spent_usd=counts["cost_usd"], seconds=counts["seconds"])
    write_report(run.path)
    spool.discard()
    run.save(status="done")
    return counts


def count(
    run: Run, judged: Judged, failures: pl.DataFrame, clients: Mapping[str, Client], started: float
) -> dict[str, Any]:
    """The shape of `build --json`; calls and cost are those of this process, not of the runs before it."""
    stats = [client.stats for client in set(clients.values())]
    told = failures.select("clip_id", "reason", "error").iter_rows()
    return {
        "out": str(run.path),
        "clips": run.rows(Clip),
        "captions": run.rows(Caption),
        "questions": run.rows(Question),
        "kept": judged.kept.height,
        "rejected": {step["filter"]: step["reasons"] for step in judged.funnel if step["reasons"]},
        "failed": dict(Counter(failures["stage"].to_list())),
        "calls": sum(s.calls for s in stats),
        "cost_usd": round(sum(s.cost for s in stats), 6),
        "seconds": round(time.monotonic() - started, 2),
        "examples": [f"{clip}: {reason}: {error}" for clip, reason, error in islice(told, 10)],
    }


def describe(
    config: Config, run: Run, judged: Judged, source: Source, meter: Usage, clients: Mapping[str, Client]
) -> dict[str, Any]:
    """What the card says of the run: nothing of the machine, the hour, or what was paid only now."""
    from importlib.metadata import version

    items = worth(judged.kept)
    return {
        "version": version("datagen-audioqa"),
        "seed": config.seed,
        "captioners": list(config.captioners),
        "writers": list(config.writers),
        "filters": [f"{name}={public_name(value)}" if value else name for name, value in config.chain.items()],
        "language": config.language,
        "funnel": judged.funnel,
        "models": [
            {"role": role, "model": public_name(client.endpoint.model), "revision": client.endpoint.revision}
            for role, client in sorted(clients.items())
        ]
        + local_models(config, run, clients),
        "prompts": Prompts(config.prompts).hashes() if clients else {},
        "licenses": licenses(run),
        "baselines": baselines(judged.kept, items),
        "gates": gates(judged.kept, items),
        "measures": measures(config, judged.kept),
        "repaired": repaired(judged.kept) if config.repair else {},
        "sources": {config.source: {"origin": source.origin, "reattach": source.reattach, "clips": run.rows(Clip)}},
        "list_price_usd": meter.cost_usd if clients else 0.0,
    }


def measures(config: Config, kept: pl.DataFrame) -> dict[str, Any]:
    """Measure → what it is, and its mean over the questions that could be measured, with its interval by clip."""
    found: dict[str, Any] = {}
    for name in (name for name in MEASURES if name in config.chain):
        rows = kept.select("clip_id", name).drop_nulls()
        told: dict[str, Any] = {"meaning": (filter_factory(name).__doc__ or "").split("\n")[0], "n": rows.height}
        if rows.height:
            mean = clustered_mean(rows[name], rows["clip_id"].to_list(), seed=config.seed)
            told |= {"mean": mean.value, "low": mean.low, "high": mean.high}
        found[name] = told
    return found


def repaired(kept: pl.DataFrame) -> dict[str, int]:
    """What was mended → kept questions of which it was, in order of name."""
    provenances = kept["provenance"].filter(kept["provenance"].str.contains('"repair":', literal=True))
    return dict(sorted(Counter(kind for text in provenances for kind in kinds(json.loads(text))).items()))


def local_models(config: Config, run: Run, clients: Mapping[str, Client]) -> list[dict[str, str]]:
    """The models that captioners run by themselves: the name without its folder, and the hash of the content."""
    known = dict(item.partition("=")[::2] for item in run.state["fingerprints"]["inputs"]["captioner"])
    return [
        {"role": f"captioner {name}", "model": Path(model).name, "revision": known[name]}
        if known[name] != model
        else {"role": f"captioner {name}", "model": model, "revision": ""}
        for name, model in config.captioners.items()
        if model and name not in clients
    ]


def licenses(run: Run) -> dict[str, int]:
    """Licence → clips, in order of licence."""
    import polars as pl

    table = pl.scan_parquet(run.path / "clips.parquet").group_by("license").len().sort("license")
    return dict(table.collect().iter_rows())
