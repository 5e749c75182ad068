"""Reads whole batches of JSON into a frame with Arrow, or returns None where a record might be read wrongly.

What a payload is, and why it is refused, is decided in ``records``; this is only faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread
from typing import Any, cast

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from ktframe.formats.arrow import NATIVE_ERRORS, arrow_type, frame_of
from ktframe.formats.dtypes import LARGEST_EXACT, as_instance, leaf_types, struct_fields
from ktframe.formats.json.refusals import WHITESPACE
from ktframe.formats.json.times import END_SECOND, FIRST_SECOND, UNITS_PER_SECOND

_LARGEST_BYTES = 2**30
_BLOCK_BYTES = 2**20
"""Blocks of this size are read side by side; what is smaller, on the thread that asks."""

_PARSED_AS: dict[type[pl.DataType], pa.DataType] = {
    # Arrow's JSON reader takes a missing offset for UTC and a date for a number of days; its casts do neither.
    pl.Date: pa.string(),
    pl.Datetime: pa.string(),
    # Parsed as float32 an overflow would be an infinity.
    pl.Float32: pa.float64(),
}

_NUMBERS_PARSED_AS: dict[type[pl.DataType], pa.DataType] = {
    **_PARSED_AS,
    pl.Date: pa.int32(),
    pl.Datetime: pa.int64(),
}
"""The same, where times are numbers."""

_LOOKED_AT = 3
"""In so many payloads of a batch it is looked whether times are text or numbers."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How Arrow reads a schema: the types that it parses, those to cast them to, and the columns to check after that."""

    target: pa.Schema
    parse_options: pj.ParseOptions | None
    is_cast: bool
    checked: tuple[int, ...]


class BegunPayloads(list[bytes]):
    """Payloads that a thread of its own has begun to look at and to parse, mostly without holding the interpreter's lock.

    None of them is None. ``joined`` are the payloads joined with newlines; Arrow reads them as ``plan`` says.
    """

    def __init__(self, payloads: Sequence[bytes], joined: bytes, plan: _Plan) -> None:
        super().__init__(payloads)
        self.plan = plan
        self._joined = joined
        self._text: Future[bytes | None] = Future()
        self._table: Future[Any] = Future()
        # Not a daemon: Python waits for it at its end, when Arrow can't be left in the middle of its work.
        Thread(target=self._parse, name="ktframe-json", daemon=False).start()

    def __contains__(self, payload: object) -> bool:
        # Whether there are tombstones is asked often.
        return payload is not None and super().__contains__(payload)

    def _parse(self) -> None:
        try:
            text = _proven(self, self._joined)
            self._joined = b""
            self._text.set_result(text)
            # One thread: the other core is busy with what is done meanwhile.
            self._table.set_result(text and _parsed(self, text, self.plan, is_shared=True))
        except BaseException as error:  # noqa: BLE001 - it is raised where the text or the table is asked for
            for future in (self._text, self._table):
                if not future.done():
                    future.set_exception(error)

    @property
    def text(self) -> bytes | None:
        """What ``_text_of`` returns of them, when it is known."""
        return self._text.result()

    def table(self) -> Any:
        """Return the table when it is there, or raise what kept Arrow from reading it; only if there is a ``text``."""
        return self._table.result()


def begun(
    payloads: Sequence[bytes | None], schema: pl.Schema, declared: frozenset[str]
) -> Sequence[bytes | None]:
    """Return ``payloads``, of which Arrow parses a copy meanwhile if ``read_batch`` would ask it for these columns."""
    values = cast(Sequence[bytes], payloads)
    try:
        joined = b"\n".join(values)
    except TypeError:  # there are tombstones among them
        return payloads
    plan = _plan_of(values, schema, declared)
    if plan.parse_options is None:
        return payloads
    try:
        return BegunPayloads(values, joined, plan)
    except RuntimeError:  # no thread is to be had
        return payloads


def read_batch(payloads: Sequence[bytes], schema: pl.Schema, declared: frozenset[str]) -> pl.DataFrame | None:
    """Return the rows of ``payloads`` if each of them certainly is one object that fits ``schema``, else None.

    Times in the ``declared`` columns may be numbers, in others they are text.
    """
    plan, text = _plan_of(payloads, schema, declared), _text_of(payloads)
    if plan.parse_options is None or text is None:
        return None
    try:
        is_begun = isinstance(payloads, BegunPayloads) and payloads.plan is plan
        table = cast(BegunPayloads, payloads).table() if is_begun else _parsed(payloads, text, plan)
        if table.num_rows != len(payloads):
            return None
        table = table.cast(plan.target) if plan.is_cast else table
        if not all(_is_certain(leaf) for index in plan.checked for leaf in _leaves(table.column(index))):
            return None
        return frame_of(table.columns, schema, table.num_rows)
    except NATIVE_ERRORS:
        return None


