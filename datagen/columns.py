"""Records and polars tables → arrow tables, a column at a time.

Records by way of polars: whatever pyarrow itself is given Python objects for, it imports pandas first, a quarter of a
second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import accumulate, chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from datagen.records import canonical, schema

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

__all__ = ["arrow", "table_of"]


def table_of(record: type, rows: Sequence[Any]) -> pa.Table:
    """`rows`, all of type `record`, under its schema; mappings as canonical JSON, columns that they lack as nulls.

    Raises ValueError for text that is no Unicode.
    """
    import pyarrow as pa

    kind = schema(record)
    held = {field.name for field in fields(record)}
    columns = [
        _array(list(map(attrgetter(field.name), rows)), field.type)
        if field.name in held
        else pa.nulls(len(rows), field.type)
        for field in kind
    ]
    return pa.Table.from_arrays(columns, schema=kind)


def arrow(table: pl.DataFrame, kind: pa.Schema) -> pa.Table:
    """`table` under the schema `kind`, which has its columns in their order."""
    import pyarrow as pa

    columns = [
        pa.chunked_array([_narrow(chunk, field.type) for chunk in column.chunks], field.type)
        for column, field in zip(table.to_arrow().columns, kind, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=kind)


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """`values` as one array of type `kind`: a list of a record's cells, or what stands in such cells."""
    import polars as pl
    import pyarrow as pa

    if pa.types.is_list(kind):
        ends = pl.Series([0, *accumulate(map(len, values))], dtype=pl.Int32).to_arrow()
        return pa.ListArray.from_arrays(ends, _array(list(chain.from_iterable(values)), kind.value_type), type=kind)
    if pa.types.is_struct(kind):
        parts = [_array(list(map(attrgetter(field.name), values)), field.type) for field in kind]
        return pa.StructArray.from_arrays(parts, fields=list(kind))
    types = {pa.string(): pl.String, pa.float64(): pl.Float64, pa.int32(): pl.Int32, pa.bool_(): pl.Boolean}
    if values and isinstance(values[0], Mapping):
        values = list(map(canonical, values))
    return _narrow(pl.Series(values, dtype=types[kind]).to_arrow(), kind)


def _narrow(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """`array` in type `kind`. Where texts and lists end is told in 64 bits by polars, and in 32 in our files.

    `Array.cast` knows that too, but imports pyarrow.compute first, which writes its docstrings for 40 ms.
    """
    import numpy as np
    import pyarrow as pa

    if array.type == kind:
        return array
    texts = array.type == pa.large_string() and kind == pa.string()
    if texts or (pa.types.is_large_list(array.type) and pa.types.is_list(kind)):
        valid, wide, *data = array.buffers()
        ends = np.frombuffer(wide, np.int64)[: array.offset + len(array) + 1]
        if ends[-1] < 2**31:
            buffers = [valid, pa.py_buffer(ends.astype(np.int32)), *data[:texts]]
            parts = [] if texts else [_narrow(array.values, kind.value_type)]
            return pa.Array.from_buffers(kind, len(array), buffers, array.null_count, array.offset, parts)
    return array.cast(kind)
