"""A Kafka cluster of three brokers, of which each leads some partitions and has a copy of all."""

from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from confluent_kafka.admin import NewTopic

from support.kafka_broker import KafkaBroker, new_cluster_id
from support.kafka_records import REQUEST_SECONDS, answer
from support.kafka_settings import BrokerPorts, Membership
from support.kafka_topics import KafkaTopics
from support.ports import free_ports
from support.waiting import wait_until

NODES = 3


class ThreeBrokers(KafkaTopics):
    """Three brokers in processes of their own; ``bootstrap`` names all of them."""

    def __init__(self) -> None:
        numbers = free_ports(5 * NODES)
        ports = [BrokerPorts(*numbers[at : at + 5]) for at in range(0, 5 * NODES, 5)]
        cluster_id, controllers = new_cluster_id(), tuple(each.controller for each in ports)
        self.brokers = [
            KafkaBroker(each, Membership(cluster_id, node, controllers)) for node, each in enumerate(ports, 1)
        ]
        super().__init__(",".join(broker.bootstrap for broker in self.brokers))

    def __enter__(self) -> Self:
        """Start all brokers at once: none of them answers before it has another one."""
        try:
            with ThreadPoolExecutor(NODES) as pool:
                list(pool.map(KafkaBroker.start, self.brokers))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all brokers and remove their data."""
        self.close()

    def close(self) -> None:
        """Stop all brokers and remove their data."""
        for broker in self.brokers:
            broker.close()

    def create_replicated_topic(self, name: str, partitions: int = NODES) -> str:
        """Create a topic with a copy on every broker, of which two must have a record, and return its name."""
        new = NewTopic(name, partitions, NODES, config={"min.insync.replicas": "2"})
        wait_until(lambda: len(self.admin.list_topics(timeout=5).brokers) == NODES, "all brokers to be known")
        answer(self.admin.create_topics([new], request_timeout=REQUEST_SECONDS)[name])
        self._await_partitions(name, partitions)
        return name

    def wait_until_replicated(self, topic: str) -> None:
        """Return when every broker has all records of a topic."""

        def are_in_sync() -> bool:
            metadata = self.admin.list_topics(topic, timeout=5).topics[topic]
            return all(len(each.isrs) == NODES for each in metadata.partitions.values())

        wait_until(are_in_sync, f"{topic} to be replicated")
