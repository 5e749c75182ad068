"""A connection: settings, cluster, stores and bindings wired together. Closing it leaves nothing running."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from threading import RLock
from types import TracebackType
from typing import Any, Self

from ktframe.clock import SystemClock
from ktframe.declare import SchemaLike, TableArguments, declared_arguments, table_arguments
from ktframe.durations import Duration, parse_seconds
from ktframe.entity import Entity
from ktframe.errors import ConfigurationError, ContextClosedError
from ktframe.events import BindingState, Events
from ktframe.kafka.cluster import Cluster, KafkaCluster
from ktframe.kafka.reader import KafkaReader, Reader
from ktframe.presentation import Presentation
from ktframe.settings import Settings, StoreOptions
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import StoreDescription
from ktframe.sync.barrier import Barrier
from ktframe.sync.binding import TopicBinding
from ktframe.sync.manager import BindingManager
from ktframe.sync.materializer import Materializer
from ktframe.table import KTable

logger = logging.getLogger("ktframe")

OpenReader = Callable[[str, bool], Reader]
"""Opens a reader of a topic, with or without the records' headers."""


@dataclass(slots=True)
class _Tuning:
    """What may change while everything runs."""

    monitor_interval: float
    flush_interval: float


@dataclass(frozen=True, slots=True)
class _Entry:
    """A table that was asked for, with what it was asked for with."""

    table: KTable
    key_name: str | None
    options: StoreOptions


