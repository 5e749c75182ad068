"""Windowed tables on a broker of lists: readers, closing, lateness, ranges, retention, time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.waiting import wait_until

import ktframe
from ktframe import BindingState, Context, StoreOptions, WindowedKTable
from ktframe.config.settings import TableDeclaration
from ktframe.store.memory import MemoryStore
from ktframe.testing import FakeBroker

MINUTE = 60_000
DAY = 86_400_000
NOW = datetime.now(UTC)


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with two minutes of orders a minute apart in ``t``."""
    broker = FakeBroker()
    for minute in range(30):
        broker.produce("t", f"k{minute % 3}", {"n": minute}, timestamp=minute * MINUTE)
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection to the broker."""
    with broker.connect() as context:
        yield context


def starts(frame: pl.DataFrame) -> list[int]:
    """Return the distinct starts of windows, in minutes since 1970."""
    return sorted({start // MINUTE for start in frame["window_start"].cast(pl.Int64)})


# --- readers ----------------------------------------------------------------------------------------------------------


def test_larger_windows_are_derived_without_a_reader(broker: FakeBroker, kt: Context) -> None:
    """A coarser, hopping or calendar window of an open store reads nothing."""
    table = kt.table("t")
    assert starts(table.window(5).to_polars()) == [0, 5, 10, 15, 20, 25]
    assert len(broker.assigned) == 1
    assert starts(table.window(15).to_polars()) == [0, 15]
    assert starts(table.window(15, every=5).to_polars()) == [0, 5, 10, 15, 20, 25]
    assert table.window("1d", tz="Asia/Tokyo").to_polars().height == 3
    assert len(broker.assigned) == 1
    assert starts(table.window(2).to_polars()) == list(range(0, 30, 2))
    assert len(broker.assigned) == 2


def test_the_same_question_gives_the_same_object(kt: Context) -> None:
    """However a size is written; what is only looked at when reading shares the store."""
    table = kt.table("t")
    assert table.window(5) is table.window("5m") is kt.table("t").window("300s")
    assert table.window(5) is not table.window(5, grace=1)
    patient = table.window(5, idle_after="1h")
    assert patient is not table.window(5)
    assert patient.events is table.window(5).events


def test_declared_windows_start_with_the_table(broker: FakeBroker, kt: Context) -> None:
    """``windows=`` opens their stores when the table starts, and not before."""
    table = kt.table("t", windows=[5, 7])
    assert broker.assigned == []
    assert len(table) == 3
    wait_until(lambda: len(broker.assigned) == 3, "both windows to be read")
    assert len(table.window(7).to_polars()) > 0
    assert len(broker.assigned) == 3


@pytest.mark.parametrize("windows", [[15, "1h", 5], [5, 15, "1h"]])
def test_declared_windows_read_the_topic_once(broker: FakeBroker, kt: Context, windows: list[Any]) -> None:
    """In whichever order they are declared, the larger ones are made of the smallest."""
    table = kt.table("t", windows=windows)
    assert [len(table.window(size)) for size in ("1h", 15, 5)] == [3, 6, 18]
    assert len(table) == 3
    assert len(broker.assigned) == 2


def test_settings_declare_windows(broker: FakeBroker) -> None:
    """``initialize`` opens the windows of tables in the configuration."""
    with broker.connect(tables={"mine": TableDeclaration("mine", topic="t", windows=(5,))}) as kt:
        (table,) = kt.initialize()
        wait_until(lambda: len(broker.assigned) == 2, "table and window to be read")
        assert table.window(5).readiness().name == "t window 5m"


def test_closing_one_window_leaves_those_that_share_its_store(broker: FakeBroker, kt: Context) -> None:
    """A binding stops with the last of its windows; closing the table closes them all."""
    table = kt.table("t")
    small, large = table.window(5), table.window(15)
    assert (len(small), len(large)) == (18, 6)
    small.close()
    assert len(large) == 6
    assert table.window(5) is not small
    table.close()
    for ask in (large.to_polars, table.to_polars, lambda: table.window(5)):
        with pytest.raises(ktframe.ContextClosedError):
            ask()


# --- lateness ---------------------------------------------------------------------------------------------------------


def closing(broker: FakeBroker, **how: Any) -> tuple[Context, WindowedKTable]:
    """Return windows of ten milliseconds with a grace of five, over two partitions of ``late``."""
    broker.create_topic("late", 2)
    context = broker.connect()
    return context, context.table("late").window("10ms", grace="5ms", **how)


def test_late_records_are_kept_apart(broker: FakeBroker) -> None:
    """A window takes records until stream time has passed its end by the grace; each partition has its own time."""
    kt, windows = closing(broker)
    with kt:
        for time, name in [(3, "a"), (14, "b"), (4, "a"), (15, "b"), (5, "a")]:
            broker.produce("late", name, {"at": time}, timestamp=time)
        broker.produce("late", "c", {"at": 6}, partition=1, timestamp=6)
        rows = windows.to_polars().sort("window_start", "key")
        assert rows.select("key", "at").rows() == [("a", 4), ("c", 6), ("b", 15)]
        late = windows.late()
        assert late.select("key", "at", "partition", "offset").rows() == [("a", 5, 0, 4)]
        assert late.columns[:2] == ["window_start", "window_end"]
        assert windows.status().late == 1
        assert "1 record was late" in str(windows.status())


def test_a_late_tombstone_removes_nothing(broker: FakeBroker) -> None:
    """It is late as any record is, and shows as a row of nulls."""
    kt, windows = closing(broker)
    with kt:
        for time, value in [(3, {"n": 1}), (30, {"n": 2}), (4, None)]:
            broker.produce("late", "a", value, timestamp=time)
        assert sorted(windows.to_polars()["n"]) == [1, 2]
        assert windows.late().select("key", "n").rows() == [("a", None)]


def test_windows_are_final_once_every_partition_has_passed_them(broker: FakeBroker) -> None:
    """A partition that has brought nothing keeps windows open until it is idle."""
    kt, windows = closing(broker)
    with kt:
        broker.produce("late", "a", {"n": 1}, timestamp=3)
        broker.produce("late", "a", {"n": 2}, timestamp=40)
        assert windows.to_polars(is_final=True)["is_final"].to_list() == [False, False]
        assert windows.position().idle == ()
        broker.produce("late", "b", {"n": 3}, partition=1, timestamp=14)
        assert windows.final().to_polars().height == 0
        broker.produce("late", "b", {"n": 4}, partition=1, timestamp=15)
        assert windows.final().to_polars()["n"].to_list() == [1]
        shown = windows.to_polars(is_final=True).sort("window_start", "key")
        assert shown.select("n", "is_final").rows() == [(1, True), (4, False), (2, False)]


def test_an_idle_partition_does_not_count(broker: FakeBroker) -> None:
    """After ``idle_after`` without a record its stream time holds nothing back, and the position names it."""
    kt, windows = closing(broker, idle_after="50ms")
    with kt:
        broker.produce("late", "a", {"n": 1}, timestamp=3)
        broker.produce("late", "a", {"n": 2}, timestamp=40)
        assert len(windows) == 2
        wait_until(lambda: 1 in windows.position().idle, "partition 1 to be idle")
        assert windows.final().to_polars()["n"].to_list() == [1]


@pytest.mark.parametrize("kind", ["table", "stream"])
@pytest.mark.parametrize("size", [5, 15], ids=["stored", "derived"])
def test_the_window_that_start_cuts_is_partial(
    broker: FakeBroker, tmp_path: Path, kind: str, size: int
) -> None:
    """A window that begins before ``start=`` is marked and never final, whether the store is new or opened again."""
    start = datetime.fromtimestamp(7 * 60, UTC)
    for _ in range(2):
        with broker.connect(tmp_path) as kt:
            source = getattr(kt, kind)("t", start=start)
            if kind == "table":
                source.window(5, grace=0)  # what larger windows are made of
            windows = source.window(size, grace=0)
            frame = windows.to_polars(is_final=True, is_partial=True)
            starting = pl.col("window_start").cast(pl.Int64) // MINUTE
            marks = frame.select(starting, pl.struct("is_final", "is_partial").alias("marks")).unique()
            found = {at: (each["is_final"], each["is_partial"]) for at, each in sorted(marks.rows())}
            first, last = 7 // size * size, 30 - size
            assert found == {at: (at not in (first, last), at == first) for at in range(first, 30, size)}
            assert starts(windows.final().to_polars()) == [at for at, (final, _) in found.items() if final]
            aggregate = windows._query([pl.len()], {}, None, fill=False, fresh=True)[1]
            assert aggregate.is_partial.to_list() == [True, *[False] * (len(found) - 1)]


@pytest.mark.parametrize("kind", ["table", "stream"])
def test_a_start_before_the_log_cuts_no_window(broker: FakeBroker, kt: Context, kind: str) -> None:
    """Where ``start=`` leaves out no record, all windows are whole; so they are without it."""
    for start in (None, datetime.fromtimestamp(-60, UTC)):
        windows = getattr(kt, kind)("t", start=start).window(5, grace=0)
        frame = windows.to_polars(is_partial=True)
        assert frame["is_partial"].unique().to_list() == [False]
        assert starts(windows.final().to_polars()) == [0, 5, 10, 15, 20]


def test_sessions_and_sliding_windows_that_start_cuts_are_partial(broker: FakeBroker, kt: Context) -> None:
    """A session is whole only if none of the events that were left out can have joined it."""
    for minute in (40, 60):
        broker.produce("t", "k0", {"n": minute}, timestamp=minute * MINUTE)
    stream = kt.stream("t", start=datetime.fromtimestamp(20 * 60, UTC))
    sessions = stream.session(5, grace=0)
    assert dict(sessions.to_polars(is_partial=True).select("n", "is_partial").unique().rows()) == {
        **dict.fromkeys(range(20, 30), True),
        40: False,
        60: False,
    }
    assert sorted(sessions.final().to_polars()["n"]) == [40]
    sliding = stream.sliding(5, grace=0).to_polars(is_partial=True)
    cut = sliding.filter("is_partial")
    assert cut.height > 0
    assert max(starts(cut)) == 19
    assert min(starts(sliding.filter(~pl.col("is_partial")))) == 20


def test_windows_without_grace_never_close(kt: Context) -> None:
    """``final()`` says what would help; nothing is late."""
    windows = kt.table("t").window(5)
    assert not windows.to_polars(is_final=True)["is_final"].any()
    assert windows.late().height == 0
    with pytest.raises(ktframe.ConfigurationError, match="without grace never close"):
        windows.final()


def test_a_time_far_in_the_future_closes_no_window(broker: FakeBroker) -> None:
    """It is refused, with how far it is ahead; ``max_future_skew=None`` takes it."""
    kt, windows = closing(broker)
    with kt:
        ahead = int(NOW.timestamp() * 1000) + 10 * DAY
        for time in (3, ahead, 4):
            broker.produce("late", "a", {"n": time}, timestamp=time)
        assert windows.to_polars()["n"].to_list() == [4]
        assert windows.late().height == 0
        (reason,) = windows.errors()["reason"]
        assert "days in the future; max_future_skew allows 1" in reason
        trusting = kt.table("late").window("10ms", grace="5ms", max_future_skew=None)
        assert (len(trusting), trusting.late().height) == (2, 1)


# --- ranges -----------------------------------------------------------------------------------------------------------


def test_a_range_is_of_starts(kt: Context) -> None:
    """``between`` takes start inclusive, end exclusive; ranges of ranges narrow."""
    windows = kt.table("t").window(5)
    assert starts(windows.between("1970-01-01T00:05Z", "1970-01-01T00:15Z").to_polars()) == [5, 10]
    assert starts(windows.between("1970-01-01 00:20").to_polars()) == [20, 25]
    assert starts(windows.between(None, "1970-01-01 00:10").between("1970-01-01 00:05").to_polars()) == [5]
    assert windows.last("1h").to_polars().height == 0
    assert starts(windows.get("k1")) == [0, 5, 10, 15, 20, 25]
    assert windows.get("k9").height == 0
    (first, *_) = windows.items("1970-01-01 00:10", None, "k2")
    assert first[0] == (datetime(1970, 1, 1, 0, 10, tzinfo=UTC), "k2")
    assert first[1]["n"] == 14


def test_a_range_read_touches_its_windows_rows_only(kt: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A roll-up of a range takes the rows of that range; the store is scanned when it is opened, and not again."""
    table = kt.table("t")
    assert len(table.window(5)) == 18
    taken: list[int] = []
    scans: list[object] = []
    plain, scan = ktframe.tables.windowed_table.roll_up, MemoryStore.items

    def counted(rows: pl.DataFrame, *rest: Any) -> pl.DataFrame:
        taken.append(rows.height)
        return plain(rows, *rest)

    def scanned(self: MemoryStore, *bounds: Any) -> Any:
        scans.append(bounds)
        return scan(self, *bounds)

    monkeypatch.setattr("ktframe.tables.windowed_table.roll_up", counted)
    monkeypatch.setattr(MemoryStore, "items", scanned)
    assert starts(table.window(15).between("1970-01-01 00:15").to_polars()) == [15]
    assert starts(table.window(10).between("1970-01-01 00:10", "1970-01-01 00:20").to_polars()) == [10]
    assert table.window(10, every=5).between("1970-01-01 00:05", "1970-01-01 00:06").agg(n=pl.len())[
        "n"
    ].to_list() == [3]
    assert (taken, scans) == ([9, 6, 6], [])


