"""Keys of a KTable: what finds a row, ranges of keys, and where key columns stand."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from ktframe import KTable
from ktframe.columns import HASH
from ktframe.errors import ConfigurationError
from ktframe.fold import identity
from ktframe.tables import table as table_module
from ktframe.testing import FakeBroker

DAY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker without topics."""
    return FakeBroker()


def found(table: KTable, *keys: object) -> list[bool]:
    """Return whether the table has each of ``keys``, asked in both ways."""
    rows = table.get_many(keys)
    assert [key in table for key in keys] == [row is not None for row in rows]
    return [row is not None for row in rows]


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (pl.Decimal(10, 2), "1.50"),
        (pl.Decimal(38, 2), "99999999999999999999999.25"),
        (pl.Decimal(10, 2), "-0.01"),
        (pl.Datetime("ms", "UTC"), "2024-01-01T00:00:00.123Z"),
        (pl.Datetime("us", "UTC"), "1969-12-31T23:59:59.999999Z"),
        (pl.Datetime("ns"), "2024-01-01T00:00:00.123456"),
        (pl.Date(), "1969-01-01"),
        (pl.Time(), "12:34:56.789"),
        (pl.UInt64(), 2**64 - 1),
        (pl.Int8(), -1),
        (pl.Boolean(), False),
        (pl.Enum(["b", "a"]), "a"),
        (pl.Categorical(), "é"),
    ],
)
def test_what_keys_returns_is_found(broker: FakeBroker, dtype: pl.DataType, value: object) -> None:
    """Every key of keys() gets its row, whatever the dtype of the key."""
    broker.produce("t", "x", {"k": value, "v": 1})
    with broker.connect() as kt:
        table = kt.table("t", key="k", schema={"k": dtype})
        (key,) = table.keys()
        assert table[key] == {"k": key, "v": 1}


@pytest.mark.parametrize(
    ("dtype", "value", "equal", "others"),
    [
        (
            pl.Datetime("ms", "UTC"),
            "2024-01-01T00:00:00Z",
            [DAY, DAY.astimezone(timezone(timedelta(hours=9)))],
            [
                DAY + timedelta(microseconds=5),
                DAY.replace(tzinfo=None),
                date(2024, 1, 1),
                "2024-01-01",
                1704067200000,
            ],
        ),
        (pl.Datetime("ms"), "2024-01-01T00:00:00", [DAY.replace(tzinfo=None)], [DAY]),
        (
            pl.Date(),
            "2024-01-01",
            [date(2024, 1, 1)],
            [DAY, DAY.replace(tzinfo=None), 19723, "2024-01-01", None],
        ),
        (
            pl.Decimal(10, 2),
            "1.00",
            [Decimal(1), Decimal("1.00000"), 1, np.int8(1)],
            [
                1.0,
                True,
                "1",
                Decimal("1.004"),
                Decimal("NaN"),
                Decimal("Infinity"),
                Decimal("1E999999"),
                2**200,
            ],
        ),
        (pl.Decimal(10, 2), "0", [Decimal("0E999999"), 0], [Decimal("1E-999999"), False]),
        (pl.Int64(), 1, [1, np.int64(1), np.uint8(1)], [1.0, True, np.float64(1), "1", b"1", 2**200, [1]]),
        (pl.Boolean(), True, [True], [1, "true"]),
        (pl.String(), "a", ["a", np.str_("a")], ["\ud800", b"a", 1, object(), ("a", "b"), ()]),
    ],
)
def test_a_key_equals_the_value_exactly(
    broker: FakeBroker, dtype: pl.DataType, value: object, equal: list[Any], others: list[Any]
) -> None:
    """A key of another kind, zone or precision finds nothing and raises nothing."""
    broker.produce("t", "x", {"k": value})
    with broker.connect() as kt:
        table = kt.table("t", key="k", schema={"k": dtype})
        assert found(table, *equal) == [True] * len(equal)
        assert found(table, *others) == [False] * len(others)


def test_record_keys_of_integer_type_take_any_integer(broker: FakeBroker) -> None:
    """NumPy's integers find what Python's do; a key that was never seen is no error."""
    broker.produce("t", b"\0\0\0\x05", {"a": 1})
    with broker.connect() as kt:
        table = kt.table("t", key_format="int")
        assert found(table, 5, np.int64(5), np.int32(5), True, 5.0, "5") == [True] * 3 + [False] * 3


