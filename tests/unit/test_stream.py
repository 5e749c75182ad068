"""Streams on a broker of lists: every event is a row, from where the user says, for as long as they say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time as wall_seconds
from typing import Any

import polars as pl
import pytest

import ktframe
from ktframe import Context
from ktframe.clock import SystemClock
from ktframe.config.moments import Start
from ktframe.events import RowsChanged
from ktframe.testing import FakeBroker

HOUR = 3_600_000
MINUTE = 60_000


def now_ms() -> int:
    """Return the wall time."""
    return int(datetime.now(UTC).timestamp() * 1000)


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with six hourly clicks of two users, the last just now, in ``clicks``."""
    broker, now = FakeBroker(), now_ms()
    for age in range(5, -1, -1):
        broker.produce(
            "clicks", f"k{age}", {"user": f"u{age % 2}", "age": age}, timestamp=now - age * HOUR - 60_000
        )
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection to the broker."""
    with broker.connect() as context:
        yield context


def ages(stream: Any) -> list[int]:
    """Return the field ``age`` of a stream's events, in order of offsets."""
    return stream.to_polars(metadata="offset").sort("offset")["age"].to_list()


def test_every_event_is_a_row(broker: FakeBroker, kt: Context) -> None:
    """Nothing is replaced; a null value is an event whose fields are null; the columns about it come on request."""
    broker.produce("clicks", "k0", {"user": "u0", "age": 9}, timestamp=1)
    broker.produce("clicks", None, None, timestamp=None)
    stream = kt.stream("clicks")
    assert stream.to_polars().columns == ["user", "age"]
    frame = stream.to_polars(metadata=True)
    assert frame.columns == ["user", "age", "partition", "offset", "timestamp", "key", "is_tombstone"]
    assert frame["offset"].to_list() == list(range(8))
    assert frame.row(7) == (None, None, 0, 7, None, None, True)
    assert stream.to_polars(metadata=["key", "offset"]).columns == ["user", "age", "key", "offset"]
    with pytest.raises(ktframe.ConfigurationError, match="a record has no 'topic'"):
        stream.to_polars(metadata="topic")


def test_a_field_called_like_ours_keeps_its_name(broker: FakeBroker, kt: Context) -> None:
    """Ours steps aside, in frames and in aggregates."""
    broker.produce("c", "k", {"key": "field", "window_start": 1, "n": 2}, timestamp=5)
    stream = kt.stream("c")
    assert stream.to_polars(metadata="key").to_dicts() == [
        {"key": "field", "window_start": 1, "n": 2, "record_key": "k"}
    ]
    counted = stream.window(5).agg(pl.col("n").sum(), by=["key", "record_key"])
    assert counted.select("key", "record_key", "n").rows() == [("field", "k", 2)]


def test_a_stream_begins_where_it_is_told(broker: FakeBroker, kt: Context) -> None:
    """``start`` reads from the first event at or after the moment, and says that it is partial."""
    stream = kt.stream("clicks", start="-2h")
    assert ages(stream) == [1, 0]
    assert broker.assigned == [{0: 4}]
    assert "partial: from" in repr(stream)
    assert stream.position().notices[0].endswith("UTC on")
    table = kt.table("clicks", start=datetime.now(UTC) - timedelta(hours=3))
    assert sorted(table.to_polars()["age"]) == [0, 1, 2]
    assert "partial" in str(table.status())
    assert kt.stream("clicks", start="-1s").to_polars().height == 0
    with pytest.raises(ktframe.ConfigurationError, match="lies in the future"):
        kt.stream("clicks", start=datetime.now(UTC) + timedelta(days=1))


def test_ranges_of_a_stream(kt: Context) -> None:
    """``since`` and ``last`` narrow by event time."""
    stream = kt.stream("clicks")
    assert ages(stream.since("-3h")) == [2, 1, 0]
    assert ages(stream.last("90m")) == [1, 0]
    assert stream.last("90m").lazy().collect().height == 2
    with pytest.raises(ktframe.ConfigurationError, match="longer than zero"):
        stream.last("-1h")


