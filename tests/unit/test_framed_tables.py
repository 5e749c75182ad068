"""Tables of topics whose records name a schema: both wire formats, several schemas, a registry that comes and goes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

import ktframe
from ktframe.errors import RegistryError
from ktframe.events import Reason
from ktframe.formats.wire import KEY_HEADER, VALUE_HEADER
from ktframe.testing import FakeBroker, FakeRegistry

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "amount", "type": "int"},
        {"name": "region", "type": ["null", "string"], "default": None},
    ],
}
WIDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "amount", "type": "long"},
        {"name": "region", "type": ["null", "string"], "default": None},
        {"name": "currency", "type": "string", "default": "EUR"},
    ],
}


def body(schema: Any, value: Any) -> bytes:
    """Return ``value`` as an Avro datum."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


class Shop:
    """A topic, a registry, and who writes Avro to the one under schemas of the other."""

    def __init__(self) -> None:
        self.broker = FakeBroker()
        self.registry = FakeRegistry()

    def register(self, schema: Any, subject: str = "orders-value") -> int:
        """Register a schema and return its id."""
        return self.registry.register(subject, json.dumps(schema))

    def produce(
        self, key: str | bytes, schema: Any, schema_id: int, value: Any, *, by_header: bool = False
    ) -> None:
        """Write a record in either wire format."""
        datum = body(schema, value)
        if by_header:
            headers = [(VALUE_HEADER, self.registry.header(schema_id))]
            self.broker.produce("orders", key, datum, headers=headers)
        else:
            self.broker.produce("orders", key, self.registry.prefix(schema_id) + datum)


@pytest.fixture
def shop() -> Shop:
    """Return an empty shop."""
    return Shop()


@pytest.fixture
def kt(shop: Shop, tmp_path: Path) -> Iterator[ktframe.Context]:
    """Yield a connection to it."""
    with shop.broker.connect(tmp_path, registry=shop.registry) as context:
        yield context


def test_avro_is_recognised_by_itself(shop: Shop, kt: ktframe.Context) -> None:
    """Without being told, values are decoded by their schema; the repr and the status say which."""
    first = shop.register(ORDER)
    shop.produce("o-1", ORDER, first, {"amount": 5, "region": "EU"})
    shop.produce("o-2", ORDER, first, {"amount": 7, "region": None}, by_header=True)
    orders = kt.table("orders")
    assert orders.to_polars().sort("key").rows() == [("o-1", 5, "EU"), ("o-2", 7, None)]
    assert orders.schema == {"key": pl.String(), "amount": pl.Int32(), "region": pl.String()}
    assert "keys: string; values: avro (id 1, GUID" in repr(orders)
    assert "avro" in str(orders.status())


def test_several_schemas_make_one_frame(shop: Shop, kt: ktframe.Context) -> None:
    """Older records show the defaults of newer schemas, also those that were read before the newer one came."""
    first, second = shop.register(ORDER), shop.register(WIDER)
    shop.produce("o-1", ORDER, first, {"amount": 5, "region": "EU"})
    orders = kt.table("orders")
    assert orders["o-1"] == {"key": "o-1", "amount": 5, "region": "EU"}
    shop.produce("o-2", WIDER, second, {"amount": 2**40, "region": None, "currency": "USD"})
    shop.produce("o-3", ORDER, first, {"amount": 1, "region": None})
    assert orders.to_polars().sort("key").rows() == [
        ("o-1", 5, "EU", "EUR"),
        ("o-2", 2**40, None, "USD"),
        ("o-3", 1, None, "EUR"),
    ]
    assert orders.get_many(["o-1", "o-3"]) == [
        {"key": "o-1", "amount": 5, "region": "EU", "currency": "EUR"},
        {"key": "o-3", "amount": 1, "region": None, "currency": "EUR"},
    ]


