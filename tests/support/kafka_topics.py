"""Topics of a real Kafka, for the tests: made, changed, compacted and granted."""

import time
import uuid
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    TopicMetadata,
)

from support.kafka_records import REQUEST_SECONDS, KafkaRecords, answer
from support.waiting import wait_until

COMPACTION_SECONDS = 120.0

# Segments cannot be smaller than 1 MiB, but they may be rolled by time as often as asked: the segment is
# closed by the first record whose timestamp is later than that of the segment's first record by this much.
COMPACTED = {
    "cleanup_policy": "compact",
    "segment_ms": 50,
    "min_cleanable_dirty_ratio": 0.01,
    "min_compaction_lag_ms": 0,
    "max_compaction_lag_ms": 100,
    "delete_retention_ms": 0,
}


class KafkaTopics(KafkaRecords):
    """Manages the topics of the cluster at ``bootstrap``; every change is visible when its call returns."""

    def create_topic(self, name: str, partitions: int = 1, **config: Any) -> str:
        """Create a topic and return its name; ``cleanup_policy=...`` sets ``cleanup.policy`` and so on."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        topic = NewTopic(name, partitions, 1, config=settings)
        answer(self.admin.create_topics([topic], request_timeout=REQUEST_SECONDS)[name])
        self._await_partitions(name, partitions)
        return name

    def create_compacted_topic(self, name: str, partitions: int = 1, **config: Any) -> str:
        """Create a topic that is compacted within a second or two of ``wait_until_compacted``."""
        return self.create_topic(name, partitions, **{**COMPACTED, **config})

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until the broker no longer knows it."""
        answer(self.admin.delete_topics([name], request_timeout=REQUEST_SECONDS)[name])
        wait_until(lambda: self._metadata(name) is None, f"topic {name} to be gone")

    def recreate_topic(self, name: str, partitions: int = 1, **config: Any) -> str:
        """Delete a topic and create another one of the same name."""
        self.delete_topic(name)
        return self.create_topic(name, partitions, **config)

    def add_partitions(self, topic: str, total: int) -> None:
        """Raise the number of partitions to ``total``."""
        change = NewPartitions(topic, total)
        answer(self.admin.create_partitions([change], request_timeout=REQUEST_SECONDS)[topic])
        self._await_partitions(topic, total)

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Delete the records before the given offset of each partition."""
        asked = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        for future in self.admin.delete_records(asked, request_timeout=REQUEST_SECONDS).values():
            answer(future)

    def topic_id(self, topic: str) -> str:
        """Return the id that the cluster gave the topic when it was created."""
        asked = TopicCollection([topic])
        futures = self.admin.describe_topics(asked, request_timeout=REQUEST_SECONDS)
        return str(answer(futures[topic]).topic_id)

    def grant_read(self, user: str, topic: str) -> None:
        """Let a SCRAM user read one topic, and nothing else."""
        self._grant(user, ResourceType.TOPIC, topic, AclOperation.READ)

    def grant_write(self, user: str, topic: str) -> None:
        """Let a SCRAM user write one topic, outside of transactions."""
        self._grant(user, ResourceType.TOPIC, topic, AclOperation.WRITE)

    def grant_transactions(self, user: str, prefix: str) -> None:
        """Let a SCRAM user have transactional ids that begin so."""
        self._grant(
            user,
            ResourceType.TRANSACTIONAL_ID,
            prefix,
            AclOperation.WRITE,
            pattern=ResourcePatternType.PREFIXED,
        )

    def revoke_transactions(self, user: str, prefix: str) -> None:
        """Take back what ``grant_transactions`` granted."""
        wanted = _filter(user, ResourceType.TRANSACTIONAL_ID, prefix, AclOperation.WRITE)
        answer(self.admin.delete_acls([wanted], request_timeout=REQUEST_SECONDS)[wanted])
        wait_until(lambda: not answer(self.admin.describe_acls(wanted)), f"{prefix} to be revoked")

    def _grant(
        self,
        user: str,
        kind: ResourceType,
        name: str,
        operation: AclOperation,
        *,
        pattern: ResourcePatternType = ResourcePatternType.LITERAL,
    ) -> None:
        allow = AclPermissionType.ALLOW
        binding = AclBinding(kind, name, pattern, f"User:{user}", "*", operation, allow)
        answer(self.admin.create_acls([binding], request_timeout=REQUEST_SECONDS)[binding])
        wanted = _filter(user, kind, name, operation)
        wait_until(lambda: answer(self.admin.describe_acls(wanted)), f"the grant of {name} to {user}")

    def roll_segment(self, topic: str, partition: int = 0, *, key: bytes | None = None) -> None:
        """Close the partition's active segment, for the cleaner never touches that one.

        Only a write closes a segment. With ``key`` it is a record ``(key, b"roll")``; without, it is a
        record of an aborted transaction, which takes two offsets and no reader of committed records sees.
        Needs a ``segment.ms`` below one second and no records from the future in the segment.
        """
        # The broker compares this timestamp with that of the segment's first record, not with its clock.
        later_ms = int(time.time() * 1000) + 1000
        if key is not None:
            self.produce(topic, [(key, b"roll", partition, later_ms)])
            return
        producer = self.transactional_producer(f"roll-{uuid.uuid4()}")
        producer.begin_transaction()
        self.produce(topic, [(b"roll", b"roll", partition, later_ms)], producer=producer)
        producer.abort_transaction(REQUEST_SECONDS)
        self.await_transactions(topic)

    def wait_until_compacted(self, topic: str, partition: int = 0, *, roll_key: bytes | None = None) -> None:
        """Close the active segment and wait until the cleaner has removed what it can before it.

        That is: of the records that were there, no key is left twice, and fewer records are left than
        offsets. Fails after a deadline when nothing could be removed.
        """
        rolled_at = self.end_offsets(topic)[partition]
        self.roll_segment(topic, partition, key=roll_key)

        def is_compacted() -> bool:
            low = self.start_offsets(topic)[partition]
            records = self.records(topic, isolation="read_uncommitted")
            keys = [
                record.key
                for record in records
                if record.partition == partition and record.offset < rolled_at
            ]
            return len(keys) == len(set(keys)) and len(keys) < rolled_at - low

        wait_until(is_compacted, f"{topic}[{partition}] to be compacted", timeout=COMPACTION_SECONDS)

    def _await_partitions(self, topic: str, count: int) -> None:
        def are_led() -> bool:
            found = self._metadata(topic)
            led = [] if found is None else [p for p in found.partitions.values() if p.leader >= 0]
            return len(led) == count and self._are_served(topic)

        wait_until(are_led, f"{topic} to have {count} partitions with leaders")

    def _are_served(self, topic: str) -> bool:
        """Return whether the leaders know that they lead: the metadata says so a moment earlier."""
        try:
            self.end_offsets(topic)
        except KafkaException as error:
            if error.args[0].code() in (
                KafkaError.NOT_LEADER_FOR_PARTITION,
                KafkaError.UNKNOWN_TOPIC_OR_PART,
            ):
                return False
            raise
        return True

    def _metadata(self, topic: str) -> TopicMetadata | None:
        found = self.admin.list_topics(topic, timeout=REQUEST_SECONDS).topics.get(topic)
        if found is None or (
            found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        ):
            return None
        return found


def _filter(user: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBindingFilter:
    pattern, allow = ResourcePatternType.ANY, AclPermissionType.ALLOW
    return AclBindingFilter(kind, name, pattern, f"User:{user}", None, operation, allow)


class ExternalKafka(KafkaTopics):
    """A cluster that somebody else runs: topics can be managed, the process cannot."""
