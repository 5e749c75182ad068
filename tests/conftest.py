"""Fixtures of all tests: a watch over what they leave behind, the real broker and schema registry, topic names."""

import os
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.examples import load_profiles
from support.kafka_broker import KafkaBroker
from support.kafka_topics import ExternalKafka, KafkaTopics
from support.schema_registry import SchemaRegistry
from support.waiting import wait_until

from ktframe.formats.json import batches as json_batches
from ktframe.formats.json import format as json_format

load_profiles()

# A shell that starts the tests in the background has them ignore interrupts, which some send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

INTEGRATION = Path(__file__).parent / "integration"
BROWSER = Path(__file__).parent / "browser"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every integration test with ``kafka``, and those in a browser with ``browser``; these run last.

    Where several workers share the tests, those of one file that need a server or a browser have the same worker: a
    worker starts the servers of a session for itself.
    """
    for item in items:
        # Many tests refuse records on purpose; those about what reads say of that use ``pytest.warns``.
        item.add_marker(pytest.mark.filterwarnings("ignore::ktframe.KtframeWarning"))
        if item.path.is_relative_to(INTEGRATION):
            item.add_marker(pytest.mark.kafka)
        if item.path.is_relative_to(BROWSER):
            item.add_marker(pytest.mark.browser)
        if any(item.get_closest_marker(name) is not None for name in ("kafka", "browser")):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    # A browser is open from its first test to the end, and ``asyncio.run`` fails as long: support/browser.py.
    items.sort(key=lambda item: item.path.is_relative_to(BROWSER))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """Fail a test after which a thread of ktframe still runs."""
    yield

    def left() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("ktframe-")]

    try:
        wait_until(lambda: not left(), "the threads of ktframe to end")
    except AssertionError as error:
        frames = sys._current_frames()
        for thread in left():
            if thread.ident in frames:
                error.add_note(f"{thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}")
        raise


@pytest.fixture(scope="module")
def few_as_many() -> Iterator[None]:
    """Have few JSON payloads decoded in the way of many, in several blocks: for tests that compare the two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_format, "MOST_ONE_BY_ONE", 0)
        patch.setattr(json_batches, "_BLOCK_BYTES", 16)
        yield


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaTopics]:
    """Yield a running Kafka; a machine that cannot run one fails the test, so nothing passes unseen."""
    if bootstrap := os.environ.get("KTFRAME_TEST_BOOTSTRAP"):
        yield ExternalKafka(bootstrap)
        return
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture
def broker(kafka: KafkaTopics) -> KafkaBroker:
    """Return the running Kafka as a process that a test may stop, kill or pause."""
    if not isinstance(kafka, KafkaBroker):
        pytest.skip("KTFRAME_TEST_BOOTSTRAP names a cluster whose process is not ours")
    return kafka


@pytest.fixture(scope="session")
def registry() -> Iterator[SchemaRegistry]:
    """Yield a running schema registry; a machine that cannot run one fails the test, so nothing passes unseen."""
    with SchemaRegistry() as registry:
        yield registry


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Return a function that makes topic names which no other test and no earlier run uses."""
    test = "".join(char if char.isalnum() else "-" for char in request.node.name)[:60]

    def unique(suffix: str = "topic") -> str:
        return f"{test}-{suffix}-{uuid.uuid4().hex[:8]}"

    return unique
