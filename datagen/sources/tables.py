"""The annotation files of corpora, row by row in flat memory: CSV with and without a header, and large JSON.

A file that is not of its form at all raises UsageError, one line that names the file, what was expected and what was
found. One row that is not becomes a Failure with the row's own text, and the rest is read.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from datagen.errors import RowError, UsageError
from datagen.records import Failure, canonical
from datagen.sources.files import printable
from datagen.sources.index import hashed

__all__ = ["Csv", "Entry", "JsonArray", "Listing", "Row", "Table", "number", "read_json", "text", "texts"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file."""

    place: int
    """Its (last) line in a CSV, its number in a JSON array; both begin with 1."""
    cells: Mapping[str, Any]
    raw: str = ""
    error: str = ""
    """Why it cannot be read."""


@dataclass(frozen=True)
class Csv:
    """Comma-separated cells; bytes that are no UTF-8 are read as Latin-1, line by line (Clotho's are)."""

    path: Path
    columns: tuple[str, ...]
    """With a header those that it must have, else the name of each cell."""
    cure: str
    """What to do about a file that is not of this form."""
    header: bool = True
    comment: str = ""
    """How lines begin that are no rows."""
    option: str = "--annotations "
    """What errors name before the path, with a space, or nothing."""
    unit: ClassVar[str] = "line"

    def rows(self) -> Iterator[Row]:
        """Every row in order; raises UsageError for a file that is not of this form."""
        try:
            with self.path.open("rb") as file:
                yield from self._rows(file)
        except OSError as error:
            raise UsageError(f"{self.option}{self.path}: {error.strerror}: {self.cure}") from None

    def _rows(self, file: BinaryIO) -> Iterator[Row]:
        taken: list[str] = []
        reader = csv.reader(_taped(file, taken, self.comment), strict=True, skipinitialspace=True)
        columns = self._header(reader) if self.header else self.columns
        while True:
            taken.clear()
            cells, error = _next(reader)
            raw = "".join(taken).rstrip("\r\n")
            if cells is None:
                return
            if not error and not raw.strip():
                continue
            if not error and len(cells) != len(columns):
                error = f"{len(cells)} cells, not {len(columns)} ({','.join(columns)})"
            yield Row(reader.line_num, dict(zip(columns, cells, strict=False)), raw, error)

    def _header(self, reader: Any) -> tuple[str, ...]:
        cells, error = _next(reader)
        found = tuple(cell.strip() for cell in cells or ())
        missing = [column for column in self.columns if column not in found]
        if missing:
            had = error or f"its columns are {', '.join(found) or 'none'}"
            raise UsageError(
                f"{self.option}{self.path}: no column {', '.join(map(repr, missing))}: "
                f"{printable(' '.join(had.split()))[:500]}: {self.cure}"
            )
        return found


def _next(reader: Any) -> tuple[list[str] | None, str]:
    """The next cells and what is wrong with them; None at the end."""
    try:
        return next(reader, None), ""
    except csv.Error as error:
        return [], str(error)


def _taped(file: BinaryIO, taken: list[str], comment: str) -> Iterator[str]:
    """The lines of a file, those of the present row also in `taken`."""
    for number, line in enumerate(file):
        try:
            text = line.decode("utf-8-sig" if number == 0 else "utf-8")
        except UnicodeDecodeError:
            text = line.decode("latin-1")
        if comment and text.startswith(comment):
            text = "\n"
        taken.append(text)
        yield text


@dataclass(frozen=True)
class JsonArray:
    """`{…, "data": [{…}, …]}`, an object at a time."""

    path: Path
    cure: str
    option: str = "--annotations "
    unit: ClassVar[str] = "object"

    def rows(self) -> Iterator[Row]:
        """Every object in order; raises UsageError for a file that is not of this form."""
        place = 0
        for place, item in enumerate(self._read("data.item"), start=1):
            if isinstance(item, dict):
                yield Row(place, item)
            else:
                yield Row(place, {}, repr(item), f"a {type(item).__name__}, no object")
        if not place and "data" not in (keys := [key for key, _ in self._read("")]):
            raise UsageError(
                f"{self.option}{self.path}: no array 'data': it holds {', '.join(keys)[:500]}: {self.cure}"
            )

    def _read(self, where: str) -> Iterator[Any]:
        """The items of an array, or the members of the whole, which must be an object."""
        import ijson

        read = ijson.items if where else ijson.kvitems
        try:
            with self.path.open("rb") as file:
                yield from read(file, where, use_float=True)
        except OSError as error:
            raise UsageError(f"{self.option}{self.path}: {error.strerror}: {self.cure}") from None
        except (ijson.JSONError, ValueError, RecursionError) as error:
            why = str(error).split("\n")[0].strip() or "it is no JSON"
            raise UsageError(f"{self.option}{self.path}: {printable(why)}: {self.cure}") from None