# --- time -------------------------------------------------------------------------------------------------------------


def test_days_of_23_and_25_hours(broker: FakeBroker, kt: Context) -> None:
    """Days of Berlin around the changes of its clocks hold the hours that they have."""
    hour = 3_600_000
    for first in (
        1_774_652_400_000,
        1_792_792_800_000,
    ):  # midnight before 2026-03-28 and 2026-10-24 in Berlin
        for number in range(73):
            broker.produce("hours", f"h{number}", {"n": number}, timestamp=first + number * hour)
    days = kt.table("hours").window("1d", tz="Europe/Berlin").agg(n=pl.len(), fill=False)
    lengths = (days["window_end"] - days["window_start"]).dt.total_hours().to_list()
    assert lengths == [24, 23, 24, 24, 24, 25, 24]
    assert days["n"].to_list() == [24, 23, 24, 2, 24, 25, 24]


def test_times_before_1970_floor(broker: FakeBroker, kt: Context) -> None:
    """A negative timestamp is in the window before 1970 that holds it."""
    broker.produce("old", "a", {"n": 1}, timestamp=-1)
    (row,) = (
        kt.table("old")
        .window("10ms")
        .to_polars()
        .select(pl.col("window_start", "window_end").cast(pl.Int64))
        .rows()
    )
    assert row == (-10, 0)