def _plan_of(payloads: Sequence[bytes], schema: pl.Schema, declared: frozenset[str]) -> _Plan:
    columns = tuple(schema.items())
    times = tuple((name, dtype) for name, dtype in _time_columns(columns) if name in declared)
    return _plan(columns, _numbered(payloads, times))


def _parsed(payloads: Sequence[bytes], text: bytes, plan: _Plan, *, is_shared: bool = False) -> Any:
    """Return what Arrow reads from the ``text`` of ``payloads``; on one thread if the cores are shared."""
    options = _blocks(payloads, text)
    options.use_threads &= not is_shared
    # From malloc, which gives back what is free: of Arrow's own heaps each thread keeps one, and some 20 MB in it.
    pool = pa.system_memory_pool()
    return pj.read_json(
        pa.BufferReader(text), read_options=options, parse_options=plan.parse_options, memory_pool=pool
    )


def _blocks(payloads: Sequence[bytes], buffer: bytes) -> pj.ReadOptions:
    if len(buffer) <= 2 * _BLOCK_BYTES:
        return pj.ReadOptions(use_threads=False, block_size=len(buffer) + 1)
    # An object may begin in one block and end in the next one, but not span a whole block.
    least = 2 * max(map(len, payloads)) if _has_long_lines(buffer) else 0
    return pj.ReadOptions(use_threads=True, block_size=max(_BLOCK_BYTES, least))