Table = Csv | JsonArray


class Entry(Protocol):
    """What a source makes of a row."""

    @property
    def key(self) -> str:
        """What follows `<source>/` in the clip's id."""
        ...


T = TypeVar("T", bound=Entry)


class Listing(Generic[T]):
    """The entries of a table, each key once, in 8 bytes a row.

    `parse(cells)` makes an entry or raises RowError. Rows of one key become one entry by `merge`, where the last of
    them stands; without it all but the first are failures. Raises UsageError where no row at all can be parsed.
    """

    def __init__(
        self,
        source: str,
        table: Table,
        parse: Callable[[Mapping[str, Any]], T],
        merge: Callable[[T, T], T] | None = None,
    ) -> None:
        self.source, self.table, self.parse, self.merge = source, table, parse, merge
        hashes, first = array("Q"), ""
        for row, entry in self._parsed():
            if isinstance(entry, RowError):
                first = first or f"{table.unit} {row.place}: {entry}"
            else:
                hashes.append(hashed(entry.key))
        if not hashes:
            why = f"no row can be read: {first}" if first else "it has no row"
            raise UsageError(f"{table.option}{table.path}: {why}: {table.cure}")
        keys, times = np.unique(np.asarray(hashes), return_counts=True)
        self.repeated = dict(zip(keys[times > 1].tolist(), times[times > 1].tolist(), strict=True))

    def entries(self) -> Iterator[T | Failure]:
        """In order; a Failure for each row that cannot be used."""
        seen: dict[str, T] = {}  # of the keys that come more than once
        left = dict(self.repeated)
        for row, entry in self._parsed():
            if isinstance(entry, RowError):
                name = f"{self.source}/{self.table.path.name}:{row.place}"
                error = f"{self.table.unit} {row.place}: {entry}"
                yield Failure("source", "row_malformed", printable(name), error, raw=_raw(row))
                continue
            key = hashed(entry.key) if left else 0
            if key not in left:
                yield entry
            elif self.merge is not None:
                seen[entry.key] = self.merge(seen[entry.key], entry) if entry.key in seen else entry
                left[key] -= 1
                if not left[key]:
                    yield seen.pop(entry.key)
            elif entry.key not in seen:
                seen[entry.key] = entry
                yield entry
            else:
                error = f"{self.table.unit} {row.place}: an earlier one has this clip"
                yield Failure("source", "row_repeated", f"{self.source}/{entry.key}", error, raw=_raw(row))
        if self.merge is not None:
            yield from seen.values()  # of two keys with one hash

    def _parsed(self) -> Iterator[tuple[Row, T | RowError]]:
        for row in self.table.rows():
            try:
                if row.error:
                    raise RowError(row.error)
                yield row, self.parse(row.cells)
            except RowError as error:
                yield row, error


def _raw(row: Row) -> str:
    return printable(row.raw or canonical(row.cells))


def text(cells: Mapping[str, Any], column: str) -> str:
    """The text of a cell on one line. Raises RowError for one that is empty or no text."""
    value = cells.get(column)
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"{column} is {value!r}, no text")
    return " ".join(printable(value).split())


def texts(values: Iterable[Any]) -> tuple[str, ...]:
    """Those of the values that are texts, each on one line, once."""
    lines = (" ".join(printable(value).split()) for value in values if isinstance(value, str))
    return tuple(dict.fromkeys(line for line in lines if line))


def number(cells: Mapping[str, Any], column: str) -> float:
    """The seconds in a cell. Raises RowError for what is no number, negative or not finite."""
    try:
        value = float(cells[column])
    except (KeyError, TypeError, ValueError):
        value = -1.0
    if not 0 <= value < 1e9:
        raise RowError(f"{column} is {cells.get(column)!r}, no number of seconds, 0 or more")
    return value


def read_json(path: Path, cure: str, option: str = "") -> Any:
    """The whole of a small JSON file. Raises UsageError."""
    import json

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{option}{path}: {error.strerror}: {cure}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{option}{path}: {printable(str(error))}: {cure}") from None
