"""``where=``: which records become rows, what is said of the others, and what is no condition."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from support.hinted import evaluated, hinted, met
from support.hints import Hint

from ktframe.config.settings import TableDeclaration
from ktframe.errors import ConfigurationError, IncompleteError, SchemaError
from ktframe.fold.condition import condition
from ktframe.fold.judging import judged
from ktframe.fold.records import Position
from ktframe.store.layout import pack_position, unpack_position
from ktframe.testing import FakeBroker

NO_CONDITION = Hint("fold/condition.py", "give fields or an expression: {}.")
EXAMPLE = Hint("fold/condition.py", 'where={"type": "user"} or where=pl.col("type") == "user"')
OTHERS = Hint(
    "fold/condition.py",
    "{} judges a record by its own fields; what looks at other rows goes into to_polars().filter(...).",
)
LIST = Hint(
    "fold/condition.py",
    "give is_in() a list: pl.col(...).is_in([1, 2]) compares with each of its values.",
)
FORMAT = Hint(
    "fold/condition.py",
    "give to_date(), to_datetime() or to_time() the format, such as "
    'pl.col(...).str.to_date("%Y-%m-%d", strict=False).',
)
EQUAL = Hint(
    "fold/condition.py",
    'where={"type": "user"} takes text, a number, True or False; all else is an expression, such as '
    'where=pl.col("type").is_null().',
)
CAST = Hint(
    "fold/remedies.py",
    "an expression that casts the field, such as pl.col(...).cast(pl.Float64, strict=False) > 5, takes any kind of value.",
)
NEAREST = Hint("tables/named_fields.py", "the fields are {}.")
WITHOUT = Hint(
    "tables/write_checks.py", "nothing was written; write it by the table of all records, without where=."
)


def _broker(*records: Any, keys: str = "") -> FakeBroker:
    broker = FakeBroker()
    broker.create_topic("t")
    for number, record in enumerate(records):
        value = None if record is None else json.dumps(record).encode()
        broker.produce("t", keys[number] if keys else f"k{number}", value)
    return broker


USER, ORDER = {"type": "user", "name": "ann"}, {"type": "order", "amount": 5}


def test_where_judges_records_and_filter_judges_rows() -> None:
    """A key whose newest record is of another type: ``where`` leaves its older row, ``filter`` does not show it."""
    with _broker(USER, ORDER, keys="aa").connect() as kt:
        assert kt.table("t", where={"type": "user"}).to_polars().rows() == [("a", "user", "ann")]
        assert kt.table("t").filter(type="user").to_polars().height == 0


def test_tombstones_always_act() -> None:
    """They have no fields that a condition could hold for."""
    with _broker(USER, None, keys="aa").connect() as kt:
        assert kt.table("t", where={"type": "user"}).to_polars().height == 0
        assert len(kt.stream("t", where={"type": "user"})) == 2
        assert kt.table("t", where={"type": "user"}).status().left_out == 0


def test_tombstones_delete_with_key_fields() -> None:
    """Those by the record key of the newest record that passed."""
    with _broker(USER, ORDER, None, keys="aaa").connect() as kt:
        assert kt.table("t", key="name", where={"type": "user"}).to_polars().height == 0


def test_left_out_records_are_counted_and_not_refused() -> None:
    """In ``status()`` and the repr, after a restart too; reads don't warn of them."""
    broker = _broker(USER, ORDER, ORDER, {"name": "no type"})
    for _ in range(2):
        with broker.connect() as kt:
            table = kt.table("t", where={"type": "user"})
            assert table.to_polars().columns == ["key", "type", "name"]
            status = table.status()
            assert (status.left_out, status.refused, status.records) == (3, 0, 4)
            assert "where= has left out 3 records" in str(status)
            assert "where= has left out 3 records" in repr(table)
            assert table.errors().height == 0


def test_a_position_without_left_out_records_has_the_bytes_of_before() -> None:
    """Stores without ``where=`` are read as they are."""
    assert len(pack_position(Position(5))) + 8 == len(pack_position(Position(5, left_out=7)))
    assert unpack_position(pack_position(Position(5, left_out=7))) == Position(5, left_out=7)
    assert unpack_position(pack_position(Position(5))) == Position(5)


def test_another_where_is_another_table_and_store() -> None:
    """Equal ones give the same table."""
    with _broker(USER, ORDER).connect() as kt:
        by_dict = kt.table("t", where={"type": "user"})
        by_expression = kt.table("t", where=pl.col("type") == "order")
        assert by_dict is kt.table("t", where={"type": "user"})
        assert by_expression is kt.table("t", where=pl.col("type") == "order")
        assert by_dict.to_polars()["key"].to_list() == ["k0"]
        assert by_expression.to_polars()["key"].to_list() == ["k1"]
        assert kt.table("t").to_polars().height == 2


