"""Protobuf batches of schemas made at random, against Google's library asked field by field.

The oracle below walks through descriptors and messages by itself; it shares no code with what it judges.
"""

from __future__ import annotations

import base64
import json
import math
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError
from hypothesis import given
from support.examples import examples

from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.protobuf import ProtobufReader, ProtobufWriter

NANOS = 10**9

# --------------------------------------------------------------------------------------------- schemas

SCALARS = {
    "double": (1, pl.Float64()),
    "float": (2, pl.Float32()),
    "int64": (3, pl.Int64()),
    "uint64": (4, pl.UInt64()),
    "int32": (5, pl.Int32()),
    "fixed64": (6, pl.UInt64()),
    "fixed32": (7, pl.UInt32()),
    "bool": (8, pl.Boolean()),
    "string": (9, pl.String()),
    "bytes": (12, pl.Binary()),
    "uint32": (13, pl.UInt32()),
    "sfixed32": (15, pl.Int32()),
    "sfixed64": (16, pl.Int64()),
    "sint32": (17, pl.Int32()),
    "sint64": (18, pl.Int64()),
}
WRAPPERS = {
    "DoubleValue": "double",
    "FloatValue": "float",
    "Int64Value": "int64",
    "UInt64Value": "uint64",
    "Int32Value": "int32",
    "UInt32Value": "uint32",
    "BoolValue": "bool",
    "StringValue": "string",
    "BytesValue": "bytes",
}
STANDARD = {
    "any": ["Any"],
    "duration": ["Duration"],
    "empty": ["Empty"],
    "field_mask": ["FieldMask"],
    "struct": ["Struct", "Value", "ListValue"],
    "timestamp": ["Timestamp"],
    "wrappers": list(WRAPPERS),
}
MESSAGES = [
    ".p.Inner",
    ".p.Outer",
    ".lib.Shared",
    *(f".google.protobuf.{name}" for names in STANDARD.values() for name in names),
]
ENUMS = [".p.Kind", ".lib.Colour"]
KEYS = ["int32", "sint64", "uint64", "fixed32", "bool", "string"]
DEFAULTS = {"int32": "-7", "string": "é", "bytes": "\\001x", "bool": "true", "double": "inf", "uint64": "1"}

File = Any


def _add_enum(owner: File, name: str, prefix: str) -> None:
    enum = owner.enum_type.add(name=name)
    enum.options.allow_alias = True
    for number, value in ((0, "NONE"), (1, "ONE"), (1, "UNO"), (-5, "MINUS"), (100, "MANY")):
        enum.value.add(name=f"{prefix}_{value}", number=number)


def _library(syntax: str) -> File:
    file = descriptor_pb2.FileDescriptorProto(name="lib/common.proto", package="lib", syntax=syntax)
    _add_enum(file, "Colour", "C")
    shared = file.message_type.add(name="Shared")
    shared.field.add(name="text", number=1, type=9, label=1)
    shared.field.add(name="colour", number=7, type=14, type_name=".lib.Colour", label=1)
    shared.field.add(name="numbers", number=3, type=17, label=3)
    return file


@st.composite
def files(draw: st.DrawFn) -> tuple[File, File]:
    """Return a file whose first message is to be read, and one that it imports."""
    library = _library(draw(st.sampled_from(["proto2", "proto3"])))
    syntax = draw(st.sampled_from(["proto2", "proto3"]))
    file = descriptor_pb2.FileDescriptorProto(name="main.proto", package="p", syntax=syntax)
    file.dependency.extend(["lib/common.proto", *(f"google/protobuf/{name}.proto" for name in STANDARD)])
    _add_enum(file, "Kind", "K")
    outer, inner = file.message_type.add(name="Outer"), file.message_type.add(name="Inner")
    for message, most in ((outer, 7), (inner, 3)):
        numbers = draw(st.lists(st.integers(1, 40) | st.integers(1, 3000), max_size=most, unique=True))
        for number in numbers:
            _add_field(draw, message, number, is_proto3=syntax == "proto3")
        if message.field and draw(st.booleans()):
            _add_oneof(message)
        _add_presence(message)
    return file, library


