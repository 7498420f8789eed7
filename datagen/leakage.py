"""Is a test item in this set? By its words, by the recording's published id, and by the sound itself.

    benchmarks = read(["mmau", "mmar.jsonl", "audiocaps-test.txt"], Path("benchmark-audio"))
    compare(table, benchmarks)      a row for each of `table`: reason ("" where nothing was met), score, met

    exact_question   the words of the question, and of all its choices in any order, are an item's
    same_audio       the sound is that of a benchmark's recording (`datagen.fingerprint`, or equal decoded audio)
    media_id         the clip is cut from a recording that a benchmark uses (`datagen.media`)
    text_overlap     two and about half of an item's choices are here, after runs of 8 words of its question; with runs
                     of 13, half of them (`datagen.text_leakage`)

What is common does not count: what more than 10 clips or items share, be it a run of words or a question with all its
choices, is a wording ("how many speakers are there", one, two, three, four); and an item of fewer than 8 words in all
says too little. So a generic question shared word for word is met only where its choices are shared too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen import mcq
from datagen.audio_leakage import Recordings
from datagen.errors import UsageError
from datagen.media import media_ids
from datagen.rows import SUFFIXES
from datagen.text_leakage import OVERLAP, overlaps

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Benchmarks", "compare", "media_of", "read"]

ORDER = ("exact_question", "same_audio", "media_id", "text_overlap", "")
"""Of several findings about one row the first of these is told."""


@dataclass(frozen=True)
class Benchmarks:
    """Test items to compare with."""

    items: pl.DataFrame
    """`name` (file and id), `question`, `choices`."""
    media: dict[str, str]
    """Id of a recording (see `datagen.media`) → the first item that uses it."""
    sources: list[dict[str, Any]] = field(default_factory=list)
    """name, sha256, version, items, media (ids) of each file: what the card says."""
    recordings: Recordings | None = None
    """The benchmarks' audio, where it is at hand."""

    @property
    def identity(self) -> list[str]:
        """What the verdicts depend on: the hash of each file, and the names and sizes of the audio."""
        heard = [] if self.recordings is None else [self.recordings.identity]
        return [source["sha256"] for source in self.sources] + heard


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def read(names: Sequence[str], audio: Path | None = None) -> Benchmarks:
    """The benchmarks called `names`, and the folder of their `audio`.

    A name is that of a file, folder or Hub id that `datagen.mcq.read` takes, of a list of media ids (`.txt`, one a
    line), or a bare one such as `mmau`: all such files of $DATAGEN_DATA/mmau, else of ./data/mmau.

    Raises UsageError, naming the option, for what is not there or cannot be read.
    """
    import polars as pl

    tables, media, sources = [pl.DataFrame(schema=_columns())], dict[str, str](), []
    for place in [place for name in names for place in _places(name)]:
        if place.endswith(".txt"):
            table, found, source = _list_of_ids(Path(place))
        else:
            table, found, source = _set(place)
        tables.append(table)
        media = found | media
        sources.append(source | {"items": table.height, "media": len(found)})
    return Benchmarks(pl.concat(tables), media, sources, Recordings(audio) if audio else None)


def _columns() -> dict[str, Any]:
    import polars as pl

    return {"name": pl.String, "question": pl.String, "choices": pl.List(pl.String)}


def _places(name: str) -> list[str]:
    if Path(name).exists() or not re.fullmatch(r"[\w-]+", name):
        return [name]
    homes = [Path(base) for base in filter(None, [os.environ.get("DATAGEN_DATA"), "data"])]
    folder = next((home / name for home in homes if (home / name).is_dir()), None)
    if folder is None:
        tried = " or ".join(str(home / name) for home in homes)
        raise UsageError(f"--against {name}: no folder {tried}: put the benchmark's files there, or name a file")
    files = [str(file) for file in sorted(folder.iterdir()) if file.suffix in (*SUFFIXES, ".txt")]
    if not files:
        raise UsageError(f"--against {name}: {folder} holds no {', '.join(SUFFIXES)} or .txt: put the files there")
    return files


def _set(place: str) -> tuple[pl.DataFrame, dict[str, str], dict[str, Any]]:
    import polars as pl

    found = mcq.read(place)
    label = Path(found.name).name
    table = found.table.with_columns(name=pl.format("{} {}", pl.lit(label), pl.col("id")))
    of_row = media_of(table)
    media: dict[str, str] = {}
    for row, key in of_row.iter_rows():
        media.setdefault(key, table["name"][row])
    source = {"name": label, "sha256": found.sha256, "version": found.version}
    return table.select(list(_columns())), media, source


def _list_of_ids(path: Path) -> tuple[pl.DataFrame, dict[str, str], dict[str, Any]]:
    import hashlib

    import polars as pl

    try:
        content = path.read_bytes()
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"--against {path}: {why}: give a text file with one media id a line") from None
    media = {key: f"{path.name} {line}" for line in reversed(lines) for key in media_ids([line], known=True)}
    source = {"name": path.name, "sha256": hashlib.sha256(content).hexdigest(), "version": "list of media ids"}
    return pl.DataFrame(schema=_columns()), media, source


# ── media ids ────────────────────────────────────────────────────────────────────────────────────────────────────────