def test_columns_are_those_of_what_passes() -> None:
    """A field that is text in one type and a number in another is a number, or text, in a table of one."""
    records = [{"type": "a", "v": n} if n % 2 else {"type": "b", "v": f"x{n}"} for n in range(300)]
    with _broker(*records).connect() as kt:
        assert kt.table("t", where={"type": "a"}).to_polars().schema["v"] == pl.Int64
        assert kt.table("t", where={"type": "b"}).to_polars().schema["v"] == pl.String


def test_windows_have_only_what_passes() -> None:
    """Of tables and of streams."""
    with _broker(USER, ORDER, USER).connect() as kt:
        assert kt.table("t", where={"type": "user"}).window("1d").to_polars().height == 2
        counts = kt.stream("t", where={"type": "user"}).window("1d").agg(n=pl.len())
        assert counts["n"].sum() == 2


def test_where_of_declared_types() -> None:
    """A declared time is compared as one; a value that is none leaves out, or refuses, by what else is known."""
    records = [
        {"type": "a", "at": "2024-03-31T12:00:00Z"},
        {"type": "a", "at": "2020-03-31T12:00:00Z"},
        {"type": "b", "at": "never"},
        {"type": "a", "at": "never"},
    ]
    since = pl.lit("2024-01-01").str.to_datetime(time_zone="UTC")
    with _broker(*records).connect() as kt:
        schema = {"at": pl.Datetime("us", "UTC")}
        where = (pl.col("type") == "a") & (pl.col("at") > since)
        table = kt.table("t", schema=schema, where=where, on_refused="ignore")
        assert table.to_polars()["key"].to_list() == ["k0"]
        assert (table.status().left_out, table.status().refused) == (2, 1)


def test_where_of_plain_values_and_of_configuration() -> None:
    """The column of text is ``value``; ``ktframe.toml`` has fields."""
    broker = FakeBroker()
    for number, value in enumerate([b"apple", b"pear"]):
        broker.produce("t", f"k{number}", value)
    with broker.connect() as kt:
        table = kt.table("t", value="string", where=pl.col("value").str.contains("pp"))
        assert table.to_polars().rows() == [("k0", "apple")]
        assert table.status().left_out == 1
    tables = {"users": TableDeclaration("users", topic="t", where={"type": "user"})}
    with _broker(USER, ORDER).connect(tables=tables) as kt:
        assert kt.table("users").to_polars()["key"].to_list() == ["k0"]


def test_a_record_that_is_refused_makes_its_row_stale() -> None:
    """What can't be judged may be the newest word of its key."""
    records = [{"n": 5}, {"n": "x"}]
    with _broker(*records, keys="aa").connect() as kt:
        table = kt.table("t", where=pl.col("n") > 3, on_refused="ignore")
        assert table.to_polars().height == 0
        assert table.status().stale == 1
        reason = table.errors()["reason"].item()
        assert "can't take what is in 'n'" in reason


@pytest.mark.parametrize(
    ("where", "record", "expected"),
    [
        ({"n": 1}, {"n": True}, False),
        ({"n": True}, {"n": 1}, False),
        ({"n": True}, {"n": True}, True),
        ({"n": 1}, {"n": 1.0}, True),
        ({"n": "1"}, {"n": 1}, False),
        ({"a.b": 1}, {"a.b": 1, "a": {"b": 2}}, True),
        ({r"a\.b": 1}, {"a": {"b": 1}}, False),
        (pl.col("n") > 2, {"n": 2**70}, True),
        (pl.col("n") > 2, {"n": None}, False),
        (pl.col("n") > 2, {"n": "x"}, None),
        (~(pl.col("n") > 2), {"n": "x"}, None),
        ((pl.col("n") > 2) | (pl.col("t") == "a"), {"n": "x", "t": "a"}, True),
        ((pl.col("n") > 2) & (pl.col("t") == "a"), {"n": "x", "t": "b"}, False),
        ((pl.col("n") > 2) & (pl.col("t") == "a"), {"n": "x"}, False),
        (~((pl.col("n") > 2) & (pl.col("t") == "a")), {"n": "x"}, None),
        (pl.col("t").str.contains("a") | (pl.col("n") > 2), {"n": 3}, True),
        (pl.col("l").list.contains("a"), {"l": []}, False),
        (pl.col("l").list.contains("a"), {"l": ["a", 1]}, True),
        (pl.col("n").cast(pl.Int64) > 1, {"n": "x"}, None),
        (pl.col("a").struct.field("b").struct.field("c") == "x", {"a": {"b": {}}}, False),
        (pl.col("a").struct.field("b").is_null(), {"a": {"c": 1}}, True),
    ],
)
def test_a_record_is_judged_by_itself(where: Any, record: dict[str, Any], expected: Any) -> None:
    """Alone and among others of all kinds."""
    others: list[dict[str, Any]] = [{}, {"n": "7"}, {"n": 1.5}, {"a": 3}, {"l": [1]}, {"t": None}]
    for records in ([record], [*others, record], [record, *others, record]):
        assert judged(condition(where), records)[-1 if records[0] is not record else 0] is expected


