"""Retention that is another than a store was cut by: what was dropped and is kept now is read again, and nothing else."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ktframe import Context, KStream, WindowedKTable
from ktframe.config.settings import StoreOptions
from ktframe.errors import StoreError
from ktframe.events import TableRebuilt
from ktframe.store.rocksdb import RocksDBStore
from ktframe.testing import FakeBroker
from ktframe.windows.retention import keeps_no_more, parse_retention

MINUTE = 60_000
Rows = KStream | WindowedKTable
Opening = Callable[[Context, Any], Rows]


@pytest.fixture
def broker() -> FakeBroker:
    """Return a topic with an event a minute, for 200 minutes."""
    broker = FakeBroker()
    for number in range(200):
        broker.produce("t", f"k{number}", {"n": number}, timestamp=number * MINUTE)
    return broker


def stream(context: Context, retention: Any) -> Rows:
    """Open a stream."""
    return context.stream("t", retention=retention)


def windows(context: Context, retention: Any) -> Rows:
    """Open windows of a table."""
    return context.table("t", store=StoreOptions(retention=retention)).window(1)


KINDS = pytest.mark.parametrize("opening", [stream, windows])


class Opened:
    """What one opening of a store gave."""

    def __init__(self, broker: FakeBroker, path: Path, opening: Opening, retention: Any) -> None:
        self.rebuilt: list[dict[int, str]] = []
        with broker.connect(path) as context:
            rows = opening(context, retention)
            rows.events.subscribe(TableRebuilt, lambda event: self.rebuilt.append(dict(event.partitions)))
            self.rows = rows.to_polars().height
            self.notices = rows.position().notices


@KINDS
def test_a_wider_retention_reads_again(broker: FakeBroker, tmp_path: Path, opening: Opening) -> None:
    """What the narrower one had dropped is there, and an event says why it was read again; once."""
    narrow = Opened(broker, tmp_path, opening, "30m").rows
    assert narrow < 40
    wide = Opened(broker, tmp_path, opening, "100m")
    assert wide.rebuilt == [{0: "retention keeps rows that it has dropped before"}]
    assert 100 < wide.rows < 110
    again = Opened(broker, tmp_path, opening, "100m")
    assert (again.rows, again.rebuilt, again.notices) == (wide.rows, [], wide.notices)
    everything = Opened(broker, tmp_path, opening, None)
    assert (everything.rows, len(everything.rebuilt), everything.notices) == (200, 1, ())


@KINDS
def test_a_narrower_retention_cuts_further(broker: FakeBroker, tmp_path: Path, opening: Opening) -> None:
    """Nothing is read again."""
    for retention, most in ((None, 200), ("100m", 110), ("30m", 40), ("30m", 40)):
        opened = Opened(broker, tmp_path, opening, retention)
        assert (most - 15 < opened.rows <= most, opened.rebuilt) == (True, [])


@KINDS
def test_what_dropped_nothing_needs_nothing(broker: FakeBroker, tmp_path: Path, opening: Opening) -> None:
    """Where no row is gone yet, a wider retention reads nothing again, and a late event is kept by it."""
    assert Opened(broker, tmp_path, opening, "300m").rows == 200
    broker.produce("t", "late", {"n": 0}, timestamp=-200 * MINUTE)
    opened = Opened(broker, tmp_path, opening, None)
    assert (opened.rows, opened.rebuilt, opened.notices) == (201, [], ())


def test_sizes_are_compared_with_sizes(broker: FakeBroker, tmp_path: Path) -> None:
    """More bytes than before read again, as a duration after a size does; fewer don't."""
    small = Opened(broker, tmp_path, stream, 5_000)
    assert small.rows < 150
    assert Opened(broker, tmp_path, stream, 2_000).rebuilt == []
    more = Opened(broker, tmp_path, stream, 5_000)
    assert (more.rows, len(more.rebuilt)) == (small.rows, 1)
    assert Opened(broker, tmp_path, stream, 5_000).rebuilt == []
    assert len(Opened(broker, tmp_path, stream, "100m").rebuilt) == 1


@pytest.mark.parametrize(
    ("retention", "setting", "expected"),
    [
        (None, "", True),
        ("1h", "", True),
        (None, "3600000 ms", False),
        ("1h", "3600000 ms", True),
        ("61m", "3600000 ms", False),
        ("59m", "3600000 ms", True),
        (500, "500 bytes", True),
        (501, "500 bytes", False),
        (500, "3600000 ms", False),
        ("1h", "3600000 bytes", False),
    ],
)
def test_like_is_compared_with_like(retention: Any, setting: str, expected: object) -> None:
    """A duration is within a longer one, a size within a larger one, and all within no retention."""
    assert keeps_no_more(parse_retention(retention), setting) is expected


@KINDS
def test_rows_that_the_topic_lost_are_kept(
    broker: FakeBroker, tmp_path: Path, opening: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading again what the topic has only in part would lose rows: those there stay, and what is missing is said."""
    before = Opened(broker, tmp_path, opening, "30m")
    broker.delete_records("t", 190)
    opened = Opened(broker, tmp_path, opening, None)
    assert (opened.rows, opened.rebuilt) == (before.rows, [])
    dropped = 200 - before.rows
    assert f"retention has dropped {dropped} older rows" in opened.notices
    assert f"{dropped} older rows stay away: retention has dropped them before" in caplog.text
    caplog.clear()
    assert Opened(broker, tmp_path, opening, None).rows == before.rows
    assert "older rows stay away" not in caplog.text


@KINDS
def test_what_the_topic_still_has_is_read_again(broker: FakeBroker, tmp_path: Path, opening: Opening) -> None:
    """A topic that has lost its first records, and none of the rows that are there, gives those in between."""
    Opened(broker, tmp_path, opening, "30m")
    broker.delete_records("t", 50)
    assert Opened(broker, tmp_path, opening, None).rows == 150


@pytest.mark.parametrize("method", ["keep_note", "rebuild", "switch"])
def test_an_interrupted_rebuild_is_made_again(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """An error before what was read again is shown leaves nothing out, nor one before it is remembered what cuts the rows."""
    Opened(broker, tmp_path, stream, "30m")
    with monkeypatch.context() as patch:

        def fail(self: RocksDBStore, *_: object, **__: object) -> None:
            raise StoreError(self._engine.path.name, "odd")

        patch.setattr(RocksDBStore, method, fail)
        with broker.connect(tmp_path) as context, pytest.raises(StoreError, match="odd"):
            context.stream("t", retention="100m").to_polars()
    assert Opened(broker, tmp_path, stream, None).rows == 200


def test_what_start_leaves_behind_was_not_dropped_by_retention(
    broker: FakeBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only what retention drops is counted as such, and only that is read again without it."""
    caplog.set_level(logging.INFO, "ktframe")
    now = int(time.time() * 1000)
    for number in range(5):
        broker.produce("live", f"k{number}", {"n": number}, timestamp=now - 10_000 + number)

    def rows(start: str, retention: str | None) -> tuple[int, tuple[str, ...]]:
        with broker.connect(tmp_path) as context:
            live = context.stream("live", start=start, retention=retention)
            return live.to_polars().height, live.position().notices

    assert rows("-10m", None)[0] == 5
    broker.produce("live", "new", {"n": 9}, timestamp=now)
    for retention in ("1h", None, "1d"):
        height, notices = rows("-10m", retention)
        assert (height, [text for text in notices if "retention" in text]) == (6, [])
    assert "rebuilt" not in caplog.text
