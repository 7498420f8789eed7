"""Kept questions → what is published: parquet that `datasets` loads with the right types, and the card.

    dataset/README.md
            data/train-00000-of-00001.parquet
            data/validation-00000-of-00001.parquet     where there is such a split

No audio: `media_id`, `start` and `end` let a user put it back. Equal input gives equal bytes.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.baselines import baselines
from datagen.columns import arrow
from datagen.gates import gates
from datagen.language import code
from datagen.records import MEASURES
from datagen.seeds import draws

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    from jinja2 import Environment, Template

__all__ = [
    "COLUMNS", "SPLITS", "escape_markdown", "measured", "positions", "published", "split", "template", "write_dataset",
]  # fmt: skip

SPLITS = ("train", "validation")
COLUMNS = (
    "id", "question", "choices", "answer", "answer_index", "domain", "skill", "captions", "source", "clip_id",
    "media_id", "start", "end", "audio_dependence", "provenance",
)  # fmt: skip
ROWS_A_SHARD, ROWS_A_GROUP = 200_000, 10_000


def split(table: pl.DataFrame, share: float, seed: int) -> pl.Series:
    """`train` or `validation` for each row, with `share` of the clips in validation.

    What has the same clip_id, media_id or sha256 (directly or by a chain) stands in one split. Which groups go to
    validation is drawn by (seed, ids): at least one where there are two and `share` is above 0.
    """
    import polars as pl

    groups = clip_groups(table)
    names = list(set(groups))
    order = [name for _, name in sorted(zip(draws(seed, "split", names).tolist(), names, strict=True))]
    some = 1 if share > 0 and len(order) > 1 else 0
    chosen = set(order[: min(max(round(share * len(order)), some), max(len(order) - 1, 0))])
    return pl.Series("split", [SPLITS[name in chosen] for name in groups], dtype=pl.String)


def clip_groups(table: pl.DataFrame) -> list[str]:
    """The name of each row's group of clips: the least of the names that are tied together by some row."""
    named = [name for name in ("clip_id", "media_id", "sha256") if name in table.columns]
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for row in table.select(named).unique().iter_rows():
        ties = [f"{kind} {value}" for kind, value in zip(named, row, strict=True) if value]
        roots = sorted({root(tie) for tie in ties})
        for other in roots[1:]:
            parent[other] = roots[0]
    return [root(f"clip_id {clip}") for clip in table["clip_id"]]


def measured(columns: Iterable[str]) -> list[str]:
    """The measures of a table, by its columns: those that were asked for have an interval."""
    held = set(columns)
    return [name for name in MEASURES if f"{name}_low" in held]


def published(measures: Sequence[str] = ()) -> pa.Schema:
    """The arrow schema of the published columns, in order: COLUMNS, then what is said of each measure.

    With the metadata in which `datasets` keeps its types (https://huggingface.co/docs/datasets/about_arrow), written
    here: importing `datasets`, and pandas with it, takes a quarter of a second.
    """
    import pyarrow as pa

    texts = pa.list_(pa.string())
    kinds: dict[str, Any] = dict.fromkeys(COLUMNS, pa.string())
    said = [column for name in measures for column in (name, f"{name}_low", f"{name}_high")]
    kinds |= {"choices": texts, "captions": texts, "answer_index": pa.int32()}
    kinds |= dict.fromkeys(("start", "end", "audio_dependence", *said), pa.float64())
    value = {pa.string(): "string", pa.int32(): "int32", pa.float64(): "float64"}
    types = {name: {"dtype": value.get(kind, "string"), "_type": "Value"} for name, kind in kinds.items()}
    lists = {name: {"feature": types[name], "_type": "List"} for name, kind in kinds.items() if kind == texts}
    return pa.schema(kinds, {"huggingface": json.dumps({"info": {"features": types | lists}})})