def test_a_store_opens_while_the_registry_is_away(shop: Shop, tmp_path: Path) -> None:
    """Rows that were read before need nobody; a schema that is new then is waited for, not refused."""
    first, second = shop.register(ORDER), shop.register(WIDER)
    shop.produce("o-1", ORDER, first, {"amount": 5, "region": "EU"})
    shop.produce("o-2", WIDER, second, {"amount": 6, "region": None, "currency": "USD"}, by_header=True)
    with shop.broker.connect(tmp_path, registry=shop.registry) as kt:
        before = kt.table("orders").to_polars().sort("key")
    shop.registry.go_down()
    asked = shop.registry.requests
    retry = ktframe.RetryPolicy(attempts=2, initial_delay=0.01, max_delay=0.02, jitter=0)
    with shop.broker.connect(tmp_path, registry=shop.registry, retry=retry) as kt:
        orders = kt.table("orders")
        assert orders.to_polars().sort("key").equals(before)
        assert shop.registry.requests == asked
        third = shop.register(ORDER)
        shop.produce("o-3", ORDER, third, {"amount": 7, "region": None})
        with pytest.raises(RegistryError, match="down"):
            orders.to_polars()
        assert orders.readiness().reason == Reason.REGISTRY
        assert orders.to_polars(fresh=False).height == 2
        shop.registry.come_back()
        assert orders["o-3"]["amount"] == 7
        assert orders.errors().height == 0


def test_a_refused_login_fails_at_once(shop: Shop, kt: ktframe.Context) -> None:
    """After a refused login the table has failed at once, and says what to check."""
    shop.produce("o-1", ORDER, shop.register(ORDER), {"amount": 5, "region": "EU"})
    shop.registry.go_down(is_fatal=True)
    with pytest.raises(RegistryError, match="check the login"):
        kt.table("orders").to_polars()
    assert kt.table("orders").status().health.state == ktframe.BindingState.FAILED


def test_what_can_not_be_read_is_refused_with_its_bytes(shop: Shop, kt: ktframe.Context) -> None:
    """An unknown id, a truncated datum, a schema that conflicts: each says why, and no good record is lost."""
    first = shop.register(ORDER)
    odd = {"type": "record", "name": "Order", "fields": [{"name": "amount", "type": "string"}]}
    second = shop.register(odd)
    shop.produce("o-1", ORDER, first, {"amount": 5, "region": "EU"})
    cut = shop.registry.prefix(first) + body(ORDER, {"amount": 5, "region": "EU"})[:-1]
    shop.broker.produce("orders", "o-2", cut)
    shop.broker.produce("orders", "o-3", shop.registry.prefix(99) + b"x")
    shop.produce("o-4", odd, second, {"amount": "five"})
    shop.broker.produce("orders", "o-5", b"\0\0\0")
    shop.produce("o-6", ORDER, first, {"amount": 6, "region": "EU"})
    orders = kt.table("orders", value="avro")
    assert orders.keys() == ["o-1", "o-6"]
    reasons = dict(orders.errors().select("offset", "reason").iter_rows())
    assert list(reasons) == [1, 2, 3, 4]
    assert "schema id 1: " in reasons[1] or "truncated" in reasons[1]
    assert reasons[2] == "unknown schema: schema id 99 is not in the registry at http://fake:8081"
    assert reasons[3] == "amount: String in a column of Int32"
    assert reasons[4].startswith("names no schema")
    assert orders.errors()["value"][0] == cut


def test_without_a_registry_the_reason_says_what_helps(shop: Shop) -> None:
    """A record whose schema id nobody can look up is refused, and the hint is named."""
    shop.produce("o-1", ORDER, 7, {"amount": 5, "region": "EU"})
    with shop.broker.connect() as kt:
        orders = kt.table("orders", on_refused="ignore")
        assert len(orders) == 0
        assert "names schema id 7: connect(..., schema_registry=" in orders.errors()["reason"][0]


def test_json_and_avro_live_in_one_topic(shop: Shop, kt: ktframe.Context) -> None:
    """Records without a schema are JSON, whichever came first; fields of both are columns."""
    first = shop.register(ORDER)
    shop.broker.produce("orders", "o-1", {"amount": 3, "note": "by hand"})
    shop.produce("o-2", ORDER, first, {"amount": 5, "region": "EU"})
    orders = kt.table("orders")
    shop.broker.produce("orders", "o-3", {"amount": 4, "region": "US"})
    assert orders.to_polars().sort("key").to_dicts() == [
        {"key": "o-1", "amount": 3, "note": "by hand", "region": None},
        {"key": "o-2", "amount": 5, "note": None, "region": "EU"},
        {"key": "o-3", "amount": 4, "note": None, "region": "US"},
    ]


def test_a_json_schema_tells_the_types(shop: Shop, kt: ktframe.Context) -> None:
    """Its objects are JSON behind an id; a field that is always null so far has its type already."""
    text = json.dumps(
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": ["null", "string"]}}}
    )
    number = shop.registry.register("orders-value", text, "JSON")
    shop.broker.produce("orders", "o-1", shop.registry.prefix(number) + b'{"a": 1, "b": null, "c": true}')
    orders = kt.table("orders")
    assert orders.to_polars().schema == {
        "key": pl.String(),
        "a": pl.Int64(),
        "b": pl.String(),
        "c": pl.Boolean(),
    }
    assert orders["o-1"] == {"key": "o-1", "a": 1, "b": None, "c": True}


