"""Known faults of reading topics as they are: mixed types, maps, times and keys of other programs."""

import json
import subprocess
import sys
import warnings
from typing import Any

import pandas as pd
import polars as pl
import pytest

import ktframe
from ktframe.errors import KtframeError, KtframeWarning
from ktframe.testing import FakeBroker

UNIX_SECONDS = 1_711_848_600  # 2024-03-31 01:30 UTC


def test_a_live_table_has_the_rows_of_one_that_was_loaded() -> None:
    """The same four records give the same rows, whether the table was open before they came or not."""

    def rows(*, is_live: bool) -> tuple[list[dict[str, Any]], list[bytes]]:
        broker = FakeBroker()
        broker.create_topic("t")
        with broker.connect() as context:
            table = context.table("t")
            for key, value in (("a", "n/a"), ("b", 1), ("c", 2), ("d", 3)):
                if is_live:
                    table.to_polars()
                broker.produce("t", key, {"x": value})
            frame = table.to_polars()
            assert frame.schema["x"] == pl.Int64
            return frame.sort("key").to_dicts(), table.errors()["key"].to_list()

    right = [{"key": "b", "x": 1}, {"key": "c", "x": 2}, {"key": "d", "x": 3}], [b"a"]
    assert rows(is_live=False) == rows(is_live=True) == right


def debezium_records(count: int) -> list[tuple[str, str]]:
    """Return keys and values as Debezium writes them with schemas; two columns have defaults of different types."""
    columns = [
        {"type": "int32", "optional": False, "default": 0, "field": "id"},
        {"type": "string", "optional": False, "default": "NEW", "field": "status"},
    ]
    enum = {"name": "io.debezium.data.Enum", "version": 1, "default": "false"}
    source = [
        {"type": "string", "optional": False, "field": "db"},
        {"type": "string", "optional": True, **enum, "field": "snapshot"},
    ]
    row = {"type": "struct", "fields": columns, "optional": True, "name": "shop.orders.Value"}
    fields = [
        {**row, "field": "before"},
        {**row, "field": "after"},
        {"type": "struct", "fields": source, "optional": False, "field": "source"},
        {"type": "string", "optional": False, "field": "op"},
    ]
    schema = {"type": "struct", "fields": fields, "optional": False, "name": "shop.orders.Envelope"}
    key_fields = [{"type": "int32", "optional": False, "field": "id"}]
    key_schema = {"type": "struct", "fields": key_fields, "optional": False, "name": "shop.orders.Key"}

    def payload(number: int) -> dict[str, Any]:
        after = {"id": number, "status": "NEW"}
        return {"before": None, "after": after, "source": {"db": "shop", "snapshot": "false"}, "op": "c"}

    return [
        (
            json.dumps({"schema": key_schema, "payload": {"id": number}}),
            json.dumps({"schema": schema, "payload": payload(number)}),
        )
        for number in range(count)
    ]


def test_debezium_json_with_schemas_is_read() -> None:
    """In at least one of the ways that a user finds, the table has all rows."""
    broker = FakeBroker()
    for key, value in debezium_records(20):
        broker.produce("shop.orders", key, value)
    ways: list[dict[str, Any]] = [
        {},
        {"key_format": "json"},
        {"schema": {"schema": pl.String}},
        {"schema": {"schema": pl.Null}},
    ]
    with broker.connect() as context:
        heights = [
            context.table("shop.orders", on_refused="ignore", **way).to_polars().height for way in ways
        ]
    assert max(heights) == 20


@pytest.mark.parametrize(
    "values",
    [
        [b"12", b'"12"', b'"N/A"'],
        [b'"web"', b'["web","app"]', b'"web"'],
        [b'"boom"', b'{"code":5}', b'"boom"'],
        [b'{"a":1}', b"[]", b'{"a":2}'],
    ],
    ids=["number or text", "text or list", "text or object", "object or empty list"],
)
def test_a_field_of_mixed_types_can_be_declared(values: list[bytes]) -> None:
    """``ktframe.Json`` and ``pl.String`` hold all that the topic has in that field, other types a part of it.

    Only an empty list is an object as well, where it is declared or inferred.
    """
    broker = FakeBroker()
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", b'{"v":' + value + b"}")
    dtypes = [
        ktframe.Json,
        pl.String,
        pl.Float64,
        pl.Decimal(12, 2),
        pl.List(pl.String),
        pl.Struct({"a": pl.Int64}),
        pl.Binary,
        pl.Object,
    ]
    heights = []
    with broker.connect() as context:
        for schema in [None, *({"v": dtype} for dtype in dtypes)]:
            try:
                table = context.table("t", schema=schema, on_refused="ignore")
                heights.append(table.to_polars().height)
            except KtframeError:
                heights.append(0)
    assert heights[1:3] == [len(values)] * 2
    has_empty_list = b"[]" in values
    assert (max([heights[0], *heights[3:]]) == len(values)) == has_empty_list


