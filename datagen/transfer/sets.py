"""The sets of a study: what a chain lets through, and no more of it than every other arm sees."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datagen.errors import UsageError
from datagen.rows import load
from datagen.seeds import generator
from datagen.train.data import read_set
from datagen.transfer.study import Chain, Study

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Made", "make_set"]


@dataclass(frozen=True, slots=True)
class Made:
    """A set that can be trained on."""

    data: str
    """As `datagen train --data` takes it."""
    sha256: str
    questions: int


def make_set(study: Study, name: str, chain: Chain, folder: Path) -> Made:
    """The chain's own data where nothing is taken away; else what is left of it, written below `folder`.

    Raises UsageError for data that cannot be read, a `where` that polars does not understand, and for fewer questions
    than the study asks for.
    """
    found = read_set(chain.data)
    table = found.table
    if not chain.where and study.questions is None:
        return Made(chain.data, found.sha256, table.height)
    if chain.where:
        table = table[_rows(chain, table.height)]
    if "train" in table["split"].to_list():
        table = table.filter(table["split"] == "train")
    if study.questions is not None:
        if table.height < study.questions:
            raise UsageError(
                f"{study.file}: questions {study.questions}: {name} has {table.height}: ask for no more than that"
            )
        drawn = generator(0, "study", "questions").sample(range(table.height), study.questions)
        table = table[sorted(drawn)]
    out = folder / name
    (out / "data").mkdir(parents=True, exist_ok=True)
    file = out / "data" / "train-00000-of-00001.parquet"
    table.drop("split").write_parquet(file.with_suffix(".tmp"))
    file.with_suffix(".tmp").replace(file)
    if (clips := Path(chain.data) / "clips.parquet").is_file():  # of a run: where `datagen train` finds its audio
        shutil.copyfile(clips, out / "clips.parquet")
    return Made(str(out), read_set(out).sha256, table.height)


def _rows(chain: Chain, height: int) -> pl.Series:
    """Numbers of the rows that `where` lets through, by all columns that the set has."""
    import polars as pl

    source = load(chain.data)
    raw = source.table if source.table is not None else pl.DataFrame(source.rows, infer_schema_length=None)
    if raw.height != height:
        raise UsageError(f"{chain.data}: where: some of its rows are set aside: give a set of multiple choice alone")
    try:
        kept = pl.SQLContext(rows=raw.with_row_index("row_")).execute(f"SELECT row_ FROM rows WHERE {chain.where}")
        return kept.collect()["row_"]
    except pl.exceptions.PolarsError as error:
        why = " ".join(str(error).split())[:160]
        raise UsageError(f"{chain.data}: where {chain.where!r}: {why}: use SQL over {', '.join(raw.columns)}") from None
