"""What ktframe asks of a real registry, and what it makes of its answers and of its silence."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from support.guid_registry import GuidRegistry, header_of
from support.schema_registry import SchemaRegistry

import ktframe
from ktframe.errors import RegistryError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.schemas import UnknownSchemaError
from ktframe.formats.wire import id_ref
from ktframe.kafka.registry import RegistryClient

MONEY = json.dumps({"type": "record", "name": "Money", "fields": [{"name": "cents", "type": "long"}]})
ORDER = json.dumps({"type": "record", "name": "Order", "fields": [{"name": "total", "type": "Money"}]})


@pytest.fixture
def ask(registry: SchemaRegistry) -> Iterator[RegistryClient]:
    """Yield ktframe's client."""
    client = RegistryClient(registry.settings(), 5.0)
    yield client
    client.close()


def test_schemas_come_with_what_they_refer_to(
    confluent: SchemaRegistryClient, ask: RegistryClient, topic: Any
) -> None:
    """A schema comes with its references by id, by GUID, and as the newest of a subject."""
    money, order = topic("money"), topic("order")
    confluent.register_schema(money, Schema(MONEY))
    number = confluent.register_schema(order, Schema(ORDER, "AVRO", [SchemaReference("Money", money, 1)]))
    expected = SchemaDocument("AVRO", ORDER, (("Money", SchemaDocument("AVRO", MONEY)),))
    assert ask.fetch(id_ref(number)) == expected
    assert ask.latest(order) == (number, expected)
    assert ask.latest(topic("nothing")) is None
    with GuidRegistry(ask.url) as proxy:
        by_guid = RegistryClient({"url": proxy.url}, 5.0)
        assert by_guid.fetch(header_of(number)) == expected
        by_guid.close()


def test_the_newest_schema_is_asked_for_every_time(
    confluent: SchemaRegistryClient, ask: RegistryClient, topic: Any
) -> None:
    """What is registered while a connection lives is the newest from then on: the client's own cache is not believed."""
    subject = topic()
    for text in (MONEY, MONEY.replace("Money", "Cash")):
        number = confluent.register_schema(subject, Schema(text))
        assert ask.latest(subject) == (number, SchemaDocument("AVRO", text))


def test_protobuf_and_json_schemas_come_as_they_are(
    confluent: SchemaRegistryClient, ask: RegistryClient, topic: Any
) -> None:
    """Text of either kind comes back unchanged, with the kind that says how to read it."""
    proto = 'syntax = "proto3";\nmessage M {\n  int64 x = 1;\n}\n'
    for kind, text in (
        ("PROTOBUF", proto),
        ("JSON", '{"type":"object","properties":{"a":{"type":"integer"}}}'),
    ):
        number = confluent.register_schema(topic(kind), Schema(text, kind))
        found = ask.fetch(id_ref(number))
        assert (found.kind, found.references) == (kind, ())


def test_an_unknown_schema_is_told_from_a_silent_registry(ask: RegistryClient) -> None:
    """A schema that does not exist is unknown; a registry that is away is an error that time may heal."""
    with pytest.raises(UnknownSchemaError, match="schema id 987654 is not in the registry at http"):
        ask.fetch(id_ref(987_654))
    nobody = RegistryClient({"url": "http://127.0.0.1:9"}, 1.0)
    with pytest.raises(RegistryError, match=r"registry at http://127\.0\.0\.1:9 can't be asked") as caught:
        nobody.fetch(id_ref(1))
    assert not caught.value.is_fatal
    nobody.close()


def test_a_registry_that_hangs_is_given_up(registry: SchemaRegistry) -> None:
    """No call waits longer than its timeouts add up to."""
    with SchemaRegistry() as frozen, closing(RegistryClient(frozen.settings(), 0.3)) as client:
        frozen.pause()
        with pytest.raises(RegistryError):
            client.fetch(id_ref(1))
        frozen.resume()


def test_logins_are_basic_or_bearer_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong login is fatal, and no error and no log has the password."""
    caplog.set_level(logging.DEBUG)
    with SchemaRegistry(guarded=True) as guarded:
        good = RegistryClient(guarded.settings("reader"), 5.0)
        assert good.latest("nothing") is None
        bad = RegistryClient(guarded.settings("reader", password="wrong-secret"), 5.0)
        with pytest.raises(RegistryError, match="check the login") as caught:
            bad.latest("nothing")
        assert caught.value.is_fatal
        assert "wrong-secret" not in str(caught.value) + caplog.text
        assert "reader-secret" not in caplog.text
        for each in (good, bad):
            each.close()


def test_a_bearer_token_is_sent(registry: SchemaRegistry) -> None:
    """``bearer.auth.token`` is enough; without it the login is refused."""
    with GuidRegistry(registry.url, asks_for_token=True) as proxy:
        good = RegistryClient({"url": proxy.url, "bearer.auth.token": proxy.token}, 5.0)
        assert good.latest("nothing") is None
        bad = RegistryClient({"url": proxy.url}, 5.0)
        with pytest.raises(RegistryError) as caught:
            bad.latest("nothing")
        assert caught.value.is_fatal
        for each in (good, bad):
            each.close()


def test_settings_of_the_registry_are_checked() -> None:
    """An unknown name or a missing file is refused before anything is read, without showing any value."""
    with pytest.raises(ktframe.ConfigurationError, match=r"did you mean 'basic\.auth\.user\.info'"):
        ktframe.connect(
            "localhost:9", schema_registry={"url": "http://x", "basic.auth.user.inf": "a:hunter2"}
        )
    client = RegistryClient({"url": "http://x", "basic.auth.user.info": "hunter2"}, 1.0)
    with pytest.raises(ktframe.ConfigurationError, match="does not take these settings") as caught:
        client.latest("nothing")
    assert "hunter2" not in str(caught.value)
