"""A file, a folder or a Hub id → its rows as they stand there, and the SHA-256 of what was read.

.json  .jsonl                a JSON array, an object that holds one, or one object a line; told apart by content
.csv   .tsv                  with a header
.parquet                     columns of bytes (audio) are left unread
a run of ours, its dataset/, a folder of parquet, one written by `datasets.save_to_disk`
org/name                     a data set of the Hub, all its splits (needs `datasets` and the network)
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datagen.errors import UsageError

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["Rows", "clean", "load", "sha256_of", "some"]

SECONDS = 5.0
"""To wait for the Hub's first answer."""
SHARD = re.compile(r"(\w+)-\d{5}-of-\d{5}\.parquet")
"""Name of a file of one split, as the Hub has them."""
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")


@dataclass(frozen=True)
class Rows:
    """What was read, unchecked."""

    name: str
    """The path or id as it was given."""
    sha256: str
    """Of the file's bytes; of several files, of their hashes in order of name; of a Hub id, of its rows."""
    rows: Sequence[Any]
    """Objects as JSON or CSV hold them; None stands for a line that is no JSON. Empty where `table` is set."""
    table: pl.DataFrame | None = None

    @cached_property
    def keys(self) -> list[str]:
        """Every name of a field, in the order in which the rows bring them."""
        if self.table is not None:
            return self.table.columns
        found: dict[str, None] = {}
        for row in self.rows:
            if isinstance(row, Mapping):
                found.update(dict.fromkeys(row))
        return list(found)


def load(place: str | Path) -> Rows:
    """Raises UsageError, in one line, for what is not there, cannot be read, or is none of the formats above."""
    path = Path(place)
    try:
        if path.is_dir() and str(place):
            return _folder(path)
        if path.exists():
            return _file(path)
    except OSError as error:
        raise UsageError(f"{place}: {error.strerror or error}: give a file that can be read") from None
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(place)) and path.suffix not in SUFFIXES:
        return _hub(str(place))
    raise UsageError(f"{place}: no such file: give a {', '.join(SUFFIXES)}, a folder, or a Hub id like org/name")


def clean(text: str) -> str:
    """`text` with what no table can hold (halves of surrogate pairs) written out."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text


def some(names: Iterable[object], most: int = 3) -> str:
    """The first ids or keys, in one line of a message."""
    first = [clean(repr(str(name))[1:-1])[:60] for name in islice(names, most + 1)]
    return ", ".join(first[:most]) + (", …" if len(first) > most else "")


def _file(path: Path) -> Rows:
    if path.suffix == ".parquet":
        return Rows(str(path), sha256_of([path]), (), _parquet([path]))
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if path.suffix in (".csv", ".tsv"):
        return Rows(str(path), sha256, _csv(path, content))
    return Rows(str(path), sha256, _json(path, content))


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _json(path: Path, content: bytes) -> Sequence[Any]:
    """The rows of a JSON document, else of JSON lines; of the two that which the name says is tried first."""
    by_line = path.suffix in (".jsonl", ".ndjson")
    content = content.removeprefix(b"\xef\xbb\xbf")
    lines = _lines(content) if by_line else None
    if lines is not None:
        return lines
    try:
        return _array(path, _parsed(content))
    except (ValueError, RecursionError) as error:
        lines = None if by_line else _lines(content)
        if not lines:
            raise UsageError(f"{path}: {_one_line(error)}: give JSON, JSON lines, CSV or parquet") from None
        return lines


def _parsed(content: bytes) -> Any:
    """Raises ValueError. orjson is fast; json also takes NaN, long integers and halves of surrogate pairs."""
    import orjson

    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return json.loads(content.decode())


def _lines(content: bytes) -> list[Any] | None:
    """One value a line, None for a line that is no JSON; None when not one line is an object."""
    rows: list[Any] = []
    for line in content.splitlines():
        if line.strip():
            try:
                rows.append(_parsed(line))
            except (ValueError, RecursionError):
                rows.append(None)
                if len(rows) > 100 and not any(isinstance(row, dict) for row in rows):
                    return None
    return rows if any(isinstance(row, dict) for row in rows) or not rows else None


def _array(path: Path, value: Any) -> Sequence[Any]:
    """The array of rows in a document: itself, the one array of objects that it holds, or its objects by id."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        arrays = [v for v in value.values() if isinstance(v, list) and v and all(isinstance(x, dict) for x in v)]
        if len(arrays) == 1:
            return arrays[0]
        if value and all(isinstance(v, dict) for v in value.values()):
            return [{"id": key, **row} for key, row in value.items()]
    found = f"an object with the keys {some(value, 12)}" if isinstance(value, dict) else repr(value)[:60]
    raise UsageError(f"{path}: holds {found}: give an array of objects, one a row")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _csv(path: Path, content: bytes) -> list[dict[str, Any]]:
    """Every cell as text, None where a row is short or a cell is empty; what a row has too much is left out."""
    text = content.decode("utf-8-sig", errors="backslashreplace")
    csv.field_size_limit(sys.maxsize)
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in header else ",")
    try:
        return [{key: value or None for key, value in row.items() if key is not None} for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path}: line {reader.line_num}: {error}: give a CSV file with a header") from None


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _folder(path: Path) -> Rows:
    if (path / "run.json").exists() and (path / "dataset").is_dir():
        path = path / "dataset"
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _saved(path)
    for found in (sorted((path / "data").glob("*.parquet")), sorted(path.glob("*.parquet"))):
        if found:
            return Rows(str(path), sha256_of(found), (), _parquet(found))
    files = [file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES and file.name != "dataset_infos.json"]
    if len(files) == 1:
        return _file(files[0])
    held = ", ".join(file.name for file in files[:5]) or "no data file"
    raise UsageError(f"{path}: holds {held}: name one file, or a folder of parquet files")