KEY = {
    "type": "record",
    "name": "Key",
    "fields": [{"name": "region", "type": "string"}, {"name": "id", "type": "int"}],
}
WIDER_KEY = {**KEY, "fields": [KEY["fields"][0], {"name": "id", "type": "long"}]}


def test_keys_are_decoded_by_their_schema(shop: Shop, kt: ktframe.Context) -> None:
    """A key is its values, not its bytes: another schema and another wire format mean the same row."""
    first, second = shop.register(KEY, "orders-key"), shop.register(WIDER_KEY, "orders-key")
    key = {"region": "EU", "id": 1}
    shop.broker.produce("orders", shop.registry.prefix(first) + body(KEY, key), {"x": 1})
    shop.broker.produce("orders", shop.registry.prefix(second) + body(WIDER_KEY, key), {"x": 2})
    shop.broker.produce("orders", shop.registry.prefix(second) + body(WIDER_KEY, {**key, "id": 2}), {"x": 3})
    orders = kt.table("orders")
    assert orders.to_polars().sort("x").rows() == [
        ({"region": "EU", "id": 1}, 2),
        ({"region": "EU", "id": 2}, 3),
    ]
    assert orders["EU", 1]["x"] == 2
    headers = [(KEY_HEADER, shop.registry.header(first))]
    shop.broker.produce("orders", body(KEY, key), None, headers=headers)
    assert orders.keys() == [("EU", 2)]


def test_keys_with_other_fields_are_no_keys_of_the_table(shop: Shop, kt: ktframe.Context) -> None:
    """Keys with other fields are refused, because they could never update or delete a row."""
    first = shop.register(KEY, "orders-key")
    odd = {"type": "record", "name": "Key", "fields": [{"name": "region", "type": "string"}]}
    second = shop.register(odd, "orders-key")
    shop.broker.produce(
        "orders", shop.registry.prefix(first) + body(KEY, {"region": "EU", "id": 1}), {"x": 1}
    )
    shop.broker.produce("orders", shop.registry.prefix(second) + body(odd, {"region": "EU"}), {"x": 2})
    orders = kt.table("orders")
    assert len(orders) == 1
    assert (
        "(region), not" in orders.errors()["reason"][0]
        or "(region) and (region, id)" in orders.errors()["reason"][0]
    )


@pytest.mark.parametrize("kind", ["table", "window", "stream"])
def test_windows_and_streams_have_such_keys_too(shop: Shop, tmp_path: Path, kind: str) -> None:
    """Windows and streams read keys and values by schema, in both wire formats, fresh and from the store."""
    first, second = shop.register(KEY, "orders-key"), shop.register(ORDER)
    key = {"region": "EU", "id": 1}
    headers = [(VALUE_HEADER, shop.registry.header(second)), (KEY_HEADER, shop.registry.header(first))]
    shop.broker.produce("orders", body(KEY, key), body(ORDER, {"amount": 1, "region": None}), headers=headers)
    shop.broker.produce(
        "orders",
        shop.registry.prefix(first) + body(KEY, {**key, "id": 2}),
        shop.registry.prefix(second) + body(ORDER, {"amount": 2, "region": "EU"}),
    )
    for _ in range(2):
        with shop.broker.connect(tmp_path, registry=shop.registry) as kt:
            found = {"table": kt.table("orders"), "stream": kt.stream("orders")}
            found["window"] = kt.table("orders").window(5)
            frame = found[kind].to_polars(metadata=True).sort("offset")
            assert frame["amount"].to_list() == [1, 2]
            assert frame["key"].to_list() == [key, {**key, "id": 2}]


def test_a_key_field_may_come_from_a_schema(shop: Shop, kt: ktframe.Context) -> None:
    """A table by a field folds records of all schemas; a field that can't be a key has its records refused."""
    first, second = shop.register(ORDER), shop.register(WIDER)
    shop.produce("a", ORDER, first, {"amount": 1, "region": "EU"})
    shop.produce("b", WIDER, second, {"amount": 2, "region": "EU", "currency": "USD"})
    assert kt.table("orders", key="region").to_polars().to_dicts() == [
        {"amount": 2, "region": "EU", "currency": "USD"}
    ]
    odd = {"type": "record", "name": "O", "fields": [{"name": "region", "type": "double"}]}
    shop.produce("c", odd, shop.register(odd), {"region": 1.0})
    errors = kt.table("orders", key="region").errors()
    assert "'region' is part of the key but Float64" in errors["reason"][0]


