"""The plain formats: what Kafka's own serializers write, and what is refused with which advice."""

from __future__ import annotations

import struct

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from ktframe.errors import ConfigurationError, SchemaError
from ktframe.formats import key_format, schemas_of, value_format

DTYPES = {"string": pl.String(), "int": pl.Int32(), "long": pl.Int64(), "bytes": pl.Binary()}


def _decode(name: str, payloads: list[bytes]) -> tuple[list[object], list[int], list[str]]:
    decoder = key_format(name)
    decoded = decoder.decode(payloads, decoder.initial_schema)
    assert decoded.schema == decoded.frame.schema == pl.Schema({"value": DTYPES[name]})
    assert sorted([*decoded.accepted, *(each.index for each in decoded.refused)]) == list(
        range(len(payloads))
    )
    return (
        decoded.frame["value"].to_list(),
        list(decoded.accepted),
        [each.reason for each in decoded.refused],
    )


@given(st.lists(st.text()))
def test_text_round_trips(values: list[str]) -> None:
    """Every text comes back from its UTF-8 bytes."""
    assert _decode("string", [value.encode() for value in values]) == (values, list(range(len(values))), [])


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_ints_round_trip(values: list[int]) -> None:
    """Every 32-bit integer comes back from what IntegerSerializer writes."""
    assert _decode("int", [struct.pack(">i", value) for value in values])[0] == values


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_longs_round_trip(values: list[int]) -> None:
    """Every 64-bit integer comes back from what LongSerializer writes."""
    assert _decode("long", [struct.pack(">q", value) for value in values])[0] == values


@given(st.sampled_from(sorted(DTYPES)), st.lists(st.binary(max_size=9)))
def test_every_payload_comes_out_once(name: str, payloads: list[bytes]) -> None:
    """Whatever the bytes are, each payload is a value or a refusal with a reason, and the good ones keep order."""
    values, accepted, reasons = _decode(name, payloads)
    assert len(values) == len(accepted)
    assert accepted == sorted(accepted)
    assert all(reasons)
    for value, index in zip(values, accepted, strict=True):
        assert [value] == _decode(name, [payloads[index]])[0]


def test_bad_text_is_refused_with_the_format_that_fits() -> None:
    """Eight bytes that are not text name 'long', four name 'int', others 'bytes'; the good ones stay in place."""
    long = struct.pack(">q", -1)
    values, accepted, reasons = _decode("string", [b"a", long, "é".encode(), long[:4], b"\xff", b""])
    assert values == ["a", "é", ""]
    assert accepted == [0, 2, 5]
    assert reasons == [
        "8 bytes that are not UTF-8 text; 'long' or 'bytes' may be the right format",
        "4 bytes that are not UTF-8 text; 'int' or 'bytes' may be the right format",
        "1 byte that is not UTF-8 text; 'bytes' may be the right format",
    ]


@pytest.mark.parametrize("text", [b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x82"])
def test_text_is_strict_utf8(text: bytes) -> None:
    """Surrogates, overlong forms, code points past the last and cut sequences are not text."""
    assert _decode("string", [text])[1] == []


def test_integers_of_another_width_are_refused() -> None:
    """The width is exact; an empty payload is no number; the advice names the format of that width."""
    values, accepted, reasons = _decode("int", [b"\0\0\0\7", b"", b"\0" * 8, b"\0" * 5])
    assert (values, accepted) == ([7], [0])
    assert reasons == [
        "0 bytes, but 'int' (IntegerSerializer) takes 4",
        "8 bytes, but 'int' (IntegerSerializer) takes 4; 'long' may be the right format",
        "5 bytes, but 'int' (IntegerSerializer) takes 4",
    ]
    assert _decode("long", [b""])[1] == []


def test_bytes_are_unchanged() -> None:
    """The bytes format takes everything as it is."""
    assert _decode("bytes", [b"", b"\xff\0"]) == ([b"", b"\xff\0"], [0, 1], [])


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_an_empty_batch_has_the_schema(name: str) -> None:
    """No payloads make an empty frame with its column."""
    assert _decode(name, []) == ([], [], [])


def test_formats_are_found_by_name() -> None:
    """Both lookups know every format by the name it says it has."""
    for name in [*DTYPES, "auto", "avro", "json", "protobuf"]:
        assert key_format(name).name == value_format(name).name == name
        for format_ in (key_format(name), value_format(name), key_format(f"windowed:{name}")):
            assert (schemas_of(format_) is None) is (name in DTYPES)


def test_an_unknown_format_names_the_known_ones() -> None:
    """The error lists what can be asked for."""
    with pytest.raises(ConfigurationError, match="'xml'") as caught:
        value_format("xml")
    known = "'auto', 'avro', 'bytes', 'int', 'json', 'long', 'protobuf', 'string'"
    assert caught.value.hint == f"the formats are {known}."


def test_a_plain_format_has_no_fields() -> None:
    """A declared schema or key fields make no sense for a plain value, and say so."""
    with pytest.raises(SchemaError, match="no fields"):
        value_format("string", declared=pl.Schema({"a": pl.Int64()}))
    with pytest.raises(SchemaError, match="'id'"):
        value_format("long", exact_fields=frozenset({"id"}))
