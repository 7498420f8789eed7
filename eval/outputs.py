"""The files that `datagen eval` leaves in its folder, and how they are read.

    DIR/  items.parquet       the items asked, in the order of the file: `mcq.COLUMNS`, and `audio_files`, the paths
                              of their clips below `--audio` (list[str]; null where one is missing)
          predictions.jsonl   one line (Prediction) an answer: by condition, item, order and sample, in this order
          result.json         the figures; written when all is answered: a folder without it is not done
          latency.jsonl       {"key", "seconds"} of each answer that was waited for, in order of arrival, over all calls
          ledger.sqlite       every answer, unless `--ledger` names another file
          report.html         result.json in tables and plots, and every item with its clip and answers (`report`)

Given equal answers items.parquet, predictions.jsonl and result.json are equal byte by byte, after any kill;
latency.jsonl is what differs. `predictions.jsonl` grows in its final order while a run goes on.

`result.json`:

    benchmark, data, version, sha256, items, of, set_aside     the file, and how many of its items were asked
    model       {name, identity, runner: "local" | "server", type}
    prompt      {style, labels, caption, rendered, system_prompt}; `rendered` is the first item's prompt of the first
                condition in the model's chat template, `system_prompt` what that template says before the user speaks
                (both null for a server, whose template is its own)
    sampling    {samples, temperature, top_p, max_tokens}      seed     conditions, orders: as they were asked for
    cells       [Cell]: a condition × an order, in order
    baselines   `datagen baselines` of the items that were asked
    unanswered  {condition: {reason: [ids]}}                   defects of the benchmark file: {name: {count, ids}}
    batch_check null, or {items, batch, equal, different: [ids]}: the same prompts alone and in one batch
    usage       {answers, prompt_tokens, completion_tokens, cost_usd}: of all answers used, paid now or before
    judge       null, or {model, prompt}
    official_is what a reader of the official figures has to know

    Cell  {condition, order, rows, answered, empty, cut, not_read,
           official, strict, judge: G or null,        G = {"total": S, <group of the benchmark>: {value: S}}; judge has
                                                      `not_judged` too: answers of which it said neither yes nor no
           format_loss: {difference, low, high},      official less strict, in fractions
           positions: [{place, shown, picked, gold: S}],
           consistency, always_right: number or null}

An item that was asked several times (arrangements × samples) counts by its mean, so `correct` may be a fraction, and n
is always the number of items: an item without an answer is wrong. S = {correct, n, accuracy, low, high} with Wilson's
interval, and `clustered`: {low, high, clusters}, the bootstrap by question text, whatever its case and spaces.
`positions`: of the rows in which place `place` was shown, how many picked it, and how often those with the gold there
are right (strict).
`consistency` is the mean over items of the share of pairs of rows that were read as the same choice (CR of
arXiv 2510.04584; no choice agrees with nothing); its correctness rate is the strict accuracy; `always_right` the share
of items that are right in every row. Where the file has no answers, the figures are null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from datagen.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["EvalDir", "Prediction", "opened", "scan"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One line of predictions.jsonl, with keys of these names."""

    row: int
    """Of items.parquet, from 0: ids need not be unique in a broken file."""
    id: str
    condition: str
    """audio, none, silence, noise, mismatched or caption"""
    order: str
    """original, shuffle:K or circular, as it was asked for: the cell that the row counts in."""
    arrangement: int
    """Number of this arrangement within the order, from 0: of `shuffle:K` the draw, of `circular` the rotation."""
    sample: int
    shown: list[int]
    """Places of the file's choices, in the order in which they were shown."""
    heard: str | None
    """Id of the item whose clip was heard, where it is not the item's own (mismatched)."""
    text: str | None
    """What the model said; null: there is no answer, for the reason in `error`."""
    finish: str | None
    """`stop`, `length` (cut off at the limit) or the server's own word."""
    error: str | None
    """`reason: detail`; reason is a stable snake_case word."""
    reading: int | None
    """The choice that the strict reader found, as a place in the file's own order."""
    official: bool | None
    """Verdict of the benchmark's own matcher; false without an answer, null where the file has no gold."""
    strict: bool | None
    judge: bool | None
    """Of the LLM judge; null where none was asked or it said neither."""
    key: str | None
    """Name of the answer in the ledger."""

    def line(self) -> bytes:
        """The line in predictions.jsonl."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)


@dataclass(frozen=True, slots=True)
class EvalDir:
    """A folder that `datagen eval` has finished."""

    path: Path
    result: dict[str, Any]

    def items(self) -> pl.DataFrame:
        """items.parquet"""
        import polars as pl

        return pl.read_parquet(self.path / "items.parquet")

    def predictions(self, *columns: str) -> pl.DataFrame:
        """predictions.jsonl, or some of its columns, a row a line."""
        lines = scan(self.path / "predictions.jsonl")
        return (lines.select(columns) if columns else lines).collect()

    def lines(self) -> Iterator[Prediction]:
        """The same, one after the other."""
        with (self.path / "predictions.jsonl").open("rb") as file:
            for line in file:
                yield Prediction(**orjson.loads(line))


def opened(path: str | Path) -> EvalDir:
    """The folder at `path`. Raises UsageError where it holds no finished evaluation."""
    file = Path(path) / "result.json"
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{file}: {error.strerror or error}: give a folder that `datagen eval --out` has finished"
        ) from None
    except ValueError as error:
        raise UsageError(f"{file}: {error}: it is no result.json of ours") from None
    if not isinstance(result, dict) or not isinstance(result.get("cells"), list) or "sha256" not in result:
        raise UsageError(f"{file}: holds no cells of an evaluation: it is no result.json of ours")
    return EvalDir(Path(path), result)


def scan(file: Path) -> pl.LazyFrame:
    """The lines of a predictions.jsonl as typed columns, named as the fields of Prediction."""
    import polars as pl

    kinds: dict[str, Any] = {
        "row": pl.Int64, "arrangement": pl.Int64, "sample": pl.Int64, "shown": pl.List(pl.Int64), "reading": pl.Int64,
        "official": pl.Boolean, "strict": pl.Boolean, "judge": pl.Boolean,
    }  # fmt: skip
    return pl.scan_ndjson(file, schema={field.name: kinds.get(field.name, pl.String) for field in fields(Prediction)})
