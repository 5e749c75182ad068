"""Hints of ``headers=`` and ``metadata="headers"``, each followed: the headers are there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from support.hinted import evaluated, hinted, met
from support.hints import Hint

import ktframe
from ktframe import Context
from ktframe.formats.base import UNREADABLE_HEADERS
from ktframe.testing import FakeBroker

NAMES = Hint("context/headers.py", 'give names and types, such as headers={"event-type": pl.String}.')
TYPE = Hint("context/headers.py", "declare pl.String or pl.Binary, and cast the column of the frame.")
EQUAL = Hint(
    "context/headers.py", "declare headers={{}: {}}, or give an expression over what it is declared as."
)
METADATA = Hint("context/headers.py", 'give True, or names such as metadata=["offset", "headers"].')
LEAVE_OUT = Hint(
    "fold/headers.py",
    'leave {} out of headers=; metadata="headers" has it among all headers of the record.',
)
WRITTEN = Hint("fold/headers.py", "nothing was written; cast the column to its type in table.schema.")
BYTES = Hint("fold/remedies.py", "headers={{}} keeps any header, as bytes.")
WITHOUT = Hint("fold/remedies.py", 'without headers= and metadata="headers" such records are rows.')
SAMPLES = Hint("tables/named_fields.py", "ktframe.inspect({}).samples has records with their headers.")
THERE_ARE = Hint("tables/named_fields.py", "the headers are {}.")
MEANT = Hint("errors.py", "did you mean {}?")
PUBLISHED = Hint("tables/topic_writer.py", "headers= names the columns that become headers.")
CAST = Hint("tables/topic_writer.py", "cast it to pl.String, or to pl.Binary.")
KEY = Hint(
    "context/headers.py",
    'where a field is meant, leave {} out of headers=; ktframe.stream(..., headers={{}: pl.String}).to_polars().unique({}, keep="last", maintain_order=True) has the last event of each.',
)
TIME = Hint(
    "context/headers.py",
    'declare headers={{}: pl.Datetime("us", "UTC")} for ISO 8601 text, pl.Int64 for milliseconds.',
)
UNIT = Hint("context/topic_spec.py", "leave time_unit= out.")
MISSPELT = Hint(
    "tables/presentation.py", 'did you mean "headers"? ktframe.{}(..., metadata="headers") reads them.'
)
CHOOSE = Hint("tables/presentation.py", "choose from {}, or True for all.")
ABOUT = Hint(
    "tables/write_checks.py", "to_polars(metadata=False) gives rows without it, to change and write back."
)
ASK = Hint("tables/presentation.py", 'ktframe.{}(..., metadata="headers") reads them.')

HEADERS = [("event-type", b"Placed"), ("x", b"5"), ("big-endian", (5).to_bytes(8))]


BROKERS: dict[Context, FakeBroker] = {}
"""The broker of the connection of a test."""


@pytest.fixture
def kt() -> Iterator[Context]:
    """Yield a connection to a broker with one record."""
    broker = FakeBroker()
    broker.produce("t", "a", {"x": 1}, headers=HEADERS)
    with broker.connect(writable=True) as context:
        BROKERS[context] = broker
        yield context
        BROKERS.clear()


@pytest.mark.parametrize("kind", ["table", "stream"])
def test_headers_that_were_not_read_can_be_asked_for(kt: Context, kind: str) -> None:
    """By the call that the error names."""
    with hinted(ASK) as found:
        getattr(kt, kind)("t").to_polars(metadata="headers")
    assert found.parts == (kind,)
    frame = evaluated(found.calls[0].replace("...", '"t"'), ktframe=kt).to_polars()
    assert [(each["key"], each["value"]) for each in frame["headers"][0]] == HEADERS


@pytest.mark.parametrize("given", [[], {}, {"": "Utf9"}, "event-type", {1: pl.String}, ktframe])
def test_what_names_no_headers_is_told_what_does(kt: Context, given: Any) -> None:
    """The example is read."""
    if given == {"": "Utf9"}:
        with pytest.raises(ktframe.KtframeError, match="can't be the type of a column"):
            kt.table("t", headers=given)
        return
    with hinted(NAMES) as found:
        kt.table("t", headers=given)
    assert kt.table("t", **found.arguments).to_polars()["event-type"].to_list() == ["Placed"]


@pytest.mark.parametrize(
    "dtype",
    [pl.List(pl.String), pl.Decimal(38, 2), pl.Time, ktframe.Json, ktframe.Map, pl.Struct({"a": int})],
)
def test_a_type_that_no_header_has_is_told_which_do(kt: Context, dtype: Any) -> None:
    """Both that are named are read."""
    with hinted(TYPE) as found:
        kt.table("t", headers={"x": dtype})
    for name in ("pl.String", "pl.Binary"):
        assert name in found.text
        given: Any = evaluated(name)
        assert (
            kt.stream("t", schema={"y": int}, value="json", headers={"event-type": given}).to_polars().height
        )


@pytest.mark.parametrize(
    ("declared", "wanted"),
    [
        (pl.Int64, "Placed"),
        (pl.Binary, "Placed"),
        (pl.Datetime("ms", "UTC"), "2024-01-01"),
        (pl.String, True),
    ],
)
def test_a_header_that_never_equals_what_it_is_compared_with_is_told(
    kt: Context, declared: Any, wanted: Any
) -> None:
    """The type that is named can equal it."""
    for argument in ("where", "deletes"):
        with hinted(EQUAL) as found:
            kt.table("t", headers={"event-type": declared}, **{argument: {"event-type": wanted}})
        table = kt.table("t", **found.arguments, **{argument: {"event-type": wanted}}, on_refused="ignore")
        if wanted == "Placed":
            assert table.to_polars().height == (argument == "where")


@pytest.mark.parametrize("given", [5, [1], ["offset", None]])
def test_what_names_no_metadata_is_told_what_does(kt: Context, given: Any) -> None:
    """Both that are named give columns."""
    with hinted(METADATA) as found:
        kt.table("t", metadata=given)
    assert "give True" in found.text
    frame = kt.table("t", **found.arguments).to_polars()
    assert frame.columns == ["key", "x", "offset", "headers"]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"schema": {"x": int}},
        {"where": pl.col("event-type") == "Placed", "headers": {"x": str, "event-type": str}},
    ],
)
def test_a_header_with_the_name_of_a_field_is_told(kt: Context, given: Any) -> None:
    """At the call where that is known, else where all records are refused for it; ``metadata=`` has both."""
    with hinted(LEAVE_OUT) as found:
        kt.table("t", **{"headers": {"x": str}, **given}).to_polars()
    assert found.quoted[0] == "x"
    frame = kt.table("t", **{**given, **found.arguments, "headers": {"event-type": str}}).to_polars()
    assert frame["x"].to_list() == [1]
    assert {"key": "x", "value": b"5"} in frame["headers"].to_list()[0]


def test_some_records_with_the_name_of_a_header_are_told_of(kt: Context) -> None:
    """By a warning that names what is to be left out."""
    table = kt.table("t", headers={"event-type": str, "y": str})
    assert table.to_polars().height == 1
    BROKERS[kt].produce("t", "b", {"x": 2, "y": 5})
    with pytest.warns(ktframe.KtframeWarning, match="has the name of the column of a header") as warned:
        assert table.to_polars().height == 1
    found = met(LEAVE_OUT, str(warned[0].message))
    assert found.quoted[0] == "y"
    assert kt.table("t", headers={"event-type": str}, metadata="headers").to_polars().height == 2


def test_a_key_is_no_header(kt: Context) -> None:
    """Left out it is the field; the last event of each is what the stream of the hint has."""
    with hinted(KEY) as found:
        kt.table("t", "x", headers={"x": str})
    assert kt.table("t", "x").to_polars()["x"].to_list() == [1]
    with hinted(KEY) as found:
        kt.table("t", ["event-type"], headers={"event-type": str})
    BROKERS[kt].produce("t", "b", {"x": 2}, headers=[("event-type", b"Placed")])
    frame = evaluated(found.calls[0].replace("...", '"t"'), ktframe=kt)
    assert frame.select("x", "event-type").rows() == [(2, "Placed")]


def test_a_header_that_is_no_time_is_told_which_type_is(kt: Context) -> None:
    """Both that are named are times."""
    BROKERS[kt].produce("t", "a", {"x": 1}, headers=[("at", b"1970-01-01T00:01:00Z"), ("ms", b"60000")])
    for name, dtype in (("at", None), ("ms", pl.Int64)):
        with hinted(TIME) as found:
            kt.table("t", headers={name: pl.Binary}, time=name)
        headers = found.arguments["headers"] if dtype is None else {name: dtype}
        frame = kt.table("t", headers=headers, time=name).to_polars(metadata="timestamp")
        assert frame["timestamp"].to_list() == [datetime(1970, 1, 1, 0, 1, tzinfo=UTC)]
    with hinted(UNIT):
        kt.table("t", headers={"at": pl.Date}, time="at", time_unit="s")


@pytest.mark.parametrize("kind", ["table", "stream"])
def test_a_misspelt_name_of_all_headers_is_told(kt: Context, kind: str) -> None:
    """With the call that reads them, where they were not read."""
    with hinted(MISSPELT) as found:
        getattr(kt, kind)("t", metadata="header").to_polars()
    frame = evaluated(found.calls[0].replace("...", '"t"'), ktframe=kt).to_polars()
    assert len(frame["headers"][0]) == len(HEADERS)
    with hinted(CHOOSE) as found:
        frame_of = getattr(kt, kind)("t", metadata="headers").to_polars
        frame_of(metadata=["Header"])
    assert "headers" in found.names


def test_columns_about_the_record_are_not_written(kt: Context) -> None:
    """The frame of the hint is."""
    table = kt.table("t", metadata=["offset", "headers"])
    with hinted(ABOUT) as found:
        table.upsert(table.to_polars())
    assert "'offset', 'headers'" in str(found.error)
    rows = evaluated(found.calls[0].replace("to_polars", "table.to_polars"), table=table)
    assert table.upsert(rows).height == 1


@pytest.mark.parametrize(
    "dtype", [pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Date, pl.Datetime("us", "UTC")]
)
def test_a_header_that_cannot_be_read_is_kept_as_bytes(dtype: Any) -> None:
    """By the declaration of all headers that the warning names."""
    broker = FakeBroker()
    for key, value in (
        ("a", b"\xff"),
        ("b", b"5"),
        ("c", b"true"),
        ("d", b"2024-01-01"),
        ("e", b"2024-01-01T00:00Z"),
    ):
        broker.produce("t", key, {"x": 1}, headers=[("h", value), ("event-type", b"Placed")])
    with broker.connect() as context:
        with pytest.warns(ktframe.KtframeWarning) as said:
            context.table("t", headers={"h": dtype, "event-type": pl.String}).to_polars()
        found = met(BYTES, str(said[0].message))
        table = context.table("t", **found.arguments)
        assert table.to_polars().height == 5
        assert table.errors().height == 0
        assert set(table.to_polars()["event-type"]) == {"Placed"}


@pytest.mark.parametrize("given", [{"metadata": "headers"}, {"headers": {"event-type": str}}])
def test_headers_that_nobody_can_read_refuse_their_record(given: dict[str, Any]) -> None:
    """Unless nobody asks for headers, or ``where`` leaves it out whatever they are; a tombstone acts."""
    broker = FakeBroker()
    for key, value in (("a", {"x": 1}), ("b", {"x": 2}), ("b", None)):
        broker.produce(
            "t", key, value, headers=UNREADABLE_HEADERS if key == "a" or value is None else HEADERS
        )
    with broker.connect() as context:
        with pytest.warns(ktframe.KtframeWarning, match="the name of one is not UTF-8") as said:
            assert context.table("t", **given).to_polars().height == 0
        met(WITHOUT, str(said[0].message))
        table = context.table("t")
        assert table.to_polars().rows() == [("a", 1)]
        assert table.errors().height == 0
        by_field = context.table("t", **given, where=pl.col("x") > 1)
        by_field.to_polars()
        assert (by_field.status().left_out, by_field.status().refused) == (1, 0)
        stream = context.stream("t", **given, on_refused="ignore")
        assert stream.to_polars()["x"].to_list() == [2]
        if "headers" in given:
            chosen = context.table("t", **given, where={"event-type": "Placed"}, on_refused="ignore")
            chosen.to_polars()
            assert (chosen.status().left_out, chosen.status().refused) == (0, 1)


def test_a_header_that_no_record_has_is_told(kt: Context) -> None:
    """A misspelt one is named; of others there is a list, or a look at records."""
    with hinted(MEANT) as found:
        kt.table("t", headers={"event_type": str}, where={"event_type": "Placed"}).to_polars()
    (name,) = found.names
    assert kt.table("t", headers={name: str}, where={name: "Placed"}).to_polars().height == 1
    with hinted(THERE_ARE) as found:
        kt.table("t", headers={"zzz": str}, where={"zzz": "Placed"}).to_polars()
    assert found.names == sorted(name for name, _ in HEADERS)


def test_a_header_that_is_null_everywhere_is_told(kt: Context) -> None:
    """By a warning, unless records have it with null; samples show which headers there are."""
    with pytest.warns(ktframe.KtframeWarning, match="no row of 't' has the header 'zzz'") as said:
        kt.table("t", headers={"zzz": str, "event-type": str}).to_polars()
    found = met(SAMPLES, str(said[0].message))
    samples = evaluated(found.calls[0], ktframe=kt)
    assert [each["key"] for each in samples["headers"][0]] == [name for name, _ in HEADERS]
    broker = FakeBroker()
    broker.produce("t", "a", {"x": 1}, headers=[("zzz", None)])
    with broker.connect() as context:
        assert context.table("t", headers={"zzz": str}).to_polars()["zzz"].to_list() == [None]
    with pytest.warns(ktframe.KtframeWarning, match="no row of 't' has the field 'event-type'"):
        kt.table("t", schema={"event-type": str}, metadata="headers").to_polars()
    chosen = kt.table("t", headers={"zzz": str}, where=pl.col("zzz").is_null())
    assert chosen.to_polars().height == 1


def test_where_no_record_has_headers_samples_are_named() -> None:
    """There is no list of them."""
    broker = FakeBroker()
    broker.produce("t", "a", {"x": 1})
    with broker.connect() as context:
        with hinted(SAMPLES) as found:
            context.table("t", headers={"et": str}, where={"et": "Placed"}).to_polars()
        samples = evaluated(found.calls[0], ktframe=context)
        assert samples["headers"].to_list() == [[]]


def test_a_header_is_written_in_its_type(kt: Context) -> None:
    """A frame with another type is told to be cast."""
    table = kt.table("t", headers={"event-type": pl.Datetime("ms", "UTC")}, on_refused="ignore")
    table.put({"key": "b", "x": 1, "event-type": datetime(2024, 1, 1, tzinfo=UTC)})
    rows = table.to_polars().with_columns(pl.lit("2024-01-02T00:00Z").alias("event-type"))
    rows = rows.with_columns(pl.col("event-type").str.split("-"))
    with hinted(WRITTEN):
        table.upsert(rows)
    dtype = table.schema["event-type"]
    table.upsert(rows.with_columns(pl.lit(None).cast(dtype).alias("event-type")))
    assert table["b"]["event-type"] is None


def test_columns_that_no_header_can_be_are_told(kt: Context) -> None:
    """One that is not there, and one of another type, which can be cast."""
    rows = pl.DataFrame({"x": [1], "h": pl.Series([1.5], dtype=pl.Float32)})
    with hinted(PUBLISHED):
        kt.publish("t", rows, headers=["h", "zzz"])
    with hinted(CAST) as found:
        kt.publish("t", rows, headers="h")
    for name in ("pl.String", "pl.Binary"):
        assert name in found.text
        cast = rows.with_columns(pl.col("h").cast(pl.String).cast(evaluated(name)))
        assert kt.publish("t", cast, headers="h").height == 1
