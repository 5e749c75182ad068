"""What was once written wrongly, lost or left unread, and is refused or right now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ktframe.config.sources import resolve_settings
from ktframe.context.context import Context
from ktframe.errors import ConfigurationError, SchemaError
from ktframe.testing import FakeBroker, FakeRegistry

KEY = json.dumps({"type": "record", "name": "K", "fields": [{"name": "id", "type": "string"}]})
VALUE = json.dumps({"type": "record", "name": "V", "fields": [{"name": "n", "type": "int"}]})
JSON_VALUE = json.dumps(
    {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "s": {"type": "string"}},
        "required": ["n"],
    }
)


@pytest.fixture
def broker() -> FakeBroker:
    """Return a cluster without topics."""
    return FakeBroker()


@pytest.fixture
def registry() -> FakeRegistry:
    """Return a registry without schemas."""
    return FakeRegistry()


@pytest.fixture
def kt(broker: FakeBroker, registry: FakeRegistry) -> Iterator[Context]:
    """Yield a connection that may write."""
    with broker.connect(writable=True, registry=registry) as context:
        yield context


def test_a_key_with_a_further_field_changes_no_other_row(broker: FakeBroker, tmp_path: Path) -> None:
    """It is refused: the rows that are there keep their identities, also when the store is opened again."""

    def key(**fields: Any) -> str:
        return json.dumps(fields)

    broker.produce("t", key(a=1, b="x"), {"n": 1})
    with broker.connect(tmp_path) as kt:
        table = kt.table("t", key_format="json")
        table.to_polars()
        broker.produce("t", key(a=1, b="x", c=2), {"n": 2})
        table.to_polars()
        broker.produce("t", key(a=1, b="x"), {"n": 3})
        assert table.to_polars()["n"].to_list() == [3]
        assert table.errors().height == 1
        broker.produce("t", key(a=1, b="x"), None)
        assert table.to_polars().height == 0
    with broker.connect(tmp_path) as kt:
        assert kt.table("t", key_format="json").to_polars().height == 0


@pytest.mark.parametrize("key_format", [None, "string"])
def test_records_are_read_again_once_their_schema_is_known(
    broker: FakeBroker, registry: FakeRegistry, tmp_path: Path, key_format: str | None
) -> None:
    """What was refused because no registry was set becomes rows when one is."""
    number = registry.register("t-value", VALUE)
    for line in range(3):
        broker.produce("t", f"k{line}", registry.prefix(number) + b"\x02")
    with broker.connect(tmp_path) as kt:
        assert kt.table("t", key_format=key_format or "auto").errors().height == 3
    with broker.connect(tmp_path, registry=registry) as kt:
        table = kt.table("t", key_format=key_format or "auto")
        assert table.to_polars()["n"].to_list() == [1, 1, 1]
        assert table.errors().height == 0
    broker.produce("t", "bad", registry.prefix(number + 7) + b"\x02")
    for _ in range(2):  # a schema that stays unknown has nothing read again
        with broker.connect(tmp_path, registry=registry) as kt:
            assert kt.table("t", key_format=key_format or "auto").errors().height == 1
            assert broker.assigned[-1][0] >= 3


def test_a_registry_that_is_away_is_asked_once_when_a_table_is_opened(
    broker: FakeBroker, registry: FakeRegistry, tmp_path: Path
) -> None:
    """However many schemas records were refused for: each question may take as long as a request may."""
    for number in (7, 8, 9):
        broker.produce("t", f"k{number}", registry.prefix(number) + b"\x02")
    with broker.connect(tmp_path, registry=registry) as kt:
        assert kt.table("t").errors().height == 3
    registry.go_down()
    before = registry.requests
    with broker.connect(tmp_path, registry=registry) as kt:
        assert kt.table("t").errors().height == 3
    assert registry.requests == before + 1


def test_no_json_is_written_among_records_under_a_schema(broker: FakeBroker, registry: FakeRegistry) -> None:
    """Without the registry that knows it, a table refuses to write, and says where to look."""
    number = registry.register("t-value", VALUE)
    broker.produce("t", "a", registry.prefix(number) + b"\x02")
    with (
        broker.connect(writable=True) as kt,
        pytest.raises(SchemaError, match=f"schema id {number}.*schema_registry"),
    ):
        kt.table("t", key_format="string").put({"key": "b", "n": 1})


def test_keys_that_name_their_schema_in_a_header_keep_it_there(
    broker: FakeBroker, registry: FakeRegistry, kt: Context
) -> None:
    """A changed row and a tombstone have the key bytes and the header that the record had."""
    key, value = registry.register("t-key", KEY), registry.register("t-value", VALUE)
    named = [("__key_schema_id", registry.header(key)), ("__value_schema_id", registry.header(value))]
    broker.produce("t", b"\x02a", b"\x02", headers=named)
    table = kt.table("t")
    written = table.put({**table["a"], "n": 5})
    assert written["key"].to_list() == [b"\x02a"]
    assert table.to_polars()["n"].to_list() == [5]
    table.put({"key": {"id": "b"}, "n": 6})
    table.put({"key": {"id": "b"}, "n": 7})
    assert sorted(table.to_polars()["n"]) == [5, 7]
    assert table.delete("a")["key"].to_list() == [b"\x02a"]
    assert table.to_polars()["n"].to_list() == [7]
    assert table.errors().height == 0


@pytest.mark.parametrize("given", [{"value": "avor"}, {"value": "String"}, {"key_format": "str"}])
def test_publish_knows_its_formats(broker: FakeBroker, kt: Context, given: dict[str, str]) -> None:
    """A format that is not one is refused, with those that there are."""
    broker.create_topic("t")
    with pytest.raises(ConfigurationError, match=r"(?s)there is no format.*'json'"):
        kt.publish("t", pl.DataFrame({"key": ["a"], "n": [1]}), key="key", **given)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount", Decimal("5.555")),
        ("ratio", 2**53 + 1),
        ("at", datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)),
        ("day", 20_261),
        ("day", 20_261_125),
    ],
)
def test_put_rounds_nothing(broker: FakeBroker, kt: Context, column: str, value: object) -> None:
    """A value that the column's type can't hold as it is, is refused."""
    row = {"amount": "5.50", "ratio": 0.5, "at": "2026-01-01T00:00:00Z", "day": "2026-01-01"}
    broker.produce("t", "a", row)
    dtypes = {
        "amount": pl.Decimal(12, 2),
        "ratio": pl.Float64,
        "at": pl.Datetime("ms", "UTC"),
        "day": pl.Date,
    }
    table = kt.table("t", schema=dtypes)
    with pytest.raises(SchemaError, match=column):
        table.put({**table["a"], column: value})
    table.put({**table["a"]})
    assert table.errors().height == 0


@pytest.mark.parametrize("value", [float("nan"), [1.0, float("inf")], {"x": float("-inf")}])
def test_numbers_that_json_has_not_are_refused(broker: FakeBroker, kt: Context, value: object) -> None:
    """They would be written as null."""
    broker.create_topic("t")
    with pytest.raises(SchemaError, match=r"column 'f', row 1: .*(nan|inf).* cannot be written as JSON"):
        kt.publish("t", pl.DataFrame({"f": [None, value]}))


def test_a_row_without_its_key_field_is_refused(broker: FakeBroker, kt: Context) -> None:
    """A row that the table would refuse to read is not written."""
    broker.produce("t", "k1", {"id": "A", "region": "eu"})
    table = kt.table("t", key="id")
    with pytest.raises(SchemaError, match="'id' is missing or null"):
        table.upsert(pl.DataFrame({"region": ["x"]}), record_key="region")


def test_the_last_of_a_new_key_wins(broker: FakeBroker, kt: Context) -> None:
    """However often a new row comes in one call, and under whatever record keys: it goes to one partition, in order."""
    broker.create_topic("t", 3)
    broker.produce("t", "k1", {"id": "A", "region": "eu", "n": 1})
    table = kt.table("t", key="id")
    rows = pl.DataFrame({"id": ["C"] * 4, "region": list("abcd"), "n": [1, 2, 3, 4]})
    table.upsert(rows, record_key="region")
    assert table["C"]["n"] == 4


def test_a_row_that_is_there_keeps_its_record_key(broker: FakeBroker, kt: Context) -> None:
    """An integer key field over textual record keys: no key has to be made of it; a new row says what to do."""
    broker.produce("t", "7", {"id": 7, "n": 1})
    table = kt.table("t", key="id")
    assert table.put({**table[7], "n": 3})["key"].to_list() == [b"7"]
    assert table[7]["n"] == 3
    with pytest.raises(SchemaError, match="but String is needed"):
        table.put({"id": 8, "n": 1})


def test_a_field_that_a_schema_lets_be_absent(
    broker: FakeBroker, registry: FakeRegistry, kt: Context
) -> None:
    """It is shown as null and written as it came: not at all, where the schema takes no null."""
    number = registry.register("t-value", JSON_VALUE, "JSON")
    broker.produce("t", "a", registry.prefix(number) + b'{"n":1}')
    table = kt.table("t")
    written = table.put({**table["a"], "n": 2})
    assert written["value"].to_list() == [registry.prefix(number) + b'{"n":2}']
    assert table["a"]["n"] == 2


def test_many_keys_may_be_given_in_any_way(broker: FakeBroker, kt: Context) -> None:
    """A set, a column, a generator; what can be no key is refused."""
    for name in "abcdef":
        broker.produce("t", name, {"n": 1})
    table = kt.table("t")
    assert table.delete({"a", "b"}).height == 2
    assert table.delete(pl.Series(["c"])).height == 1
    assert table.delete(name for name in "d").height == 1
    for odd in (17, ("e", "f"), 1.5):
        with pytest.raises(SchemaError, match="can't be a key"):
            table.delete(odd)
    assert sorted(table.keys()) == ["e", "f"]


def test_all_rows_of_a_list_say_which_fields_there_are(broker: FakeBroker, kt: Context) -> None:
    """A field that the first hundred have not is written all the same; text is refused."""
    broker.create_topic("t")
    rows = [{"n": 1}] * 150 + [{"n": 2.5, "late": "x"}]
    written = kt.publish("t", rows)
    assert written["value"][150] == b'{"n":2.5,"late":"x"}'
    with pytest.raises(SchemaError, match="a str can't be written as rows"):
        kt.publish("t", "x")


def test_a_login_in_the_address_of_the_registry_is_taken_out(tmp_path: Path) -> None:
    """HTTP libraries log addresses; one in which it can't be told apart is refused without showing it."""
    found = resolve_settings(
        "h:1", schema_registry="https://ada:s%2Fecret@h:8081/x", environ={}, cwd=tmp_path
    )
    assert found.schema_registry == {"url": "https://h:8081/x", "basic.auth.user.info": "ada:s/ecret"}
    for address in ("http://ada:qx/ord@h:1", "http://ada:qx#ord@h:1", "http://ada:12/34@h"):
        with pytest.raises(ConfigurationError, match="can't be read") as caught:
            resolve_settings("h:1", schema_registry=address, environ={}, cwd=tmp_path)
        assert "qx" not in str(caught.value) + repr(caught.value.__cause__)
        assert "12" not in str(caught.value)