def test_a_recreated_topic_asks_the_registry_anew(shop: Shop, kt: ktframe.Context) -> None:
    """Ids of a registry that was recreated with the topic mean other schemas."""
    first = shop.register(ORDER)
    shop.produce("o-1", ORDER, first, {"amount": 5, "region": "EU"})
    orders = kt.table("orders")
    assert len(orders) == 1
    shop.broker.create_topic("orders")
    shop.registry.__init__()  # type: ignore[misc]  # another registry at the same address
    other = {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "string"}]}
    assert shop.register(other) == first
    shop.produce("k", other, first, {"x": "y"})
    assert orders.to_polars().to_dicts() == [{"key": "k", "x": "y"}]


def test_writing_follows_the_newest_schema_of_the_topic(shop: Shop, tmp_path: Path) -> None:
    """Put, upsert and publish write under what is registered last; what does not fit it is refused by column and row."""
    shop.broker.create_topic("orders")
    first = shop.register(ORDER)
    with shop.broker.connect(tmp_path, registry=shop.registry, writable=True) as kt:
        orders = kt.table("orders")
        records = orders.put({"key": "o-1", "amount": 5, "region": "EU"})
        assert records["value"][0] == shop.registry.prefix(first) + body(ORDER, {"amount": 5, "region": "EU"})
        assert orders["o-1"] == {"key": "o-1", "amount": 5, "region": "EU"}
        second = shop.register(WIDER)
        kt.publish(
            "orders", pl.DataFrame({"key": ["o-2"], "amount": [2**40], "currency": ["USD"]}), key="key"
        )
        assert orders["o-2"] == {"key": "o-2", "amount": 2**40, "region": None, "currency": "USD"}
        assert orders.put({**orders["o-1"], "amount": 6})["value"][0].startswith(shop.registry.prefix(second))
        with pytest.raises(ktframe.SchemaError, match=r"amount.*row 1"):
            orders.upsert(pl.DataFrame({"key": ["a", "b"], "amount": [1, None], "currency": ["x", "y"]}))
        orders.delete("o-2")
        assert orders.keys() == ["o-1"]


def test_a_tombstone_has_the_bytes_of_the_key(shop: Shop, tmp_path: Path) -> None:
    """A tombstone carries the bytes of the record's key: compaction compares these."""
    first = shop.register(KEY, "orders-key")
    second = shop.register(WIDER_KEY, "orders-key")
    spelt = shop.registry.prefix(first) + body(KEY, {"region": "EU", "id": 1})
    shop.broker.produce("orders", spelt, {"x": 1})
    with shop.broker.connect(tmp_path, registry=shop.registry, writable=True) as kt:
        orders = kt.table("orders")
        assert orders.delete(("EU", 1), dry_run=True)["key"].to_list() == [spelt]
        new = orders.put({"key": {"region": "US", "id": 5}, "x": 5})["key"][0]
        assert new == shop.registry.prefix(second) + body(WIDER_KEY, {"region": "US", "id": 5})
        assert orders.keys() == [("EU", 1), ("US", 5)]


@pytest.mark.parametrize("is_empty_first", [False, True])
def test_rows_without_a_field_stand_beside_others(
    shop: Shop, tmp_path: Path, *, is_empty_first: bool
) -> None:
    """Records under a schema without fields are rows that show what the other schemas have for absent fields."""
    nothing = {"type": "record", "name": "Nothing", "fields": []}
    first, second = shop.register(nothing), shop.register(WIDER)
    written = [(nothing, first, {}), (WIDER, second, {"amount": 1, "region": "EU", "currency": "USD"})]
    for number in range(3):
        for at in (0, 1) if is_empty_first else (1, 0):
            shop.produce(f"o-{at}{number}", *written[at], by_header=number == 1)
    for _ in range(2):
        with shop.broker.connect(tmp_path, registry=shop.registry) as kt:
            orders = kt.table("orders")
            expected = [(f"o-0{number}", None, None, "EUR") for number in range(3)]
            expected += [(f"o-1{number}", 1, "EU", "USD") for number in range(3)]
            assert orders.to_polars().sort("key").rows() == expected
            assert orders["o-00"] == {"key": "o-00", "amount": None, "region": None, "currency": "EUR"}


