"""Converts the arrays that arrow-avro makes in ``batches`` to the arrays that Polars columns are built from.

A converter gets an array and a mask of the slots that count (None: all that are not null). It raises
UncertainBatchError where a value may be one that the strict decoder refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ktframe.formats.arrow import arrow_type
from ktframe.formats.avro.types import DAY_NS, TIME_UNIT_NS, AvroType, dtype_of
from ktframe.formats.errors import UncertainBatchError

Converter: TypeAlias = Callable[[Any, Any], Any]
_EXACT = Context(prec=100)
_UUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def converter(avro: AvroType) -> Converter:
    """Return the converter of the arrays of a type."""
    dtype = arrow_type(dtype_of(avro))
    convert = _converter(avro, dtype)

    def checked(array: Any, valid: Any) -> Any:
        converted = convert(array, valid)
        if converted.type != dtype or converted.offset:
            message = f"{converted.type} for {dtype}"
            raise UncertainBatchError(message)
        return converted

    return checked


def _converter(avro: AvroType, dtype: Any) -> Converter:  # noqa: PLR0911 - one for each kind
    if avro.kind == "union":
        return _union(avro, dtype)
    if avro.kind == "record":
        return _record([converter(field.type) for field in avro.fields], dtype)
    if avro.kind == "array":
        return _list(converter(avro.inner[0]), dtype)
    if avro.kind == "map":
        entry = _record([_same, converter(avro.inner[0])], dtype.value_type)
        return _list(entry, dtype)
    if avro.kind == "enum":
        return _enum(avro.symbols)
    if avro.logical in TIME_UNIT_NS:
        return _time(TIME_UNIT_NS[avro.logical])
    if avro.logical == "uuid":
        return _uuid_of_bytes if avro.kind == "fixed" else _uuid_of_text
    if avro.logical == "decimal":
        return _decimal(avro)
    if avro.kind in {"int", "long"}:
        return lambda array, _: array.view(dtype)
    return {"boolean": _boolean, "fixed": _fixed}.get(avro.kind, _same)


def _same(array: Any, _: Any) -> Any:
    return array


def _boolean(array: Any, _: Any) -> Any:
    numbers = array.view(pa.uint8())
    _check_range(numbers, 1)
    return numbers.cast(pa.bool_())


def _fixed(array: Any, _: Any) -> Any:
    return array.cast(pa.binary())


def _enum(symbols: tuple[str, ...]) -> Converter:
    texts = pa.array(symbols, pa.string())

    def convert(array: Any, _: Any) -> Any:
        _check_range(array, len(symbols) - 1)
        return texts.take(array)

    return convert


def _time(unit_ns: int) -> Converter:
    last = DAY_NS // unit_ns - 1

    def convert(array: Any, _: Any) -> Any:
        _check_range(array, last)
        return pc.multiply(array.cast(pa.int64()), unit_ns).view(pa.time64("ns"))

    return convert


def _decimal(avro: AvroType) -> Converter:
    last = 10**avro.precision - 1

    def convert(array: Any, _: Any) -> Any:
        # Not array.validate(full=True): it lets the smallest 128-bit number pass as one of few digits.
        for value in pc.min_max(array).as_py().values():
            if value is not None and abs(int(value.scaleb(avro.scale, _EXACT))) > last:
                message = "more digits than its precision"
                raise UncertainBatchError(message)
        return array

    return convert


def _uuid_of_text(array: Any, _: Any) -> Any:
    # The length too, because $ also matches before a newline at the end.
    matches = pc.and_(pc.match_substring_regex(array, _UUID), pc.equal(pc.binary_length(array), 36))
    if not pc.all(matches, min_count=0).as_py():
        message = "not a UUID"
        raise UncertainBatchError(message)
    return pc.ascii_lower(array)


def _uuid_of_bytes(array: Any, _: Any) -> Any:
    digits = pl.Series(pl.from_arrow(array.cast(pa.binary()))).bin.encode("hex").to_frame("hex")
    parts = [
        pl.col("hex").str.slice(start, size) for start, size in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))
    ]
    return digits.select(pl.concat_str(parts, separator="-")).to_series().to_arrow().cast(pa.string())


def _check_range(array: Any, last: int) -> None:
    extent = pc.min_max(array).as_py()
    if extent["min"] is not None and not 0 <= extent["min"] <= extent["max"] <= last:
        message = f"{extent} where 0 to {last} are allowed"
        raise UncertainBatchError(message)


def _list(convert: Converter, dtype: Any) -> Converter:
    def convert_list(array: Any, _: Any) -> Any:
        _check_whole(array)
        return pa.Array.from_buffers(
            dtype, len(array), array.buffers()[:2], children=[convert(array.values, None)]
        )

    return convert_list


def _record(converters: list[Converter], dtype: Any) -> Converter:
    def convert_record(array: Any, _: Any) -> Any:
        _check_whole(array)
        valid = array.is_valid() if array.null_count else None
        children = [
            convert(_child(array, at, has_nulls=valid is not None), valid)
            for at, convert in enumerate(converters)
        ]
        return pa.Array.from_buffers(dtype, len(array), array.buffers()[:1], children=children)

    return convert_record


def _child(array: Any, at: int, *, has_nulls: bool) -> Any:
    """Return a child of a struct, null wherever the struct is: below a null there may be any value."""
    child = array.field(at)
    if not has_nulls or pa.types.is_union(child.type):  # unions have no nulls of their own
        return child
    return pc.struct_field(array, [at])


def _union(avro: AvroType, dtype: Any) -> Converter:
    branches = [(index, converter(branch)) for index, branch in avro.value_branches]

    def convert_union(array: Any, valid: Any) -> Any:
        _check_whole(array)
        codes = array.type_codes if valid is None else pc.if_else(valid, array.type_codes, None)
        _check_range(codes, len(avro.inner) - 1)  # the types after these were added by ``batches``
        children = [convert(_branch(array, codes, index), None) for index, convert in branches]
        if not children:
            return pa.nulls(len(array))
        if len(children) == 1:
            return children[0]
        is_null = pc.fill_null(
            pc.equal(codes, -1 if avro.null_index is None else avro.null_index), fill_value=True
        )
        return pa.StructArray.from_arrays(children, fields=list(dtype), mask=is_null)

    return convert_union


def _branch(array: Any, codes: Any, index: int) -> Any:
    """Return the values of one branch of a union, null where the value is of another branch."""
    at = pc.if_else(pc.equal(codes, index), array.offsets, None)
    return pc.struct_field(array.field(index).take(at), [0])


def _check_whole(array: Any) -> None:
    if array.offset:
        message = "an array with an offset"
        raise UncertainBatchError(message)
