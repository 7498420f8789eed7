"""The whole table at once: every filter's verdicts in the order of the call, what is kept, and why the rest is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datagen.config import Config, filter_factory
from datagen.parts import asks, make_filter
from datagen.plugins import Context
from datagen.records import MEASURES, Caption, Clip, Failure, Question, Verdict, schema
from datagen.run import Spool

if TYPE_CHECKING:
    import polars as pl


__all__ = ["Judged", "Verdicts", "judge"]

SLICE = 20_000
"""Verdicts that stand as rows at a time."""


class Verdicts:
    """What every filter says of the questions put to it, in the order of the call; a fifth of the memory of a table."""

    def __init__(self, ids: pl.Series) -> None:
        self._ids = ids
        self._said: list[tuple[str, pl.Series, pl.DataFrame]] = []

    def add(self, name: str, rows: pl.Series, found: pl.DataFrame) -> None:
        """`found`: the verdicts of filter `name` on the questions at `rows` of all."""
        import polars as pl

        blank = [column for column in ("score", "low", "high") if found[column].null_count() == found.height]
        blank += [] if found["keys"].list.len().sum() else ["keys"]
        named = pl.col("reason").cast(pl.Enum(found["reason"].drop_nulls().unique().sort()))
        said = [column for column in schema(Verdict).names if column not in ("question_id", "filter", *blank)]
        self._said.append((name, rows, found.select(said).with_columns(named)))

    def tables(self) -> Iterator[pl.DataFrame]:
        """All verdicts in order, in the columns of their table."""
        import polars as pl

        none = pl.lit(None, pl.Float64)
        blank = {"score": none, "keys": pl.lit([], pl.List(pl.String)), "low": none, "high": none}
        for name, rows, found in self._said:
            for start in range(0, rows.len(), SLICE):
                part = found[start : start + SLICE].with_columns(
                    pl.col("reason").cast(pl.String),
                    question_id=self._ids.gather(rows[start : start + SLICE]),
                    filter=pl.lit(name),
                    **{column: value for column, value in blank.items() if column not in found.columns},
                )
                yield part.select(schema(Verdict).names)

    def clear(self) -> None:
        """Lets go of all."""
        self._said.clear()


@dataclass
class Judged:
    """Every question's fate."""

    kept: pl.DataFrame
    """The dataset's columns and `split`."""
    verdicts: Verdicts
    dropped: pl.DataFrame
    """Rows of `rejected.parquet`."""
    funnel: list[dict[str, Any]]


def judge(config: Config, context: Context, spool: Spool) -> Judged:
    """Puts the filters to all questions, in the order of the call; a question leaves at the first that drops it."""
    import polars as pl

    alive = questions_with_captions(spool)
    rows, verdicts = pl.int_range(alive.height, dtype=pl.UInt32, eager=True), Verdicts(alive["id"])
    dropped, funnel = [], []
    for name, value in config.chain.items():
        found, notes = verdicts_of(name, value, context, alive, spool)
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
        verdicts.add(name, rows, found)
        if out.height:
            alive, rows = alive.filter(found["keep"]), rows.filter(found["keep"])
        dropped.append(rejected_rows(out))
    if config.target and alive.height > config.target:
        alive, surplus = to_target(alive, config)
        funnel.append(
            {"filter": "target", "in": alive.height + surplus.height, "out": alive.height, "reasons": reasons(surplus)}
        )
        dropped.append(rejected_rows(surplus))
    return Judged(
        kept=finished_questions(alive, config),
        verdicts=verdicts,
        dropped=pl.concat([spool.read(Failure).clear(), *dropped], how="vertical_relaxed"),
        funnel=funnel,
    )


def verdicts_of(
    name: str, value: str | None, context: Context, alive: pl.DataFrame, spool: Spool
) -> tuple[pl.DataFrame | None, dict[str, Any]]:
    """What one filter says of `alive`, in its order, with `error`, and what the funnel says beside the counts.

    A probe without a reader has no verdicts and is `skipped`; other filters may have `notes` (name → figure or text).
    """
    import polars as pl

    said: dict[str, Any] = {}
    if not asks(name, context):
        return None, {"skipped": "no --against" if name == "leakage" else "no reader"}
    asks_models = [method for method in ("probe", "hear") if hasattr(filter_factory(name), method)]
    judge = None if asks_models else make_filter(name, value, context)  # it has asked; its model may be gone
    if judge is not None and hasattr(judge, "judge"):
        found = judge.judge(alive)
        if notes := getattr(judge, "notes", {}):
            said = {"notes": notes}
    else:
        probed = spool.scan(Verdict).filter(pl.col("filter") == name).collect()
        found = probe_verdicts(alive, probed, measure=name in MEASURES)
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
