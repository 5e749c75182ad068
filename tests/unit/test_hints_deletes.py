"""``deletes=``: what deletes a row beside a tombstone, and that a topic in which others occur is told of it."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from support.hinted import evaluated, hinted, met
from support.hints import Hint

from ktframe.config.settings import TableDeclaration
from ktframe.errors import SchemaError
from ktframe.testing import FakeBroker

EMPTY = Hint("fold/remedies.py", 'deletes="empty" takes an empty value as a delete.')
NULL = Hint("fold/remedies.py", 'deletes="null" takes a JSON null as a delete.')
ODD = Hint(
    "fold/deletes.py",
    'give deletes="empty", deletes="null", or a condition such as deletes={"__deleted": "true"}; a list for several.',
)
WRITTEN = Hint("tables/write_checks.py", "nothing was written; delete() deletes rows.")


def _broker(*records: tuple[str | None, Any]) -> FakeBroker:
    broker = FakeBroker()
    broker.create_topic("t")
    for key, value in records:
        is_raw = value is None or isinstance(value, bytes)
        broker.produce("t", key, value if is_raw else json.dumps(value).encode())
    return broker


ROW = {"id": 1, "n": 5}
GONE = {"id": 1, "__deleted": "true"}


@pytest.mark.parametrize(("value", "hint"), [(b"", EMPTY), (b" ", EMPTY), (b"null", NULL)])
def test_other_spellings_of_a_delete_are_named(value: bytes, hint: Hint) -> None:
    """They are refused without ``deletes=``, and delete with what the hint says; streams are not told."""
    with _broker(("a", ROW), ("b", ROW), ("a", value)).connect() as kt:
        with pytest.warns(match="deletes=") as said:
            kt.table("t").to_polars()
        found = met(hint, str(said[0].message))
        table = kt.table("t", **found.arguments)
        assert table.to_polars()["key"].to_list() == ["b"]
        assert table.status().refused == 0
        with pytest.warns(match="1 of 3 records") as streamed:
            kt.stream("t").to_polars()
        assert "deletes" not in str(streamed[0].message)


@pytest.mark.parametrize("given", ["gone", 5, [], ["empty", 5], {}, pl.col("n").sum() > 3, {"x": None}])
def test_what_says_no_delete_is_refused(given: Any) -> None:
    """Each argument of the hint is one that does."""
    with _broker(("a", ROW), ("a", GONE)).connect() as kt:
        with hinted(ODD) as found:
            kt.table("t", deletes=given)
        assert str(found.error).startswith("deletes=")
        code = found.text.partition("such as deletes=")[2].partition(";")[0]
        assert kt.table("t", deletes=evaluated(code)).to_polars().height == 0
        for argument in ("empty", "null"):
            assert f'deletes="{argument}"' in found.text
            kt.table("t", deletes=argument)


def test_deletes_by_fields_of_the_key() -> None:
    """A record of another record key, or of none, deletes by the field that it has; one without by its record key."""
    records = [
        ("a", ROW),
        ("b", {"id": 2, "n": 1}),
        ("c", {"id": 3, "n": 1}),
        ("other", GONE),
        (None, {**GONE, "id": 2}),
    ]
    with _broker(*records, ("c", {"__deleted": "true"})).connect() as kt:
        table = kt.table("t", key="id", deletes={"__deleted": "true"})
        assert table.to_polars().height == 0
        assert table.status().refused == 0
        assert table.status().sees_deletes  # that without a record key is no row


@pytest.mark.parametrize(
    ("key", "odd"),
    [
        ("id", {"id": "1"}),
        ("id", {"id": [1]}),
        ("id", {"id": 1.5}),
        ("id", {"id": 2**64}),
        ("to.id", {"to": "junk"}),
        ("to.id", {"to": {"id": "1"}}),
    ],
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_delete_whose_key_can_not_be_read_is_refused(key: str, odd: dict[str, Any], is_cut: bool) -> None:  # noqa: FBT001
    """It deletes neither the row that it may mean, nor that of its record key."""
    rows = [{"id": number, "to": {"id": number}} for number in (1, 2)]
    broker = _broker(("x", rows[0]), ("y", rows[1]))
    with broker.connect() as kt:
        table = kt.table("t", key=key, deletes={"__deleted": "true"}, on_refused="ignore")
        if is_cut:
            table.to_polars()
        broker.produce("t", "y", json.dumps({**odd, "__deleted": "true"}).encode())
        assert table.to_polars()["to"].to_list() == [row["to"] for row in rows]
        assert table.status().refused == 1
        (reason,) = table.errors()["reason"]
        assert reason == f"it deletes a row, but what is in {key!r} is no key of a row"


def test_an_envelope_of_nulls_deletes() -> None:
    """Debezium's, by an expression over what is missing."""
    records = [
        ("a", {"after": {"id": 1}, "op": "c"}),
        ("b", {"after": {"id": 2}, "op": "c"}),
        ("a", {"after": None, "op": "d"}),
    ]
    with _broker(*records).connect() as kt:
        assert kt.table("t", deletes=pl.col("after").is_null()).to_polars()["key"].to_list() == ["b"]
        table = kt.table("t", key="after.id", deletes=pl.col("after").is_null())
        assert table.to_polars()["after.id"].to_list() == [2]


def test_deletes_of_plain_values() -> None:
    """A text may delete; nothing is learned from it."""
    with _broker(("a", b"apple"), ("b", b"pear"), ("a", b"-"), ("b", b"")).connect() as kt:
        table = kt.table("t", value="string", deletes=[{"value": "-"}, "empty"])
        assert table.to_polars().height == 0


def test_deletes_is_part_of_the_store_and_of_configuration() -> None:
    """Another one is another table; columns have nothing of what only deletes."""
    tables = {"rows": TableDeclaration("rows", topic="t", deletes=["empty", {"__deleted": "true"}])}
    with _broker(("a", ROW), ("b", ROW), ("a", GONE)).connect(tables=tables) as kt:
        assert kt.table("rows").to_polars().columns == ["key", "id", "n"]
        assert kt.table("rows") is kt.table("t", deletes=["empty", {"__deleted": "true"}])
        assert kt.table("t").to_polars().height == 2
        assert len(kt.stream("t")) == 3


def test_a_row_that_would_delete_one_is_not_written() -> None:
    """``delete`` does that."""
    with _broker(("a", ROW), ("b", {**ROW, "__deleted": "false"})).connect(writable=True) as kt:
        table = kt.table("t", deletes={"__deleted": "true"})
        with pytest.raises(SchemaError, match="would delete") as raised:
            table.put({"key": "a", "id": 1, "n": 1, "__deleted": "true"})
        met(WRITTEN, raised.value.hint)
        table.delete("a")
        assert table.to_polars()["key"].to_list() == ["b"]
