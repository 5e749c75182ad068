"""What arguments of ``table`` and ``stream`` mean together: ``headers=``, ``unnest=``, ``times=`` and ``where=``."""

from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl
import pytest

import ktframe
from ktframe.context.context import Context
from ktframe.testing import FakeBroker


@pytest.fixture
def kt() -> Iterator[Context]:
    """Return a Context on CloudEvents whose data has a field by the name of a header."""
    broker = FakeBroker()
    for n in range(5):
        value = {"time": f"2026-01-0{n + 1}T00:00:00Z", "data": {"n": n, "kind": "of the data"}}
        headers = [("kind", b"of the header"), ("attempt", str(n).encode())]
        broker.produce("events", f"k{n}", value, headers=headers)
    with broker.connect() as context:
        yield context


def test_each_gives_its_columns(kt: Context) -> None:
    """Headers and lifted fields are judged by one condition, and times are times in what is lifted, too."""
    frame = kt.stream(
        "events",
        headers={"kind": pl.String, "attempt": pl.Int64},
        unnest={"data": "data_"},
        times="auto",
        where=(pl.col("attempt") > 1) & (pl.col("data.n") < 4),
        metadata="offset",
    ).to_polars()
    assert frame.rows(named=True) == [
        {
            "time": datetime(2026, 1, n + 1, tzinfo=UTC),
            "data_n": n,
            "data_kind": "of the data",
            "kind": "of the header",
            "attempt": n,
            "offset": n,
        }
        for n in (2, 3)
    ]


def test_windows_are_by_what_is_lifted_and_have_the_headers(kt: Context) -> None:
    """The key is named where it is in the record; the window is by a time that is read from text."""
    table = kt.table(
        "events", key="data.n", time="time", times="auto", unnest="data", headers={"attempt": pl.Int64}
    )
    frame = table.window("1d").to_polars()
    assert frame.select("window_start", "data.n", "attempt").rows() == [
        (datetime(2026, 1, n + 1, tzinfo=UTC), n, n) for n in range(5)
    ]


def test_a_lifted_field_with_the_name_of_a_header(kt: Context) -> None:
    """It is an error, and without the header its hint works."""
    with pytest.raises(ktframe.SchemaError, match="'kind' is a field of the value too") as error:
        kt.table("events", unnest="data", headers={"kind": pl.String}).to_polars()
    assert error.value.hint == (
        "leave 'kind' out of headers=; metadata=\"headers\" has it among all headers of the record."
    )
    kt.table("events", unnest="data", headers={"kind": pl.String}).close()
    frame = kt.table("events", unnest="data", metadata="headers").to_polars()
    assert frame["kind"].to_list() == ["of the data"] * 5
    assert frame["headers"].list.first().struct.field("value").to_list() == [b"of the header"] * 5
