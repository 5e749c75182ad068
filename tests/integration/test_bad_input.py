"""What is wrong outside is said at once, by name and with a hint; what is wrong in a record stops nothing."""

import json
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.kafka_broker import SCRAM_MECHANISMS, KafkaBroker
from support.kafka_topics import KafkaTopics
from support.oracle import rows_by
from support.waiting import wait_until

from ktframe.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerUnreachableError,
    UnknownTopicError,
)
from ktframe.events import BindingState, Reason

Topic = Callable[..., str]
Connect = Callable[..., Any]


def scram(broker: KafkaBroker, **choice: str) -> dict[str, Any]:
    """Return what ``connect`` takes to log in as the SCRAM user."""
    return {"bootstrap": broker.scram_settings(**choice)}


def test_unknown_topic(kafka: KafkaTopics, topic: Topic, connect: Connect, tmp_path: Path) -> None:
    """A misspelt topic fails at once, names the one that may be meant, and is made neither there nor here."""
    right = kafka.create_topic(topic("orders"))
    wrong = right.replace("orders", "oders")
    table = connect().table(wrong)

    began = time.monotonic()
    with pytest.raises(UnknownTopicError, match=f"did you mean '{right}'") as caught:
        table.to_polars()

    assert time.monotonic() - began < 1
    assert caught.value.topic == wrong
    assert wrong not in kafka.admin.list_topics(timeout=5).topics
    assert not [path for path in (tmp_path / "state").rglob("*") if wrong in path.name]
    with pytest.raises(UnknownTopicError):
        table.wait_until_ready(10)