def test_records_without_a_usable_time_are_refused(broker: FakeBroker, kt: Context) -> None:
    """No timestamp, a missing or unreadable ``time=`` field, or one beyond the calendar: no window, and the reason."""
    broker.produce("odd", "a", {"at": "2026-01-01T12:00Z"}, timestamp=None)
    broker.produce("odd", "b", {"at": "soon"}, timestamp=5)
    broker.produce("odd", "c", {}, timestamp=5)
    broker.produce("odd", "d", {"at": "2026-01-01T12:00Z"}, timestamp=9_000_000_000_000_000_000)
    by_record = kt.table("odd").window(5, max_future_skew=None)
    assert sorted(by_record.to_polars()["key"]) == ["b", "c"]
    reasons = by_record.errors()["reason"].to_list()
    beyond = "timestamp 9000000000000000000 ms is outside the years -262143 to 262142"
    assert reasons == ["the record has no timestamp", beyond]
    by_field = kt.table("odd", time="at").window(5)
    assert sorted(by_field.to_polars()["key"]) == ["a", "d"]
    assert by_field.errors()["reason"].to_list() == [
        "no usable time in 'at': text that is no ISO 8601 time, such as 2024-01-31T12:34:56Z",
        "no usable time in 'at': it is missing or null",
    ]


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"size": 0}, "size must be longer than zero"),
        ({"size": -5}, "size must be longer than zero"),
        ({"size": 5, "every": 0}, "every must be longer than zero"),
        ({"size": 5, "every": 10}, "not longer than size"),
        ({"size": 5, "grace": -1}, "grace must be zero or longer"),
        ({"size": 5, "grace": "soon"}, "grace: 'soon' is not a duration"),
        ({"size": 5, "tz": "Mars/Olympus"}, "Mars/Olympus"),
        ({"size": "36h", "tz": "Europe/Berlin"}, "1d12h"),
        ({"size": 5.0}, "size must be a duration"),
        ({"size": 5, "max_future_skew": -1}, "max_future_skew must be"),
    ],
)
def test_windows_that_make_no_sense_are_refused(kt: Context, how: dict[str, Any], match: str) -> None:
    """The call itself raises, before anything is read."""
    with pytest.raises(ktframe.ConfigurationError, match=match):
        kt.table("t").window(**how)


