"""Converts whole columns of any frame to the lists of values that ``encode`` takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from ktframe.errors import SchemaError
from ktframe.formats.avro.json_text import from_default
from ktframe.formats.avro.types import KEY, LARGEST_PRECISION, VALUE, AvroField, AvroSchema, AvroType
from ktframe.formats.bodies import NO_DEFAULT
from ktframe.formats.dtypes import LARGEST_EXACT
from ktframe.formats.errors import RefusedError

_NS_PER = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_UNITS = {"millis": "ms", "micros": "us", "nanos": "ns"}


def values_of(array: Any, avro: AvroType, schema: AvroSchema, name: str) -> list[Any]:
    """Return the values of the Arrow array of column ``name``, with a ``RefusedError`` for each that does not fit.

    Raises
    ------
    SchemaError
        When a struct has a field that the schema lacks, or lacks one that the schema needs.
    """
    if array.null_count == len(array):
        return [None] * len(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if avro.kind == "union" and len(avro.value_branches) == 1:
        return values_of(array, avro.value_branches[0][1], schema, name)
    if avro.kind in {"record", "union"} and pa.types.is_struct(array.type):
        return _structs(array, avro, schema, name)
    if avro.kind in {"array", "map"} and _is_list(array.type):
        return _lists(array, avro, schema, name)
    values = _leaves(array, avro)
    if values is not None:
        return values
    unfit = RefusedError(f"{array.type}, but {avro.logical or avro.kind} is needed")
    return [unfit if is_valid else None for is_valid in array.is_valid().to_pylist()]


def default_of(field: AvroField, schema: AvroSchema, name: str) -> Any:
    """Return the value to write for a field without a column: its default, or null.

    Raises
    ------
    SchemaError
        When the field needs a column.
    """
    if field.default is not NO_DEFAULT:
        return from_default(field.type, field.default, schema)
    if field.type.kind == "null" or (field.type.kind == "union" and field.type.null_index is not None):
        return None
    message = f"column {name!r} is missing; the schema has no default for it, and it can't be null."
    raise SchemaError(message, "add it to the frame, or write under a schema that has a default for it.")


def check_known(names: list[str], known: list[str], where: str) -> None:
    """Raise SchemaError when a frame has a name that the schema lacks."""
    unknown = [repr(name) for name in names if name not in set(known)]
    if unknown:
        message = f"the schema has no {where} {', '.join(unknown)}."
        raise SchemaError(message, f"it has {', '.join(map(repr, known))}.")


def _structs(array: Any, avro: AvroType, schema: AvroSchema, name: str) -> list[Any]:
    is_union = avro.kind == "union"
    fields = (
        [AvroField(avro.labels[index], branch, None) for index, branch in avro.value_branches]
        if is_union
        else avro.fields
    )
    own = [field.name for field in array.type]
    check_known(own, [field.name for field in fields], f"field in {name!r} called")
    columns: dict[str, Any] = {}
    for field in fields:
        inner = f"{name}.{field.name}"
        if field.name in own:
            child = array.field(own.index(field.name))
            columns[field.name] = values_of(child, field.type, schema, inner)
        elif not is_union:
            columns[field.name] = [default_of(field, schema, inner)] * len(array)
    valid = array.is_valid().to_pylist()
    names = list(columns)
    rows = zip(*columns.values(), strict=True) if columns else iter([()] * len(array))
    return [
        dict(zip(names, row, strict=True)) if is_valid else None
        for is_valid, row in zip(valid, rows, strict=True)
    ]


def _is_list(dtype: Any) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(is_kind(dtype) for is_kind in kinds)


def _lists(array: Any, avro: AvroType, schema: AvroSchema, name: str) -> list[Any]:
    inner = avro.inner[0]
    if avro.kind == "map":
        fields = (AvroField(KEY, AvroType("string")), AvroField(VALUE, inner))
        inner = AvroType("record", name="entry", fields=fields)
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    items = values_of(array.values, inner, schema, name)
    ends = array.offsets.to_pylist()
    valid = array.is_valid().to_pylist()
    return [items[ends[at] : ends[at + 1]] if valid[at] else None for at in range(len(array))]


def _leaves(array: Any, avro: AvroType) -> list[Any] | None:
    dtype = array.type
    if avro.logical == "decimal":
        return _decimals(array, avro)
    if avro.logical and "timestamp" in avro.logical:
        return _moments(array, avro.logical) if pa.types.is_timestamp(dtype) else None
    if avro.logical == "date":
        return array.cast(pa.int32()).to_pylist() if pa.types.is_date32(dtype) else None
    if avro.logical and avro.logical.startswith("time"):
        return array.cast(pa.int64()).to_pylist() if dtype == pa.time64("ns") else None
    if avro.kind in {"float", "double"}:
        return _floats(array)
    kinds = ("string", "large_string", "string_view"), ("binary", "large_binary", "binary_view")
    is_kind: Callable[[Any], bool] | None = {
        "boolean": pa.types.is_boolean,
        "int": pa.types.is_integer,
        "long": pa.types.is_integer,
    }.get(avro.kind)
    is_text = avro.logical == "uuid" or avro.kind in {"string", "enum", "reference"}
    if is_kind is not None:
        is_right = is_kind(dtype)
    else:
        is_right = (
            avro.kind not in {"null", "array", "map", "record", "union"} and str(dtype) in kinds[not is_text]
        )
    return list(array.to_pylist()) if is_right else None


def _floats(array: Any) -> list[Any] | None:
    if pa.types.is_floating(array.type):
        return list(array.cast(pa.float64()).to_pylist())
    if not pa.types.is_integer(array.type):
        return None
    return [
        value
        if value is None
        else float(value)
        if abs(value) <= LARGEST_EXACT
        else RefusedError(f"{value} can't be held exactly by a float")
        for value in array.to_pylist()
    ]


def _decimals(array: Any, avro: AvroType) -> list[Any] | None:
    if pa.types.is_decimal(array.type):
        return list(array.to_pylist())
    if pa.types.is_integer(array.type) and array.type.bit_width <= 64:  # noqa: PLR2004
        return list(array.cast(pa.decimal128(20, 0)).to_pylist())
    is_text = "string" in str(array.type) and avro.precision > LARGEST_PRECISION
    return list(array.to_pylist()) if is_text else None


def _moments(array: Any, logical: str) -> list[Any] | None:
    if (array.type.tz is None) != logical.startswith("local"):
        return None
    unit = _UNITS[logical.rpartition("-")[2]]
    source, target = _NS_PER[array.type.unit], _NS_PER[unit]
    values: list[Any] = array.cast(pa.int64()).to_pylist()
    if source == target:
        return values
    if source > target:
        return [value if value is None else value * (source // target) for value in values]
    every = target // source
    unfit = RefusedError(f"not a whole number of {unit}")
    return [value if value is None else unfit if value % every else value // every for value in values]