def _add_field(draw: st.DrawFn, message: File, number: int, *, is_proto3: bool) -> None:
    field = message.field.add(name=f"f{number}", number=number)
    field.label = draw(st.sampled_from([1, 1, 1, 3]))
    shape = draw(st.sampled_from(["scalar", "scalar", "enum", "message", "map"]))
    if shape == "map":
        entry = message.nested_type.add(name=f"F{number}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=1, type=SCALARS[draw(st.sampled_from(KEYS))][0])
        value = entry.field.add(name="value", number=2, label=1)
        _set_type(draw, value, draw(st.sampled_from(["scalar", "message"])))
        field.label, field.type, field.type_name = 3, 11, f".p.{message.name}.{entry.name}"
        return
    scalar = _set_type(draw, field, shape)
    if is_proto3:
        field.proto3_optional = field.label == 1 and draw(st.booleans())
    elif field.label == 1 and shape != "message" and draw(st.integers(0, 9)) == 0:
        field.label = 2
    elif field.label == 1 and scalar in DEFAULTS and draw(st.booleans()):
        field.default_value = DEFAULTS[scalar]
    elif field.label == 3 and scalar not in {"string", "bytes", None}:
        field.options.packed = draw(st.booleans())


def _set_type(draw: st.DrawFn, field: File, shape: str) -> str | None:
    if shape == "scalar":
        name = draw(st.sampled_from(sorted(SCALARS)))
        field.type = SCALARS[name][0]
        return name
    field.type = 14 if shape == "enum" else 11
    # An enum of proto2 is none for proto3.
    field.type_name = ".p.Kind" if shape == "enum" else draw(st.sampled_from(MESSAGES))
    return None


def _add_oneof(message: File) -> None:
    message.oneof_decl.add(name="choice")
    for field in message.field[::2]:
        if field.label == 1 and not field.proto3_optional:
            field.oneof_index = 0
    if not any(field.HasField("oneof_index") for field in message.field):
        del message.oneof_decl[:]


def _add_presence(message: File) -> None:
    for field in message.field:
        if field.proto3_optional:
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")


def _document(file: File, library: File) -> SchemaDocument:
    shared = SchemaDocument("PROTOBUF", base64.b64encode(library.SerializeToString()).decode())
    text = base64.b64encode(file.SerializeToString()).decode()
    return SchemaDocument("PROTOBUF", text, (("lib/common.proto", shared),))


def _class(file: File, library: File) -> Any:
    pool = descriptor_pool.DescriptorPool()
    default = descriptor_pool.Default()
    for name in STANDARD:
        __import__(f"google.protobuf.{name}_pb2")
        pool.AddSerializedFile(default.FindFileByName(f"google/protobuf/{name}.proto").serialized_pb)
    pool.Add(library)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("p.Outer"))


# --------------------------------------------------------------------------------------------- messages

NUMBERS = {
    1: [0.0, -0.0, 1.5, math.nan, math.inf, 1e300],
    2: [0.0, -0.0, 1.5, math.nan, -math.inf, 0.10000000149011612],
    3: [0, 1, -1, 2**63 - 1, -(2**63)],
    4: [0, 1, 2**64 - 1],
    5: [0, 1, -1, 2**31 - 1, -(2**31)],
    7: [0, 1, 2**32 - 1],
    8: [False, True],
    9: ["", "x", "é☃\0", "a" * 300],
    12: [b"", b"\xff\0", b"y" * 200],
}
NUMBERS |= {6: NUMBERS[4], 13: NUMBERS[7], 15: NUMBERS[5], 16: NUMBERS[3], 17: NUMBERS[5], 18: NUMBERS[3]}


def _fill(message: Any, chance: random.Random, depth: int = 0) -> None:
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        odd = chance.random() < 0.03
        message.seconds = chance.choice([-62135596800, 253402300799, 10**18] if odd else [0, 1, -1, 10**9])
        message.nanos = chance.choice([-1, NANOS] if odd else [0, 1, 123456789, NANOS - 1])
        return
    if name == "google.protobuf.Duration":
        sign = chance.choice([1, -1])
        message.seconds = sign * chance.choice([0, 1, 10**9])
        message.nanos = chance.choice([0, sign, sign * (NANOS - 1), -sign if chance.random() < 0.1 else 0])
        return
    for field in message.DESCRIPTOR.fields:
        if field.is_required or (chance.random() < (0.7, 0.7, 0.2)[min(depth, 2)] and depth < 8):
            _fill_field(message, field, chance, depth + 1)


