"""A Context: idempotent tables, declared tables, settings at run time, and a close that leaves nothing."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.waiting import wait_until

import ktframe
from ktframe import _connect as face
from ktframe.config.settings import TableDeclaration
from ktframe.current import CURRENT
from ktframe.testing import FakeBroker


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with three orders of two keys."""
    broker = FakeBroker()
    broker.produce("orders", "o-1", {"order_id": "o-1", "amount": 1})
    broker.produce("orders", "o-2", {"order_id": "o-2", "amount": 2})
    broker.produce("orders", "o-1", {"order_id": "o-1", "amount": 3})
    return broker


def ktframe_threads() -> list[str]:
    """Return the names of ktframe's living threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ktframe")]


def test_equal_arguments_give_the_same_table(broker: FakeBroker) -> None:
    """A re-run cell gets the table that is there."""
    with broker.connect() as kt:
        assert kt.table("orders") is kt.table("orders")


def test_other_rows_give_a_second_table_with_its_own_store(broker: FakeBroker, tmp_path: Path) -> None:
    """A different key decides which rows exist, so it is another table."""
    with broker.connect(tmp_path) as kt:
        by_record, by_field = kt.table("orders"), kt.table("orders", key="order_id")
        assert by_record is not by_field
        assert (len(by_record), len(by_field)) == (2, 2)
    assert len(list((tmp_path / "fake" / "orders").glob("table-*"))) == 2


def test_a_different_key_name_for_the_same_rows_is_an_error(broker: FakeBroker) -> None:
    """What does not decide rows must agree, and the error says what differs."""
    with broker.connect() as kt:
        kt.table("orders")
        with pytest.raises(ktframe.ConfigurationError, match="key_name='key', not 'id'"):
            kt.table("orders", key_name="id")


def test_nothing_starts_before_rows_are_asked_for(broker: FakeBroker, tmp_path: Path) -> None:
    """Neither table() nor a repr starts a thread or makes a store."""
    with broker.connect(tmp_path) as kt:
        table = kt.table("orders")
        assert repr(table) == "KTable('orders', not started)"
        assert "not started" in table._repr_html_()
        assert (ktframe_threads(), list(tmp_path.iterdir())) == ([], [])


def test_after_close_no_thread_is_left_and_calls_say_so(broker: FakeBroker) -> None:
    """A closed Context leaves nothing running, and its tables say what helps."""
    with broker.connect() as kt:
        table = kt.table("orders")
        assert len(table) == 2
    assert ktframe_threads() == []
    with pytest.raises(
        ktframe.ContextClosedError, match=r"'orders' was closed, or the connection it belongs to was"
    ):
        table.to_polars()
    with pytest.raises(ktframe.ContextClosedError, match="closed"):
        kt.table("orders")
    kt.close()


def test_a_closed_table_can_be_asked_for_again(broker: FakeBroker, tmp_path: Path) -> None:
    """close() of a table frees its store, and the next table() continues where it stood."""
    with broker.connect(tmp_path) as kt:
        first = kt.table("orders")
        assert len(first) == 2
        first.close()
        first.close()
        second = kt.table("orders")
        assert (second is first, len(second)) == (False, 2)
    assert broker.assigned == [{0: 0}, {0: 3}]


def test_declared_tables_open_together(broker: FakeBroker) -> None:
    """initialize() starts every table of the settings; a declared name brings its arguments."""
    tables = {
        "latest": TableDeclaration("latest", topic="orders", key="order_id"),
        "orders": TableDeclaration("orders", store={"bloom_bits": 0}),
    }
    with broker.connect(tables=tables) as kt:
        opened = kt.initialize()
        assert [table.topic for table in opened] == ["orders", "orders"]
        assert opened[0] is kt.table("latest")
        assert kt.table("latest").get("o-1") == {"order_id": "o-1", "amount": 3}
        assert opened[1] is kt.table("orders")


def test_a_declared_entity_is_a_table(broker: FakeBroker) -> None:
    """A dataclass under @ktframe.entity gives topic, schema, key and event time."""

    @ktframe.entity(topic="orders", key="order_id")
    @dataclass
    class Order:
        order_id: str
        amount: float
        note: str | None

    with broker.connect() as kt:
        table = kt.table(Order)
        expected = pl.DataFrame(
            {"order_id": ["o-1", "o-2"], "amount": [3.0, 2.0], "note": [None, None]},
            schema_overrides={"note": pl.String},
        )
        assert expected.equals(table.to_polars().sort("order_id"))
        assert kt.table(Order) is table


def test_what_a_call_says_wins_over_what_a_class_declares(broker: FakeBroker) -> None:
    """An argument beside a declared class is never ignored."""

    @ktframe.entity(topic="orders", key="order_id")
    class Order:
        order_id: str
        amount: int

    with broker.connect() as kt:
        frame = kt.table(Order, schema={"amount": pl.String}, value="json", on_refused="ignore").to_polars()
        assert frame.schema["amount"] == pl.String
        assert kt.table(Order, key="amount").to_polars()["amount"].sort().to_list() == [1, 2, 3]


def test_a_table_whose_connection_nobody_holds_can_be_read(broker: FakeBroker) -> None:
    """A Context that is only held by its tables stays open until they go."""
    table = broker.connect().table("orders")
    gc.collect()
    assert len(table) == 2
    catalog = weakref.ref(table._close.__self__)
    del table
    gc.collect()
    assert catalog() is None
    wait_until(lambda: ktframe_threads() == [], "no thread to be left")


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        ({"key": 3}, "key=3 must name"),
        ({"time": 3}, "time must be text"),
        ({"value": 3}, "value must be text"),
    ],
)
def test_an_argument_of_the_wrong_type_is_named(
    broker: FakeBroker, arguments: dict[str, Any], fact: str
) -> None:
    """A number where a name belongs is refused when the table is asked for."""
    with broker.connect() as kt, pytest.raises(ktframe.ConfigurationError, match=fact):
        kt.table("orders", **arguments)


def test_a_class_without_declaration_is_refused() -> None:
    """The error says what to put above the class."""
    with FakeBroker().connect() as kt, pytest.raises(ktframe.SchemaError, match="does not say which topic"):
        kt.table(str)


def test_a_changed_monitor_interval_acts_without_a_restart(broker: FakeBroker) -> None:
    """A watcher that sleeps for an hour wakes when the interval is shortened."""
    with broker.connect(monitor_interval=3600) as kt:
        table = kt.table("orders")
        seen: list[ktframe.LagUpdated] = []
        table.events.subscribe(ktframe.LagUpdated, seen.append)
        assert len(table) == 2
        assert seen == []
        kt.configure(monitor_interval=0.01)
        wait_until(lambda: len(seen) >= 2, "lag to be measured twice")
        assert (seen[-1].total, seen[-1].previous) == (0, 0)


def test_the_log_level_can_be_changed(broker: FakeBroker) -> None:
    """configure(log_level=) sets the level of the package's logger and nothing else."""
    logger = logging.getLogger("ktframe")
    before = logger.level
    try:
        with broker.connect() as kt:
            kt.configure(log_level="debug", flush_interval="1s")
            assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeBroker:
    """Let ``ktframe.connect`` connect to a fake broker, and forget the default Context afterwards."""
    broker = FakeBroker()
    broker.produce("orders", "o-1", {"amount": 1})
    monkeypatch.setattr(face, "Context", lambda settings: _connect(broker, settings, tmp_path))
    monkeypatch.setattr(CURRENT, "connection", None)
    return broker


