"""The Kafka and registry clients of one Context, and how everything it opened is closed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeAlias

from ktframe.config.settings import Settings
from ktframe.formats.schemas import without_registry
from ktframe.kafka.cluster import KafkaCluster
from ktframe.kafka.protocol import Cluster
from ktframe.kafka.reader import KafkaReader, Reader
from ktframe.kafka.registry import Registry, RegistryClient
from ktframe.kafka.sampler import KafkaSampler, OpenSampler
from ktframe.kafka.writer import KafkaWriter, RecordWriter
from ktframe.store.manager import StoreManager
from ktframe.sync.manager import BindingManager
from ktframe.tables.topic_writer import TopicWriter

OpenReader: TypeAlias = Callable[[str, bool], Reader]
"""Opens a reader of a topic, with or without the records' headers."""


class Clients:
    """The clients of one Context: handed in, as tests do, or made from its settings.

    Raises
    ------
    BrokerUnreachableError, AuthenticationError
        When the cluster does not answer, or refuses the login.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: Cluster | None,
        open_reader: OpenReader | None,
        open_sampler: OpenSampler | None,
        registry: Registry | None,
        record_writer: RecordWriter | None,
        on_close: Callable[[], object] | None,
    ) -> None:
        self.closers: list[Callable[[], object]] = [] if on_close is None else [on_close]
        """Functions that close the clients, in the order in which these were made."""
        if cluster is None:
            cluster = kafka = KafkaCluster(settings)
            self.closers.append(kafka.close)
        self.cluster = cluster
        if registry is None and settings.schema_registry:
            registry = RegistryClient(settings.schema_registry, settings.request_timeout)
            self.closers.append(registry.close)
        self.registry = registry
        self.fetch_schema = without_registry if registry is None else registry.fetch
        self.open_reader = open_reader or (
            lambda topic, headers: KafkaReader(settings, topic, with_headers=headers)
        )
        self.open_sampler = open_sampler or (lambda: KafkaSampler(settings))
        self.topic_writer: TopicWriter | None = None
        """None where the connection only reads."""
        if settings.writable:
            records = record_writer or KafkaWriter(settings)
            self.closers.append(records.close)
            self.topic_writer = TopicWriter(records, registry, settings.write_timeout)
        try:
            cluster.cluster_id()
        except BaseException:
            for close in self.closers:
                close()  # else it keeps retrying a refused login
            raise


def close_parts(
    pid: int, bindings: BindingManager, stores: StoreManager, closers: Sequence[Callable[[], object]]
) -> None:
    """Close everything that a Context opened, in the process that opened it."""
    if os.getpid() != pid:
        return  # a forked child: the threads to wait for run in its parent
    with ExitStack() as stack:  # a part that fails to close does not keep the others open; the last one first
        for close in closers:
            stack.callback(close)
        stack.callback(stores.close_all)
        stack.callback(bindings.close)