def sha256_of(files: Sequence[Path]) -> str:
    """Of one file its SHA-256; of several that of their hashes, a line each."""
    digests = []
    for file in files:
        with file.open("rb") as opened:
            digests.append(hashlib.file_digest(opened, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _parquet(files: Sequence[Path]) -> pl.DataFrame:
    """All rows in order of file, with `split` where the shards' names say it.

    Of a struct with bytes (an audio) the path alone is read, other bytes not at all.
    """
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for file in files:
        try:
            columns = [name for field in pq.read_schema(file) for name in _without_bytes(field)]
            table = pl.DataFrame(pl.from_arrow(pq.read_table(file, columns=columns)))
            shard = SHARD.fullmatch(file.name)
            named = shard and "split" not in table.columns
            tables.append(table.with_columns(split=pl.lit(shard[1])) if shard and named else table)
        except (pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise UsageError(f"{file}: {_one_line(error)}: give a parquet file that is whole") from None
    try:
        return pl.concat(tables, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"{files[0].parent}: the files' columns differ: {_one_line(error)}: name one file") from None


def _without_bytes(field: pa.Field) -> list[str]:
    import pyarrow as pa

    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    if any(test(field.type) for test in binary):
        return []
    if pa.types.is_struct(field.type) and any(test(part.type) for part in field.type for test in binary):
        return [f"{field.name}.{part.name}" for part in field.type if not any(test(part.type) for test in binary)]
    return [field.name]


def _saved(path: Path) -> Rows:
    """A folder written by `save_to_disk`."""
    from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(str(path))
    except (ValueError, OSError, KeyError) as error:
        raise UsageError(f"{path}: {_one_line(error)}: give a folder that `datasets.save_to_disk` wrote") from None
    files = sorted(path.rglob("*.arrow"))
    return Rows(str(path), sha256_of(files), (), _table(dict(found) if isinstance(found, DatasetDict) else {"": found}))


def _hub(name: str) -> Rows:
    """Every split of a data set of the Hub. What is hashed is its rows: a commit's id tells nothing of the content."""
    import httpx2
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        with suppress(OfflineModeIsEnabled):  # then the cache may have it
            HfApi().dataset_info(name, timeout=SECONDS)  # `load_dataset` alone tries for half a minute
        splits = load_dataset(name)
    except (DatasetsError, httpx2.HTTPError, ValueError, OSError) as error:
        raise UsageError(f"{name}: neither a file here nor read from the Hub: {_one_line(error)}") from None
    table = _table(dict(splits))
    digest = hashlib.sha256()
    for part in table.iter_slices(50_000):
        digest.update(part.write_ndjson().encode())
    return Rows(name, digest.hexdigest(), (), table)


def _table(splits: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of `datasets` splits without audio and other bytes, with `split` where they have a name."""
    import polars as pl

    tables = []
    for split, data in splits.items():
        schema = data.features.arrow_schema
        kept = [field.name for field in schema if _without_bytes(field) == [field.name]]
        table = pl.DataFrame(pl.from_arrow(data.select_columns(kept).with_format("arrow")[:]))
        tables.append(table if not split or "split" in kept else table.with_columns(split=pl.lit(split)))
    return pl.concat(tables, how="diagonal_relaxed")