def media_of(table: pl.DataFrame, among: Iterable[str] | None = None) -> pl.DataFrame:
    """(row, key) of every recording that a row names: by `media_id`, or by its clip, audio files or own id.

    Names that hold no id of the keys `among` are not looked at, which is quick.
    """
    import polars as pl

    ids = pl.Series([key.partition(":")[2] for key in among or ()], dtype=pl.String)
    found = [pl.DataFrame(schema={"row": pl.UInt32, "key": pl.String})]
    for column, known in (("media_id", True), ("clip_id", False), ("audio", False), ("id", False)):
        if column not in table.columns:
            continue
        long = table.select(name=column).with_row_index("row")
        if long.schema["name"] == pl.List(pl.String):
            long = long.explode("name", empty_as_null=False, keep_nulls=False)
        names = long["name"].drop_nulls().unique(maintain_order=True)
        if among is not None:
            names = names.filter(names.to_frame().select(pl.col("name").str.contains_any(ids.implode())).to_series())
        pairs = [(name, key) for name in names for key in media_ids([name], known=known)]
        told = pl.DataFrame(pairs, {"name": pl.String, "key": pl.String}, orient="row")
        found.append(long.join(told, on="name", maintain_order="left").select("row", "key"))
    return pl.concat(found).unique(maintain_order=True)


# ── the comparison ───────────────────────────────────────────────────────────────────────────────────────────────────


def compare(table: pl.DataFrame, benchmarks: Benchmarks, least: float = OVERLAP) -> pl.DataFrame:
    """`reason`, `score` and `met` (what item, and how much of it) for every row of `table`, in its order.

    `table`: question, choices and, where there are, clip_id, media_id, audio; for the sound, path, cut_start, cut_end
    and sha256 (see `Recordings.met`). Score: 1 for equal texts and ids, the share of its landmarks for the
    sound, else that of `text_leakage.OVERLAP`, also of rows with no reason; null without items. `least`: the
    score from which words meet an item.
    """
    import polars as pl

    met = pl.concat([_by_words(table, benchmarks, least), _by_media(table, benchmarks), _by_sound(table, benchmarks)])
    first = met.sort("row", "rank", maintain_order=True).unique("row", keep="first", maintain_order=True)
    rows = pl.DataFrame({"row": pl.int_range(table.height, dtype=pl.UInt32, eager=True)})
    joined = rows.join(first, on="row", how="left", maintain_order="left")
    nothing = pl.lit(0.0 if benchmarks.items.height else None, pl.Float64)
    return joined.select(
        pl.col("reason").fill_null(""), pl.col("score").fill_null(nothing), pl.col("met").fill_null("")
    )


def _by_words(table: pl.DataFrame, benchmarks: Benchmarks, least: float) -> pl.DataFrame:
    """The item that each row shares most words with: row, rank, reason, score, met."""
    import polars as pl

    items = benchmarks.items
    pairs = overlaps(table, clip_key(table), items, least).with_columns(rank=_rank())
    best = pairs.sort("row", "rank", -pl.col("score"), "item").unique("row", keep="first", maintain_order=True)
    name = items["name"].gather(best["item"])
    met = pl.when(pl.col("reason") == "").then(pl.lit("")).otherwise(name)
    return best.select("row", "rank", "reason", "score", met=met)


def _by_media(table: pl.DataFrame, benchmarks: Benchmarks) -> pl.DataFrame:
    import polars as pl

    theirs = pl.DataFrame(list(benchmarks.media.items()), {"key": pl.String, "item": pl.String}, orient="row")
    found = (
        media_of(table, benchmarks.media)
        .join(theirs, on="key", maintain_order="left")
        .unique("row", keep="first", maintain_order=True)
    )
    met = pl.format("{} ({})", "item", "key")
    return found.with_columns(reason=pl.lit("media_id")).select("row", _rank(), "reason", score=1.0, met=met)


def _by_sound(table: pl.DataFrame, benchmarks: Benchmarks) -> pl.DataFrame:
    """Rows whose clip sounds as a file of the benchmarks, where both are at hand."""
    import polars as pl

    found: list[tuple[int, float, str]] = []
    if benchmarks.recordings and {"path", "sha256"} <= set(table.columns):
        heard = table.with_row_index("row").filter((pl.col("sha256") != "") & (pl.col("path") != ""))
        met = benchmarks.recordings.met(heard)
        found = [(row, *met[key]) for row, key in heard.select("row", "sha256").iter_rows() if key in met]
    types = {"row": pl.UInt32, "score": pl.Float64, "met": pl.String}
    rows = pl.DataFrame(found, schema=types, orient="row").with_columns(reason=pl.lit("same_audio"))
    return rows.select("row", _rank(), "reason", "score", "met")


def _rank() -> pl.Expr:
    import polars as pl

    return pl.col("reason").replace_strict(list(ORDER), list(range(len(ORDER))), return_dtype=pl.Int32).alias("rank")


def clip_key(table: pl.DataFrame) -> pl.Series:
    """What names the audio of each row: its hash, else the clip's id, else the row itself."""
    import polars as pl

    found = [pl.col(name).replace("", None) for name in ("sha256", "clip_id") if name in table.columns]
    row = pl.concat_str(pl.lit("#"), pl.int_range(pl.len()).cast(pl.String))
    return table.select(clip=pl.coalesce(*found, row))["clip"]
