"""Avro bodies of schemas made by Hypothesis, against fastavro's own decoding and against reading them one by one."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import assume, given
from polars.testing import assert_frame_equal
from support.avro_made import Made, dtype_of, plain, same, schemas, shown, values, written
from support.examples import examples

from ktframe.formats.avro import AvroReader, AvroWriter
from ktframe.formats.bodies import BodiesRead

ROWS = 40
"""Enough to be read natively."""


@st.composite
def batches(draw: st.DrawFn) -> tuple[Made, Any, list[bytes]]:
    """Draw a schema, the same for fastavro, and some bodies of it."""
    made = draw(schemas())
    simple = plain(made.schema, made, set())
    fastavro.parse_schema(simple)
    data = draw(st.lists(values(made.schema, made), min_size=1, max_size=4))
    bodies = [written(simple, datum) for datum in data]
    return made, simple, [bodies[at % len(bodies)] for at in range(ROWS)]


@st.composite
def corrupted(draw: st.DrawFn, body: bytes) -> bytes:
    """Draw a body that something happened to."""
    kind = draw(st.sampled_from(["cut", "longer", "flip", "insert", "huge", "other"]))
    at = draw(st.integers(0, len(body)))
    if kind == "cut":
        return body[:at]
    if kind == "longer":
        return body + draw(st.binary(min_size=1, max_size=9))
    if kind == "other":
        return draw(st.binary(max_size=20))
    if kind == "insert" or not body:
        return body[:at] + draw(st.binary(min_size=1, max_size=3)) + body[at:]
    at = min(at, len(body) - 1)
    new = (
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\x1f"
        if kind == "huge"
        else bytes([body[at] ^ draw(st.integers(1, 255))])
    )
    return body[:at] + new + body[at + 1 :]


def physical(dtype: Any) -> pl.DataType:
    """Return a type with the numbers that times are."""
    if isinstance(dtype, pl.List):
        return pl.List(physical(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({each.name: physical(each.dtype) for each in dtype.fields})
    if isinstance(dtype, pl.Datetime | pl.Time):
        return pl.Int64()
    return pl.Int32() if isinstance(dtype, pl.Date) else dtype


def assert_same(left: BodiesRead, right: BodiesRead) -> None:
    """Both read the same: types, values and why not."""
    assert left.refused == right.refused
    assert left.frame.schema == right.frame.schema
    assert left.frame.height == right.frame.height
    assert_frame_equal(left.frame, right.frame, check_exact=True)


@examples(2)
@given(batches())
def test_bodies_are_read_as_fastavro_reads_them(batch: tuple[Made, Any, list[bytes]]) -> None:
    """Types and values equal those of an oracle on fastavro, natively wherever there is no note, and one by one."""
    made, simple, bodies = batch
    reader = AvroReader(made.document)
    read = reader.read(bodies)
    assert read.refused == {}
    assert (reader._read_natively(bodies) is not None) == (reader.note is None)
    assert_same(read, reader._read_one_by_one(bodies))
    root = dtype_of(made.schema, made)
    whole = made.names.get(made.schema, made.schema) if isinstance(made.schema, str) else made.schema
    is_record = isinstance(whole, dict) and whole["type"] == "record"
    assert read.frame.schema == (pl.Schema(root) if is_record else pl.Schema({"value": root}))
    assert read.frame.schema == {each.name: each.dtype for each in reader.columns}
    assert read.frame.height == len(bodies)
    parsed = fastavro.parse_schema(simple)
    for at in range(4):
        expected = shown(made.schema, made, fastavro.schemaless_reader(BytesIO(bodies[at]), parsed))
        for name, series in zip(read.frame.columns, read.frame, strict=True):
            found = series.cast(physical(series.dtype)).to_list()[at]
            assert same(found, expected[name] if is_record else expected), name


@examples(2)
@given(st.data(), batches())
def test_a_batch_refuses_what_is_refused_one_by_one(
    data: st.DataObject, batch: tuple[Made, Any, list[bytes]]
) -> None:
    """In a batch with some corrupted bodies, each is a row or a refusal as it is alone, and no good one is lost."""
    made, _, bodies = batch
    reader = AvroReader(made.document)
    touched = data.draw(st.sets(st.integers(0, len(bodies) - 1), max_size=4))
    for at in touched:
        bodies[at] = data.draw(corrupted(bodies[at]))
    read = reader.read(bodies)
    assert read.refused.keys() <= touched
    assert read.frame.height == len(bodies) - len(read.refused)
    assert_same(read, reader._read_one_by_one(bodies))


@examples(2)
@given(batches())
def test_what_is_read_can_be_written(batch: tuple[Made, Any, list[bytes]]) -> None:
    """A frame that was read comes back from what the writer makes of it."""
    made, _, bodies = batch
    reader, writer = AvroReader(made.document), AvroWriter(made.document)
    frame = reader.read(bodies).frame
    assume(frame.width)  # a frame without columns has no rows to write
    again = reader.read(writer.write(frame))
    assert_same(again, BodiesRead(frame))


@examples(1)
@given(schemas(), st.lists(st.binary(max_size=12), max_size=ROWS))
def test_arbitrary_bytes_never_raise(made: Made, bodies: list[bytes]) -> None:
    """Whatever the bytes are, each body is a row or has a reason."""
    reader = AvroReader(made.document)
    read = reader.read(bodies)
    assert read.frame.height + len(read.refused) == len(bodies)
    assert all(read.refused.values())
    assert_same(read, reader._read_one_by_one(bodies))


@pytest.mark.slow
def test_ten_thousand_mutations_do_no_harm() -> None:
    """A process with little memory and time survives 10,000 mutated bodies and loses none of the good ones beside."""
    program = Path(__file__).parents[1] / "support" / "avro_fuzz.py"
    assert subprocess.run([sys.executable, program], check=False, timeout=580).returncode == 0
