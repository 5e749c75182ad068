"""Which rows may go: decided by the log, in steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from ktframe.columns import OFFSET, PARTITION, SIZE, TIMESTAMP
from ktframe.errors import ConfigurationError
from ktframe.windows.fixed import FixedWindows
from ktframe.windows.retention import (
    EventTimeRetention,
    Loaded,
    SizeRetention,
    WindowRetention,
    parse_retention,
)


def events(*times: int | None, size: int = 10) -> pl.DataFrame:
    """Return the events of partition 0, one offset each."""
    schema = {PARTITION: pl.Int32, OFFSET: pl.Int64, TIMESTAMP: pl.Int64, SIZE: pl.UInt32}
    rows = [(0, offset, time, size) for offset, time in enumerate(times)]
    return pl.DataFrame(rows, schema=schema, orient="row")


NO_EVENTS = events()


def loaded(stream_times: dict[int, int], rows: pl.DataFrame = NO_EVENTS, *, applied: int = 0) -> Loaded:
    """Return what retention decides by."""
    return Loaded(stream_times, applied, lambda: rows)


def test_windows_are_kept_by_their_end() -> None:
    """What ended longer ago than is kept goes, in steps of a sixteenth; each partition by its own stream time."""
    retention = WindowRetention(FixedWindows(10, 10), 160)
    horizons = retention.horizons(loaded({0: 1_000, 1: 1_009, 2: 1_010}))
    assert horizons == {0: 840, 1: 840, 2: 850}
    marks = [retention.mark(loaded({0: at}, applied=n)) for at, n in ((1_000, 1), (1_009, 9), (1_010, 9))]
    assert marks[0] == marks[1] != marks[2]


def test_a_stream_is_kept_from_the_first_young_event_on() -> None:
    """A prefix goes, as of Kafka's log: an old event behind a young one stays with it."""
    retention = EventTimeRetention(160)
    log = events(100, 200, None, 850, 20, 1_000)
    assert retention.horizons(loaded({0: 1_000}, log)) == {0: 3}
    assert retention.horizons(loaded({0: 100}, log)) == {0: 0}


def test_a_stream_is_kept_to_a_size() -> None:
    """The oldest go, an eighth more than must; events without a time are as old as those before them."""
    log = events(5, 1, None, 7, 8, 9, 9, 10)
    assert SizeRetention(80).horizons(loaded({}, log)) == {}
    assert SizeRetention(40).horizons(loaded({}, log)) == {0: 5}
    marks = [SizeRetention(40).mark(loaded({}, applied=n)) for n in (0, 4_999, 5_000)]
    assert marks[0] == marks[1] != marks[2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("7d", EventTimeRetention(604_800_000)),
        (timedelta(hours=1), EventTimeRetention(3_600_000)),
        (500, SizeRetention(500)),
        ("500MB", SizeRetention(500_000_000)),
        ("1.5 gib", SizeRetention(1_610_612_736)),
        ("10 B", SizeRetention(10)),
    ],
)
def test_retention_is_a_duration_or_a_size(value: Any, expected: object) -> None:
    """A number is bytes; text says what it is."""
    assert parse_retention(value) == expected


@pytest.mark.parametrize("value", [0, -1, True, "0d", "-1d", "0MB", "5 apples", timedelta(0)])
def test_retention_that_keeps_nothing_is_refused(value: Any) -> None:
    """The error says what may be given."""
    with pytest.raises(ConfigurationError):
        parse_retention(value)