@pytest.mark.parametrize(
    "values",
    [
        [b"12", b'"12"', b'"N/A"', b"13"],
        [b'"web"', b'["web","app"]', b'"web"', b'["app"]'],
        [b'"boom"', b'{"code":5}', b'"boom"', b'{"code":6}'],
        [b'[1,"x"]', b'["y"]', b"[2]", b'["z"]', b"[3]"],
    ],
    ids=["number or text", "text or list", "text or object", "lists of both"],
)
def test_a_field_whose_kinds_compete_is_json_by_itself(values: list[bytes]) -> None:
    """Without a declaration no record is refused, and each value is there as it was sent."""
    broker = FakeBroker()
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", b'{"v":' + value + b"}")
    with broker.connect() as context:
        frame = context.table("t", on_refused="raise").to_polars().sort("key")
    assert frame["v"].to_list() == [value.decode() for value in values]


def test_a_row_whose_newest_record_was_refused_is_not_simply_ready() -> None:
    """Where a producer changes a field's type, the table has the new value or does not say that it is ready."""
    broker = FakeBroker()
    for number in range(20_000):
        broker.produce("t", f"k{number}", b'{"amount":%d}' % number)
    with broker.connect() as context:
        table = context.table("t")
        table.to_polars()
        for number in range(150):
            broker.produce("t", f"k{number}", b'{"amount":"%d.50"}' % (number + 1000))
        with pytest.warns(KtframeWarning, match="150 of 20,150 records"):
            assert table.get("k7") is None
        assert "READY" not in str(table.readiness())


LARGE_IDS = """
from ktframe.testing import FakeBroker

broker = FakeBroker()
for number in range(500):
    broker.produce("users", str(number), b'{"id":%d}' % (2**64 - 1 - number))
with broker.connect() as context:
    table = context.table("users", schema={"id": "Int64"})
    print(table.to_polars().shape, len(table), table)
"""


def test_an_empty_frame_of_refused_records_is_noticed() -> None:
    """Without any set-up of logging, something that is printed, or the table's repr, says that records were refused."""
    done = subprocess.run(
        [sys.executable, "-c", LARGE_IDS], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 or "IncompleteError" in done.stderr, done.stderr
    assert "refused" in done.stdout + done.stderr


def test_the_reason_for_a_large_integer_names_its_range() -> None:
    """The reason is the one that is given where other records are fine."""
    broker = FakeBroker()
    broker.produce("users", "a", b'{"id":%d}' % (2**64 - 1))
    with broker.connect() as context:
        table = context.table("users", schema={"id": pl.Int64}, on_refused="ignore")
        table.to_polars()
        assert "out of the range" in table.errors()["reason"].item()


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (b"%d" % UNIX_SECONDS, {"time_unit": "s"}),
        (b"%d" % (UNIX_SECONDS * 10**6), {"time_unit": "us"}),
        (b"%d" % (UNIX_SECONDS * 10**6), {"schema": {"at": pl.Datetime("us", "UTC")}}),
        (b"%d.25" % (UNIX_SECONDS * 1000), {"time_unit": "ms"}),
        (b"%d" % (UNIX_SECONDS * 1000), {"schema": {"at": pl.Datetime("ms", "UTC")}}),
        (b"19813", {"schema": {"at": pl.Date}}),
        (b"19813", {"time_unit": "d"}),
        (b'"%d"' % (UNIX_SECONDS * 1000), {"time_unit": "ms"}),
    ],
    ids=[
        "seconds",
        "microseconds",
        "declared microseconds",
        "float milliseconds",
        "declared milliseconds",
        "declared days",
        "days",
        "milliseconds as text",
    ],
)
def test_an_epoch_time_is_read_in_its_unit(text: bytes, arguments: dict[str, Any]) -> None:
    """A window starts on the day that the number means; without its unit a read says which one that is."""
    broker = FakeBroker()
    broker.produce("t", "k", b'{"at":' + text + b"}", timestamp=UNIX_SECONDS * 1000)
    with broker.connect() as context:
        windows = context.table("t", time="at", **arguments).window("1d")
        starts = windows.to_polars()["window_start"].to_list()
        assert [str(start) for start in starts] == ["2024-03-31 00:00:00+00:00"]
        if "time_unit" in arguments:
            said = f'time_unit="{arguments["time_unit"]}"'
            assert said in str(context.inspect("t"))
            warnings.simplefilter("error")
            untold = context.table("t", time="at").window("1d")
            with pytest.raises((KtframeError, KtframeWarning), match=said):
                untold.to_polars()


