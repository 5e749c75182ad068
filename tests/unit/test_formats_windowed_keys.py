"""Keys of Kafka Streams' windows, read and written."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

import ktframe
from ktframe.formats import key_format
from ktframe.formats.windowed_keys import with_times
from ktframe.testing import FakeBroker

START = datetime(2026, 11, 24, 9, 5, tzinfo=UTC)
START_BYTES = (1_795_511_100_000).to_bytes(8, "big")
END = datetime(2026, 11, 24, 9, 10, tzinfo=UTC)
END_BYTES = (1_795_511_400_000).to_bytes(8, "big")


def test_the_start_stands_behind_the_key() -> None:
    """As ``TimeWindowedSerializer`` writes it; the key inside has a format of its own."""
    found = key_format("windowed:string")
    decoded = found.decode(
        [b"o-1" + START_BYTES, b"short", b"\xff" + START_BYTES, START_BYTES], found.initial_schema
    )
    assert decoded.frame.rows() == [("o-1", START), ("", START)]
    assert (
        decoded.schema
        == found.initial_schema
        == {"key": pl.String(), "window_start": pl.Datetime("ms", "UTC")}
    )
    assert (decoded.accepted, [each.index for each in decoded.refused]) == ([0, 3], [1, 2])
    number = key_format("windowed:long")
    assert number.decode([b"\0" * 7 + b"\x11" + START_BYTES], number.initial_schema).frame.rows() == [
        (17, START)
    ]


def test_a_session_has_its_end_first() -> None:
    """The end comes before the start, as ``SessionWindowedSerializer`` writes it."""
    found = key_format("session:string")
    decoded = found.decode([b"u" + END_BYTES + START_BYTES], found.initial_schema)
    assert decoded.frame.to_dicts() == [{"key": "u", "window_end": END, "window_start": START}]
    assert with_times([b"u"], decoded.frame, found.times) == [b"u" + END_BYTES + START_BYTES]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["windowed:string", "session:json", "windowed:auto"])
def test_it_says_what_it_is_called(name: str) -> None:
    """A format has the name by which it was asked for; an unknown one inside is refused."""
    assert key_format(name).name == name
    with pytest.raises(ktframe.ConfigurationError, match="'xml'"):
        key_format("windowed:xml")


def test_a_table_of_windows_that_others_made() -> None:
    """Each window of a key is a row; it is found, written and deleted by both."""
    broker = FakeBroker()
    broker.produce("counts", b"o-1" + START_BYTES, {"n": 1})
    broker.produce("counts", b"o-1" + END_BYTES, {"n": 2})
    broker.produce("counts", b"o-1" + START_BYTES, {"n": 3})
    with broker.connect(writable=True) as kt:
        counts = kt.table("counts", key_format="windowed:string")
        assert counts.to_polars().sort("n")["key"].to_list() == [
            {"key": "o-1", "window_start": END},
            {"key": "o-1", "window_start": START},
        ]
        assert counts["o-1", START]["n"] == 3
        counts.put({"key": {"key": "o-1", "window_start": END}, "n": 5})
        assert counts["o-1", END]["n"] == 5
        records = counts.put({"key": {"key": "o-2", "window_start": START}, "n": 7})
        assert records["key"].to_list() == [b"o-2" + START_BYTES]
        counts.delete(("o-1", START))
        assert counts.keys() == [("o-1", END), ("o-2", START)]
        with pytest.raises(ktframe.SchemaError, match="window_start"):
            counts.put({"key": {"key": "o-2", "window_start": None}, "n": 7})
