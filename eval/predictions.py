"""A file of predictions, made by anyone → one text a benchmark item, with what is wrong in the file by name.

JSON, JSON lines, CSV or parquet with an id and one of `eval.KEYS` in each row; the benchmark's own rows with the key
added (what official scripts read) are such a file too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datagen.errors import UsageError
from datagen.eval import Benchmark
from datagen.mcq import FIELDS, McqSet, examined
from datagen.records import fold
from datagen.rows import Rows, clean, load, some

__all__ = ["Predictions", "read_predictions"]

FAULTS = ("unknown_id", "doubled_id", "no_id", "not_an_object", "not_text")
"""Defects of the file itself; the others (missing_id, no_prediction, empty) are answers that were not given."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a file says about the items of one benchmark file."""

    name: str
    sha256: str
    key: str
    """The field that the texts were read from."""
    texts: Mapping[str, str]
    """Item id → the answer. Without items that have no row, no key, a null, or two rows that differ."""
    rows: Sequence[tuple[str, str]]
    """(item id, answer) of each row that an official script would count, in the file's order, doubled ones included.
    Values that are no text are left out, as MMSU's script does; MMAU's stops there."""
    defects: Mapping[str, tuple[str, ...]]
    """Name → ids: unknown_id, doubled_id, no_id, not_an_object, not_text (a number is read as it is written, else there
    is no answer), other_version (the row brings another question, other choices or another answer than the benchmark
    file), missing_id (an item without a row), no_prediction (no key, or null), empty."""

    @property
    def faults(self) -> dict[str, tuple[str, ...]]:
        """The defects of FAULTS."""
        return {name: self.defects[name] for name in FAULTS if name in self.defects}


def read_predictions(place: str | Path, items: McqSet, benchmark: Benchmark) -> Predictions:
    """Raises UsageError for a file that cannot be read, has none of the keys, or has not one id of `items`."""
    source = load(place)
    rows = source.rows if source.table is None else source.table.to_dicts()
    key = _key(source, benchmark)
    ids = items.table["id"].to_list()
    known = set(ids)
    defects: dict[str, list[str]] = {}
    texts: dict[str, list[str | None]] = {}
    counted: list[tuple[str, str]] = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            defects.setdefault("not_an_object", []).append(f"#{number}")
            continue
        id, text, wrong = _prediction(row, number, key)
        for name in wrong if id in known else {*wrong, "unknown_id"}:
            defects.setdefault(name, []).append(id)
        if id in known:
            texts.setdefault(id, []).append(text)
            taken = row.get(key, benchmark.without_key)
            if isinstance(taken, str):
                counted.append((id, clean(taken)))
    if rows and not texts:
        raise UsageError(
            f"{place}: not one of its {len(rows)} ids is in {items.name} ({some(defects.get('unknown_id', []))}): "
            "give the file that these predictions were made on"
        )
    defects["doubled_id"] = [id for id, found in texts.items() if len(found) > 1]
    defects["missing_id"] = [id for id in ids if id not in texts]
    defects["other_version"] = _of_another_version(source, items)
    only = {id: found[0] for id, found in texts.items() if len(set(found)) == 1}
    return Predictions(
        source.name, source.sha256, key, {id: text for id, text in only.items() if text is not None}, counted,
        {name: tuple(bad) for name, bad in sorted(defects.items()) if bad},
    )  # fmt: skip


def _key(source: Rows, benchmark: Benchmark) -> str:
    keys = source.keys
    found = next((key for key in benchmark.keys if key in keys), None)
    if found is None and keys:
        names = ", ".join(benchmark.keys)
        raise UsageError(f"{source.name}: no {names} in its rows; their keys are {some(keys, 20)}")
    return found or benchmark.keys[0]


def _prediction(row: Mapping[str, Any], number: int, key: str) -> tuple[str, str | None, set[str]]:
    """(id, text, defects) of a row; the text of a number is how it is written."""
    wrong: set[str] = set()
    id = next((row[name] for name in FIELDS["id"] if row.get(name) is not None), None)
    if id is None:
        wrong.add("no_id")
    value = row.get(key)
    if value is None:
        wrong.add("no_prediction")
    elif not isinstance(value, str):
        wrong.add("not_text")
    elif not value.strip():
        wrong.add("empty")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    text = clean(value) if isinstance(value, str) else str(value) if is_number else None
    return clean(str(id)) if id is not None else f"#{number}", text, wrong


def _of_another_version(source: Rows, items: McqSet) -> list[str]:
    """Ids of rows that hold the question, and another one, or other choices or another answer than the item."""
    keys = set(source.keys)
    if not (keys & {*FIELDS["question"]} and keys & {*FIELDS["choices"], "choice_a"}):
        return []
    own = {id: tuple(row) for id, *row in items.table.select("id", "question", "choices", "answer").iter_rows()}
    unlike = source
    if source.table is None:  # most rows are the items' own, letter by letter; None keeps the numbers of the others
        unlike = replace(source, rows=[None if _plainly(row, own) else row for row in source.rows])
    if not unlike.keys:
        return []
    theirs = examined(unlike).table.select("id", "question", "choices", "answer").iter_rows()
    return [id for id, *row in theirs if id in own and row[0] is not None and _differs(tuple(row), own[id])]


Item = tuple[str | None, list[str], str | None]
"""Question, choices, answer."""


def _plainly(row: Any, own: Mapping[str, Item]) -> bool:
    """Whether a row of JSON has the question, choices and answer of its item."""
    if not isinstance(row, Mapping):
        return True
    found = tuple(row.get(name) for name in ("question", "choices", "answer"))
    return found == own.get(str(row.get("id")))


def _differs(theirs: Item, own: Item) -> bool:
    """Whether two questions are not the same, whatever the case, the spaces, the order of choices; no answer is any."""
    return (
        fold(theirs[0] or "") != fold(own[0] or "")
        or sorted(map(fold, theirs[1])) != sorted(map(fold, own[1]))
        or (bool(theirs[2]) and fold(theirs[2] or "") != fold(own[2] or ""))
    )