# --- what stays -------------------------------------------------------------------------------------------------------


def test_stream_time_is_remembered(broker: FakeBroker, tmp_path: Path) -> None:
    """A window that was closed stays so after a restart: its late records are late again."""
    for time in (3, 40):
        broker.produce("s", "a", {"n": time}, timestamp=time)
    for expected in (0, 1):
        with broker.connect(tmp_path) as kt:
            windows = kt.table("s").window("10ms", grace=0)
            assert (len(windows), windows.late().height) == (2, expected)
            assert windows.position().stream_times == {0: datetime(1970, 1, 1, 0, 0, 0, 40_000, tzinfo=UTC)}
        broker.produce("s", "a", {"n": -1}, timestamp=4)


def test_retention_drops_windows_and_what_they_are_part_of(broker: FakeBroker, tmp_path: Path) -> None:
    """Windows that ended long ago go, and larger windows of which a part is gone are left out."""
    options = StoreOptions(retention="12m")
    with broker.connect(tmp_path, store=options) as kt:
        table = kt.table("t")
        assert starts(table.window(1).to_polars()) == list(range(16, 30))
        assert starts(table.window(10).to_polars()) == [20]
        assert len(table) == 3
        assert "retention has dropped 16 older rows" in repr(table.window(1))
        broker.produce("t", "k1", {"n": -1}, timestamp=0)
        assert starts(table.window(1).to_polars()) == list(range(16, 30))
    with broker.connect(tmp_path, store=options) as kt:
        assert starts(kt.table("t").window(1).to_polars()) == list(range(16, 30))