@pytest.mark.parametrize("key_format", ["auto", "json"])
def test_keys_may_be_objects_under_a_json_schema(shop: Shop, tmp_path: Path, key_format: str) -> None:
    """Objects are keys of several parts, in either wire format, read and written; other keys are refused."""
    fields = {"region": {"type": "string"}, "id": {"type": "integer"}}
    text = json.dumps({"type": "object", "properties": fields})
    number = shop.registry.register("orders-key", text, "JSON")
    prefix, headers = shop.registry.prefix(number), [(KEY_HEADER, shop.registry.header(number))]
    shop.broker.produce("orders", prefix + b'{"region": "EU", "id": 1}', {"x": 1})
    shop.broker.produce("orders", b'{"id": 2, "region": "EU"}', {"x": 2}, headers=headers)
    shop.broker.produce("orders", b'{"id": 3, "region": "EU", "y": 0}', {"x": 3}, headers=headers)
    shop.broker.produce("orders", prefix + b'"EU"', {"x": 4})
    shop.broker.produce("orders", b"EU", {"x": 5})
    for _ in range(2):
        with shop.broker.connect(tmp_path, registry=shop.registry, writable=True) as kt:
            orders = kt.table("orders", key_format=key_format)
            assert sorted(orders.keys()) == [("EU", 1), ("EU", 2)]
            assert orders["EU", 2]["x"] == 2
            assert orders.errors()["offset"].to_list() == [2, 3, 4]
            orders.put({"key": {"region": "US", "id": 4}, "x": 6})
            assert orders["US", 4]["x"] == 6
            orders.delete(("US", 4))


def test_a_key_under_a_json_schema_of_text_is_text(shop: Shop, kt: ktframe.Context) -> None:
    """Keys under a schema without fields are text."""
    number = shop.registry.register("orders-key", '{"type": "string"}', "JSON")
    shop.broker.produce("orders", shop.registry.prefix(number) + b'"EU"', {"x": 1})
    assert kt.table("orders").keys() == ['"EU"']


@pytest.mark.parametrize("by_header", [False, True])
@pytest.mark.parametrize("where", [{"region": "EU"}, pl.col("region") == "EU", (pl.col("amount") > 2)])
def test_where_of_values_that_name_a_schema(
    shop: Shop, kt: ktframe.Context, where: Any, *, by_header: bool
) -> None:
    """They are judged by their columns, under each schema; tombstones act."""
    first, second = shop.register(ORDER), shop.register(WIDER)
    shop.produce("a", ORDER, first, {"amount": 3, "region": "EU"}, by_header=by_header)
    shop.produce("b", ORDER, first, {"amount": 1, "region": None}, by_header=by_header)
    shop.produce("c", WIDER, second, {"amount": 4, "region": "EU", "currency": "USD"}, by_header=by_header)
    shop.produce("d", WIDER, second, {"amount": 5, "region": "EU", "currency": "USD"}, by_header=by_header)
    shop.broker.produce("orders", "d", None)
    table = kt.table("orders", where=where)
    assert sorted(table.to_polars()["key"]) == ["a", "c"]
    status = table.status()
    assert (status.left_out, status.refused, status.records) == (1, 0, 5)


def test_deletes_of_values_that_name_a_schema(shop: Shop, kt: ktframe.Context) -> None:
    """By record key, and by the fields of a key where they can be read beside what deletes."""
    number = shop.register(ORDER)
    shop.produce("a", ORDER, number, {"amount": 3, "region": "EU"})
    shop.produce("b", ORDER, number, {"amount": 1, "region": "US"})
    shop.produce("b", ORDER, number, {"amount": -1, "region": "EU"})
    table = kt.table("orders", deletes=pl.col("amount") < 0)
    assert table.to_polars()["key"].to_list() == ["a"]
    # Of another record key than its row: it has the field of the key.
    assert kt.table("orders", key="region", deletes={"amount": -1}).to_polars()["region"].to_list() == ["US"]


def test_a_wrong_name_in_where_of_values_that_name_a_schema(shop: Shop, kt: ktframe.Context) -> None:
    """The schema knows the field that was meant."""
    shop.produce("a", ORDER, shop.register(ORDER), {"amount": 3, "region": "EU"})
    with pytest.raises(ktframe.SchemaError, match="did you mean 'region'"):
        kt.table("orders", where={"regoin": "EU"}).to_polars()
