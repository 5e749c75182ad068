"""The verbs of frames on tables, streams and windows, and the hand-over to other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from IPython.core.oinspect import Inspector
from polars.testing import assert_frame_equal

from ktframe.process import available_memory
from ktframe.process.available_memory import available_bytes
from ktframe.tables import verbs
from ktframe.tables.base import MaterializedTopic
from ktframe.testing import FakeBroker

SCHEMA = {"at": pl.Datetime("us", "UTC"), "price": pl.Decimal(12, 2), "day": pl.Date}
AT = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)
Opened = Callable[[], MaterializedTopic]


@pytest.fixture(params=["table", "windows", "stream", "windows of a stream"])
def topic(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return rows with every kind of column, some of nothing but nulls."""
    broker = FakeBroker()
    for number in range(12):
        value = {
            "n": number if number % 3 else None,
            "name": f"n{number}" if number % 4 else None,
            "nothing": None,
            "list": [number, None],
            "nothings": [None],
            "struct": {"a": number, "b": "x", "c": None},
            "is": number % 2 == 0,
            "at": "2026-10-01T12:00:00Z",
            "price": "12.50",
            "day": "2026-10-01",
        }
        broker.produce("t", f"k{number}", value, timestamp=AT + number * 60_000)
    with broker.connect() as kt:
        table, stream = kt.table("t", schema=SCHEMA), kt.stream("t", schema=SCHEMA)
        found = {
            "table": table,
            "windows": table.window(5),
            "stream": stream,
            "windows of a stream": stream.window(5),
        }
        yield found[request.param]


