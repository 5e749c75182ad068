"""Ten thousand damaged records among good ones, through a whole table, for each format whose records name a schema.

What the reference library of a format makes of the bytes decides: whatever the table accepts is that, and whatever it
does not is among its errors, byte by byte. No code of ktframe's is asked what a payload means.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.dialects import (
    Avro,
    AvroKeys,
    Dialect,
    Json,
    JsonKeys,
    Protobuf,
    ProtobufKeys,
    Record,
    Row,
    damaged,
    good,
    reference,
)

import ktframe
from ktframe.formats.wire import KEY_HEADER, VALUE_HEADER
from ktframe.testing import FakeBroker, FakeRegistry

MUTANTS = 10_000
ROUNDS = 8


def physical(dtype: Any) -> pl.DataType:
    """Return a type with the numbers that times are."""
    if isinstance(dtype, pl.List):
        return pl.List(physical(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: physical(field.dtype) for field in dtype.fields})
    if isinstance(dtype, pl.Date):
        return pl.Int32()
    return pl.Int64() if dtype.is_temporal() else dtype


def rows_of(table: ktframe.KTable) -> dict[str, Row]:
    """Return the rows by their keys, times as numbers."""
    frame = table.to_polars()
    numbers = frame.cast({name: physical(dtype) for name, dtype in frame.schema.items()})
    return {row.pop("record"): row for row in numbers.iter_rows(named=True)}


def plain(value: Any) -> Any:
    """Return a value in a form in which equal ones are equal: no null fields, NaN itself, no float that is an integer.

    Entries of a map are by their keys: Avro may write one twice, of which fastavro shows the last and a table both.
    """
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        entries = [each for each in value if isinstance(each, dict) and each.keys() == {"key", "value"}]
        if entries and len(entries) == len(value):
            return {each["key"]: plain(each["value"]) for each in entries}
        return [plain(each) for each in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    return value


EMPTY: tuple[Any, ...] = (None, [], "", 0, b"", "NEW")
"""What a column shows of a record whose schema has no such field."""


def differences(row: Row, found: Row) -> dict[str, Any]:
    """Return what ``found`` shows of the fields of ``row`` otherwise, and of others that are not empty."""
    expected, shown = ({name: plain(value) for name, value in each.items()} for each in (row, found))
    wrong = {name: shown[name] for name in shown.keys() - expected.keys() if shown[name] not in EMPTY}
    both = {name: (value, shown.get(name)) for name, value in expected.items()}
    return wrong | {name: pair for name, pair in both.items() if pair[0] != pair[1]}


@dataclass(slots=True)
class Sent:
    """What was produced: good records with their rows, damaged ones, and all by partition and offset."""

    good: dict[str, Row] = field(default_factory=dict)
    damaged: dict[str, Record] = field(default_factory=dict)
    places: dict[tuple[int, int], Record] = field(default_factory=dict)


def registered(registry: FakeRegistry, dialect: Dialect) -> list[int]:
    """Register all schemas and return their ids."""
    ids: list[int] = []
    for text in dialect.texts:
        imports = {dialect.imported: ids[0]} if dialect.imported and ids else {}
        ids.append(registry.register("t-value", text, dialect.kind, **imports))
    return ids


def produce(
    broker: FakeBroker,
    dialect: Dialect,
    ids: list[int],
    chance: random.Random,
    sent: Sent,
    *,
    are_damaged: bool,
) -> None:
    """Write a round of good records, each with a damaged one behind it if wanted."""
    for number in range(MUTANTS // ROUNDS):
        at = len(sent.good)
        record, row = good(dialect, ids, chance, f"good-{at}")
        sent.good[record.key] = row
        records = [record]
        if are_damaged:
            records.append(damaged(good(dialect, ids, chance, f"damaged-{at}")[0], chance))
            sent.damaged[records[1].key] = records[1]
        for each in records:
            headers = None if each.header is None else [(VALUE_HEADER, each.header)]
            offset = broker.produce("t", each.key, each.value, partition=number % 2, headers=headers)
            sent.places[number % 2, offset] = each


def reasons_of(errors: pl.DataFrame, sent: Sent) -> dict[str, str]:
    """Return why records were refused, by their keys, after a look at the bytes that are kept of them."""
    reasons = {}
    for partition, offset, key, value, reason in errors.select(
        "partition", "offset", "key", "value", "reason"
    ).iter_rows():
        record = sent.places[partition, offset]
        assert key == record.key.encode()
        assert value in record.kept
        reasons[record.key] = reason
    return reasons


@pytest.mark.slow
@pytest.mark.parametrize("dialect", [Avro(), Protobuf(), Json()], ids=lambda each: each.kind.lower())
def test_ten_thousand_damaged_records_harm_no_other(dialect: Dialect, tmp_path: Path) -> None:
    """Every good record is there; a damaged one is what the reference library reads, or an error with its bytes."""
    broker, registry, sent = FakeBroker(), FakeRegistry(), Sent()
    broker.create_topic("t", 2)
    ids = registered(registry, dialect)
    chance = random.Random(31)  # noqa: S311 - not cryptography
    with broker.connect(tmp_path, registry=registry) as kt:
        table = kt.table("t", key_name="record", on_refused="ignore")
        # A round of good records alone, which say what the columns are, then the others, batch by batch.
        for part in range(ROUNDS + 1):
            produce(broker, dialect, ids, chance, sent, are_damaged=part > 0)
            rows = rows_of(table)
        errors = table.errors()
    reasons = reasons_of(errors, sent)
    assert not reasons.keys() & rows.keys()
    assert reasons.keys() | rows.keys() == sent.good.keys() | sent.damaged.keys()
    for key, expected in sent.good.items():
        assert key in rows, reasons[key]
        assert differences(expected, rows[key]) == {}, key
    for key, record in sent.damaged.items():
        row, is_sure = reference(dialect, ids, record)
        if key in reasons:
            assert row is None or not is_sure, (record, reasons[key])
        else:
            assert row is not None, record
            assert differences(row, rows[key]) == {}, record
    assert len(sent.damaged) - len(reasons) > MUTANTS / 20
    with broker.connect(tmp_path, registry=registry) as kt:
        again = rows_of(kt.table("t", key_name="record", on_refused="ignore"))
        assert {key: repr(row) for key, row in again.items()} == {key: repr(row) for key, row in rows.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "dialect", [AvroKeys(), ProtobufKeys(), JsonKeys()], ids=lambda each: each.kind.lower()
)
def test_ten_thousand_damaged_keys_touch_no_other_row(dialect: Dialect, tmp_path: Path) -> None:
    """A damaged key is the key that the reference library reads, or an error with its bytes: no other row changes."""
    broker, registry, chance = FakeBroker(), FakeRegistry(), random.Random(41)  # noqa: S311 - not cryptography
    ids = registered(registry, dialect)
    records = []
    for number in range(MUTANTS * 2):
        record, _ = good(dialect, ids, chance, str(number))
        # Good ones alone first: they say what the keys are.
        records.append(damaged(record, chance) if number > 100 and number % 2 else record)
        headers = None if records[-1].header is None else [(KEY_HEADER, records[-1].header)]
        broker.produce("t", records[-1].value, {"number": number}, headers=headers)
    for _ in range(2):
        with broker.connect(tmp_path, registry=registry) as kt:
            table = kt.table("t", on_refused="ignore")
            errors, frame = table.errors(), table.to_polars()
        refused = dict(errors.select("offset", "reason").iter_rows())
        assert all(key in records[at].kept for at, key in errors.select("offset", "key").iter_rows())
        expected: dict[str, int] = {}
        for number, record in enumerate(records):
            key, is_sure = reference(dialect, ids, record)
            if number in refused:
                assert key is None or not is_sure, (record, refused[number])
            else:
                assert key is not None, record
                expected[repr((key.get("region"), key.get("id")))] = number
        assert MUTANTS > len(refused) > MUTANTS / 2
        found = {repr((row["key"]["region"], row["key"]["id"])): row["number"] for row in frame.to_dicts()}
        assert found == expected