def test_an_object_of_many_keys_is_not_a_struct_of_all() -> None:
    """Memory grows with the data, not with the number of different keys."""
    broker = FakeBroker()
    for number in range(1_500):
        broker.produce(
            "t", f"k{number}", b'{"order":%d,"quantity":{"SKU-%05d":%d}}' % (number, number, number)
        )
    with broker.connect() as context:
        frame = context.table("t").to_polars()
    assert frame.height == 1_500
    assert frame.schema["quantity"] == pl.List(pl.Struct({"key": pl.String, "value": pl.Int64}))
    assert sorted(frame["quantity"].explode().struct.field("value")) == list(range(1_500))


def test_a_json_key_may_be_text() -> None:
    """Keys as ``json.dumps`` writes them are read as the text that they are; the odd number among them is refused."""
    broker = FakeBroker()
    for key in (b'"ann"', b'"bob"', b"42"):
        broker.produce("t", key, b'{"x":1}')
    with broker.connect() as context:
        assert 'key_format="json"' in str(context.inspect("t")).splitlines()[0]
        frame = context.table("t", key_format="json", on_refused="ignore").to_polars()
        assert set(frame["key"]) == {"ann", "bob"}


@pytest.mark.parametrize("kind", ["key", "time"])
def test_a_nested_field_can_be_key_or_time(kind: str) -> None:
    """A dotted name is the field inside of an object."""
    broker = FakeBroker()
    broker.produce("t", "k", b'{"data":{"id":5,"at":1711848600123}}', timestamp=1_711_848_600_000)
    with broker.connect() as context:
        table = (
            context.table("t", key="data.id")
            if kind == "key"
            else context.table("t", time="data.at").window("1h")
        )
        assert table.to_polars().height == 1
        assert table.errors().height == 0


def test_a_stream_has_headers() -> None:
    """A stream that was asked for them has a column of headers."""
    broker = FakeBroker()
    broker.produce("t", "a", b'{"x":1}', headers=[("ce_type", b"order.created")])
    with broker.connect() as context:
        frame = context.stream("t", metadata="headers").to_polars()
        assert frame["headers"].to_list() == [[{"key": "ce_type", "value": b"order.created"}]]


def test_inspect_shows_headers() -> None:
    """The samples of a topic have a column of headers, and their names are listed."""
    broker = FakeBroker()
    headers = [("ce_type", b"order.created"), ("trace", b"\xff"), ("ce_type", None)]
    broker.produce("t", "a", b'{"x":1}', headers=headers)
    broker.produce("t", "b", b'{"x":1}')
    with broker.connect() as context:
        shown = context.inspect("t")
    assert "headers: ce_type, trace" in str(shown)
    told = {row["key"]: row["headers"] for row in shown.samples.to_dicts()}
    assert told == {
        "a": [
            {"key": "ce_type", "value": "order.created"},
            {"key": "trace", "value": "ff"},
            {"key": "ce_type", "value": None},
        ],
        "b": [],
    }


def test_pandas_takes_the_rows_of_a_table() -> None:
    """``pd.DataFrame(table)`` says what to write instead; it never is a frame of the keys."""
    broker = FakeBroker()
    for number in range(3):
        broker.produce("t", f"k{number}", {"x": number, "y": "z"})
    with broker.connect() as context:
        table = context.table("t")
        with pytest.raises(TypeError, match=r"Hint: to_pandas\(\)"):
            pd.DataFrame(table)
        assert table.to_pandas().shape == (3, 3)
