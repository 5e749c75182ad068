"""Contexts on the real broker, each with a state directory that the test names."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kafka_topics import KafkaTopics

from ktframe.config.sources import resolve_settings
from ktframe.context.context import Context

Connect = Callable[..., Context]


@pytest.fixture
def connect(kafka: KafkaTopics, tmp_path: Path) -> Iterator[Connect]:
    """Return a function that makes Contexts whose stores are in ``state``, a directory of this test."""
    contexts: list[Context] = []

    def make(state: str, bootstrap: str | None = None, **settings: Any) -> Context:
        resolved = resolve_settings(
            bootstrap or kafka.bootstrap, environ={}, cwd=tmp_path, state_dir=tmp_path / state, **settings
        )
        contexts.append(Context(resolved))
        return contexts[-1]

    yield make
    for context in contexts:
        context.close()