def test_difference_has_all_three_kinds_of_change(broker: FakeBroker, kt: Context) -> None:
    """What came, changed and went since a frame, with old and new values."""
    windows = kt.table("t").window(15)
    before = windows.to_polars()
    broker.produce("t", "k0", {"n": 100}, timestamp=29 * MINUTE)
    broker.produce("t", "k1", None, timestamp=29 * MINUTE)
    broker.produce("t", "k9", {"n": 9}, timestamp=29 * MINUTE)
    found = windows.diff(since=before).sort("key")
    assert found.select("change", "key", "old", "new").rows() == [
        ("updated", "k0", {"n": 27}, {"n": 100}),
        ("deleted", "k1", {"n": 28}, None),
        ("inserted", "k9", None, {"n": 9}),
    ]
    table = kt.table("t")
    assert table.diff(since=table.to_polars()).height == 0


def test_a_compacted_topic_says_so(broker: FakeBroker) -> None:
    """Windows and streams over it hold survivors only; a table is what compaction is for."""
    broker.create_topic("c", cleanup_policy="compact")
    broker.produce("c", "a", {"n": 1}, timestamp=1)
    with broker.connect() as kt:
        windows, stream, table = kt.table("c").window(5), kt.stream("c"), kt.table("c")
        for each in (windows, stream, table):
            assert len(each) == 1
        assert "compacted: older records of a key may be gone" in repr(windows)
        assert windows.position().notices == stream.position().notices != ()
        assert table.position().notices == ()