@pytest.mark.parametrize(
    "where",
    [
        pl.col("n").sum() > 3,
        pl.col("n").shift() > 3,
        (pl.col("n") > 1).over("t"),
        pl.col("n").sort() > 3,
        pl.col("n").cum_sum() > 3,
        pl.col("n") > pl.col("n").mean(),
        pl.col("n").is_first_distinct(),
        pl.col("n").map_elements(lambda value: len(str(value)) > 1, return_dtype=pl.Boolean),
        pl.len() > 3,
        pl.all() > 3,
        pl.lit(value=True),
        pl.col("n") * 2,
        pl.col("t").str.join() == "x",
    ],
)
def test_what_is_no_condition_on_one_record_is_refused(where: pl.Expr) -> None:
    """When the table is asked for; the hint's conditions work, and so does the filter of a frame."""
    with _broker({"type": "user", "n": 5, "t": "x"}).connect() as kt:
        with hinted(OTHERS) as found:
            kt.table("t", where=where)
        assert isinstance(found.error, ConfigurationError)
        _follow_example(kt, found.text.partition(" judges")[0])
        if "n" in str(where) and "python" not in str(where) and "* " not in str(where):
            assert kt.table("t").to_polars().filter(pl.col("n").sum() > 3).height == 1


def _follow_example(kt: Any, text: str) -> None:
    met(EXAMPLE, text)
    for code in text.split(" or "):
        where = evaluated(code.partition("=")[2])
        assert kt.table("t", where=where).to_polars().height == 1


@pytest.mark.parametrize("where", [5, "type", {}, ["type"]])
def test_what_is_no_condition_is_refused(where: Any) -> None:
    """The hint has two that are."""
    with _broker(USER).connect() as kt:
        with hinted(NO_CONDITION) as found:
            kt.table("t", where=where)
        _follow_example(kt, found.parts[0])


@pytest.mark.parametrize("where", [{"type": None}, {"type": ["user"]}, {5: "x"}])
def test_values_of_fields_are_scalars(where: Any) -> None:
    """The hint says how nulls are asked for."""
    with _broker(USER, {"type": None}).connect() as kt:
        with hinted(EQUAL) as found:
            kt.table("t", where=where)
        example, _, null = found.text.partition("where=pl")
        assert kt.table("t", where=evaluated("pl" + null.removesuffix("."))).to_polars().height == 1
        fields = evaluated(example.partition("where=")[2].partition(" takes")[0])
        assert kt.table("t", where=fields).to_polars().height == 1


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ({"tpye": "user"}, "did you mean 'type'?"),
        (pl.col("Type") == "user", "did you mean 'type'?"),
        ({"nme": 1}, "did you mean 'name'?"),
        ({"city": "x"}, "did you mean 'home.city'?"),
        ({"zzz": "x"}, "the fields are 'amount', 'home', 'name', 'type'."),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_field(where: Any, hint: str) -> None:
    """At the first read, and after a restart; later ones see it too."""
    broker = _broker(USER, ORDER, {"type": "home", "home": {"city": "Rome"}})
    for _ in range(2):
        with broker.connect() as kt:
            table = kt.table("t", where=where)
            with pytest.raises(SchemaError) as raised:
                table.to_polars()
            assert raised.value.hint == hint
            if hint.startswith("the"):
                met(NEAREST, raised.value.hint)
    with _broker(USER).connect() as kt:
        assert kt.table("t", where={"type": "nobody"}).to_polars().height == 0


def test_what_is_refused_is_kept_by_a_cast() -> None:
    """The hint of a comparison that can't be made, followed."""
    # A text passes for a number there: of so many the column holds the text of both.
    with _broker({"n": 7}, {"n": "8"}, {"n": "9"}, {"n": 1}, {"n": 6}).connect() as kt:
        table = kt.table("t", where=pl.col("n") > 5)
        with pytest.warns(match="2 of 5 records"):
            table.to_polars()
        met(CAST, table.readiness().hint)
        cast = kt.table("t", where=pl.col("n").cast(pl.Float64, strict=False) > 5)
        assert sorted(cast.to_polars()["key"]) == ["k0", "k1", "k2", "k4"]