def _fill_field(message: Any, field: Any, chance: random.Random, depth: int) -> None:
    count = chance.choice([0, 1, 3])
    if _is_map(field):
        entries = getattr(message, field.name)
        key, value = field.message_type.fields
        for _ in range(count):
            made = chance.choice(NUMBERS[key.type])
            if value.message_type is None:
                entries[made] = _scalar(value, chance)
            else:
                _fill(entries[made], chance, depth)
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        for each in [inner.add() for _ in range(count)] if field.is_repeated else [inner]:
            each.SetInParent()
            _fill(each, chance, depth)
    elif field.is_repeated:
        getattr(message, field.name).extend([_scalar(field, chance) for _ in range(count)])
    else:
        setattr(message, field.name, _scalar(field, chance))


def _scalar(field: Any, chance: random.Random) -> Any:
    if field.enum_type is None:
        return chance.choice(NUMBERS[field.type])
    known = [value.number for value in field.enum_type.values]
    return chance.choice(known if field.enum_type.is_closed else [*known, 7, -9])


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _bodies(message: Any, seed: int, count: int, *, oddity: float) -> list[bytes]:
    """Return messages, some of them merged of two, with fields nobody knows, or damaged."""
    chance = random.Random(seed)  # noqa: S311 - no cryptography
    bodies = []
    for _ in range(count):
        made = message()
        _fill(made, chance)
        body = made.SerializePartialToString()
        if chance.random() < oddity:
            body = _odd(body, bodies, chance)
        bodies.append(body)
    return bodies


UNKNOWN = [
    b"\xf8\xff\x07\x05",
    b"\xfa\xff\x07\x01x",
    b"\xfb\xff\x07\x08\x01\xfc\xff\x07",
    b"\xf9\xff\x0712345678",
]
POISON = [
    b"\x0a", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0a\xf6\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b",
    b"\x0c", b"\xff" * 11, b"\x00", b"\x08" + b"\x80" * 9 + b"\x02", b"\x08" + b"\x80" * 10 + b"\x01", b"\x0b" * 150,
    b"\xf2\xff\x7f\xf6\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x07", b"\x0a\x03\xed\xa0\x80", b"\x0b" * 99 + b"\x0c" * 99,
]  # fmt: skip


def _odd(body: bytes, others: list[bytes], chance: random.Random) -> bytes:
    kind = chance.randrange(6)
    if kind == 0:
        return body + chance.choice(UNKNOWN)
    if kind == 1 and others:
        return chance.choice(others) + body
    if kind == 2:
        return body + chance.choice(POISON)
    if kind == 3:
        return body[: chance.randrange(len(body) + 1)]
    damaged = bytearray(body)
    for _ in range(chance.randint(1, 3)):
        if damaged:
            damaged[chance.randrange(len(damaged))] = chance.choice(
                [0, 0x7F, 0x80, 0xFF, chance.randrange(256)]
            )
    return bytes(damaged)


# ---------------------------------------------------------------------------------------------- oracle


class _UnshownError(Exception):
    pass


def _expected(message: Any, body: bytes) -> dict[str, Any] | None:
    """Return the row of a body, None where it is none."""
    try:
        made = message.FromString(body)
        return _row(made, (made.DESCRIPTOR.full_name,)) if made.IsInitialized() else None
    except (DecodeError, _UnshownError):
        return None


def _row(message: Any, around: tuple[str, ...]) -> dict[str, Any]:
    row = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if _is_map(field):
            key, item = field.message_type.fields
            names = sorted(_value(key, name, around) for name in value)
            row[field.name] = [{"key": name, "value": _value(item, value[name], around)} for name in names]
        elif field.is_repeated:
            row[field.name] = [_value(field, item, around) for item in value]
        elif (
            field.has_presence
            and not message.HasField(field.name)
            and (field.containing_oneof or not field.has_default_value)
        ):
            row[field.name] = None
        else:
            row[field.name] = _value(field, value, around)
    return row