def _has_long_lines(buffer: bytes) -> bool:
    """Say whether a line may be longer than half a block; it is not if each quarter of a block has an end of a line."""
    step = max(1, _BLOCK_BYTES // 4)
    return any(
        buffer.find(b"\n", start, start + step) < 0 for start in range(0, len(buffer) - step + 1, step)
    )


def _text_of(payloads: Sequence[bytes]) -> bytes | None:
    """Return the payloads joined with newlines if Arrow may read that, and n rows of it mean one object a payload; else None.

    The latter is so if there is no newline in a payload, and each begins and ends with a brace.
    """
    if isinstance(payloads, BegunPayloads):
        return payloads.text
    return _proven(payloads, b"\n".join(payloads))


def _proven(payloads: Sequence[bytes], joined: bytes) -> bytes | None:
    text = _one_object_a_line(payloads, joined)
    if text is None or len(text) > _LARGEST_BYTES:
        return None
    try:
        if not text.isascii():
            text.decode()  # Arrow does not validate UTF-8
    except UnicodeDecodeError:
        return None
    return text


def _one_object_a_line(payloads: Sequence[bytes], joined: bytes) -> bytes | None:
    for strip in (False, True):
        buffer = b"\n".join([payload.strip(WHITESPACE) for payload in payloads]) if strip else joined
        has_braces = buffer.startswith(b"{") and buffer.endswith(b"}")
        if has_braces and _are_between_braces(buffer, len(payloads) - 1):
            return buffer
    return None


def _are_between_braces(buffer: bytes, newlines: int) -> bool:
    """Say whether there are so many newlines, each of them behind a closing and before an opening brace."""
    # To count them with the braces takes bytes.count() twice as long.
    characters = pl.Series(pa.Array.from_buffers(pa.uint8(), len(buffer), [None, pa.py_buffer(buffer)]))
    at = (characters == ord("\n")).arg_true()
    if len(at) != newlines:
        return False
    before, behind = characters.gather(at - 1), characters.gather(at + 1)
    return bool((before == ord("}")).all() and (behind == ord("{")).all())


def _leaves(array: Any) -> Iterator[Any]:
    if pa.types.is_struct(array.type):
        for child in array.flatten():
            yield from _leaves(child)
    elif pa.types.is_list(array.type):
        yield from _leaves(pc.list_flatten(array))
    else:
        yield array


def _is_certain(leaf: Any) -> bool:
    """Say whether ``records`` would accept every value of a leaf and read it in the same way."""
    if pa.types.is_floating(leaf.type):
        # Below this no integer was rounded; NaN and the infinities, which Arrow reads, are not finite.
        is_finite = bool(pc.all(pc.is_finite(leaf), min_count=0).as_py())
        return is_finite and _is_between(leaf, -LARGEST_EXACT + 1, LARGEST_EXACT)
    if pa.types.is_date(leaf.type):
        return _is_between(leaf.cast(pa.int32()), FIRST_SECOND // 86_400, END_SECOND // 86_400)
    if not pa.types.is_timestamp(leaf.type):
        return True
    scale = UNITS_PER_SECOND[leaf.type.unit]
    # An offset may carry a time over Int64's end to the other one: a day's distance from both is certain.
    low = max(FIRST_SECOND * scale, -(2**63) + 86_400 * scale)
    high = min(END_SECOND * scale, 2**63 - 86_400 * scale)
    return _is_between(leaf.cast(pa.int64()), low, high)


def _is_between(numbers: Any, low: int, high: int) -> bool:
    """Say whether all ``numbers`` are ``low`` or more, and below ``high``."""
    # Their bounds are compared, not they with a number: for that pyarrow imports pandas, which takes as long as a load.
    least, greatest = pc.min_max(numbers).as_py().values()
    return least is None or (low <= least and greatest < high)


@lru_cache(maxsize=64)
def _time_columns(columns: tuple[tuple[str, pl.DataType], ...]) -> tuple[tuple[str, pl.DataType], ...]:
    """Return the columns that hold dates or times, also inside of lists and structs."""
    return tuple((name, dtype) for name, dtype in columns if leaf_types(dtype) & {pl.Date, pl.Datetime})


def _numbered(payloads: Sequence[bytes], columns: tuple[tuple[str, pl.DataType], ...]) -> frozenset[str]:
    """Return those of ``columns`` in which some payloads have numbers for times; the others are read as text."""
    if not columns or not payloads:
        return frozenset()
    found: set[str] = set()
    for payload in payloads[:: max(1, len(payloads) // _LOOKED_AT)]:
        try:
            record = orjson.loads(payload)
        except ValueError:
            continue
        if type(record) is dict:
            found |= {name for name, dtype in columns if _has_number(record.get(name), dtype)}
    return frozenset(found)


def _has_number(value: Any, dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List):
        return type(value) is list and any(_has_number(item, as_instance(dtype.inner)) for item in value)
    if isinstance(dtype, pl.Struct):
        return type(value) is dict and any(
            _has_number(value.get(name), inner) for name, inner in struct_fields(dtype).items()
        )
    return isinstance(dtype, pl.Date | pl.Datetime) and type(value) is int


@lru_cache(maxsize=64)
def _plan(columns: tuple[tuple[str, pl.DataType], ...], numbered: frozenset[str]) -> _Plan:
    """Return how ``columns`` are read, of which ``numbered`` have numbers for times."""
    target = pa.schema([(name, arrow_type(dtype)) for name, dtype in columns])
    leaves = [leaf_types(dtype) for _, dtype in columns]
    parsed = None
    # Arrow has no cast from text to a time of day, and lets decimals overflow (1e36 with two digits after the point).
    if not any(types & {pl.Decimal, pl.Time} for types in leaves):
        parsed = pa.schema(
            [
                (name, _parsed_type(dtype, _NUMBERS_PARSED_AS if name in numbered else _PARSED_AS))
                for name, dtype in columns
            ]
        )
    options = parsed and pj.ParseOptions(explicit_schema=parsed, unexpected_field_behavior="error")
    uncertain = {pl.Float32, pl.Float64, pl.Date, pl.Datetime}
    checked = tuple(at for at, types in enumerate(leaves) if types & uncertain)
    return _Plan(target, options, parsed != target, checked)


def _parsed_type(dtype: pl.DataType, parsed_as: Mapping[type[pl.DataType], pa.DataType]) -> pa.DataType:
    """Return the type as which Arrow's JSON reader parses a column of ``dtype``, before a cast."""
    if isinstance(dtype, pl.List):
        return pa.list_(_parsed_type(as_instance(dtype.inner), parsed_as))
    if isinstance(dtype, pl.Struct):
        fields = struct_fields(dtype).items()
        return pa.struct([(name, _parsed_type(inner, parsed_as)) for name, inner in fields])
    return parsed_as.get(type(dtype)) or arrow_type(dtype)