def write_dataset(kept: pl.DataFrame, folder: Path, card: Mapping[str, Any]) -> None:
    """Writes the shards and the card to `folder`, in place of whatever was there.

    `kept`: the published columns (`audio_dependence` may be absent: null), those of measures, and `split`. `card`:
    what run.json says of the run, without times, hosts and paths. The folder is written beside and then renamed, so a
    reader finds the old one, the new one, or for an instant none, and never shards of both.
    """
    import polars as pl

    new, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    (new / "data").mkdir(parents=True)
    kept = kept if "audio_dependence" in kept.columns else kept.with_columns(audio_dependence=pl.lit(None, pl.Float64))
    places = {name: (kept["split"] == name).arg_true() for name in SPLITS}
    names = [name for name in SPLITS if len(places[name]) or name == "train"]
    schema = published(measured(kept.columns))
    for name in names:
        write_shards(kept, places[name], new / "data", name, schema)
    (new / "README.md").write_text(render_card(kept, names, card), encoding="utf-8")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_shards(table: pl.DataFrame, places: pl.Series, folder: Path, name: str, schema: pa.Schema) -> None:
    """The rows at `places` as `NAME-00000-of-00001.parquet` …, at most 200,000 each; no rows are one empty shard.

    A group of rows at a time is copied, never a split or a shard.
    """
    import pyarrow.parquet as pq

    shards = max(1, -(-len(places) // ROWS_A_SHARD))
    for shard in range(shards):
        rows = places.slice(shard * ROWS_A_SHARD, ROWS_A_SHARD)
        with pq.ParquetWriter(
            folder / f"{name}-{shard:05d}-of-{shards:05d}.parquet", schema, compression="zstd"
        ) as out:
            for start in range(0, len(rows), ROWS_A_GROUP):  # a row group of no rows stops `datasets` from loading
                part = arrow(table[rows.slice(start, ROWS_A_GROUP)].select(schema.names), schema)
                out.write_table(part, row_group_size=ROWS_A_GROUP)


# ── the card ─────────────────────────────────────────────────────────────────────────────────────────────────────────

HUB_LICENSES = {
    "CC0-1.0": "cc0-1.0", "CC-BY-4.0": "cc-by-4.0", "CC-BY-3.0": "cc-by-3.0", "CC-BY-SA-4.0": "cc-by-sa-4.0",
    "CC-BY-SA-3.0": "cc-by-sa-3.0", "CC-BY-NC-4.0": "cc-by-nc-4.0", "CC-BY-NC-SA-4.0": "cc-by-nc-sa-4.0",
    "Apache-2.0": "apache-2.0", "MIT": "mit", "GPL-2.0": "gpl-2.0", "GPL-3.0": "gpl-3.0",
}  # fmt: skip
"""SPDX id → the Hub's name of the licence."""
OUTPUT_TERMS = (
    (r"^(gpt|o\d|chatgpt)", "OpenAI's terms forbid using output to develop models that compete with OpenAI"),
    (r"^claude", "Anthropic's terms forbid using output to train models that compete with Anthropic"),
    (r"^gemini", "Google's API terms forbid using output to develop models that compete with the service"),
    (r"llama", "the Llama licence: a model trained on output is named Llama… and the licence goes with it"),
)
"""What a model's provider is known to ask of its output; the terms in force are the provider's own."""


MEASURING, GUESSING = {"labels", "acoustic"}, {"whisper", "yamnet"}
"""Captioners whose facts and labels the writer `rules` asks about, and those that give it none."""


def render_card(kept: pl.DataFrame, splits: Sequence[str], card: Mapping[str, Any]) -> str:
    """The dataset card: YAML for the Hub, then Markdown in which no text of a corpus or a model is markup."""
    models = [model | {"terms": output_terms(model["model"])} for model in card["models"]]
    facts = {
        "license": hub_license(card["licenses"]),
        "language": code(card["language"]),
        "size": size_category(kept.height),
        "splits": [(name, *_sizes(kept.select("split", "clip_id"), name)) for name in splits],
        "skills": _counts(kept["skill"]),
        "domains": _counts(kept["domain"]),
        "positions": positions(kept),
        "baselines": card.get("baselines") or baselines(kept),
        "gates": card.get("gates") or gates(kept),
        "models": models,
        "circular": circular(models),
        "measured": set(card["writers"]) <= {"rules"} and set(card["captioners"]) <= MEASURING | GUESSING,
        "example": example(kept),
    }
    return template("card.md").render(card=card, rows=kept.height, **facts)


@functools.cache
def template(name: str) -> Template:
    """One of those of `environment`, compiled."""
    return environment().get_template(name)


def environment() -> Environment:
    """Templates of the package: .html escapes by itself; .md says `md` (text), `code` or `tojson` (YAML)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), undefined=StrictUndefined,
        autoescape=select_autoescape(["html"]), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {"md": escape_markdown, "percent": percent, "interval": interval, "excess": excess, "mean": mean}
    return made


def escape_markdown(text: object) -> str:
    """`text` on one line, with nothing in it that Markdown or HTML would act on, links and tables included."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\u2028\u2029]", " ", str(text)).split())
    line = re.sub(r"[\\`*_{}\[\]()#|~!$]", r"\\\g<0>", line)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    # Bare addresses would become links; an entity in them stops that and reads the same.
    return re.sub(r"(?i)(:)(?=//)|(?<=www)(\.)", lambda found: f"&#{ord(found.group())};", line)


