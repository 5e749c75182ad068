"""Files with frames: mapped as they were written, or refused."""

from __future__ import annotations

import errno
import os
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from ktframe.store import view_files
from ktframe.store.view_files import DamagedFileError, keep_only, map_frame, write_frame

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS: dict[str, pl.Series] = {
    "": [1, 2],
    "booleans": pl.Series([True, None]),
    "integers": pl.Series([1, None], dtype=pl.Int8),
    "large integers": pl.Series([2**64 - 1, 0], dtype=pl.UInt64),
    "floats": pl.Series([1.5, float("nan")], dtype=pl.Float32),
    "texts": pl.Series(["short", "longer than what a view holds in itself"]),
    "bytes": pl.Series([b"\xff" * 40, None]),
    "decimals": pl.Series([Decimal(10**37), None], dtype=pl.Decimal(38, 0)),
    "nulls": pl.Series([None, None], dtype=pl.Null),
    "enums": pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"])),
    "categories": pl.Series(["x", None], dtype=pl.Categorical),
    "moments": pl.Series([NOW, None], dtype=pl.Datetime("ms", "UTC")),
    "zoned": pl.Series([NOW, None]).dt.convert_time_zone("Europe/Berlin"),
    "dates": pl.Series([date(2026, 1, 1), None]),
    "times": pl.Series([time(1, 2, 3), None]),
    "durations": pl.Series([timedelta(1), None], dtype=pl.Duration("ns")),
    "lists": pl.Series([["longer than what a view holds"], []]),
    "empty lists": pl.Series([[], None], dtype=pl.List(pl.Null)),
    "structs": pl.Series([{"a": 1, "b": {"c": None}}, None]),
    "empty structs": pl.Series([{}, None], dtype=pl.Struct([])),
    "maps": pl.Series([[{"key": "k", "value": 1}], []]),
    "enums inside": pl.Series([{"e": ["a"]}, None], dtype=pl.Struct({"e": pl.List(pl.Enum(["a"]))})),
    "arrays": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    """With its type and its values, in one piece."""
    frame = pl.DataFrame({name: COLUMNS[name]})
    found = map_frame(tmp_path, write_frame(tmp_path, "rows", frame))
    assert found.schema == frame.schema
    assert found.equals(frame)
    assert found.n_chunks() == 1


def test_a_mapped_frame_takes_no_memory(tmp_path: Path) -> None:
    """Numbers and texts lie in the file: what Arrow has for itself is not more than before."""
    frame = pl.DataFrame({"n": range(100_000), "text": [f"the text of line {n}" for n in range(100_000)]})
    file = write_frame(tmp_path, "rows", frame)
    before = pa.total_allocated_bytes()
    found = map_frame(tmp_path, file)
    assert pa.total_allocated_bytes() - before < 100_000
    assert found.equals(frame)


def test_a_frame_in_chunks_takes_no_more_than_in_one(tmp_path: Path) -> None:
    """Chunks that were cut from one share their texts, which are written once."""
    whole = pl.DataFrame({"n": range(10_000), "text": [f"the text of line {n}" for n in range(10_000)]})
    chunks = pl.concat([whole.slice(at, 100) for at in range(0, 10_000, 100)], rechunk=False)
    assert chunks.n_chunks() == 100
    found = write_frame(tmp_path, "rows", chunks)
    assert found.size < 1.5 * write_frame(tmp_path, "rows", whole).size
    assert map_frame(tmp_path, found).equals(whole)


def test_a_mapped_frame_outlives_its_file(tmp_path: Path) -> None:
    """Whoever has it goes on reading."""
    frame = pl.DataFrame({"n": range(100_000)})
    found = map_frame(tmp_path, write_frame(tmp_path, "rows", frame))
    keep_only(tmp_path, ())
    assert list(tmp_path.iterdir()) == []
    assert found.equals(frame)


def test_no_name_is_used_again(tmp_path: Path) -> None:
    """The same frame is written to another file."""
    names = {write_frame(tmp_path, "rows", pl.DataFrame({"n": [1]})).name for _ in range(20)}
    assert len(names) == 20


def test_every_damage_is_found(tmp_path: Path) -> None:
    """A byte that is another one, one that is missing, and one more, wherever it is."""
    random = Random(1)  # noqa: S311 - no cryptography
    frame = pl.DataFrame({"n": range(50), "text": [f"the text of line {n}" for n in range(50)]})
    file = write_frame(tmp_path, "rows", frame)
    whole = (tmp_path / file.name).read_bytes()
    for _ in range(500):
        raw, at = bytearray(whole), random.randrange(len(whole))
        match random.randrange(4):
            case 0:
                raw[at] ^= 1 << random.randrange(8)
            case 1:
                del raw[at:]
            case 2:
                del raw[at]
            case _:
                raw.insert(at, random.randrange(256))
        (tmp_path / file.name).write_bytes(raw)
        with pytest.raises(DamagedFileError):
            map_frame(tmp_path, file)
    (tmp_path / file.name).unlink()
    with pytest.raises(FileNotFoundError):
        map_frame(tmp_path, file)


@pytest.mark.parametrize("failing", ["open", "write", "fsync"])
def test_a_full_disk_leaves_no_file(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever it refuses."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    match failing:
        case "open":
            monkeypatch.setattr(Path, "open", refuse)
        case "write":
            monkeypatch.setattr(view_files._Sink, "write", refuse)
        case _:
            monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_frame(tmp_path, "rows", pl.DataFrame({"n": [1]}))
    assert list(tmp_path.iterdir()) == []


def test_a_slow_disk_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever closes a table does not wait for it."""
    monkeypatch.setattr(view_files, "WRITE_SECONDS", -1.0)
    with pytest.raises(OSError, match="too slow"):
        write_frame(tmp_path, "rows", pl.DataFrame({"n": [1]}))
    assert list(tmp_path.iterdir()) == []


def test_a_type_that_arrow_has_not_is_refused(tmp_path: Path) -> None:
    """Polars' Int128 is in no file."""
    with pytest.raises(pa.ArrowException):
        write_frame(tmp_path, "rows", pl.DataFrame({"n": [1]}, schema={"n": pl.Int128}))
    assert list(tmp_path.iterdir()) == []