def test_a_row_that_would_be_left_out_is_not_written() -> None:
    """The table of all records takes it."""
    row = {"key": "new", "type": "order", "name": "x"}
    with _broker(USER).connect(writable=True) as kt:
        users = kt.table("t", where={"type": "user"})
        with pytest.raises(SchemaError, match="would be left out") as raised:
            users.put(row)
        met(WITHOUT, raised.value.hint)
        kt.table("t").put(row)
        users.put({**row, "key": "ann", "type": "user"})
        assert sorted(users.to_polars()["key"]) == ["ann", "k0"]


@pytest.mark.parametrize(
    "where",
    [
        pl.col("n") == pl.Series([0, 9, 2]),
        pl.col("n").is_in(pl.Series([1, 2])),
        pl.when(pl.col("n") > 0).then(pl.Series([True, False])).otherwise(statement=False),
    ],
)
def test_a_series_is_refused_for_a_list(where: pl.Expr) -> None:
    """It would be compared with the records by their place in a batch."""
    with _broker({"n": 1}, {"n": 3}).connect() as kt:
        with hinted(LIST) as found:
            kt.table("t", where=where)
        assert "is_in([1, 2])" in found.text
        assert kt.table("t", where=pl.col("n").is_in([1, 2])).to_polars()["n"].to_list() == [1]
        with hinted(LIST) as found:
            kt.table("t", deletes=where)
        assert str(found.error).startswith("deletes=")


def test_times_are_read_by_a_format() -> None:
    """Polars would take that of the first record of a batch for all others."""
    days = pl.col("at").str
    with _broker({"at": "2024-01-05"}, {"at": "05/01/2024"}).connect() as kt:
        for where in (
            days.to_date(strict=False) > pl.date(2000, 1, 1),
            days.to_datetime().is_not_null(),
            days.to_time().is_null(),
        ):
            with hinted(FORMAT) as found:
                kt.table("t", where=where)
        assert 'str.to_date("%Y-%m-%d", strict=False)' in found.text
        after = days.to_date("%Y-%m-%d", strict=False) > pl.date(2000, 1, 1)
        assert kt.table("t", where=after).to_polars()["at"].to_list() == ["2024-01-05"]


@pytest.mark.parametrize("chance", [pl.element().shuffle(), pl.element().sample(1, seed=1)])
def test_chance_inside_of_lists_is_refused(chance: pl.Expr) -> None:
    """It would give another table each time; what looks at the items alone is taken."""
    with _broker({"n": [1, 2]}).connect() as kt:
        with hinted(OTHERS):
            kt.table("t", where=pl.col("n").list.eval(chance).list.first() == 2)
        has_two = pl.col("n").list.eval(pl.element() == 2).list.any()
        assert kt.table("t", where=has_two).to_polars().height == 1


@pytest.mark.parametrize("item", [10**30, {"q": 10**30}])
def test_a_list_of_many_kinds_is_judged_as_texts(item: Any) -> None:
    """Also where one of its items is an integer that not every JSON library writes; the column is another matter."""
    with _broker({"tags": ["a", item]}, {"tags": ["b"]}).connect() as kt:
        table = kt.table("t", where=pl.col("tags").list.contains("a"), on_refused="ignore")
        assert table.to_polars().height == 0
        assert table.status().left_out == 1
        (reason,) = table.errors()["reason"]
        assert reason.startswith("field 'tags[]'")


def test_times_that_are_inferred_are_declared_for_a_condition() -> None:
    """A condition is judged by what was sent, which is text; where the field is declared it is a time for it, too."""
    with _broker({"at": "2026-01-01T00:00:00Z"}, {"at": "2026-03-01T00:00:00Z"}).connect() as kt:
        where = pl.col("at") > datetime(2026, 2, 1, tzinfo=UTC)
        hint = Hint(
            "fold/remedies.py",
            'Times are text for where=, unless schema={...: pl.Datetime("us", "UTC")} declares them.',
        )
        with pytest.raises(IncompleteError) as error:
            kt.table("t", times="auto", where=where).to_polars()
        found = met(hint, error.value.hint or "")
        declared = evaluated(found.text.split("schema=")[1].split(" declares")[0].replace("...", '"at"'))
        assert kt.table("t", schema=declared, where=where).to_polars().height == 1
