"""The benchmark's own rows with the answers in them: the form that official scripts and the hosted scorer read.

MMAU's Space (https://huggingface.co/spaces/sonalkum/MMAU-Eval) takes the JSON of the test set with the prediction in
each row; its script reads `model_output` where its README says `model_prediction`, so both are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from datagen.eval import Benchmark
from datagen.eval.outputs import Prediction
from datagen.mcq import FIELDS
from datagen.rows import load
from datagen.run import replacing

__all__ = ["write_submission"]


def write_submission(file: Path, data: str | Path, out: Path, benchmark: Benchmark) -> int:
    """Writes a JSON array of the rows of `data` and returns how many hold an answer.

    The answer is the text of the choice that the strict reader found in the first condition and order, because official
    scripts know neither letters nor tags; what it reads as no choice stays as the model said it. A row without an
    answer gets no key.
    """
    source = load(data)
    rows = list(source.rows) if source.table is None else source.table.to_dicts()
    said = _texts(out)
    keys = [benchmark.keys[0], *(["model_prediction"] if benchmark.keys[0] == "model_output" else [])]
    for row in rows:
        id = _id(row)
        if id in said:
            row.update(dict.fromkeys(keys, said[id]))
    with replacing(file) as stream:
        stream.write(orjson.dumps(rows, default=str, option=orjson.OPT_INDENT_2))
    return len(said)


def _texts(out: Path) -> dict[str, str]:
    import polars as pl

    choices = pl.read_parquet(out / "items.parquet", columns=["choices"])["choices"]
    found: dict[str, str] = {}
    with (out / "predictions.jsonl").open("rb") as lines:
        first = None
        for line in lines:
            row = Prediction(**orjson.loads(line))
            first = first or (row.condition, row.order)
            if (row.condition, row.order, row.arrangement, row.sample) == (*first, 0, 0) and row.text is not None:
                found[row.id] = row.text if row.reading is None else choices[row.row][row.reading]
    return found


def _id(row: Any) -> str | None:
    if not isinstance(row, Mapping):
        return None
    value = next((row[name] for name in FIELDS["id"] if row.get(name) is not None), None)
    return None if value is None else str(value)
