"""JSON batches against an oracle that takes one record after the other through ``json.loads``.

The oracle below is a second, naive implementation of the rules in ``JsonFormat``'s docstring; it shares no code.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given
from support.examples import examples

from ktframe.formats.base import Decoded
from ktframe.formats.json.format import JsonFormat

Batch = list[bytes]
Found = list[tuple[int, Any]]

pytestmark = pytest.mark.usefixtures("few_as_many")

EMPTY = pl.Schema()
EXACT = frozenset({"id"})
FORMAT = JsonFormat(exact_fields=EXACT)

# ---------------------------------------------------------------------------------------------- payloads

NAMES = ["a", "b", "c", "d", "id", "", "a.b", "é", "\\u0061", "column_0", "0", "\\u0000a", "\\u0001a"]
SMALL = ["0", "1", "-7", "42", "-0", "9007199254740992"]
WIDE = ["9007199254740993", "-9007199254740993", "9223372036854775807", "1152921504606846977"]
HUGE = [
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551617",
    "-9223372036854775809",
    "9" * 5000,
]
REAL = [
    "1.0",
    "0.1",
    "-2.5e3",
    "1E5",
    "1e-400",
    "0.30000000000000004",
    "-0.0",
    "1e17",
    "1.7976931348623157e308",
]
TEXT = [
    '""',
    '"x"',
    '"1"',
    '"é☃"',
    '"a\\nb"',
    '"\\u0000"',
    '"\\ud83d\\ude00"',
    '"NaN"',
    '"}\\n{"',
    '"' + "y" * 3000 + '"',
]
CONSTANTS = ["NaN", "Infinity", "-Infinity"]
BAD = [
    *CONSTANTS,
    "-NaN",
    "NaN1",
    "1e400",
    "01",
    "1.",
    ".5",
    "+1",
    '"\\ud800"',
    '"\t"',
    "'x'",
    "tru",
    "nul",
    "Inf",
]
DEEP = ["[" * depth + "]" * depth for depth in (62, 63, 64, 65, 400, 2000)]

POISON = [
    b"", b" ", b"\n", b"\x00\x00\x00\x00\x11rest", b"\x00\x00", b"null", b"5", b"[]", b'"x"', b"{", b"}", b"{}}", b"{]",
    b'{"a":7}\n{"a":8}', b'{"a":7}{"a":8}', b'{"a":', b'{"b":1}}', b'{"a":{"b":2}}{"a":{"b":3}}', b"}\n{", b'{"a":1}\n',
    b'\xef\xbb\xbf{"a":1}', b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"\xff":1}', b'{"a":1}\x00', b'{"a":1}\x0c', b'{"a":1,}',
    b'{"\\ud800":1}', b"{a:1}", b"{'a':1}", b'{"a" 1}', b'{"a":"x\ny"}', b'{"a":1} x', b'{"a\\u0000":1}', b'{"a":{"\\u0000b":2}}', b'\r{"a":1}\r', b'{"a":1}/**/',
]  # fmt: skip

scalars = {
    "small": st.sampled_from(SMALL),
    "wide": st.sampled_from(SMALL + WIDE),
    "real": st.sampled_from(REAL),
    "number": st.sampled_from(SMALL + REAL),
    "any number": st.sampled_from([*SMALL, *WIDE, *REAL, "NaN", "-Infinity"]),
    "integer": st.sampled_from([*SMALL, *WIDE, *HUGE]),
    "real or constant": st.sampled_from([*REAL, *CONSTANTS]),
    "text": st.sampled_from(TEXT),
    "truth": st.sampled_from(["true", "false"]),
    "null": st.just("null"),
}
anything = st.one_of(
    *scalars.values(),
    st.sampled_from(HUGE),
    st.sampled_from(BAD),
    st.sampled_from(DEEP),
    st.sampled_from(
        ["[]", "{}", "[null]", "[{}]", "[[]]", '{"a":null}', "[1,2.5]", '[1,"x"]', '{"a":1,"a":"x"}']
    ),
    st.sampled_from(
        [
            '{"b":1,"c":[{"a":1}]}',
            '[{"\\u0000":1}]',
            '{"c":[{"a":1.5,"d":null}]}',
            '[{"b":1},{"c":"x"}]',
            "[9007199254740993]",
        ]
    ),
)


def _list_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values | st.just("null"), max_size=3).map(lambda items: f"[{', '.join(items)}]")


def _object_of(values: st.SearchStrategy[str], names: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(st.sampled_from(names), values), max_size=3).map(_object)


def _object(pairs: list[tuple[str, str]], space: str = "") -> str:
    return "{" + ",".join(f'{space}"{name}":{space}{value}' for name, value in pairs) + space + "}"


shapes = st.sampled_from(
    [
        *scalars.values(),
        *(_list_of(scalars[kind]) for kind in ("small", "number", "text")),
        *(_object_of(scalars[kind], ["x", "y", ""]) for kind in ("small", "real", "wide")),
        _list_of(_object_of(scalars["any number"], ["x", "y"])),
        _list_of(scalars["small"] | scalars["text"]),
    ]
)


@st.composite
def sequences(draw: st.DrawFn, count: int) -> list[Batch]:
    """Batches of a topic whose records mostly have one shape."""
    shape = {name: draw(shapes) for name in draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True))}
    oddity = draw(st.integers(0, 3))
    batches = [draw(_batches(shape, oddity))]
    for _ in range(count - 1):
        if shape and oddity > 1:  # what was regular drifts
            shape[draw(st.sampled_from(sorted(shape)))] = draw(shapes)
        batches.append(draw(_batches(shape, oddity)))
    return batches


@st.composite
def _batches(draw: st.DrawFn, shape: dict[str, st.SearchStrategy[str]], oddity: int) -> Batch:
    batch = []
    for odd in draw(st.lists(st.integers(0, 12), min_size=0, max_size=8)):
        if oddity and odd == 0:
            batch.append(draw(st.sampled_from(POISON)))
            continue
        pairs = [(name, draw(values)) for name, values in shape.items()]
        if oddity > 1 and odd == 1:
            pairs.append((draw(st.sampled_from(NAMES)), draw(anything)))
        space = draw(st.sampled_from(["\n", "\r\n ", " "])) if oddity > 2 and odd == 2 else ""
        payload = _object(pairs, space).encode()
        if oddity > 2 and odd == 3:
            at = draw(st.integers(0, len(payload)))
            cut = [payload[:at], payload[at:]]
            batch += (
                cut
                if draw(st.booleans())
                else [payload[:at] + bytes([draw(st.integers(0, 255))]) + payload[at:]]
            )
            continue
        batch.append(b" \n" + payload + b"\r\n" if odd == 4 else payload)
    return batch


# ------------------------------------------------------------------------------------------------ oracle


def _parse_real(digits: str) -> float:
    if math.isinf(float(digits)):
        raise ValueError(digits)
    return float(digits)


def _parse_integer(digits: str) -> int:
    if math.isinf(float(digits)):
        raise ValueError(digits)
    return int(digits)


def _is_sound(value: Any, depth: int = 1) -> bool:
    """Tell whether Python read something that RFC 8259, the limit on depth, or the rule on names rules out."""
    if isinstance(value, str):
        return not any(0xD800 <= ord(letter) < 0xE000 for letter in value)
    if isinstance(value, dict):
        return depth <= 64 and all(
            _is_sound(name) and "\0" not in name and _is_sound(item, depth + 1)
            for name, item in value.items()
        )
    return not isinstance(value, list) or (depth <= 64 and all(_is_sound(item, depth + 1) for item in value))


def _parsed(payload: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(payload.decode(), parse_float=_parse_real, parse_int=_parse_integer)
    except (ValueError, RecursionError):
        return None
    is_row = isinstance(value, dict) and _is_sound(value)
    return value if is_row and not any(name.startswith("\x01") for name in value) else None


def _wanted(known: Any, found: Found, *, is_exact: bool = False) -> Any:
    """Return the dtype of a column from the one known and all (record, value) pairs that are not null."""
    numbers = [(at, value) for at, value in found if type(value) in {int, float}]
    wide = {at for at, value in numbers if isinstance(value, int) and abs(value) > 2**53}
    real = {at for at, value in numbers if isinstance(value, float)}
    if known == pl.Null:
        return _commonest(found, [at for at, _ in numbers], wide, real, is_exact=is_exact)
    if known == pl.Int64 and real and not wide and not is_exact:
        return pl.Float64()
    if isinstance(known, pl.List):
        inner = [
            (at, item) for at, value in found if isinstance(value, list) for item in value if item is not None
        ]
        return pl.List(_wanted(known.inner, inner))
    if isinstance(known, pl.Struct):
        objects = [(at, value) for at, value in found if isinstance(value, dict)]
        return pl.Struct(_wanted_fields({field.name: field.dtype for field in known.fields}, objects))
    return known


def _commonest(found: Found, numbers: list[int], wide: set[int], real: set[int], *, is_exact: bool) -> Any:
    integers = [value for _, value in found if type(value) is int]
    if is_exact:
        numbers = [at for at, value in found if type(value) is int]
    votes: dict[str, set[int]] = {}
    has_objects = any(isinstance(value, dict) for _, value in found)
    for at, value in found:
        if value == [] and has_objects:
            continue
        kind = type(value).__name__
        if kind not in {"int", "float"}:
            votes.setdefault(kind, set()).add(at)
        elif at in numbers and (kind == "int" or not is_exact):
            votes.setdefault("number", set()).add(at)
    if is_exact:
        votes = {kind: at for kind, at in votes.items() if kind in {"number", "str", "bool"}}
    most = max((len(at) for at in votes.values()), default=0)
    winner = next((kind for kind, at in votes.items() if len(at) == most), None)
    if winner == "number":
        is_integer = is_exact or not real or len(wide) > len(real)
        return _wanted_integer(integers) if is_integer else pl.Float64()
    if winner == "list":
        return _wanted(pl.List(pl.Null()), found)
    if winner == "dict":
        return _wanted(pl.Struct([]), found)
    return {"str": pl.String(), "bool": pl.Boolean(), None: pl.Null()}[winner]


def _wanted_integer(values: list[int]) -> pl.DataType:
    large = [value for value in values if not -(2**63) <= value < 2**63 and abs(value) < 10**38]
    if not large:
        return pl.Int64()
    is_unsigned = min(values) >= 0 and max(large) < 2**64
    return pl.UInt64() if is_unsigned else pl.Decimal(38, 0)


def _wanted_fields(
    known: dict[str, Any], objects: Found, exact: frozenset[str] = frozenset()
) -> dict[str, Any]:
    names = list(known)
    names += [name for _, value in objects for name in value if name not in known]
    wanted = {}
    for name in names:
        found = [(at, value[name]) for at, value in objects if value.get(name) is not None]
        wanted[name] = _wanted(known.get(name, pl.Null()), found, is_exact=name in exact)
    return wanted


_RANGES = {
    pl.Int64: (-(2**63), 2**63 - 1),
    pl.UInt64: (0, 2**64 - 1),
    pl.Decimal: (1 - 10**38, 10**38 - 1),
}


def _fits(value: Any, dtype: Any) -> bool:
    if value is None:
        return True
    if isinstance(dtype, pl.List):
        return isinstance(value, list) and all(_fits(item, dtype.inner) for item in value)
    if isinstance(dtype, pl.Struct):
        fields = {field.name: field.dtype for field in dtype.fields}
        return value == [] or (
            isinstance(value, dict)
            and all(name in fields and _fits(item, fields[name]) for name, item in value.items())
        )
    if dtype == pl.Float64:
        return isinstance(value, float) or (type(value) is int and abs(value) <= 2**53)
    if type(dtype) in _RANGES:
        low, high = _RANGES[type(dtype)]
        return type(value) is int and low <= value <= high
    return {pl.String: str, pl.Boolean: bool}.get(type(dtype)) is type(value)


def _as_stored(value: Any, dtype: Any) -> Any:
    """Return what Polars gives back for an accepted value: fields that are absent are None."""
    if value is None:
        return None
    if isinstance(dtype, pl.List):
        return [_as_stored(item, dtype.inner) for item in value]
    if isinstance(dtype, pl.Struct):
        value = value or {}
        return {field.name: _as_stored(value.get(field.name), field.dtype) for field in dtype.fields}
    if isinstance(dtype, pl.Decimal):
        return Decimal(value)
    return float(value) if dtype == pl.Float64 else value


def _with_nan(value: Any) -> Any:
    """Return a value with text in the place of NaN, which equals nothing."""
    if isinstance(value, dict):
        return {name: _with_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return "not a number" if value != value else value  # noqa: PLR0124


def _oracle(batch: Batch, known: pl.Schema) -> tuple[list[int], list[int], pl.Schema, list[dict[str, Any]]]:
    """Return accepted, refused as malformed, the schema and the rows."""
    parsed = [_parsed(payload) for payload in batch]
    objects = [(at, value) for at, value in enumerate(parsed) if value is not None]
    first = pl.Struct(_wanted_fields(dict(known), objects, EXACT))
    accepted = [(at, value) for at, value in objects if _fits(value, first)]
    schema = _wanted_fields(dict(known), accepted, EXACT)
    rows = [_as_stored(value, pl.Struct(schema)) for _, value in accepted]
    malformed = [at for at, value in enumerate(parsed) if value is None]
    return [at for at, _ in accepted], malformed, pl.Schema(schema), rows


def _widened_to_float(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [name for name in old if name in new and _became_float(old[name], new[name])]


def _became_float(old: Any, new: Any) -> bool:
    if isinstance(old, pl.List) and isinstance(new, pl.List):
        return _became_float(old.inner, new.inner)
    if isinstance(old, pl.Struct) and isinstance(new, pl.Struct):
        fields = {field.name: field.dtype for field in new.fields}
        return any(
            field.name in fields and _became_float(field.dtype, fields[field.name]) for field in old.fields
        )
    return bool(old == pl.Int64 and new == pl.Float64)


# ------------------------------------------------------------------------------------------------- tests


def _assert_once_each(decoded: Decoded, batch: Batch) -> None:
    assert decoded.frame.height == len(decoded.accepted)
    assert decoded.frame.schema == decoded.schema
    assert sorted([*decoded.accepted, *(each.index for each in decoded.refused)]) == list(range(len(batch)))
    assert list(decoded.accepted) == sorted(decoded.accepted)
    assert all(each.reason for each in decoded.refused)


def _assert_same(left: Decoded, right: Decoded) -> None:
    assert left.schema == right.schema
    assert list(left.accepted) == list(right.accepted)
    assert [each.index for each in left.refused] == [each.index for each in right.refused]
    assert left.frame.equals(right.frame)


@pytest.mark.slow
@examples(10)
@given(sequences(2))
def test_a_batch_equals_its_records_one_by_one(batches: list[Batch]) -> None:
    """Acceptance, schema and values of batches equal those of an oracle on json.loads, record by record as well."""
    known = pl.Schema()
    for batch in batches:
        decoded = FORMAT.decode(batch, known)
        _assert_once_each(decoded, batch)
        accepted, malformed, schema, rows = _oracle(batch, known)
        assert list(decoded.accepted) == accepted
        assert [each.index for each in decoded.refused if not each.is_conflict] == malformed
        assert decoded.schema == schema
        assert _with_nan(decoded.frame.to_dicts()) == _with_nan(rows)
        _assert_same(decoded, FORMAT._decode_records(batch, known))
        known = decoded.schema


@pytest.mark.slow
@examples(4)
@given(sequences(4))
def test_rows_accepted_once_are_accepted_ever_after(batches: list[Batch]) -> None:
    """Under every later schema the rows accepted before are accepted with equal values, if integers that a float
    column would round are kept as JsonFormat.without_float_widening says."""  # noqa: D205, D209
    decoder, known = FORMAT, pl.Schema()
    kept: Batch = []
    for batch in batches:
        decoded = decoder.decode(batch, known)
        risky = _widened_to_float(known, decoded.schema)
        if risky and FORMAT.decode(kept, decoded.schema).refused:
            decoder = decoder.without_float_widening(*risky)
            decoded = decoder.decode(batch, known)
        assert not _widened_to_float(decoded.schema, known)
        assert list(decoded.schema)[: len(known)] == list(known)
        kept += [batch[at] for at in decoded.accepted]
        known = decoded.schema
        again = decoder.decode(kept, known)
        assert not again.refused
        assert again.schema == known
        values = [_as_stored(_parsed(payload), pl.Struct(known)) for payload in kept]
        assert _with_nan(again.frame.to_dicts()) == _with_nan(values)


@examples(2)
@given(sequences(1), st.lists(st.tuples(st.integers(0, 199), st.sampled_from(POISON)), max_size=4))
def test_large_batches_are_the_same_in_pieces(batches: list[Batch], poison: list[tuple[int, bytes]]) -> None:
    """A batch of hundreds of good records with some bad ones has the outcome of judging every record."""
    template = batches[0] or [b"{}"]
    known = FORMAT.decode(template, pl.Schema()).schema
    batch = [template[at % len(template)] for at in range(200)]
    for at, payload in poison:
        batch[at] = payload
    decoded = FORMAT.decode(batch, known)
    _assert_once_each(decoded, batch)
    _assert_same(decoded, FORMAT._decode_records(batch, known))


def _values_as_text(payload: bytes) -> dict[str, Any] | None:
    """Return the object with numbers as their digits, so that none is too large; None where it is malformed."""
    try:
        value = json.loads(payload.decode(), parse_constant=str, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    is_row = isinstance(value, dict) and _is_sound(value)
    return value if is_row and not any(name.startswith("\x01") for name in value) else None


@examples(3)
@given(sequences(1), st.lists(st.sampled_from(POISON) | st.binary(max_size=12), max_size=6))
def test_json_columns_take_what_is_json_and_nothing_else(batches: list[Batch], poison: Batch) -> None:
    """With all fields declared as JSON text, what is well formed is accepted, with the values that were sent."""
    batch = [*batches[0], *poison]
    names = frozenset(name for payload in batch for name in _values_as_text(payload) or () if name != "\0")
    decoded = JsonFormat(pl.Schema(dict.fromkeys(names, pl.String())), json_fields=names).decode(batch, EMPTY)
    _assert_once_each(decoded, batch)
    assert not any(refusal.is_conflict for refusal in decoded.refused)
    accepted = set(decoded.accepted)
    assert accepted >= {at for at, payload in enumerate(batch) if _parsed(payload) is not None}
    for at, row in zip(decoded.accepted, decoded.frame.iter_rows(named=True), strict=True):
        values = {
            name: None
            if text is None
            else json.loads(text, parse_constant=str, parse_int=str, parse_float=str)
            for name, text in row.items()
        }
        assert values == {name: (_values_as_text(batch[at]) or {}).get(name) for name in names}
        assert _values_as_text(batch[at]) is not None


@examples(3)
@given(st.lists(st.sampled_from(POISON) | st.binary(max_size=12), max_size=6))
def test_arbitrary_bytes_never_raise(batch: Batch) -> None:
    """Whatever the bytes are, every payload is a row or a refusal, as the oracle says."""
    known = pl.Schema({"a": pl.Struct({"b": pl.Int64()}), "b": pl.Int64()})
    decoded = FORMAT.decode(batch, known)
    _assert_once_each(decoded, batch)
    assert list(decoded.accepted) == _oracle(batch, known)[0]