class Context:
    """A connection to one cluster; a context manager. Any thread may use it."""

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: Cluster | None = None,
        open_reader: OpenReader | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        if settings.writable:
            message = "writable=True: ktframe has no call that writes to a topic yet."
            raise ConfigurationError(message, "leave it out.")
        self.settings = settings
        closers = [] if on_close is None else [on_close]
        if cluster is None:
            cluster = mine = KafkaCluster(settings)
            closers.append(mine.close)
        self._cluster = cluster
        self._open_reader = open_reader or (
            lambda topic, headers: KafkaReader(settings, topic, with_headers=headers)
        )
        try:
            self._cluster_id = self._cluster.cluster_id()
        except BaseException:
            for close in closers:
                close()  # or it would try a refused login again and again
            raise
        self._stores = StoreManager(settings.state_dir, settings.store)
        self._tuning = _Tuning(settings.monitor_interval, settings.store.flush_interval)
        self._bindings = BindingManager(
            monitor_interval=lambda: self._tuning.monitor_interval, close_store=self._stores.close
        )
        self._lock = RLock()
        self._tables: dict[TableArguments, _Entry] = {}
        self._is_closed = False
        if settings.log_level is not None:
            logger.setLevel(settings.log_level)
        # Threads of ours must not be inside librdkafka when the interpreter takes itself apart.
        self._at_exit = weakref.finalize(
            self, _close_parts, os.getpid(), self._bindings, self._stores, closers
        )

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._is_closed

    def table(
        self,
        topic: str | type,
        key: str | Sequence[str] | None = None,
        *,
        value: str | None = None,
        schema: SchemaLike | None = None,
        time: str | None = None,
        key_format: str | None = None,
        key_name: str | None = "key",
        store: StoreOptions | None = None,
    ) -> KTable:
        """Return the latest row per key of ``topic``; at once, nothing is read yet.

        Parameters
        ----------
        topic
            A topic's name, a table that configuration declares, or a class under ``@ktframe.entity``.
        key
            Fields of the value that identify a row; None: the record key does.
        value
            Format of the values: ``"json"`` (default), ``"string"``, ``"int"``, ``"long"``, ``"bytes"``.
        schema
            Fields with fixed dtypes; others are inferred and kept.
        time
            Field that holds the event time; None: the record timestamp is it.
        key_format
            Format of the record keys: ``"string"`` (default), ``"int"``, ``"long"``, ``"bytes"``.
        key_name
            Name of the record key's column; None hides it.
        store
            How this table's store is kept, where it differs from the settings.

        Raises
        ------
        ConfigurationError
            When the arguments are wrong, or the same table was asked for with another ``key_name`` or ``store``.
        ContextClosedError
            When this connection was closed.
        """
        if isinstance(topic, type):
            arguments = declared_arguments(topic)
            options = store or self.settings.store
        else:
            given = {"key": key, "value": value, "schema": schema, "time": time, "key_format": key_format}
            arguments, options = self._declared(topic, given, store)
        with self._lock:
            self._require_open()
            entry = self._tables.get(arguments)
            if entry is None:
                entry = _Entry(self._new_table(arguments, key_name, options), key_name, options)
                self._tables[arguments] = entry
            for name, had, wanted in (
                ("key_name", entry.key_name, key_name),
                ("store", entry.options, options),
            ):
                if had != wanted:
                    message = (
                        f"table {arguments.topic!r} is already there with {name}={had!r}, not {wanted!r}."
                    )
                    raise ConfigurationError(message, "use the same arguments, or close() the table first.")
            return entry.table

    def _declared(
        self, topic: str, given: Mapping[str, Any], store: StoreOptions | None
    ) -> tuple[TableArguments, StoreOptions]:
        """Complete what was given by what the settings declare under this name."""
        declared = self.settings.tables.get(topic)
        if declared is not None and declared.windows:
            message = f"[tables.{topic}] declares windows, which ktframe does not have yet."
            raise ConfigurationError(message, "leave windows out.")
        if declared is None:
            return table_arguments(topic, **given), store or self.settings.store
        noted = {name: getattr(declared, name) for name in given}
        chosen = {name: noted[name] if value is None else value for name, value in given.items()}
        return table_arguments(declared.topic, **chosen), store or declared.store_options(self.settings.store)

    def _new_table(self, arguments: TableArguments, key_name: str | None, options: StoreOptions) -> KTable:
        _refuse_unbuilt(options)
        entity = arguments.entity()
        description = StoreDescription(
            self._cluster_id, arguments.topic, entity.identity.kind, arguments.settings()
        )
        clock = SystemClock()
        binding = TopicBinding(
            arguments.topic,
            cluster=self._cluster,
            open_materializer=lambda: self._open_materializer(arguments.topic, entity, description, options),
            open_reader=lambda: self._open_reader(arguments.topic, entity.value_format.needs_headers),
            events=Events(),
            clock=clock,
            retry=self.settings.retry,
            flush_interval=self._flush_interval_of(options),
        )
        return KTable(
            binding,
            Barrier(binding, self._cluster, clock),
            Presentation(entity.identity, key_name),
            start=self._start,
            close=self._close_table,
            stall_timeout=self.settings.stall_timeout,
        )

    def _open_materializer(
        self, name: str, entity: Entity, description: StoreDescription, options: StoreOptions
    ) -> Materializer:
        store = self._stores.get_or_open(description, options)
        try:
            return Materializer(name, entity, store)
        except BaseException:
            self._stores.close(store)
            raise

    def _flush_interval_of(self, options: StoreOptions) -> Callable[[], float]:
        if options.flush_interval != self.settings.store.flush_interval:
            return lambda: options.flush_interval  # the table's own
        return lambda: self._tuning.flush_interval

    def _start(self, binding: TopicBinding) -> None:
        if binding.state in (BindingState.CREATED, BindingState.FAILED):
            with self._lock:
                self._require_open()
            self._bindings.start(binding)

    def _close_table(self, table: KTable) -> None:
        with self._lock:
            for arguments, entry in list(self._tables.items()):
                if entry.table is table:
                    del self._tables[arguments]
                    self._bindings.stop(table.binding)

    def initialize(self) -> list[KTable]:
        """Open every table that the settings declare, and start reading; the seed's ``InitializeStateStores``."""
        tables = [self.table(name) for name in self.settings.tables]
        for table in tables:
            table.readiness()
        return tables

    def tables(self) -> list[KTable]:
        """Return the tables that were asked for."""
        with self._lock:
            return [entry.table for entry in self._tables.values()]

    def configure(
        self,
        *,
        monitor_interval: Duration | None = None,
        flush_interval: Duration | None = None,
        log_level: str | None = None,
    ) -> None:
        """Change what is safe to change while everything runs; it acts at once."""
        if monitor_interval is not None:
            self._tuning.monitor_interval = parse_seconds("monitor_interval", monitor_interval)
            self._bindings.reschedule()
        if flush_interval is not None:
            self._tuning.flush_interval = parse_seconds("flush_interval", flush_interval)
        if log_level is not None:
            logger.setLevel(log_level.upper())

    def adopt(self, settings: Settings) -> Context:
        """Take over the run-time settings of ``settings``, which are otherwise equal to ours."""
        self.settings = settings
        self.configure(
            monitor_interval=settings.monitor_interval,
            flush_interval=settings.store.flush_interval,
            log_level=settings.log_level,
        )
        return self

    def close(self) -> None:
        """Stop every table and close every store; a second call does nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            tables = self.tables()
            self._tables.clear()
        self._at_exit()
        for table in tables:
            table.binding.stopped()

    def _require_open(self) -> None:
        if self._is_closed:
            raise ContextClosedError(repr(self))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"{len(self._tables)} tables"
        return f"Context({self.settings.bootstrap!r}, {state})"


def _refuse_unbuilt(options: StoreOptions) -> None:
    """Refuse what is planned and would be ignored."""
    for name, is_built in (("cache", options.cache), ("retention", options.retention is None)):
        if not is_built:
            message = f"store option {name}={getattr(options, name)!r} does nothing yet."
            raise ConfigurationError(message, "leave it out.")


def _close_parts(
    pid: int, bindings: BindingManager, stores: StoreManager, closers: Sequence[Callable[[], object]]
) -> None:
    if os.getpid() != pid:
        return  # a forked child: the threads that these parts wait for are its parent's
    with ExitStack() as stack:  # every part is closed, whatever happens to another; the last first
        for close in closers:
            stack.callback(close)
        stack.callback(stores.close_all)
        stack.callback(bindings.close)
