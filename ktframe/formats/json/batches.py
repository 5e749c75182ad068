"""Whole batches of JSON text to a frame in one call of Arrow, or None where that is not certain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from ktframe.formats.arrow import (
    _LARGEST_BLOCK_BYTES,
    _UNITS_PER_SECOND,
    NATIVE_ERRORS,
    WHITESPACE,
    _frame,
    _plan,
)
from ktframe.formats.dtypes import LARGEST_EXACT
from ktframe.formats.json.times import END_SECOND, FIRST_SECOND


def read_batch(payloads: Sequence[bytes], schema: pl.Schema) -> pl.DataFrame | None:
    """Return the rows of ``payloads`` if every one of them certainly is one object of ``schema``, else None."""
    plan = _plan(tuple(schema.items()))
    buffer = _one_object_a_line(payloads)
    if plan.parse_options is None or buffer is None or len(buffer) > _LARGEST_BLOCK_BYTES:
        return None
    try:
        buffer.decode()  # Arrow does not validate UTF-8
        table = pj.read_json(
            pa.BufferReader(buffer),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(buffer) + 1),
            parse_options=plan.parse_options,
        )
        if table.num_rows != len(payloads):
            return None
        table = table.cast(plan.target) if plan.is_cast else table
        if not all(_is_certain(leaf) for index in plan.checked for leaf in _leaves(table.column(index))):
            return None
        return _frame(table, plan)
    except NATIVE_ERRORS:
        return None


def _one_object_a_line(payloads: Sequence[bytes]) -> bytes | None:
    """Join with newlines, if those are all that is between objects: then n rows mean one object a payload.

    A newline inside an object can't stand between a closing and an opening brace (a comma must), nor in a string.
    """
    seams = len(payloads) - 1
    for strip in (False, True):
        buffer = b"\n".join([payload.strip(WHITESPACE) for payload in payloads] if strip else payloads)
        has_braces = buffer.startswith(b"{") and buffer.endswith(b"}")
        if has_braces and buffer.count(b"\n") == seams == buffer.count(b"}\n{"):
            return buffer
    return None


def _leaves(array: Any) -> Iterator[Any]:
    if pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _leaves(child)
    elif pa.types.is_list(array.type):
        yield from _leaves(pc.list_flatten(array))
    else:
        yield array


def _is_certain(leaf: Any) -> bool:
    """Tell whether no value of a leaf can be one that the record readers would refuse or read differently."""
    if pa.types.is_floating(leaf.type):
        # Below this no integer was rounded; NaN and the infinities, which Arrow reads, compare as False.
        return _is_all(pc.less(pc.abs(leaf), float(LARGEST_EXACT)))
    if pa.types.is_date(leaf.type):
        return _is_all(pc.greater_equal(leaf.cast(pa.int32()), FIRST_SECOND // 86_400))
    if not pa.types.is_timestamp(leaf.type):
        return True
    scale = _UNITS_PER_SECOND[leaf.type.unit]
    units = leaf.cast(pa.int64())
    # An offset may carry a time over Int64's end to the other one: a day's distance from both is certain.
    low = max(FIRST_SECOND * scale, -(2**63) + 86_400 * scale)
    high = min(END_SECOND * scale, 2**63 - 86_400 * scale)
    return _is_all(pc.and_(pc.greater_equal(units, low), pc.less(units, high)))


def _is_all(mask: Any) -> bool:
    return bool(pc.all(mask, min_count=0).as_py())
