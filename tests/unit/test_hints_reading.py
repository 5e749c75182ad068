"""Hints of reads, of what they lack and of readiness, each followed: the rows are there, or what is missing is listed."""

from __future__ import annotations

import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from support.hinted import Met, evaluated, hinted, met
from support.hints import Hint
from support.waiting import wait_until

import ktframe
from ktframe import Context
from ktframe.tables import verbs
from ktframe.tables.diff import difference
from ktframe.testing import FakeBroker

ORDERS: list[dict[str, Any]] = [
    {"order_id": "o-1", "region": "EU", "at": "2024-01-31T12:00:00", "place": {"city": "Bonn"}, "n": 1},
    {"order_id": "o-2", "region": "US", "at": "2024-01-31T13:00:00", "place": {"city": "Rome"}, "n": 2},
]


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with two orders, and with two users, one of whom has a newer record that is refused."""
    broker = FakeBroker()
    for order in ORDERS:
        broker.produce("orders", order["order_id"], order)
    for key, value in (("a", {"v": 1}), ("b", {"v": 2}), ("b", {"v": "x"})):
        broker.produce("users", key, value)
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection to it."""
    with broker.connect() as context:
        yield context


def _warnings(rows: Any) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows.to_polars()
    return "\n".join(str(warning.message) for warning in caught)


# --- what is missing ----------------------------------------------------------------------------------------------

TELLS_MORE = Hint(
    "tables/completeness.py",
    'Hint: {} errors(by="reason") tells more; on_refused="ignore" ends this warning.',
)
HIDDEN = Hint(
    "tables/completeness.py",
    '{} {} hidden, because the newest record was refused: errors(stale=True) lists them, stale="show" shows the '
    "older records.",
)
SHOWN = Hint(
    "tables/completeness.py",
    '{} {} an older record, because the newest was refused; stale="hide" leaves them out.',
)
STALE = Hint("tables/completeness.py", '{} errors(stale=True) lists the rows, stale="hide" leaves them out.')
AS_IT_IS = Hint(
    "tables/completeness.py",
    '{} on_refused="ignore" gives the frame as it is; errors(by="reason") tells more.',
)


def _listed(rows: Any, found: Met) -> pl.DataFrame:
    """Return what the ``errors(...)`` of a hint gives."""
    call = [call for call in found.calls if call.startswith("errors(")][-1]
    frame: pl.DataFrame = evaluated(f"rows.{call}", rows=rows)
    return frame


def test_a_warning_of_refused_records_tells_how_to_learn_more_and_how_to_end_it(kt: Context) -> None:
    """Its ``errors(...)`` counts what it counts, and with its argument nothing is said."""
    users = kt.table("users")
    found = met(TELLS_MORE, _warnings(users))
    assert _listed(users, found)["records"].to_list() == [1]
    assert _warnings(kt.table("users", on_refused=found.arguments["on_refused"])) == ""


def test_stale_rows_are_listed_shown_and_hidden_as_the_warning_says(kt: Context) -> None:
    """One is hidden, and listed; with each argument it is there, or not."""
    users = kt.table("users")
    found = met(HIDDEN, _warnings(users))
    assert users.keys() == ["a"]
    assert _listed(users, found)["key"].to_list() == ["b"]
    showing = kt.table("users", stale=found.arguments["stale"])
    found = met(SHOWN, _warnings(showing))
    assert sorted(showing.keys()) == ["a", "b"]
    assert kt.table("users", stale=found.arguments["stale"]).keys() == ["a"]


def test_the_error_of_stale_rows_tells_how_to_list_and_to_hide_them(kt: Context) -> None:
    """Both of its hints work."""
    users = kt.table("users", stale="raise")
    with hinted(STALE) as found:
        users.to_polars()
    assert isinstance(found.error, ktframe.StaleRowsError)
    assert _listed(users, found)["key"].to_list() == ["b"]
    assert kt.table("users", stale=found.arguments["stale"]).keys() == ["a"]


def test_the_error_of_refused_records_tells_how_to_have_the_frame_all_the_same(kt: Context) -> None:
    """Its argument gives the rows that there are."""
    users = kt.table("users", on_refused="raise")
    with hinted(AS_IT_IS) as found:
        users.to_polars()
    assert _listed(users, found)["records"].to_list() == [1]
    assert kt.table("users", on_refused=found.arguments["on_refused"]).to_polars().height == 1