def _shows_default(field: Any) -> bool:
    return bool(field.has_default_value) and field.containing_oneof is None


def _value(field: Any, value: Any, around: tuple[str, ...]) -> Any:
    if field.enum_type is not None:
        return next((each.name for each in field.enum_type.values if each.number == value), str(value))
    if field.message_type is None:
        if field.type == 9 and isinstance(value, bytes):
            raise _UnshownError
        return value
    return _message_value(field, value, around)


def _message_value(field: Any, value: Any, around: tuple[str, ...]) -> Any:
    name = field.message_type.full_name.removeprefix("google.protobuf.")
    if name in {"Timestamp", "Duration"}:
        return _moment(value, is_signed=name == "Duration")
    if name in WRAPPERS:
        return value.value
    if name == "FieldMask":
        return ",".join(value.paths)
    if name in STANDARD["struct"] or field.message_type.full_name in around:
        try:
            made = json_format.MessageToDict(value, preserving_proto_field_name=True)
            return json.dumps(made, ensure_ascii=False, sort_keys=True)
        except Exception:  # noqa: BLE001 - whatever has no JSON
            raise _UnshownError from None
    return _row(value, (*around, field.message_type.full_name))


def _moment(value: Any, *, is_signed: bool) -> int:
    total = int(value.seconds) * NANOS + int(value.nanos)
    is_valid = -NANOS < value.nanos < NANOS and (value.nanos >= 0 or is_signed)
    if is_signed and value.seconds * value.nanos < 0:
        is_valid = False
    if not is_valid or not -(2**63) <= total < 2**63:
        raise _UnshownError
    return total


def _dtype(field: Any, around: tuple[str, ...]) -> pl.DataType:
    item: pl.DataType = pl.String()
    if field.message_type is None and field.enum_type is None:
        item = next(dtype for number, dtype in SCALARS.values() if number == field.type)
    elif field.message_type is not None:
        name = field.message_type.full_name.removeprefix("google.protobuf.")
        known = {
            "Timestamp": pl.Datetime("ns", "UTC"),
            "Duration": pl.Duration("ns"),
            "FieldMask": pl.String(),
        }
        known |= {wrapper: SCALARS[scalar][1] for wrapper, scalar in WRAPPERS.items()}
        known |= dict.fromkeys([*STANDARD["struct"], *around], pl.String())
        inner = (*around, field.message_type.full_name)
        item = known.get(name) or pl.Struct({f.name: _dtype(f, inner) for f in field.message_type.fields})
    return pl.List(item) if field.is_repeated else item


def _plain(dtype: Any) -> Any:
    """Return the type by which Python gets times as the integers that they are, to the nanosecond."""
    if isinstance(dtype, pl.List):
        return pl.List(_plain(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _plain(field.dtype) for field in dtype.fields})
    return pl.Int64() if dtype.is_temporal() else dtype


def _rows(frame: pl.DataFrame) -> list[str]:
    plain = (
        frame.cast({name: _plain(dtype) for name, dtype in frame.schema.items()}) if frame.width else frame
    )
    return [repr(row) for row in plain.to_dicts()]  # NaN is itself there, and -0.0 is not 0.0


def _assert_as_google(reader: ProtobufReader, message: Any, bodies: list[bytes]) -> pl.DataFrame:
    read = reader.read(bodies)
    around = (message.DESCRIPTOR.full_name,)
    assert dict(read.frame.schema) == {f.name: _dtype(f, around) for f in message.DESCRIPTOR.fields}
    assert dict(read.frame.schema) == {column.name: column.dtype for column in reader.columns}
    expected = [_expected(message, body) for body in bodies]
    assert sorted(read.refused) == [index for index, row in enumerate(expected) if row is None]
    assert all(read.refused.values())
    if read.frame.width:
        assert _rows(read.frame) == [repr(row) for row in expected if row is not None]
    else:
        assert read.frame.height == len(bodies) - len(read.refused)
    return read.frame


# ----------------------------------------------------------------------------------------------- tests


