"""Tab completion in notebooks: topics and columns complete themselves, and nobody waits long for them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.completer import IPCompleter
from support.waiting import wait_until

from ktframe.context import completion
from ktframe.context.completion import TopicNames, completions
from ktframe.context.context import Context
from ktframe.current import CURRENT
from ktframe.errors import BrokerError
from ktframe.testing import FakeBroker

MINUTE = 60_000


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with ``orders``, ``orders-archive`` and ``clicks``."""
    broker = FakeBroker()
    broker.produce("orders", "a", {"region": "EU", "amount": 5}, timestamp=MINUTE)
    broker.produce("orders-archive", "a", {"year": 1999})
    broker.produce("clicks", "u", {"page": "/", "region": "EU"}, timestamp=MINUTE)
    return broker


@pytest.fixture
def kt(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Context]:
    """Yield a connection to the broker, of which no topic name is known yet."""
    monkeypatch.setattr(completion, "_topics", TopicNames())
    with broker.connect() as kt:
        yield kt


def completed(line: str, kt: Context | None) -> list[str]:
    """Return what may follow."""
    return sorted(completions(line, kt))


@pytest.mark.parametrize("function", ["table", "stream", "inspect", "publish"])
def test_topics_complete_where_a_topic_is_asked_for(kt: Context, function: str) -> None:
    """What is missing behind the cursor, of every topic that begins so."""
    assert completed(f'o = kt.{function}("', kt) == ["clicks", "orders", "orders-archive"]
    assert completed(f"ktframe.{function}( 'ord", kt) == ["ers", "ers-archive"]
    assert completed(f'kt.{function}("orders', kt) == ["", "-archive"]
    assert completed(f'kt.{function}("nothing', kt) == []


@pytest.mark.parametrize(
    "line", ["", "table(", 'print("', 'table("orders")', 'x = "table', 'kt.table("orders", value="', "kt.tab"]
)
def test_nothing_completes_elsewhere(kt: Context, line: str) -> None:
    """Text inside of other functions gets no completion from ktframe."""
    kt.table("orders").to_polars()
    assert completed(line, kt) == []


@pytest.mark.parametrize(
    "line",
    [
        'pl.col("',
        "o.window(5).agg(n=pl.len(), by='",
        'agg(by=["region", "',
        'o.window(5).chart(n=pl.len(), by=["',
        'w.live(pl.col("',
        'o.to_polars(metadata=["',
    ],
)
def test_columns_of_open_tables_complete(kt: Context, line: str) -> None:
    """Each once, of tables, streams and windows that are read; one that nobody has started has none."""
    orders, clicks = kt.table("orders"), kt.stream("clicks")
    assert completed(line, kt) == []
    assert "not started" in repr(orders)
    orders.to_polars()
    assert completed(line, kt) == ["amount", "key", "region"]
    clicks.to_polars()
    orders.window(5).to_polars()
    assert completed(line, kt) == ["amount", "key", "page", "region", "window_end", "window_start"]
    assert completed(f"{line}reg", kt) == ["ion"]


def test_columns_complete_without_a_look_at_the_rows(kt: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """To roll up windows takes long where there are many."""
    windows = kt.table("orders").window(5).last("1d")
    kt.table("orders").window(5).to_polars()

    def expensive(*_: object) -> None:
        pytest.fail("rows were made")

    monkeypatch.setattr(type(windows), "_lines", expensive)
    assert "region" in completed('pl.col("', kt)


def test_without_a_connection_nothing_completes(kt: Context) -> None:
    """There is no completion before a connection was made, nor after it was closed."""
    kt.table("orders").to_polars()
    kt.close()
    for line in ('kt.table("', 'pl.col("'):
        assert completed(line, None) == completed(line, kt) == []


def test_a_broker_that_is_away_gives_no_names(kt: Context, broker: FakeBroker) -> None:
    """It raises no error either, and is asked again when the minute is over."""
    names = TopicNames()
    broker.go_down(BrokerError("fake:9092", "down"))
    assert names.known(kt) == ()
    broker.come_back()
    assert names.known(kt) == ()
    names._asked_at -= 2 * completion._FRESH_SECONDS
    assert names.known(kt) == ("clicks", "orders", "orders-archive")


def test_names_are_asked_for_once_a_minute(kt: Context, broker: FakeBroker) -> None:
    """The cluster is asked again after a minute, and on another connection."""
    names, asked = TopicNames(), []
    plain = broker.topics

    def counted() -> dict[str, int]:
        asked.append(1)
        return plain()

    broker.topics = counted  # type: ignore[method-assign]
    for _ in range(5):
        assert len(names.known(kt)) == 3
    assert len(asked) == 1
    with broker.connect() as other:
        assert len(names.known(other)) == 3
    assert len(asked) == 2


def test_a_broker_that_does_not_answer_is_not_waited_for(
    kt: Context, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says later is known later, and meanwhile nobody asks again."""
    monkeypatch.setattr(completion, "_WAIT_SECONDS", 0.01)
    answers, names = threading.Event(), TopicNames()
    plain = broker.topics

    def slow() -> dict[str, int]:
        answers.wait(20)
        return plain()

    broker.topics = slow  # type: ignore[method-assign]
    assert names.known(kt) == names.known(kt) == ()
    asking = [thread for thread in threading.enumerate() if thread.name == "ktframe-completion"]
    assert len(asking) == 1
    answers.set()
    wait_until(lambda: len(names.known(kt)) == 3, "the names to be known")


def test_a_shell_offers_names_once(kt: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython's own completer finds them, behind what was typed; installed twice it offers them once."""
    shell: Any = SimpleNamespace(Completer=IPCompleter(namespace={}, use_jedi=False))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    completion.install()
    completion.install()
    assert len(shell.Completer.custom_matchers) == 1
    monkeypatch.setattr(CURRENT, "connection", kt)
    text = 'kt.table("ord'
    context = SimpleNamespace(full_text=text, cursor_line=0, cursor_position=len(text), token="ord")
    found = completion._match(context)
    assert sorted(each.text for each in found["completions"]) == ["orders", "orders-archive"]
    assert found["suppress"]
    context.full_text = "x ="
    assert completion._match(context) == {"completions": [], "suppress": False}


def test_outside_of_ipython_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installing does nothing in a program, and in a shell without a completer."""
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    completion.install()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    completion.install()
