"""Contexts on the real broker."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from support.guid_registry import GuidRegistry
from support.kafka_topics import KafkaTopics
from support.readers import Gate
from support.schema_registry import SchemaRegistry

from ktframe.config.sources import resolve_settings
from ktframe.context.context import Context

RETRY = {"initial_delay": 0.1, "max_delay": 0.5, "jitter": 0.0, "attempts": 30}

Connect = Callable[..., Context]


@pytest.fixture
def connect(kafka: KafkaTopics, tmp_path: Path) -> Iterator[Connect]:
    """Return a function that makes Contexts on the broker, all with the same state directory unless told otherwise."""
    made: list[Context] = []

    def make(bootstrap: Any = None, *, gate: Gate | None = None, **settings: Any) -> Context:
        given = {"state_dir": tmp_path / "state", "monitor_interval": 0.1, "retry": RETRY, **settings}
        resolved = resolve_settings(bootstrap or kafka.bootstrap, environ={}, cwd=tmp_path, **given)
        made.append(Context(resolved, open_reader=None if gate is None else gate.reader(resolved)))
        return made[-1]

    yield make
    for context in made:
        context.close()


@pytest.fixture
def confluent(registry: SchemaRegistry) -> Iterator[SchemaRegistryClient]:
    """Yield Confluent's own client, to register with."""
    client = SchemaRegistryClient({**registry.settings(), "timeout": 10})
    yield client
    client.close()


@pytest.fixture
def guids(registry: SchemaRegistry) -> Iterator[GuidRegistry]:
    """Yield the registry with GUIDs."""
    with GuidRegistry(registry.url) as proxy:
        yield proxy