@pytest.mark.parametrize("argument", ["on_refused", "stale"])
def test_a_choice_is_one_of_the_hint(kt: Context, argument: str) -> None:
    """Each choice that it lists is taken."""
    wrong: dict[str, Any] = {argument: "wran"}
    with hinted(Hint("config/settings.py", "choose one of {}.")) as found:
        kt.table("users", **wrong)
    assert len(found.names) == 3
    for name in found.names:
        right: dict[str, Any] = {argument: name}
        assert kt.table("orders", **right).to_polars().height == 2


def test_errors_are_asked_for_as_the_hint_says(kt: Context) -> None:
    """Each of its calls gives a frame."""
    users = kt.table("users")
    hint = Hint("tables/complete_reads.py", 'ask for errors(), errors(by="reason") or errors(stale=True).')
    for wrong in ({"by": "cause"}, {"by": "reason", "stale": True}):
        with hinted(hint) as found:
            users.errors(**wrong)
        calls = [call for call in found.calls if call.startswith("errors(")]
        assert [evaluated(f"rows.{call}", rows=users).height for call in calls] == [1, 1, 1]


def test_readiness_and_status_name_calls_that_list_what_is_missing(broker: FakeBroker) -> None:
    """What they say after the numbers gives these numbers."""
    with broker.connect() as context:
        users = context.table("users")
        users.to_polars()
        found = met(Hint("sync/monitor.py", "{}: see errors()"), users.readiness().detail)
        assert evaluated(f"rows.{found.calls[0]}", rows=users).height == 1
        status = str(users.status())
        assert (
            _listed(users, met(Hint("sync/status.py", '{}: errors(by="reason")'), status))["records"].sum()
            == 1
        )
        stale = Hint("sync/status.py", "the newest record of {} was refused: errors(stale=True)")
        assert _listed(users, met(stale, status)).height == 1
        broker.produce("late", "a", {"v": 1}, timestamp=100 * 60_000)
        broker.produce("late", "a", {"v": 1}, timestamp=1)
        windows = context.table("late").window("5m", grace="1m")
        windows.to_polars()
        found = met(Hint("sync/status.py", "{} {} late for {} window: late()"), str(windows.status()))
        assert evaluated(f"rows.{found.calls[0]}", rows=windows).height == 1