def test_states_follow_the_store(kt: Context) -> None:
    """A windowed table has a binding of its own, created before it is asked for rows."""
    windows = kt.table("t").window(5)
    assert repr(windows) == "WindowedKTable('t', '5m', not started)"
    assert windows.wait_until_ready().is_ready
    assert windows.readiness().state is BindingState.READY
    assert repr(windows) == "WindowedKTable('t', '5m', ready, 18 rows; values: json)"


def test_an_aggregate_sees_deletes_that_were_not_merged(broker: FakeBroker, kt: Context) -> None:
    """A tombstone by record key acts on windows of a key field, also before anybody has read all rows."""
    for number in range(100):
        broker.produce("f", f"k{number}", {"f": number}, timestamp=0)
    windows = kt.table("f", key="f").window("1m")
    assert len(windows) == 100
    windows._reader.started().view._next_merge = float("inf")
    broker.produce("f", "k7", None, timestamp=1)
    assert windows.agg(n=pl.len())["n"].to_list() == [99]
    assert windows.between("1970-01-01 00:00").to_polars().height == 99


def test_a_time_field_keeps_its_unit(broker: FakeBroker, tmp_path: Path) -> None:
    """Integers are milliseconds, floats seconds: a float that comes later does not turn the former into the latter."""
    broker.produce("u", "a", {"at": 60_000})
    times = []
    for _ in range(2):
        with broker.connect(tmp_path) as kt:
            stream = kt.stream("u", time="at")
            times.append(stream.to_polars(metadata="timestamp")["timestamp"].cast(pl.Int64).to_list())
            if len(times) == 1:
                broker.produce("u", "b", {"at": 61.5})
                assert (len(stream), stream.errors().height) == (1, 1)
    assert times == [[60_000], [60_000]]


def test_a_partition_with_unread_records_is_not_idle(broker: FakeBroker) -> None:
    """What is known to be there but was not read yet keeps windows open, however long that takes."""
    kt, windows = closing(broker, idle_after="20ms")
    with kt:
        for partition in (0, 1):
            broker.produce("late", "a", {"n": partition}, partition=partition, timestamp=3)
        broker.produce("late", "a", {"n": 9}, timestamp=600)
        assert len(windows) == 3 - 1
        broker.hold()
        broker.produce("late", "b", {"n": 5}, partition=1, timestamp=4)
        wait_until(lambda: (windows.readiness().total_lag or 0) > 0, "the record to be seen")
        wait_until(lambda: 0 in windows.position().idle, "partition 0 to be idle")
        assert windows.position().idle == (0,)
        assert windows.final().to_polars(fresh=False).height == 0
        broker.release()


def test_retention_holds_for_a_recreated_topic(broker: FakeBroker) -> None:
    """The same log leaves the same rows, also the second time."""
    with broker.connect(store=StoreOptions(retention="10m")) as kt:
        for _ in range(2):
            broker.create_topic("again")
            for minute in (0, 1, 2, 30):
                broker.produce("again", "k", {"n": minute}, timestamp=minute * MINUTE)
            windows = kt.table("again").window(1)
            assert windows.to_polars()["n"].to_list() == [30]


def test_a_window_that_cannot_be_kept_leaves_its_table_alone(
    broker: FakeBroker, kt: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A declared window whose store fails is logged, and raises when it is read itself."""
    table = kt.table("t", windows=[5])
    window = table.window(5)

    def fail() -> None:
        where, why = "there", "no space"
        raise ktframe.StoreError(where, why)

    monkeypatch.setattr(window._reader.binding, "prepare", fail)
    assert len(table) == 3
    with pytest.raises(ktframe.StoreError, match="no space"):
        window.to_polars()
