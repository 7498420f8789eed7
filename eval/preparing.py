"""What an evaluation is made of: its options, the items that are asked, and the models. Wrong calls end here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.clips import Clips
from datagen.config import ClientOptions
from datagen.errors import UsageError
from datagen.eval import BENCHMARKS, Benchmark, judging
from datagen.eval.asking import CAPTION, CONDITIONS, HEARING, STYLES, Asking, Item, items_of, parse_orders
from datagen.eval.predicting import Predicting
from datagen.llm import Budget, Client, Endpoint, Ledger, Stats
from datagen.llm.batch import server_client
from datagen.llm.budget import priced
from datagen.llm.local import LocalSender, local_client
from datagen.llm.request import public_name
from datagen.mcq import McqSet, read
from datagen.multiple_choice import LABELS, Style
from datagen.plugins import resolve
from datagen.rows import load, some

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Config", "Parts", "described", "make_parts"]


@dataclass(frozen=True, slots=True)
class Config(ClientOptions):
    """The options of one evaluation, as the command line names them."""

    benchmark: str
    data: str | Path
    model: str
    out: Path
    base_url: str | None = None
    model_revision: str = ""
    audio: Path | None = None
    captions: str | Path | None = None
    condition: str = "audio"
    orders: str = "original"
    prompt: str = "omni-r1"
    samples: int = 1
    max_tokens: int = 256
    limit: int | None = None
    seed: int = 0
    allow_broken: bool = False
    submission: Path | None = None
    judge_model: str | None = None
    judge_url: str | None = None
    check_batch: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        self.check_options(("model", "judge"))
        for name in self.conditions:
            if name not in CONDITIONS:
                raise UsageError(f"--condition {name!r}: use {', '.join(CONDITIONS)}")
        if not self.conditions or len(set(self.conditions)) < len(self.conditions):
            raise UsageError(f"--condition {self.condition!r}: name each condition once")
        parse_orders(self.orders)
        if self.prompt not in STYLES:
            raise UsageError(f"--prompt {self.prompt!r}: use {', '.join(STYLES)}")
        if self.hearing and self.audio is None:
            raise UsageError(f"--condition {self.hearing[0]} needs the clips: add --audio DIR, or use none or caption")
        if self.submission and not self.submission.parent.is_dir():
            raise UsageError(f"--submission {self.submission}: no folder {self.submission.parent}: make it first")
        if bool(self.judge_model) != bool(self.judge_url):
            raise UsageError("--judge-model and --judge-url belong together: give both, or neither")
        if self.base_url and self.check_batch:
            raise UsageError("--check-batch: the batches of a server are its own: leave it out with --base-url")

    @property
    def conditions(self) -> list[str]:
        """In the order of the call."""
        return [name.strip() for name in self.condition.split(",") if name.strip()]

    @property
    def hearing(self) -> list[str]:
        """The conditions with an audio part."""
        return [name for name in self.conditions if name in HEARING]


@dataclass(frozen=True, slots=True)
class Parts:
    """What an evaluation is made of."""

    set: McqSet
    """As the file has it, without `--limit`."""
    table: pl.DataFrame
    """items.parquet"""
    predicting: Predicting
    stats: Stats

    @property
    def asking(self) -> Asking:
        """What is asked."""
        return self.predicting.asking

    @property
    def client(self) -> Client:
        """The model that is asked."""
        return self.predicting.client

    @property
    def clients(self) -> dict[str, Client]:
        """Every model, by its role."""
        judge = self.predicting.judge
        return {"model": self.client, **({"judge": judge} if judge else {})}


def make_parts(config: Config, ledger: Ledger) -> Parts:
    """Reads the files and opens the models. Raises UsageError."""
    kind: Benchmark = resolve("benchmark", config.benchmark, BENCHMARKS, "official")()
    found = read(config.data)
    has_gold = check_set(config, kind, found)
    table = found.table.head(config.limit) if config.limit else found.table
    if config.captions:
        table = with_captions(table, config.captions)
    clips = Clips(config.audio) if config.audio and config.hearing else None
    items = items_of(table, clips)
    if clips and not any(item.files and None not in item.files for item in items):
        raise UsageError(
            f"--audio {config.audio}: holds the clip of not one of {len(items)} items ({some([i.id for i in items])}): "
            "give the folder of this benchmark's audio"
        )
    if "caption" in config.conditions and not any(item.captions for item in items):
        raise UsageError("--condition caption: no item has a caption: add --captions FILE (an id and captions a row)")
    style: Style = next(style for style in STYLES if style == config.prompt)
    stats = Stats()
    predicting = Predicting(
        kind, Asking(items, clips, style, config.samples, config.max_tokens, config.seed),
        parse_orders(config.orders), make_client(config, ledger, stats), make_judge(config, ledger, stats), has_gold,
    )  # fmt: skip
    return Parts(found, with_files(table, items), predicting, stats)


def check_set(config: Config, kind: Benchmark, found: McqSet) -> bool:
    """Whether there are answers to score against. Raises UsageError for a file that cannot be used."""
    if kind.formats and found.format not in kind.formats:
        raise UsageError(
            f"--benchmark {config.benchmark}: {config.data} is in the form {found.format}: name its benchmark, or file"
        )
    if not found.table.height:
        raise UsageError(f"{config.data}: holds no multiple-choice item: give the file of {config.benchmark}")
    has_gold = found.table["answer"].null_count() < found.table.height
    broken = dict(found.broken)
    if not has_gold:  # a test set whose answers are kept back
        broken.pop("answer_missing", None)
    if broken and not config.allow_broken:
        replace(found, defects=broken).refuse_broken("mend the file, or ask it as it is with --allow-broken")
    return has_gold


def with_captions(table: pl.DataFrame, place: str | Path) -> pl.DataFrame:
    """`table` with the captions of another file, by id. Raises UsageError."""
    import polars as pl

    source = load(place)
    rows = source.rows if source.table is None else source.table.to_dicts()
    found: dict[str, list[str]] = {}
    for row in rows:
        said = next((row[name] for name in ("captions", "caption") if row.get(name)), None) if row else None
        if said and "id" in row:
            found.setdefault(str(row["id"]), []).extend([said] if isinstance(said, str) else map(str, said))
    if not found.keys() & set(table["id"]):
        raise UsageError(f"--captions {place}: has no id and captions of one of these items: give one row an item")
    captions = [found.get(id) for id in table["id"]]
    return table.with_columns(captions=pl.Series(captions, dtype=pl.List(pl.String)))


def with_files(table: pl.DataFrame, items: Sequence[Item]) -> pl.DataFrame:
    """items.parquet: `table` with `audio_files`."""
    import polars as pl

    files = [list(item.files) if item.files and None not in item.files else None for item in items]
    return table.with_columns(audio_files=pl.Series(files, dtype=pl.List(pl.String)))


def make_client(config: Config, ledger: Ledger, stats: Stats) -> Client:
    """The model that is asked: on a server, or on this machine."""
    budget = Budget(config.max_cost)
    if not config.base_url:
        return local_client(
            config.model, ledger, audio=bool(config.hearing), revision=config.model_revision, budget=budget,
            retry_failed=config.retry_failed, stats=stats,
        )  # fmt: skip
    endpoint = Endpoint(config.model, config.base_url, config.model_revision)
    return served(config, "model", endpoint, ledger, stats, budget, config.price)


def make_judge(config: Config, ledger: Ledger, stats: Stats) -> Client | None:
    """The LLM judge, where one is named; its key is $JUDGE_API_KEY."""
    if not config.judge_model or not config.judge_url:
        return None
    endpoint = Endpoint(config.judge_model, config.judge_url, key_env="JUDGE_API_KEY")
    return served(config, "judge", endpoint, ledger, stats)


def served(
    config: Config, role: str, endpoint: Endpoint, ledger: Ledger, stats: Stats, budget: Budget | None = None,
    price: tuple[float, float] | None = None,
) -> Client:  # fmt: skip
    """The client of a role's server, by the way that `--transport` says."""
    endpoint = priced(replace(endpoint, batch=config.by_batch(role)), price)
    return server_client(
        endpoint, ledger, budget=budget, stats=stats, patience=config.patience, retry_failed=config.retry_failed,
        batch_rows=config.batch_rows, batch_poll=config.batch_poll,
    )  # fmt: skip


def described(config: Config, parts: Parts) -> dict[str, Any]:
    """What decides the answers, as result.json says it: a folder holds the answers to one such description."""
    client, found = parts.client, parts.set
    sampling, judge = parts.asking.sampling(0), parts.predicting.judge
    local = client.sender.model if isinstance(client.sender, LocalSender) else None
    return {
        "benchmark": config.benchmark, "data": found.name, "version": found.version, "sha256": found.sha256,
        "items": len(parts.asking.items), "of": found.table.height, "set_aside": dict(found.set_aside),
        "model": {
            "name": public_name(client.endpoint.model), "identity": client.endpoint.public,
            "runner": "local" if local else "server", "type": local.type if local else None,
        },
        "prompt": {
            "style": parts.asking.style, "labels": LABELS[parts.asking.style],
            "caption": CAPTION if "caption" in config.conditions else None,
        },
        "sampling": {
            "samples": config.samples, "temperature": sampling.temperature, "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        },
        "seed": config.seed, "conditions": config.conditions, "orders": parse_orders(config.orders),
        "judge": judge and {"model": public_name(judge.endpoint.model), "prompt": judging.PROMPT},
    }  # fmt: skip
