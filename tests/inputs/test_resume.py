"""Reading on, and the known faults of it: what happened to the topic while a table was closed or cut off."""

import shutil
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.kafka_broker import KafkaBroker
from support.waiting import wait_until

from ktframe.config.settings import StoreOptions
from ktframe.context.context import Context
from ktframe.errors import BrokerError, DamagedRecordsError
from ktframe.testing import FakeBroker

RETRY = {"initial_delay": 0.1, "max_delay": 0.5, "jitter": 0.0, "attempts": 30}

Topic = Callable[..., str]
Connect = Callable[..., Context]


@pytest.fixture
def stoppable(broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """Yield the broker; it runs again at the end, whatever the test did."""
    yield broker
    if broker.pid is None:
        broker.start()


def now_ms() -> int:
    """Return the wall time in milliseconds."""
    return int(time.time() * 1000)


@pytest.mark.kafka
def test_a_key_deleted_while_closed_is_gone(stoppable: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """A store that is read on shows no row whose tombstone was compacted away meanwhile."""
    broker = stoppable
    name = broker.create_compacted_topic(topic())
    broker.produce(name, [(b"gone", b'{"n":1}'), (b"stays", b'{"n":2}'), (b"stays", b'{"n":3}')])
    with connect("old") as context:
        assert context.table(name).to_polars().height == 2
    broker.delete_without_trace(name, b"gone")
    with connect("new") as context:
        expected = sorted(context.table(name).to_polars()["key"])
    assert "gone" not in expected
    with connect("old") as context:
        table = context.table(name)
        assert expected == sorted(table.to_polars()["key"])
        (rebuilt,) = table.history.incidents()
    assert "longer than Kafka keeps deletes (delete.retention.ms is 0 ms)" in rebuilt.detail


@pytest.mark.kafka
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
def test_a_log_that_went_back_is_read_anew(
    stoppable: KafkaBroker, topic: Topic, connect: Connect, tmp_path: Path, *, is_open: bool
) -> None:
    """After the broker's disk was restored from a copy, and written beyond the position, a table has the rows of its log."""
    broker = stoppable
    name = broker.create_topic(topic())
    broker.produce(name, [(b"k%d" % number, b'{"v":"base"}') for number in range(5)])
    broker.stop()
    data = broker._dir / "data"
    shutil.copytree(data, tmp_path / "copy")
    broker.start()
    broker.produce(name, [(b"n%d" % number, b'{"v":"new"}') for number in range(4)])
    broker.stop()
    # The log that comes back later is written beforehand: a table that saw it shorter than its position would notice.
    data.rename(tmp_path / "grown")
    (tmp_path / "copy").rename(data)
    broker.start()
    broker.produce(name, [(b"k%d" % number, b'{"v":"lost"}') for number in range(3)])
    context = connect("old", retry=RETRY)
    table = context.table(name)
    assert table.to_polars().height == 5
    if not is_open:
        context.close()

    # Not stop(): a client that sees the shutdown knows a leader epoch that the other log reaches only later.
    broker.kill()
    shutil.rmtree(data)
    (tmp_path / "grown").rename(data)
    broker.start()

    with connect("new") as fresh:
        expected = sorted(fresh.table(name).to_polars().rows())
    table = table if is_open else connect("old").table(name)
    actual = sorted(table.to_polars().rows())
    assert table.position().offsets == {0: 9}
    assert expected == actual
    reasons = {each.detail for each in table.history.incidents() if each.kind == "rebuilt"}
    assert reasons == {"the log went back: another record is at offset 7"}


@pytest.mark.kafka
def test_a_damaged_batch_is_not_shown(stoppable: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """A read raises where a stored byte has turned over, as the checksum of its batch says; what follows can be read."""
    broker = stoppable
    name = broker.create_topic(topic())
    for number, (key, amount) in enumerate([(b"a", 1111), (b"b", 2222), (b"c", 3333)], start=1):
        broker.produce(name, [(key, b'{"amount":%d}' % amount, None, number * 1_000_000)])
    broker.stop()
    (log,) = (broker._dir / "data").glob(f"{name}-0/*.log")
    stored = log.read_bytes()
    assert stored.count(b"2222") == 1
    log.write_bytes(stored.replace(b"2222", b"9222"))
    broker.start()

    table = connect("state").table(name)
    with pytest.raises(DamagedRecordsError, match="start= at a later moment reads what came after") as raised:
        table.to_polars()
    assert "damaged records, none from there on is shown (partition 0, offset " in raised.value.fact
    assert "9222" not in str(table.to_polars(fresh=False))
    later = connect("later").table(name, start=datetime.fromtimestamp(3_000, UTC))
    assert later.to_polars()["amount"].to_list() == [3333]


@pytest.mark.kafka
def test_a_key_of_fields_over_a_compacted_topic_says_so(
    stoppable: KafkaBroker, topic: Topic, connect: Connect
) -> None:
    """Where compaction removed the only record of a row, a table with ``key=`` says that such rows are missing."""
    broker = stoppable
    name = broker.create_compacted_topic(topic())
    broker.produce(name, [(b"ada", b'{"order":1}'), (b"bob", b'{"order":2}'), (b"ada", b'{"order":3}')])
    broker.wait_until_compacted(name)
    assert b'{"order":1}' not in {record.value for record in broker.records(name)}

    table = connect("state").table(name, key="order")

    assert sorted(table.to_polars()["order"]) == [2, 3]
    notice = "the topic is compacted by its record key: rows of older records may be missing"
    assert table.position().notices == (notice,)


@pytest.mark.parametrize("kind", ["stream", "windows"])
def test_what_retention_dropped_is_there_without_it(tmp_path: Path, kind: str) -> None:
    """A store that was cut by ``retention=`` does not answer for one that was not."""
    broker = FakeBroker()
    for number in range(200):
        broker.produce("clicks", f"k{number}", {"n": number}, timestamp=number * 60_000)

    def rows(context: Context, retention: str | None) -> int:
        if kind == "stream":
            return context.stream("clicks", retention=retention).to_polars().height
        return context.table("clicks", store=StoreOptions(retention=retention)).window(5).to_polars().height

    with broker.connect(tmp_path) as context:
        assert rows(context, "30m") < 200
    with broker.connect(tmp_path) as context:
        count = rows(context, None)
    assert count == 200


@pytest.mark.parametrize("kind", ["stream", "table"])
def test_a_start_stays_where_it_was_over_a_lost_connection(tmp_path: Path, kind: str) -> None:
    """A relative start is looked up once an opening: rows that are shown do not go by a network blip."""
    broker = FakeBroker()
    produced = now_ms() - 2000
    for number in range(5):
        broker.produce("t", f"k{number}", {"n": number}, timestamp=produced)
    with broker.connect(tmp_path) as context:
        rows = getattr(context, kind)("t", start="-3s")
        assert rows.to_polars().height == 5
        wait_until(lambda: now_ms() > produced + 3100, "the records to be older than the start")
        assert rows.to_polars().height == 5

        broker.fail_next(BrokerError("fake", "blip"))
        wait_until(lambda: rows.status().health.restarts == 1, "the connection to be made again")

        assert rows.to_polars().height == 5