def by_name(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in an order that is the same each time."""
    return frame.sort(pl.col("at"), pl.col("name"), pl.col("n"), nulls_last=True)


def test_verbs_give_what_the_frame_gives(topic: Any) -> None:
    """Each is the frame's own, on all rows."""
    frame = topic.to_polars()
    assert_frame_equal(topic.head(3), frame.head(3))
    assert_frame_equal(topic.tail(3), frame.tail(3))
    assert_frame_equal(topic.sample(4, seed=1), frame.sample(4, seed=1))
    assert_frame_equal(topic.sample(fraction=0.5, seed=1), frame.sample(fraction=0.5, seed=1))
    assert_frame_equal(topic.sort("n", "name", descending=True), frame.sort("n", "name", descending=True))
    assert_frame_equal(topic.describe(), frame.describe())


def test_verbs_are_complete_as_of_the_call() -> None:
    """Like every read: what was produced before the call is in it; without ``fresh`` what was there is."""
    broker = FakeBroker()
    broker.create_topic("t")
    with broker.connect() as kt:
        table = kt.table("t")
        for verb in (table.head, table.tail, table.sort, table.to_pandas, table.to_arrow):
            broker.produce("t", "k", {"n": 1})
            arguments = ("n",) if verb == table.sort else ()
            assert len(verb(*arguments)) == 1
            broker.produce("t", "k", None)
            assert len(verb(*arguments)) == 0
        broker.hold()
        broker.produce("t", "k", {"n": 1})
        assert table.head(fresh=False).height == 0
        broker.release()


def test_files_hold_all_rows(topic: Any, tmp_path: Path) -> None:
    """Parquet has the frame as it is; CSV its plain columns as text."""
    frame = topic.to_polars(metadata=True)
    topic.write_parquet(tmp_path / "t.parquet", metadata=True, compression="snappy")
    assert_frame_equal(pl.read_parquet(tmp_path / "t.parquet"), frame, check_row_order=False)


def test_csv_has_the_rows_of_a_plain_topic(tmp_path: Path) -> None:
    """Options are Polars'."""
    broker = FakeBroker()
    broker.produce("t", "k", {"n": 1, "name": "a"})
    with broker.connect() as kt:
        kt.table("t").write_csv(tmp_path / "t.csv", separator=";")
    assert (tmp_path / "t.csv").read_text() == "key;n;name\nk;1;a\n"


def test_arrow_hands_over_what_the_frame_has(topic: Any) -> None:
    """DuckDB, pyarrow and Polars read every column, also those of nothing but nulls; pandas as it reads the frame."""
    frame = topic.to_polars()
    assert_frame_equal(pl.DataFrame(topic), frame, check_row_order=False)
    assert pa.table(topic).schema == frame.to_arrow().schema
    assert topic.to_arrow().schema == frame.to_arrow().schema
    assert by_name(duckdb.sql("from topic").pl()).select(frame.columns).rows() == by_name(frame).rows()
    pd.testing.assert_frame_equal(topic.to_pandas(), frame.to_pandas())
    assert pd.DataFrame.from_arrow(topic).shape == frame.shape


def test_no_library_takes_the_keys_for_the_rows(topic: Any) -> None:
    """Arrays and frames of pandas are refused with what gives the rows."""
    for make in (np.asarray, pd.DataFrame):
        with pytest.raises((TypeError, ValueError)) as raised:
            make(topic)
        if isinstance(raised.value, TypeError):
            assert "Hint: to_pandas()" in str(raised.value)


def test_help_reads_nothing(topic: Any) -> None:
    """Shift-Tab and ``?`` ask for the length of everything: not of a topic, which would be loaded for that."""
    shown = Inspector(theme_name="nocolor").info(topic, oname="topic")
    assert "not started" in repr(topic)
    assert shown["type_name"] == type(topic).__name__
    assert shown["length"] is None
    assert len(topic) == topic.to_polars().height


def test_other_verbs_of_frames_say_where_they_are(topic: Any) -> None:
    """The call that the hint names works."""
    with pytest.raises(AttributeError, match=r"Hint: to_polars\(\)\.group_by\(\.\.\.\)"):
        topic.group_by("n")
    assert topic.to_polars().group_by("is").len().height == 2
    with pytest.raises(AttributeError, match=r"Hint: to_polars\(\)\.width is"):
        _ = topic.width
    with pytest.raises(AttributeError, match=r"has no attribute 'no_such_name'$") as raised:
        _ = topic.no_such_name
    assert raised.value.name == "no_such_name"
    assert not hasattr(topic, "_repr_mimebundle_")


@pytest.mark.parametrize(
    "copy",
    [
        lambda table: table.to_pandas(),
        lambda table: table.sort("n"),
        lambda table: table.sample(1),
        lambda table: table.describe(),
    ],
)
def test_a_copy_of_more_than_the_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, copy: Callable[[Any], object]
) -> None:
    """With what to do instead, which works; a frame of the rows copies none."""
    broker = FakeBroker()
    for number in range(100):
        broker.produce("t", f"k{number}", {"n": number})
    monkeypatch.setattr(verbs, "available_bytes", lambda: 1_000)
    with broker.connect() as kt:
        table = kt.table("t")
        with pytest.raises(
            MemoryError, match=r"copies 0\.0 GB of rows.*\nHint: lazy\(\) leaves the rows in files: filter"
        ):
            copy(table)
        assert table.to_polars().height == 100
        assert table.lazy().filter(pl.col("n") < 3).collect().height == 3
        monkeypatch.setattr(verbs, "available_bytes", lambda: None)
        copy(table)


def test_the_memory_that_is_left_is_that_of_the_machine_or_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lesser of the two, as far as they are known."""
    monkeypatch.setattr(available_memory, "_MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(available_memory, "_GROUP", tmp_path)
    assert available_bytes() is None
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    1000 kB\n")
    assert available_bytes() == 1_024_000
    for name, text in {
        "memory.max": "max",
        "memory.current": "70000",
        "memory.stat": "anon 1\ninactive_file 500\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert available_bytes() == 1_024_000
    (tmp_path / "memory.max").write_text("100000\n")
    assert available_bytes() == 30_500


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux says it there")
def test_the_memory_that_is_left_here_is_known() -> None:
    """It is some of that of the machine."""
    found = available_bytes()
    assert found is not None
    assert 0 < found < 2**50