def test_topic_that_appears_later(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A table that failed for want of its topic works once there is one."""
    name = topic()
    table = connect().table(name)
    with pytest.raises(UnknownTopicError):
        table.to_polars()

    kafka.create_topic(name)
    kafka.produce(name, [(b"a", b'{"n":1}')])

    assert rows_by(table.to_polars()) == {"a": {"n": 1}}


def assert_unreachable(connect: Connect, address: str) -> None:
    """Assert that connecting fails within the request timeout and names the address."""
    began = time.monotonic()
    with pytest.raises(BrokerUnreachableError, match=address):
        connect(address, request_timeout=1.0)

    assert time.monotonic() - began < 2.5


def test_unreachable_broker(connect: Connect) -> None:
    """Where no broker listens the error comes within the request timeout and names the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

    assert_unreachable(connect, address)


def test_silent_broker(connect: Connect) -> None:
    """Where something listens that never answers the error comes within the request timeout too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        assert_unreachable(connect, address)


@pytest.mark.parametrize("mechanism", SCRAM_MECHANISMS)
def test_wrong_password(
    broker: KafkaBroker, connect: Connect, caplog: pytest.LogCaptureFixture, mechanism: str
) -> None:
    """A wrong password is refused at once, by the mechanism's name, and is shown nowhere."""
    secret = "swordfish-7351"

    began = time.monotonic()
    with caplog.at_level(logging.DEBUG), pytest.raises(AuthenticationError, match=mechanism) as caught:
        connect(**scram(broker, password=secret, mechanism=mechanism))

    assert time.monotonic() - began < 3
    assert caught.value.mechanism == mechanism
    assert caught.value.is_fatal
    assert secret not in f"{caught.value} {caught.value!r} {caplog.text}"


@pytest.mark.slow
def test_a_login_that_is_refused_is_not_tried_again_and_again(
    broker: KafkaBroker, topic: Topic, connect: Connect
) -> None:
    """Accounts get locked by that. A read tries it again, and goes on when the password is right again."""
    name = broker.create_topic(topic())
    broker.produce(name, [(b"a", b'{"n":1}')])
    broker.grant_read(broker.scram_user, name)
    table = connect(**scram(broker), monitor_interval=0.5).table(name)
    assert table.to_polars().height == 1
    before = broker.refused_logins()
    broker.set_scram_password("another")
    try:
        broker.stop()
        broker.start()
        wait_until(lambda: table.readiness().reason is Reason.AUTHENTICATION, "the login to be refused")
        wait_until(lambda: table.status().health.state is BindingState.FAILED, "the table to give up")
        time.sleep(1)  # what is under way ends
        refused = broker.refused_logins()
        assert 0 < refused - before <= 10
        time.sleep(5)
        assert broker.refused_logins() == refused
        with pytest.raises(AuthenticationError):
            table.to_polars()
        time.sleep(1)
        assert refused < broker.refused_logins() <= refused + 10
    finally:
        if broker.pid is None:
            broker.start()
        broker.set_scram_password(broker.scram_password)
    assert table.to_polars().height == 1
    assert table.readiness().is_ready


def test_secret_is_never_shown(
    broker: KafkaBroker, topic: Topic, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """The password of a working connection is in no representation and in no log."""
    name = broker.create_topic(topic())
    broker.grant_read(broker.scram_user, name)
    with caplog.at_level(logging.DEBUG):
        context = connect(**scram(broker))
        table = context.table(name)
        table.to_polars()
        shown = f"{context!r} {context.settings!r} {context.settings.describe()} {table!r} {table.status()!r}"

    assert broker.scram_user in shown
    assert broker.scram_password not in shown + caplog.text


def test_forbidden_topic(broker: KafkaBroker, topic: Topic, connect: Connect, tmp_path: Path) -> None:
    """A topic that the user may not read is refused at once, by name, with the rights that are needed."""
    name = broker.create_topic(topic())
    table = connect(**scram(broker)).table(name)

    began = time.monotonic()
    with pytest.raises(AuthorizationError, match=f"read topic '{name}'.*\n\n.*READ and DESCRIBE"):
        table.to_polars()

    assert time.monotonic() - began < 1
    assert not [path for path in (tmp_path / "state").rglob("*") if name in path.name]


@pytest.mark.parametrize("mechanism", SCRAM_MECHANISMS)
def test_right_to_read_is_enough(
    broker: KafkaBroker, topic: Topic, connect: Connect, caplog: pytest.LogCaptureFixture, mechanism: str
) -> None:
    """With READ on the topic, which includes DESCRIBE, and no right on any group a table works, now and later."""
    name = broker.create_topic(topic(), partitions=2)
    broker.grant_read(broker.scram_user, name)
    broker.produce(name, [(b"a", b'{"n":1}', 0), (b"b", b'{"n":2}', 1)])

    table = connect(**scram(broker, mechanism=mechanism)).table(name)

    assert rows_by(table.to_polars()) == {"a": {"n": 1}, "b": {"n": 2}}
    broker.produce(name, [(b"b", b'{"n":3}', 1)])
    assert rows_by(table.to_polars()) == {"a": {"n": 1}, "b": {"n": 3}}
    assert table.status().health.restarts == 0
    assert not [r for r in caplog.records if r.name.startswith("ktframe") and r.levelno >= logging.WARNING]


def test_bad_records_are_refused(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Refused records are kept apart with their bytes and reason; older rows are hidden; the table goes on."""
    name = kafka.create_topic(topic())
    bad = [
        (b"a", b"{broken", "JSON"),
        (b"a", b"[1]", "object"),
        (b"a", b"", ""),
        (b"a", b'{"n":"text"}', "n"),
        (b"a", b"\xff\xfe", ""),
        (None, b'{"n":5}', "key"),
        (b"\xff", b'{"n":6}', "key"),
    ]
    kafka.produce(name, [(b"a", b'{"n":1}'), *((key, value) for key, value, _ in bad), (b"b", b'{"n":2}')])

    context = connect()
    table = context.table(name, schema={"n": "Int64"})

    assert rows_by(table.to_polars()) == {"b": {"n": 2}}
    assert table.errors(stale=True)["key"].to_list() == ["a"]
    older = context.table(name, schema={"n": "Int64"}, stale="show")
    assert rows_by(older.to_polars()) == {"a": {"n": 1}, "b": {"n": 2}}
    errors = table.errors()
    texts = ["key_text", "value_text"]
    assert errors.columns == ["partition", "offset", "timestamp", "key", "value", "reason", *texts]
    expected = [(0, n, key, value) for n, (key, value, _) in enumerate(bad, 1)]
    assert expected == errors.select("partition", "offset", "key", "value").rows()
    assert all(word in reason for (*_, word), reason in zip(bad, errors["reason"], strict=True))
    assert table.status().refused == len(bad)
    kafka.produce(name, [(b"a", b"{broken again"), (b"c", b'{"n":3}')])
    assert rows_by(table.to_polars()) == {"b": {"n": 2}, "c": {"n": 3}}
    assert table.status().refused == len(bad) + 1


@pytest.mark.parametrize(("good", "reason"), [(500, Reason.READY), (20, Reason.SCHEMA_CONFLICT)])
def test_share_of_conflicts(
    kafka: KafkaTopics, topic: Topic, connect: Connect, good: int, reason: Reason
) -> None:
    """Above one record in a hundred that disagrees with the schema readiness says so, after a re-open no less or more."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [*((b"k%d" % n, b'{"n":1}') for n in range(good)), (b"odd", b'{"n":"one"}')])
    context = connect()
    table = context.table(name)
    table.to_polars()
    assert (table.readiness().is_ready, table.readiness().reason) == (True, reason)
    context.close()

    table = connect().table(name)
    table.wait_until_ready(10)

    assert table.readiness().reason == reason
    kafka.produce(name, [(b"k0", b'{"n":2}')])
    table.to_polars()
    assert table.readiness().reason == reason


def test_mixed_shapes(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Values of many shapes become the union of their columns: nothing vanishes, what is missing is null."""
    name = kafka.create_topic(topic())
    kafka.produce(
        name,
        [
            (b"a", b'{"id":1}'),
            (b"b", b'{"id":2,"name":"x"}'),
            (b"c", b'{"tags":["p","q"]}'),
            (b"d", b'{"at":{"lat":1}}'),
        ],
    )
    table = connect().table(name)
    first = table.to_polars()
    kafka.produce(name, [(b"e", b'{"at":{"lat":2.5,"lon":3}}'), (b"f", b'{"late":true,"id":null}')])

    frame = table.to_polars()

    assert {"key", "id", "name", "tags", "at"} == set(first.columns)
    assert {*first.columns, "late"} == set(frame.columns)
    nothing = dict.fromkeys(frame.columns)
    at = {"lat": None, "lon": None}
    rows = {row["key"]: row for row in frame.to_dicts()}
    expected: dict[str, dict[str, Any]] = {
        "a": {"id": 1},
        "b": {"id": 2, "name": "x"},
        "c": {"tags": ["p", "q"]},
        "d": {"at": {**at, "lat": 1.0}},
        "e": {"at": {"lat": 2.5, "lon": 3}},
        "f": {"late": True},
    }
    assert {key: {**nothing, "key": key, **row} for key, row in expected.items()} == rows
    assert frame.schema["tags"] == pl.List(pl.String)
    assert table.errors().is_empty()


def test_store_of_another_format_is_built_anew(
    kafka: KafkaTopics, topic: Topic, connect: Connect, tmp_path: Path
) -> None:
    """Beside a store that this version can't read a new one is built, which then replaces it."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", b'{"n":1}')])
    first = connect()
    first.table(name).to_polars()
    first.close()
    (description,) = (tmp_path / "state").rglob("store.json")
    described = json.loads(description.read_text())
    description.write_text(json.dumps(described | {"format_version": 999}))

    table = connect().table(name)
    assert table.to_polars().rows() == [("a", 1)]

    (incident,) = table.history.incidents()
    assert incident.detail == "the local store is built anew: its format was version 999"
    (found,) = wait_until(
        lambda: [found for found in [list((tmp_path / "state").rglob("store.json"))] if len(found) == 1],
        "the outdated store to go",
    )
    assert json.loads(found[0].read_text()) == described