def _connect(broker: FakeBroker, settings: ktframe.Settings, state_dir: Path) -> ktframe.Context:
    context = broker.connect(state_dir)
    context.settings = settings
    return context


@pytest.mark.usefixtures("api")
def test_connect_with_equal_settings_returns_the_live_context() -> None:
    """Re-running the connect cell changes nothing; other settings close the old Context."""
    first = ktframe.connect("a:1", sasl_password="x")
    assert ktframe.connect("a:1", sasl_password="x") is first
    assert ktframe.connect("a:1", sasl_password="x", monitor_interval=1) is first
    table = ktframe.table("orders")
    second = ktframe.connect("b:1")
    assert (first.is_closed, second.is_closed) == (True, False)
    with pytest.raises(ktframe.ContextClosedError):
        table.to_polars()
    assert len(ktframe.table("orders")) == 1
    second.close()


@pytest.mark.usefixtures("api")
def test_twenty_re_runs_leave_one_reader(api: FakeBroker) -> None:
    """The cells connect, table and to_polars, run twenty times, assign one reader once."""
    for _ in range(20):
        context = ktframe.connect("a:1")
        assert ktframe.table("orders").to_polars().height == 1
    assert (len(api.assigned), sorted(ktframe_threads())) == (1, ["ktframe-monitor", "ktframe-orders"])
    context.close()


def test_a_table_without_connection_names_connect_and_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first error a newcomer meets says what to call."""
    monkeypatch.setattr(CURRENT, "connection", None)
    with pytest.raises(ktframe.NotConnectedError, match=r"connect\(.*demo\(\)"):
        ktframe.table("orders")


def test_a_callback_may_ask_its_own_table(broker: FakeBroker) -> None:
    """A callback on a change of state runs while the table is being started, and may read what it says of itself."""
    seen: list[tuple[str, int]] = []
    with broker.connect() as kt:
        table = kt.table("orders")
        table.events.subscribe(
            ktframe.BindingStateChanged, lambda event: seen.append((event.new.value, table.status().rows))
        )
        reader = threading.Thread(target=table.to_polars, daemon=True)
        reader.start()
        reader.join(10)
        assert not reader.is_alive()
        wait_until(lambda: ("ready", 2) in seen, "the table to be ready")
    assert seen[0] == ("restoring", 0)


def test_a_callback_may_ask_for_a_table_while_another_is_declared(broker: FakeBroker) -> None:
    """Tables are asked for and started by several threads at once, callbacks among them: no two wait for each other."""
    inside, declared = threading.Event(), threading.Event()
    with broker.connect() as kt:
        table = kt.table("orders")

        def ask(_: ktframe.BindingStateChanged) -> None:
            if not inside.is_set():
                inside.set()
                declared.wait(1)  # not before the other thread has had its chance to hold what this one needs
                kt.table("orders", key="amount")

        table.events.subscribe(ktframe.BindingStateChanged, ask)
        reader = threading.Thread(target=table.to_polars, daemon=True)
        reader.start()
        assert inside.wait(10)
        declaring = threading.Thread(
            target=lambda: (kt.table("orders", key="order_id", windows=["5m"]), declared.set()), daemon=True
        )
        declaring.start()
        for thread in (declaring, reader):
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("make", [pl.Series, set, dict.fromkeys, iter])
def test_a_key_may_be_any_iterable_of_names(broker: FakeBroker, make: Callable[[list[str]], Any]) -> None:
    """Names of columns come in many containers."""
    with broker.connect() as kt:
        assert kt.table("orders", key=make(["order_id"])) is kt.table("orders", key="order_id")