def percent(value: float | None) -> str:
    """`0.2535` → `25.4 %`."""
    return "–" if value is None else f"{100 * value:.1f} %"


def interval(share: Mapping[str, Any] | None) -> str:
    """A share with count and interval: `17 / 67 = 25.4 % (16.5–36.9)`."""
    if not share or not share["n"]:
        return "too few to tell"
    low, high = 100 * share["low"], 100 * share["high"]
    correct = f"{share['correct']:.1f}".removesuffix(".0")  # ties are split
    return f"{correct} / {share['n']} = {percent(share['accuracy'])} ({low:.1f}–{high:.1f})"


def mean(measure: Mapping[str, Any]) -> str:
    """A measure's mean with count and interval: `0.42 (0.35–0.49), 120 questions`."""
    if not measure["n"]:
        return "nothing was measured"
    low, high = measure["low"], measure["high"]
    return f"{measure['mean']:.2f} ({low:.2f} to {high:.2f}), {measure['n']} questions"


def excess(gate: Mapping[str, Any]) -> str:
    """Accuracy above chance with its interval, in points, and what follows: `+0.4 (-0.8 to +1.6): pass`."""
    if gate["value"] is None:
        return "too few to tell"
    value, low, high = (100 * gate[name] for name in ("value", "low", "high"))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f}): {gate['outcome'].replace('_', ' ')}"


def positions(kept: pl.DataFrame) -> list[tuple[str, int, list[int]]]:
    """(split, number of choices, questions whose answer is first, second, …)."""
    import polars as pl

    counts = Counter(kept.select("split", pl.col("choices").list.len(), "answer_index").iter_rows())
    groups = sorted({(part, size) for part, size, _ in counts})
    return [(part, size, [counts[part, size, place] for place in range(size)]) for part, size in groups]


def hub_license(licenses: Mapping[str, int]) -> str:
    """The one licence of all clips by the Hub's name; `unknown` when a clip's is not known, `other` for a mixture."""
    named = [
        HUB_LICENSES.get(license, "other") if license else "unknown" for license, clips in licenses.items() if clips
    ]
    if not named or "unknown" in named:
        return "unknown"
    return named[0] if len(named) == 1 else "other"


def size_category(rows: int) -> str:
    """The Hub's class of size."""
    names, limit = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M"), 1_000
    for name in names[:-1]:
        if rows < limit:
            return name
        limit *= 10
    return names[-1]


def output_terms(model: str) -> str:
    """What is known to be asked of a model's output, else where to look."""
    name = model.rsplit("/", 1)[-1].casefold()
    return next((terms for pattern, terms in OUTPUT_TERMS if re.search(pattern, name)), "see the licence of the model")


def circular(models: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the reader that checks the questions is of the family of the model that wrote them."""
    families = {}
    for model in models:
        word = re.match(r"[a-z]+", model["model"].rsplit("/", 1)[-1].casefold())
        families[model["role"]] = word.group() if word else model["model"]
    return "reader" in families and families.get("writer") == families["reader"]


def example(kept: pl.DataFrame) -> tuple[str, str] | None:
    """One question as JSON, and a fence of backticks longer than any in it."""
    import polars as pl

    if not kept.height:
        return None
    row = kept.row(by_predicate=pl.col("id") == kept["id"].min(), named=True)
    text = json.dumps(
        {name: row[name] for name in COLUMNS if name not in ("captions", "provenance")}, indent=2, ensure_ascii=False
    )
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    return text, "`" * max(3, longest + 1)


def _sizes(clips: pl.DataFrame, split: str) -> tuple[int, int]:
    part = clips.filter(clips["split"] == split)
    return part.height, part["clip_id"].n_unique()


def _counts(values: pl.Series) -> list[tuple[str, int]]:
    """Value and rows, most first, in order of appearance where equal."""
    counts = values.rename("value").to_frame().group_by("value", maintain_order=True).len()
    return sorted(counts.iter_rows(), key=lambda row: -row[1])