@pytest.mark.slow
@examples(2)
@given(files(), st.integers(0, 2**32))
def test_batches_read_as_googles_library_reads_them(made: tuple[File, File], seed: int) -> None:
    """What is accepted, the types and the values of many schemas equal those of an oracle, by column and by record."""
    message, reader = _class(*made), ProtobufReader(_document(*made), (0,))
    bodies = _bodies(message, seed, 40, oddity=0.3)
    frame = _assert_as_google(reader, message, bodies)
    one_by_one = reader._messages.read(bodies)
    by_record, refused = one_by_one.frame, one_by_one.refused
    assert by_record.equals(frame)
    assert sorted(refused) == [at for at, body in enumerate(bodies) if _expected(message, body) is None]


@pytest.mark.slow
@examples(2)
@given(files(), st.integers(0, 2**32))
def test_sound_batches_are_read_by_column(made: tuple[File, File], seed: int) -> None:
    """No schema of messages, maps and standard types and no value in range needs the records one by one."""
    message, reader = _class(*made), ProtobufReader(_document(*made), (0,))
    bodies = _bodies(message, seed, 30, oddity=0.0)
    bodies = [body for body in bodies if _expected(message, body) is not None]
    by_column = reader._batches.read(bodies)
    if reader.columns:
        assert by_column is not None
        assert by_column.equals(reader._messages.read(bodies).frame)
    else:
        assert reader._batches.obstacle is not None


@pytest.mark.slow
@examples(2)
@given(files(), st.integers(0, 2**32))
def test_what_was_read_is_written_and_read_again(made: tuple[File, File], seed: int) -> None:
    """Frames as the reader shows them come back equal from the bodies that the writer makes of them."""
    message, document = _class(*made), _document(*made)
    reader, writer = ProtobufReader(document, (0,)), ProtobufWriter(document, (0,))
    frame = reader.read(_bodies(message, seed, 20, oddity=0.0)).frame
    again = reader.read(writer.write(frame))
    assert again.refused == {}
    assert _rows(again.frame) == _rows(frame)
    assert again.frame.height == frame.height


# ------------------------------------------------------------------------------------------------ fuzz


def _fuzz_schemas() -> Iterator[tuple[File, File]]:
    for syntax in ("proto2", "proto3"):
        library = _library(syntax)
        file = descriptor_pb2.FileDescriptorProto(name="main.proto", package="p", syntax=syntax)
        file.dependency.extend(["lib/common.proto", *(f"google/protobuf/{name}.proto" for name in STANDARD)])
        _add_enum(file, "Kind", "K")
        outer, inner = file.message_type.add(name="Outer"), file.message_type.add(name="Inner")
        inner.field.add(name="text", number=1, type=9, label=1)
        inner.field.add(name="kinds", number=2, type=14, type_name=".p.Kind", label=3)
        for number, (kind, _) in enumerate(SCALARS.values(), 1):
            outer.field.add(name=f"s{number}", number=number, type=kind, label=1)
            outer.field.add(name=f"r{number}", number=number + 20, type=kind, label=3)
        outer.field.add(name="kind", number=50, type=14, type_name=".p.Kind", label=1)
        for number, name in enumerate(MESSAGES, 60):
            outer.field.add(name=f"m{number}", number=number, type=11, type_name=name, label=1)
            outer.field.add(name=f"l{number}", number=number + 30, type=11, type_name=name, label=3)
        yield file, library


def _fuzz(batches: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
    for file, library in _fuzz_schemas():
        message, reader = _class(file, library), ProtobufReader(_document(file, library), (0,))
        for seed in range(batches):
            _assert_as_google(reader, message, _bodies(message, seed, 250, oddity=0.5 if seed % 2 else 0.02))


@pytest.mark.slow
def test_no_damaged_payload_harms_the_process_or_others() -> None:
    """Of 10,000 payloads, thousands of them damaged, each ends as Google's library says, in bounded memory and time."""
    here = Path(__file__)
    path = os.pathsep.join([str(here.parents[1]), *sys.path])
    subprocess.run(
        [sys.executable, here, "20"], check=True, timeout=580, env={**os.environ, "PYTHONPATH": path}
    )


if __name__ == "__main__":
    _fuzz(int(sys.argv[1]))