def test_types_are_decided_anew_as_the_status_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the call of the hint later records are rows, and nothing is said any more."""
    monkeypatch.setattr("ktframe.sync.relearning.MOST_RECORDS", -1)
    hint = Hint("sync/status.py", "records that came later decide the type of {} otherwise: relearn()")
    broker = FakeBroker()
    broker.produce("t", "a", {"x": "n/a"})
    with broker.connect() as context:
        table = context.table("t", on_refused="ignore")
        table.to_polars()
        for key in "bc":
            broker.produce("t", key, {"x": 1})
        table.to_polars()
        found = met(hint, str(table.status()))
        evaluated(f"table.{found.calls[-1]}", table=table)
        assert table.to_polars()["x"].drop_nulls().to_list() == [1, 1]
        assert "relearn" not in str(table.status())


# --- fields that no record has ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"key": "order_di"}, Hint("tables/named_fields.py", "did you mean {}?")),
        ({"key": "ORDER_ID"}, Hint("tables/named_fields.py", "did you mean {}?")),
        ({"key": ["region", "order_di"]}, Hint("tables/named_fields.py", "did you mean {}?")),
        ({"time": "att"}, Hint("tables/named_fields.py", "did you mean {}?")),
        ({"key": "xyz"}, Hint("tables/named_fields.py", "the fields are {}.")),
        ({"time": "xyz"}, Hint("tables/named_fields.py", "the fields are {}.")),
        ({"key": "place.ctiy"}, Hint("tables/named_fields.py", "did you mean {}?")),
        ({"key": "city"}, Hint("tables/named_fields.py", "did you mean {}?")),
        ({"key": "place.##########"}, Hint("tables/named_fields.py", "the fields are {}.")),
        ({"time": "place.at"}, Hint("tables/named_fields.py", "did you mean {}?")),
    ],
)
def test_a_key_and_a_time_are_fields_of_the_hint(kt: Context, wrong: dict[str, Any], hint: Hint) -> None:
    """The field that was meant identifies the rows, or is their time; of a list, each can be named."""
    with hinted(hint) as found:
        kt.table("orders", **wrong).to_polars()
    [argument] = wrong
    named = [evaluated(name) for name in found.parts[-1].split(", ")]
    assert named
    for name in named:
        if (argument, name) not in (
            ("key", "place"),
            ("time", "place"),
            ("time", "order_id"),
            ("time", "region"),
        ):
            right: dict[str, Any] = {argument: name}
            assert kt.table("orders", **right).to_polars().height == 2


def test_a_declared_field_is_one_of_the_hint(kt: Context) -> None:
    """The field that was meant has values, and so has each of the others."""
    wrongs = (
        ("order_di", Hint("tables/named_fields.py", "did you mean {}?")),
        ("xyz", Hint("tables/named_fields.py", "the other fields are {}.")),
    )
    for wrong, hint in wrongs:
        found = met(hint, _warnings(kt.table("orders", schema={wrong: ktframe.Json})))
        named = [evaluated(name) for name in found.parts[0].split(", ")]
        for name in named:
            table = kt.table("orders", schema={name: ktframe.Json})
            assert _warnings(table) == ""
            assert table.to_polars()[name].null_count() == 0


def test_where_there_are_no_other_fields_the_declaration_is_left_out(broker: FakeBroker) -> None:
    """Without it nothing is said."""
    broker.produce("empty", "a", {})
    with broker.connect() as context:
        met(
            Hint("tables/named_fields.py", "there are no other fields."),
            _warnings(context.table("empty", schema={"v": int})),
        )
        assert _warnings(context.table("empty")) == ""


# --- columns ------------------------------------------------------------------------------------------------------


def test_metadata_is_chosen_from_the_hint(kt: Context) -> None:
    """Each name is a column then, and True gives all."""
    orders = kt.table("orders")
    with hinted(Hint("tables/presentation.py", "choose from {}, or True for all.")) as found:
        orders.to_polars(metadata="ofset")
    for name in found.names:
        assert orders.to_polars(metadata=name).columns[-1] == name
    assert orders.to_polars(metadata=True).columns[-len(found.names) :] == found.names


@pytest.mark.parametrize(
    ("key_name", "columns"), [("id", ["id", "order_id"]), (None, ["order_id", "region"])]
)
def test_the_record_key_is_named_otherwise_or_hidden(
    kt: Context, key_name: str | None, columns: list[str]
) -> None:
    """Closed, the table can be asked for in both ways of the hint."""
    hint = Hint(
        "tables/presentation.py", "close() it, and choose another key_name, or None to hide the record key."
    )
    table = kt.table("orders", key_name="region")
    with hinted(hint) as found:
        table.to_polars()
    evaluated(f"table.{found.calls[0]}", table=table)
    assert kt.table("orders", key_name=key_name).to_polars().columns[:2] == columns


def test_a_hidden_key_is_named_to_compare_by_it(broker: FakeBroker) -> None:
    """With a name, frames are compared and keys listed."""
    with broker.connect() as context:
        table = context.table("orders", key_name=None)
        with hinted(
            Hint("tables/presentation.py", "close() it, and ask for it with another key_name.")
        ) as found:
            table.diff(since=table.to_polars())
        evaluated(f"table.{found.calls[0]}", table=table)
        table = context.table("orders", key_name="id")
        assert table.diff(since=table.to_polars()).height == 0


def test_a_range_of_keys_has_bounds_of_their_type(kt: Context) -> None:
    """A value of the key's type, a tuple of its parts, and one of the first part are bounds."""
    hint = Hint(
        "tables/presentation.py",
        "give a value of that type; for a composite key a tuple of its parts, or of the first of them.",
    )
    with hinted(hint):
        list(kt.table("orders").items(start=5))
    assert [key for key, _ in kt.table("orders").items(start="o-2")] == ["o-2"]
    by_both = kt.table("orders", key=["region", "n"])
    for wrong in ((1, "EU"), ("EU", 1, 1)):
        with hinted(hint):
            list(by_both.items(start=wrong))
    for right in (("US", 2), ("US",), "US"):
        assert [key for key, _ in by_both.items(start=right)] == [("US", 2)]


