"""One record per partition read again, to find out whether the log is still the one that was read."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from support.kafka_broker import KafkaBroker
from support.kafka_topics import KafkaTopics

from ktframe.config.settings import Settings
from ktframe.errors import BrokerUnreachableError
from ktframe.fold.records import LastRecord
from ktframe.kafka.reader import KafkaReader

Topic = Callable[..., str]


@pytest.fixture
def paused(broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """Return the broker; it runs again at the end."""
    yield broker
    broker.resume()


@pytest.fixture
def stoppable(broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """Yield the broker; it runs again at the end, whatever the test did."""
    yield broker
    if broker.pid is None:
        broker.start()


def never() -> bool:
    """Say that the caller still waits."""
    return False


def test_the_first_record_from_an_offset_on(kafka: KafkaTopics, topic: Topic) -> None:
    """It is the record at the offset, the next one where that is gone, and none at the end; reading begins afterwards."""
    name = kafka.create_compacted_topic(topic(), 4)
    for partition in range(4):
        at = 1_000_000 + partition
        kafka.produce(name, [(b"a", b"1", partition, at), (b"b", b"2", partition, at)])
    kafka.produce(name, [(b"a", b"3", 1, 2_000_000)])
    kafka.wait_until_compacted(name, 1)
    aborted = kafka.transactional_producer(topic("writer"))
    aborted.begin_transaction()
    kafka.produce(name, [(b"x", b"x", 2, 3_000_000)], producer=aborted)
    aborted.abort_transaction(30)
    kafka.await_transactions(name)

    with closing(KafkaReader(Settings(bootstrap=kafka.bootstrap), name)) as reader:
        found = reader.first_records({0: 1, 1: 0, 2: 2, 3: 2}, never)
        assert found == {
            0: LastRecord.of(1, 1_000_000, b"b", b"2", 0),
            1: LastRecord.of(1, 1_000_001, b"b", b"2", 0),
            2: None,
            3: None,
        }
        assert reader.first_records({3: 0}, never) == {3: LastRecord.of(0, 1_000_003, b"a", b"1", 0)}
        reader.assign({3: 1})
        batch = None
        while batch is None or not len(batch):
            batch = reader.poll()
        assert (batch.partitions, batch.offsets, batch.last[3].epoch) == ([3], [1], 0)


def test_an_epoch_stays_through_another_leader_and_compaction(stoppable: KafkaBroker, topic: Topic) -> None:
    """A record that is still there is the one that was read, down to the epoch of the leader who took it."""
    name = stoppable.create_compacted_topic(topic())
    stoppable.produce(name, [(b"a", b"1", 0, 1_000), (b"b", b"2", 0, 2_000)])
    remembered = LastRecord.of(1, 2_000, b"b", b"2", 0)
    with closing(KafkaReader(Settings(bootstrap=stoppable.bootstrap), name)) as reader:
        assert reader.first_records({0: 1}, never) == {0: remembered}
    stoppable.stop()
    stoppable.start()
    stoppable.produce(name, [(b"a", b"3", 0, 3_000)])
    with closing(KafkaReader(Settings(bootstrap=stoppable.bootstrap), name)) as reader:
        (later,) = reader.first_records({0: 2}, never).values()
        assert later is not None
        assert later.is_another(LastRecord.of(2, 3_000, b"a", b"3", 0))
    stoppable.wait_until_compacted(name)
    with closing(KafkaReader(Settings(bootstrap=stoppable.bootstrap), name)) as reader:
        assert reader.first_records({0: 0}, never) == {0: remembered}


def test_a_broker_that_is_silent(paused: KafkaBroker, topic: Topic) -> None:
    """It is an error after the request timeout, not an answer; who is closed meanwhile does not wait."""
    name = paused.create_topic(topic())
    paused.produce(name, [(b"a", b"1")])
    with closing(KafkaReader(Settings(bootstrap=paused.bootstrap, request_timeout=1.0), name)) as reader:
        assert reader.first_records({0: 0}, never).keys() == {0}
        paused.pause()
        assert reader.first_records({0: 0}, lambda: True) == {}
        with pytest.raises(BrokerUnreachableError, match="the broker that leads partition 0 is silent"):
            reader.first_records({0: 0}, never)
        paused.resume()
