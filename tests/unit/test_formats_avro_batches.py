"""Whole batches of Avro payloads where the native library is missing, fails, or gives an array that is in doubt."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from support.avro_bodies import MANY, field, number, read, reader, record

from ktframe.errors import ConfigurationError
from ktframe.formats.arrow import frame_of
from ktframe.formats.avro import reader as avro_reader
from ktframe.formats.avro.arrow import converter
from ktframe.formats.avro.types import AvroType
from ktframe.formats.errors import UncertainBatchError

ROW = record(field("a", "int"), field("b", ["null", "string"]))
BODIES = [b"\x02\x02\x02x", b"\x04\0"] * MANY


class PanicException(BaseException):
    """What a panic of a library in Rust is, by its name alone."""


def _failing(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_a_missing_package_is_named_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional package, making a reader says what to install, unless the reader would not use it."""
    monkeypatch.setitem(sys.modules, "polars_avro._avro_rs", None)
    with pytest.raises(ConfigurationError) as caught:
        reader(ROW)
    assert caught.value.hint == "pip install 'ktframe[avro]'"
    assert reader(record()).read([b""]).frame.height == 1


def test_the_module_is_imported_without_the_package() -> None:
    """Importing the reader and the writer needs no optional package, and imports none."""
    program = "import sys; import ktframe.formats.avro; assert 'polars_avro' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=180)


@pytest.mark.parametrize("error", [ValueError("x"), PanicException("x"), StopIteration()])
def test_what_the_library_can_not_read_is_read_one_by_one(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """No body is lost when the library raises an error or panics."""
    by = reader(ROW)
    monkeypatch.setattr(by._native, "_source", _failing(error))
    assert by._read_natively(BODIES) is None
    found = by.read(BODIES)
    assert (found.frame.to_dicts(), found.refused) == ([{"a": 1, "b": "x"}, {"a": 2, "b": None}] * MANY, {})


def test_an_interrupt_is_no_failure_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """KeyboardInterrupt is not taken for a body that can't be read."""
    by = reader(ROW)
    monkeypatch.setattr(by._native, "_source", _failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        by.read(BODIES)


def test_rows_are_counted_and_their_ends_are_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with another number of rows than bodies, or with rows that end elsewhere, is not used."""
    by = reader(record(field("a", "bytes")))
    assert by._native is not None
    one_in_two = [b"\x06ab"]  # a length that reaches into what comes behind
    assert by._native.read([*one_in_two, b"\x02c"]) is None
    whole = by._native._read_file
    monkeypatch.setattr(by._native, "_read_file", lambda file, rows: whole(file, rows).slice(1))
    assert by._native.read([b"\x02a", b"\x02b"]) is None


def test_batches_that_are_too_large_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch with more bytes than Arrow's offsets can count is read natively in pieces."""
    monkeypatch.setattr("ktframe.formats.avro.batches._LARGEST_BYTES", 3_000)
    by = reader("string")
    bodies = [b"\x14" + str(at).zfill(10).encode() for at in range(1_000)]
    assert by._read_natively(bodies) is None
    assert by._read_natively(bodies[:60]) is not None
    assert by.read(bodies).frame["value"].cast(pl.Int64).to_list() == list(range(1_000))


def test_wide_items_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists that might become too many cells for one call are read in pieces, each in its place."""
    monkeypatch.setattr("ktframe.formats.avro.bounds._MOST_CELLS_AT_ONCE", 20_000)
    wide = record(*(field(f"f{at}", ["null", "int"]) for at in range(40)), name="Wide")
    schema = {"type": "array", "items": ["null", wide]}
    bodies = [number(at % 5 + 1) + b"\0" * (at % 5 + 1) + b"\0" for at in range(1_000)]
    assert reader(schema)._read_natively(bodies) is None
    assert reader(schema).read(bodies).frame["value"].list.len().to_list() == [
        at % 5 + 1 for at in range(1_000)
    ]


def test_arrays_of_other_types_are_doubted() -> None:
    """An array of another type than the column's, or a part of another array, is not converted."""
    with pytest.raises(UncertainBatchError, match="int64 for float"):
        converter(AvroType("float"))(pa.array([1], pa.int64()), None)
    items = pa.array([[1], [2]], pa.list_(pa.int32()))[1:]
    with pytest.raises(UncertainBatchError, match="an array with an offset"):
        converter(AvroType("array", inner=(AvroType("int"),)))(items, None)
    with pytest.raises(TypeError, match="Arrow made"):
        frame_of([pa.array([1])], pl.Schema({"a": pl.String()}), 1)


def test_values_that_no_column_holds_are_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Arrow can't hold a valid value, only that body is refused."""
    build = avro_reader.build_frame

    def picky(values: Any, schema: pl.Schema, *, is_record: bool) -> pl.DataFrame:
        if 2 in values:
            message = "two"
            raise ValueError(message)
        return build(values, schema, is_record=is_record)

    monkeypatch.setattr(avro_reader, "build_frame", picky)
    found = reader("int").read([b"\x02", b"\x04", b"\x06", b"\x80"])
    assert found.frame["value"].to_list() == [1, 3]
    assert found.refused == {1: "its values can't be held in a column", 3: "truncated"}


def test_heavy_bodies_are_made_columns_of_in_light_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the bodies that are read one by one are cut into frames, rows and refusals keep their places."""
    monkeypatch.setattr(avro_reader, "_BYTES_PER_FRAME", 50)
    monkeypatch.setattr(avro_reader, "_ROWS_PER_FRAME", 7)
    bodies = [b"\x14" + b"x" * 10 if at % 3 else b"\x80" for at in range(100)]
    found = read(
        record(field("a", "string"), field("z", {"type": "map", "values": "null"})),
        [body + b"\0" for body in bodies],
    )
    assert list(found.refused) == list(range(0, 100, 3))
    assert found.frame.height == 66
