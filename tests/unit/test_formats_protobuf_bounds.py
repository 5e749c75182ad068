"""Protobuf payloads whose messages take few bytes and many fields: each is counted, and too many are refused unread."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ktframe.errors import SchemaError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.protobuf import ProtobufReader
from ktframe.formats.protobuf.bounds import Bounds

WHY = "nearly empty messages with more than 20,000 fields and 32 a byte"
FIELDS = "".join(f"optional string f{at} = {at + 20};" for at in range(200))
WIDE = f"message Wide {{ {FIELDS} }}"


def _reader(fields: str, syntax: str = "proto3") -> ProtobufReader:
    text = f'syntax = "{syntax}"; package shop; message Order {{ {fields} }}'
    return ProtobufReader(SchemaDocument("PROTOBUF", text), (0,))


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _inside(tag: bytes, body: bytes) -> bytes:
    return tag + _varint(len(body)) + body


def test_half_a_million_empty_messages_are_refused() -> None:
    """A megabyte that would be a hundred million cells is refused at once, and its neighbours are read."""
    reader = _reader(f"repeated Wide w = 1; int32 n = 2; {WIDE}")
    bodies = [b"\x10\x01"] * 50 + [b"\x0a\0" * 500_000] * 3 + [b"\x0a\0\x10\x02"] * 50
    read = reader.read(bodies)
    assert read.refused == dict.fromkeys((50, 51, 52), WHY)
    assert read.frame["n"].to_list() == [1] * 50 + [2] * 50
    assert read.frame["w"].list.len().to_list() == [0] * 50 + [1] * 50
    nothing = reader.read([bodies[50]])
    assert (nothing.frame.height, dict(nothing.refused)) == (0, {0: WHY})
    assert nothing.frame.schema == read.frame.schema


@pytest.mark.parametrize(
    ("fields", "item", "most"),
    [
        (f"repeated Wide w = 1; {WIDE}", b"\x0a\0", 200),
        (f"repeated Wide w = 1; {WIDE}", b"\x8a\0\0", 200),
        (f"repeated Wide w = 1; {WIDE}", b"\x0a\x80\0", 200),
        (f"repeated Wide w = 17; {WIDE}", b"\x8a\x01\0", 200),
        (f"repeated Wide w = 1; {WIDE}", b"\x0a\x03\xa2\x01\x00", 200),
        (f"repeated In i = 1; message In {{ Wide w = 1; repeated int32 x = 2; }} {WIDE}", b"\x0a\0", 201),
        (f"In i = 1; message In {{ repeated Wide w = 1; }} {WIDE}", b"\x0a\x02\x0a\0", 200),
        (f"map<int32, Wide> w = 1; {WIDE}", b"\x0a\x02\x08\x01", 201),
        (f"repeated Order w = 1; {FIELDS}", b"\x0a\0", 201),
    ],
)  # fmt: skip
def test_messages_may_have_so_many_fields_and_no_more(fields: str, item: bytes, most: int) -> None:
    """However the tag is encoded, and wherever the message is, one more than the bytes allow is refused."""
    reader = _reader(fields)
    count = next(n for n in range(100_000) if n * most > 20_000 + 32 * n * len(item))
    read = reader.read([item * (count - 1), item * count])
    assert read.refused == {1: WHY}
    assert read.frame.height == 1


def test_groups_are_counted() -> None:
    """Groups, which have an end tag instead of a length, are counted as other messages are."""
    reader = _reader(f"repeated group Wide = 1 {{ {FIELDS} }}", "proto2")
    assert reader.read([b"\x0b\x0c" * 147, b"\x0b\x0c" * 148]).refused == {1: WHY}


def test_what_only_looks_like_messages_is_read() -> None:
    """Text full of the bytes that messages begin with is text, and a field that nobody knows is skipped."""
    reader = _reader(f"repeated Wide w = 1; string s = 2; fixed32 a = 3; fixed64 b = 4; int32 c = 5; {WIDE}")
    text = b"\x12" + _varint(100_000) + b"\n" * 100_000
    fixed = b"\x1d" + b"\n" * 4 + b"\x21" + b"\n" * 8 + b"\x28" + b"\x8a\x94\xa8\x50"
    unknown = b"\x9a\x06" + _varint(2_000) + b"\x0a\0" * 1_000 + b"\xa3\x06" + b"\x0a\0" * 10 + b"\xa4\x06"
    read = reader.read([text + fixed * 10 + unknown + b"\x0a\0" * 3])
    assert read.refused == {}
    assert read.frame.select("s", "a", "c").row(0) == ("\n" * 100_000, 0x0A0A0A0A, 0x0A0A0A0A)
    assert read.frame["w"].list.len().to_list() == [3]


@pytest.mark.parametrize("body", [b"\x0a\0" * 100 + b"\n" * 2_000, b"\n" * 5_000 + b"\xff" * 12, b"\x0c" + b"\n" * 5_000, b"\x0a\xff\xff\xff\xff\x0f" + b"\n" * 5_000, b"\xff" * 5_000])  # fmt: skip
def test_damaged_bodies_are_damaged_and_not_too_large(body: bytes) -> None:
    """Where the messages can't be counted to the end, Google's library gives the reason."""
    reader = _reader(f"repeated Wide w = 1; {WIDE}")
    (reason,) = reader.read([body]).refused.values()
    assert reason == "not a message of type shop.Order: truncated or corrupt"


def test_narrow_messages_are_not_counted() -> None:
    """A million empty messages of few fields are a value like any other."""
    read = _reader("repeated In i = 1; message In { int32 x = 1; Order o = 2; }").read(
        [b"\x0a\0" * 1_000_000]
    )
    assert read.frame["i"].list.len().to_list() == [1_000_000]


def test_types_may_be_far_inside_of_each_other() -> None:
    """A hundred types, each inside of the one before, are read; thousands are refused as a schema."""

    def chain(count: int) -> str:
        inner = "".join(f"message M{at} {{ M{at + 1} m = 1; }}" for at in range(count))
        return f"M0 m = 1; {inner} message M{count} {{ int32 x = 1; }}"

    assert _reader(chain(100)).read([b"\x0a\x02\x0a\0"]).frame.height == 1
    with pytest.raises(SchemaError, match=r"shop\.Order has too many levels of messages"):
        _reader(chain(3_000))


def _cells(message: Any, widths: dict[str, int]) -> int:
    """Count what the messages inside of one take, as Google's library has read it."""
    total = 0
    for described, value in message.ListFields():
        if described.message_type is not None:
            items = list(value) if described.is_repeated else [value]
            width = (
                widths[described.message_type.name]
                if described.is_repeated
                else len(described.message_type.fields)
            )
            total += sum((width if width > 64 else 0) + _cells(item, widths) for item in items)
    return total