def test_frames_are_compared_as_the_hint_says(broker: FakeBroker) -> None:
    """What the call of the hint gave is compared."""
    hint = Hint(
        "tables/diff.py",
        "since= takes what to_polars() of the same table gave earlier, with its key columns.",
    )
    with broker.connect() as context:
        table = context.table("orders")
        before = table.to_polars()
        broker.produce("orders", "o-1", {**ORDERS[0], "n": 5})
        copies, other_type = pl.concat([before, before]), before.with_columns(key=pl.lit(1))
        lacking = Hint("tables/diff.py", "its columns are {}; {}")
        with hinted(lacking) as found:
            table.diff(since=before.drop("key"))
        met(hint, found.parts[1])
        for wrong in (copies, other_type.unique("key"), other_type):
            with hinted(hint) as found:
                table.diff(since=wrong)
        assert found.calls[0] == "to_polars()"
        assert table.diff(since=before)["change"].to_list() == ["updated"]


def test_rows_are_told_apart_by_the_columns_of_the_hint(kt: Context) -> None:
    """With the ``on`` of the hint two frames are compared."""
    frame = kt.table("orders").to_polars()
    hint = Hint("tables/diff.py", "name the columns that identify a row, such as on=['key'].")
    with hinted(hint) as found:
        difference(frame, frame, on=[])
    assert difference(frame, frame, **found.arguments).height == 0


# --- readiness ----------------------------------------------------------------------------------------------------


def test_a_read_that_stalls_tells_what_answers(broker: FakeBroker) -> None:
    """The rows that are there are given, and the status says why there are no more."""
    hint = Hint("sync/barrier.py", "to_polars(fresh=False) answers with what is there; status() tells more.")
    with broker.connect(stall_timeout=0.2) as context:
        table = context.table("orders")
        table.to_polars()
        broker.hold()
        broker.produce("orders", "o-3", ORDERS[0])
        with hinted(hint) as found:
            table.to_polars()
        rows, _ = (evaluated(f"rows.{call}", rows=table) for call in found.calls)
        assert rows.height == 2
        wait_until(lambda: "behind" in str(evaluated(f"rows.{found.calls[1]}", rows=table)), "the reason")
        broker.release()
        assert table.to_polars().height == 3


def is_waiting(reading: threading.Thread) -> bool:
    """Say whether a thread waits for records."""
    frame = sys._current_frames().get(reading.ident or 0)
    return any(each.name == "_wait" for each in traceback.extract_stack(frame)) if frame else False


def test_a_table_that_was_closed_is_asked_for_again(broker: FakeBroker) -> None:
    """Its readiness and a read that waited say so; asked for again it has its rows."""
    hint = Hint("sync/monitor.py", "ask for it again, by ktframe.table(...) or ktframe.stream(...).")
    with broker.connect() as context:
        broker.hold()
        table = context.table("orders")
        caught: list[ktframe.NotReadyError] = []

        def read() -> None:
            with hinted(hint) as found:
                table.to_polars()
            assert isinstance(found.error, ktframe.NotReadyError)
            caught.append(found.error)

        reading = threading.Thread(target=read)
        reading.start()
        wait_until(lambda: is_waiting(reading), "the read to wait")
        table.close()
        reading.join()
        assert len(caught) == 1
        broker.release()
        for call in met(hint, caught[0].hint).calls:
            assert evaluated(call.replace("...", '"orders"'), ktframe=context).to_polars().height == 2


NO_ROW = Hint(
    "tables/table.py", "Its row is hidden, because the newest record was refused; see errors(stale=True)."
)


def test_a_hidden_key_is_listed_as_the_note_says(kt: Context) -> None:
    """What ``table[key]`` says of a key whose row is hidden leads to it; of an unknown key it says nothing."""
    users = kt.table("users", schema={"v": pl.Int64}, on_refused="ignore")
    with pytest.raises(KeyError) as caught:
        users["b"]
    assert caught.value.__notes__ == [NO_ROW.text]
    assert evaluated("errors(stale=True)", errors=users.errors)["key"].to_list() == ["b"]
    with pytest.raises(KeyError) as unknown:
        users["nobody"]
    assert not hasattr(unknown.value, "__notes__")


def test_what_is_too_large_to_be_copied_is_aggregated_where_it_lies(
    kt: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint's lazy() filters and aggregates what sort() would have copied."""
    hint = Hint(
        "tables/verbs.py",
        "lazy() leaves the rows in files: filter or aggregate them there, and collect what is left.",
    )
    monkeypatch.setattr(verbs, "available_bytes", lambda: 1)
    orders = kt.table("orders")
    with pytest.raises(MemoryError) as raised:
        orders.sort("n")
    found = met(hint, str(raised.value))
    rows = evaluated(f"orders.{found.calls[0]}", orders=orders)
    assert rows.filter(pl.col("region") == "EU").select(pl.col("n").sum()).collect().item() == 1