def test_a_relative_start_moves_on_while_nobody_looks(broker: FakeBroker, tmp_path: Path) -> None:
    """A stored position below it skips forward and drops the older rows; above it, older rows go too."""
    with broker.connect(tmp_path) as kt:
        assert ages(kt.stream("clicks", start="-4h")) == [3, 2, 1, 0]
    now = now_ms()
    for age in (-1, -2):
        broker.produce("clicks", "k", {"user": "u0", "age": age}, timestamp=now - age * HOUR)
    broker.delete_records("clicks", 0)
    with broker.connect(tmp_path) as kt:
        stream = kt.stream("clicks", start="-4h")
        assert ages(stream) == [3, 2, 1, 0, -1, -2]
    broker.produce("clicks", "k", {"user": "u0", "age": -3}, timestamp=now + 3 * HOUR)
    with broker.connect(tmp_path) as kt:
        stream = kt.stream("clicks", start="-4h")
        stream._reader.binding.beginning.start = Start(before_ms=HOUR // 2)  # as if hours had passed
        counts: list[int] = []
        stream.events.subscribe(RowsChanged, lambda event: counts.append(event.rows))
        assert ages(stream) == [0, -1, -2, -3]
        assert counts == [3, 1]


def test_a_stream_keeps_its_history_and_reports_the_gap(broker: FakeBroker, tmp_path: Path) -> None:
    """What the log lost while nobody read is named; the rows from before it stay."""
    with broker.connect(tmp_path) as kt:
        assert len(kt.stream("clicks")) == 6
    for age in (-1, -2, -3):
        broker.produce("clicks", "k", {"user": "u0", "age": age}, timestamp=now_ms())
    broker.delete_records("clicks", 8)
    with broker.connect(tmp_path) as kt:
        stream = kt.stream("clicks")
        assert ages(stream) == [5, 4, 3, 2, 1, 0, -3]
        (notice,) = stream.position().notices
        assert notice == "2 offsets of partition 0 were lost before they were read"
        assert ages(kt.table("clicks").window("7d")) == [-3]


def test_retention_keeps_what_is_young(broker: FakeBroker, tmp_path: Path) -> None:
    """Older events go in steps, as the newest event's time moves; another retention is another question."""
    with broker.connect(tmp_path) as kt:
        stream = kt.stream("clicks", retention="2h")
        assert ages(stream) == [2, 1, 0]
        assert stream.position().notices == ("retention has dropped 3 older rows",)
        with pytest.raises(ktframe.ConfigurationError, match="already there with retention"):
            kt.stream("clicks", retention="3h")
    with broker.connect(tmp_path) as kt:
        assert ages(kt.stream("clicks", retention="2h")) == [2, 1, 0]


def test_sessions_and_sliding_windows_by_key(broker: FakeBroker, kt: Context) -> None:
    """``by`` may name a field or the record key."""
    for time, user in [(0, "a"), (4, "b"), (10, "a"), (25, "a")]:
        broker.produce("s", user, {"u": user.upper(), "n": time}, timestamp=time)
    stream = kt.stream("s")
    sessions = stream.session("10ms", by="key").agg(pl.col("n").sum(), n_events=pl.len())
    assert sessions.columns == ["window_start", "window_end", "key", "n", "n_events"]
    assert sessions.select("key", "n", "n_events").rows() == [("a", 10, 2), ("b", 4, 1), ("a", 25, 1)]
    assert stream.session("10ms", by="u").agg(pl.len()).height == 3
    assert stream.session("10ms").agg(pl.len())["len"].to_list() == [3, 1]
    sliding = stream.sliding("10ms", by="key").agg(pl.col("n")).filter(pl.col("key") == "a")
    assert sliding["n"].to_list() == [[0, 10], [10], [25]]
    with pytest.raises(ktframe.ConfigurationError, match="there is no such column"):
        stream.session("10ms", by="user").agg(pl.len())
    with pytest.raises(ktframe.ConfigurationError, match="have their groups already"):
        stream.session("10ms", by="key").agg(pl.len(), by="u")
    with pytest.raises(ktframe.ConfigurationError, match="exist only where events are"):
        stream.session("10ms", by="key").agg(pl.len(), fill=True)


def test_windows_of_events(broker: FakeBroker, kt: Context) -> None:
    """Tumbling windows of a stream: grace, late, final, gaps filled, events without a time."""
    for time in (1, 12, 45, 3, None):
        broker.produce("w", "k", {"n": time}, timestamp=time)
    windows = kt.stream("w").window("10ms", grace=0)
    counts = windows.agg(n=pl.len(), total=pl.col("n").sum(), newest=pl.col("n").max(), fill=True)
    assert counts.select("n", "total", "newest").rows() == [
        (1, 1, 1), (1, 12, 12), (0, 0, None), (0, 0, None), (1, 45, 45)
    ]  # fmt: skip
    assert windows.late().select("n", "offset").rows() == [(3, 3)]
    assert windows.final().agg(n=pl.len())["n"].to_list() == [1, 1]
    assert windows.to_polars(is_final=True)["is_final"].to_list() == [True, True, False]
    (error,) = windows.errors().to_dicts()
    assert (error["offset"], error["value"], error["reason"]) == (
        4, b'{"n": null}', "the event has no timestamp: it is in no window"
    )  # fmt: skip
    assert windows.between(None, "1970-01-01T00:00:00.010Z").agg(n=pl.len())["n"].to_list() == [1]
    assert repr(windows) == "WindowedKStream('w', '10ms', grace '0s', incomplete, 1 of 5 records refused)"


def test_what_can_not_be_aggregated_is_refused(kt: Context) -> None:
    """No expression, something else than one, or a group that is no column."""
    windows = kt.stream("clicks").window(5)
    with pytest.raises(ktframe.ConfigurationError, match="needs a Polars expression"):
        windows.agg()
    with pytest.raises(ktframe.ConfigurationError, match="'age' is not a Polars expression"):
        windows.agg("age")  # type: ignore[arg-type]
    with pytest.raises(ktframe.ConfigurationError, match="by='usr': there is no such column"):
        windows.agg(pl.len(), by="usr")


def test_a_window_that_retention_has_cut_is_left_out(broker: FakeBroker, kt: Context) -> None:
    """A final window stays as it was or goes; a part of it never passes for the whole."""
    minute = 60_000
    for number in range(70):
        broker.produce("cut", "a", {"n": 1}, timestamp=number * 6_000)
    windows = kt.stream("cut", retention="10m").window(5, grace=0)
    assert windows.final().agg(n=pl.len())["n"].to_list() == [50]
    for number in range(70, 140):
        broker.produce("cut", "a", {"n": 1}, timestamp=number * 6_000)
    found = windows.final().agg(n=pl.len())
    assert found.select(pl.col("window_start").cast(pl.Int64) // minute, "n").rows() == [(5, 50)]


def test_what_was_late_stays_late_when_retention_drops_the_newest_time(
    broker: FakeBroker, kt: Context
) -> None:
    """The stream time outlives the event that set it."""
    for time in (100, 1):
        broker.produce("big", "a", {"n": 1}, timestamp=time * 60_000)
    windows = kt.stream("big", retention=4_000).window(5, grace=1)
    assert (windows.late().height, windows.agg(n=pl.len()).height) == (1, 1)
    broker.hold()  # read at once: how much there is, is looked at after each 5,000
    for _ in range(6_000):
        broker.produce("big", "a", {"n": 1}, timestamp=60_000)
    broker.release()
    assert windows.agg(n=pl.len()).height == 0
    assert windows.late().height == len(kt.stream("big", retention=4_000)) < 200


@pytest.mark.parametrize(("first", "ahead"), [(-119, 0), (-119, 80), (-110, 100)])
def test_windows_of_a_start_that_moved_are_those_of_a_new_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, ahead: int
) -> None:
    """What ``start=`` leaves behind at the next opening is not taken for cut by retention, which hides whole windows."""
    broker, moved = FakeBroker(), timedelta()
    now = int(wall_seconds()) * 1000 // HOUR * HOUR + 2 * MINUTE
    wall = SystemClock.now
    offset = timedelta(milliseconds=now) - timedelta(seconds=wall_seconds())
    monkeypatch.setattr(SystemClock, "now", lambda clock: wall(clock) + offset + moved)
    for minute in range(-119, 0):
        at = minute + (ahead if minute == first else 0)  # by a clock that went wrong
        broker.produce("t", f"k{minute}", {"n": minute}, timestamp=now + at * MINUTE)

    def shown(context: Context) -> list[tuple[object, ...]]:
        windows = context.stream("t", start="-2h").window(15)
        return sorted(windows.to_polars(is_partial=True).select("window_start", "n", "is_partial").rows())

    with broker.connect(tmp_path) as context:
        assert len(shown(context)) == 119
    moved = timedelta(minutes=20)
    with broker.connect(tmp_path) as context, broker.connect() as new:
        assert shown(context) == shown(new)