def test_fields_stand_in_schema_order(broker: FakeBroker) -> None:
    """Key fields stay where the schema has them, in a running table, a re-opened one, get and schema alike."""
    broker.produce("t", "x", {"v": 1, "id": "a", "w": 2, "r": "eu"})
    expected = ["v", "id", "w", "r"]
    with broker.connect() as kt:
        table = kt.table("t", key=["r", "id"])
        assert table.to_polars().columns == list(table.schema) == list(table["eu", "a"]) == expected
        broker.produce("t", "y", {"new": 1, "id": "b"})
        assert table.to_polars().columns == list(table[None, "b"]) == [*expected, "new"]


def test_a_key_field_that_no_row_has_shown_is_a_column(broker: FakeBroker) -> None:
    """The frame and get agree on the columns before every key field was seen, and after."""
    broker.produce("t", "x", {"v": 1, "id": "a"})
    with broker.connect() as kt:
        table = kt.table("t", key=["r", "id"])
        assert table.to_polars().to_dicts() == [table[None, "a"]] == [{"r": None, "v": 1, "id": "a"}]
        assert list(table[None, "a"]) == table.to_polars().columns
        broker.produce("t", "y", {"v": 2, "id": "b", "r": "eu"})
        assert table.to_polars().columns == list(table["eu", "b"]) == ["v", "id", "r"]
        assert sorted(table.keys(), key=str) == [("eu", "b"), (None, "a")]


def test_items_hold_keys_with_null_parts(broker: FakeBroker) -> None:
    """Null is the lowest part, in the order and as a bound; what can't be a bound is refused."""
    for record, (region, name) in enumerate([("eu", "b"), (None, "a"), ("eu", None)]):
        broker.produce("t", f"k{record}", {"r": region, "id": name})
    with broker.connect() as kt:
        table = kt.table("t", key=["r", "id"])
        assert [key for key, _ in table.items()] == [(None, "a"), ("eu", None), ("eu", "b")]
        assert [key for key, _ in table.items((None, "a"), ("eu", "b"))] == [(None, "a"), ("eu", None)]
        assert [key for key, _ in table.items(("a",))] == [("eu", None), ("eu", "b")]
        with pytest.raises(ConfigurationError, match=r"which is 'r' \(String\), 'id' \(String\)"):
            list(table.items(5))


def test_a_colliding_key_name_is_refused_by_reads_only(broker: FakeBroker) -> None:
    """Rows are refused with the name; the schema and the notebook's preview show the key as ``record_...``."""
    broker.produce("t", "x", {"region": "a"})
    with broker.connect() as kt:
        table = kt.table("t", key_name="region")
        with pytest.raises(ConfigurationError, match="key_name='region' is also a field"):
            table.to_polars()
        assert list(table.schema) == ["record_region", "region"]
        assert "record_region" in table._repr_html_()


def test_metadata_shows_timestamps_beyond_datetime(broker: FakeBroker) -> None:
    """A timestamp of the year 33658 is in the frame; one that Polars can't print is null."""
    broker.produce("t", "a", {"x": 1}, timestamp=10**15)
    broker.produce("t", "b", {"x": 1}, timestamp=2**62)
    with broker.connect() as kt:
        frame = kt.table("t").to_polars(metadata=True).sort("key")
        assert frame["timestamp"].dt.year().to_list() == [33658, None]
        assert "+33658-" in str(frame)


def test_keys_with_the_same_hash_are_different_keys(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are found by 64 bits of a hash, which two keys may share; which row is whose is told by the whole key."""

    def same(identities: Collection[bytes]) -> pl.Series:
        return pl.Series(HASH, [7] * len(identities), dtype=pl.UInt64)

    for module in (identity, table_module):
        monkeypatch.setattr(module, "hash_identities", same)
    for number in range(3):
        broker.produce("t", f"k{number}", {"n": number})
    with broker.connect() as kt:
        table = kt.table("t")
        assert [table.get(f"k{number}", {}).get("n") for number in range(4)] == [0, 1, 2, None]
        broker.produce("t", "k1", None)
        broker.produce("t", "k2", {"n": 5})
        assert table.get_many(["k2", "k1", "k0", "k9"]) == [
            {"key": "k2", "n": 5},
            None,
            {"key": "k0", "n": 0},
            None,
        ]