def test_bodies_are_counted_as_google_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """For any message, the count is that of the cells in it, and the weight is never less."""
    text = "Wide w = 1; repeated Wide v = 2; repeated Order o = 3; In i = 4; repeated string s = 5;"
    text += f"message In {{ repeated In i = 3; Wide w = 10; }} {WIDE}"
    reader = _reader(text)
    kind = reader._messages._schema.message
    bounds = Bounds(kind.DESCRIPTOR)
    monkeypatch.setattr("ktframe.formats.protobuf.bounds.CELLS_PER_BYTE", 0)
    chance = random.Random(1)  # noqa: S311 - not cryptography
    widths = {"Wide": 200, "Order": 200 + 1 + 1 + 201 + 1, "In": 201}

    def fill(message: Any, level: int) -> None:
        for described in message.DESCRIPTOR.fields:
            if level == 4 or chance.random() < 0.5:
                continue
            if described.message_type is None:
                if described.name == "s":
                    message.s.append("\n\x12\x1a" * chance.randrange(5))
            elif described.is_repeated:
                for _ in range(chance.randrange(3)):
                    fill(getattr(message, described.name).add(), level + 1)
            else:
                getattr(message, described.name).SetInParent()
                fill(getattr(message, described.name), level + 1)

    for _ in range(300):
        message = kind()
        fill(message, 0)
        body = message.SerializeToString()
        cells = _cells(kind.FromString(body), widths)
        (weight,) = bounds.weights([body])
        assert weight >= cells
        for most in (cells - 1, cells) if cells else (0,):
            monkeypatch.setattr("ktframe.formats.protobuf.bounds.MOST_CELLS", most)
            assert bool(bounds.broken([body], [10**9])) == (most < cells)
