"""A connection: settings, cluster, stores and bindings wired together. Closing it leaves nothing running."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self

import polars as pl

from ktframe.config.durations import Duration, parse_seconds
from ktframe.config.keywords import with_known_keywords
from ktframe.config.moments import Moment
from ktframe.config.settings import OnRefused, RuntimeSettings, Settings, Stale, StoreOptions, Times, TimeUnit
from ktframe.context.catalog import Catalog
from ktframe.context.clients import Clients, OpenReader, close_parts
from ktframe.context.declaration import ResolvedTopic, resolve_topic
from ktframe.context.factory import BindingFactory
from ktframe.context.headers import HeadersLike
from ktframe.context.schema import SchemaLike
from ktframe.errors import ConfigurationError, ContextClosedError, NotWritableError
from ktframe.explore.inspection import Inspection
from ktframe.explore.topics import inspect_topic, topics_frame
from ktframe.fold.condition import Where
from ktframe.fold.deletes import Deletes
from ktframe.fold.unnested_fields import Unnest
from ktframe.kafka.protocol import Cluster
from ktframe.kafka.registry import Registry
from ktframe.kafka.sampler import OpenSampler
from ktframe.kafka.writer import RecordWriter
from ktframe.process.endings import Ending
from ktframe.process.forks import Owner, keep_in_children, require_threads, rows_are_read
from ktframe.process.memory import limit_heaps
from ktframe.process.threads import uninterruptible
from ktframe.store.manager import StoreManager
from ktframe.sync.manager import BindingManager
from ktframe.tables.base import MaterializedTopic
from ktframe.tables.presentation import Metadata
from ktframe.tables.stream import KStream
from ktframe.tables.table import KTable
from ktframe.tables.topic_writer import publish, with_last_word
from ktframe.tables.window_spec import WindowSpec
from ktframe.windows.parsing import Minutes, parse_skew
from ktframe.windows.retention import EventTimeRetention, parse_retention

logger = logging.getLogger("ktframe")


class Context:
    """A connection to one cluster; a context manager. Any thread may use it."""

    def __init__(
        self,
        settings: Settings,
        *,
        cluster: Cluster | None = None,
        open_reader: OpenReader | None = None,
        open_sampler: OpenSampler | None = None,
        registry: Registry | None = None,
        record_writer: RecordWriter | None = None,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        limit_heaps()  # before there are threads
        self._owner = Owner(f"the connection to {settings.bootstrap}")
        require_threads(f"a connection to {settings.bootstrap}")
        self.settings = settings
        self._clients = clients = Clients(
            settings,
            cluster=cluster,
            open_reader=open_reader,
            open_sampler=open_sampler,
            registry=registry,
            record_writer=record_writer,
            on_close=on_close,
        )
        self._runtime = RuntimeSettings(settings.monitor_interval, settings.store.flush_interval)
        stores = StoreManager(settings.state_dir, settings.store)
        self._bindings = BindingManager(self._runtime, close_store=stores.close)
        factory = BindingFactory(settings, clients, stores, self._bindings, self._runtime)
        self._catalog = Catalog(factory, self._bindings, clients.topic_writer)
        self._is_closed = False
        keep_in_children(self._catalog)
        if settings.log_level is not None:
            logger.setLevel(settings.log_level)
        # Threads of ours must not be inside librdkafka when the interpreter takes itself apart. The catalog, not the
        # Context: tables hold it, so that one whose connection nobody holds any more can still be read.
        self._close_parts = partial(close_parts, os.getpid(), self._bindings, stores, clients.closers)
        self._at_exit = Ending(self._catalog, self._close_parts)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called, or this process was forked off that of the connection."""
        return self._is_closed or not self._owner.is_here

    @with_known_keywords
    def table(
        self,
        topic: str | type,
        key: str | Sequence[str] | None = None,
        *,
        value: str | None = None,
        schema: SchemaLike | None = None,
        time: str | None = None,
        time_unit: TimeUnit | None = None,
        times: Times | None = None,
        key_format: str | None = None,
        key_name: str | None = "key",
        start: Moment | None = None,
        unpack: bool | None = None,
        unnest: Unnest | None = None,
        where: Where | None = None,
        deletes: Deletes | None = None,
        headers: HeadersLike | None = None,
        metadata: Metadata | None = None,
        windows: Minutes | Sequence[Minutes] = (),
        store: StoreOptions | None = None,
        on_refused: OnRefused | None = None,
        stale: Stale | None = None,
    ) -> KTable:
        """Return the latest row per key of ``topic`` on this connection; see ``ktframe.table``.

        Raises
        ------
        ContextClosedError
            When this connection was closed.
        """
        arguments: dict[str, Any] = {"key": key, "value": value, "schema": schema, "key_format": key_format}
        arguments |= {"time": time, "time_unit": time_unit, "times": times}
        arguments |= {"unpack": unpack, "unnest": unnest, "where": where, "deletes": deletes}
        arguments |= {"headers": headers, "metadata": metadata}
        policy = {"on_refused": on_refused, "stale": stale}
        resolved = self._resolve(topic, {**arguments, "explode": None, "start": start}, store, policy)
        if resolved.spec.explode:
            raise _no_table(topic)
        sizes = [windows] if isinstance(windows, int | str | timedelta) else windows
        window_specs = [WindowSpec.parse(size) for size in (*resolved.windows, *sizes)]
        shown = {"key_name": key_name, "metadata": resolved.metadata}
        return self._catalog.table(resolved.spec, shown, resolved.store, resolved.policy, window_specs)

    def _resolve(
        self,
        topic: str | type,
        arguments: Mapping[str, Any],
        store: StoreOptions | None,
        policy: Mapping[str, Any],
    ) -> ResolvedTopic:
        self._require_open()
        return resolve_topic(
            topic,
            arguments,
            store=store,
            policy=policy,
            settings=self.settings,
            key_format=self._key_format,
        )

    @property
    def _key_format(self) -> str:
        """How keys are read where that was not said: with a registry, by what they turn out to be."""
        return "string" if self._clients.registry is None else "auto"

    @with_known_keywords
    def stream(
        self,
        topic: str | type,
        *,
        start: Moment | None = None,
        unpack: bool | None = None,
        explode: bool | None = None,
        unnest: Unnest | None = None,
        where: Where | None = None,
        headers: HeadersLike | None = None,
        metadata: Metadata | None = None,
        retention: str | timedelta | int | None = None,
        value: str | None = None,
        schema: SchemaLike | None = None,
        time: str | None = None,
        time_unit: TimeUnit | None = None,
        times: Times | None = None,
        key_format: str | None = None,
        max_future_skew: Minutes | None = "1d",
        store: StoreOptions | None = None,
        on_refused: OnRefused | None = None,
    ) -> KStream:
        """Return every event of ``topic`` on this connection; see ``ktframe.stream``.

        Raises
        ------
        ContextClosedError
            When this connection was closed.
        """
        arguments: dict[str, Any] = {"value": value, "schema": schema, "key_format": key_format}
        arguments |= {"time": time, "time_unit": time_unit, "times": times}
        arguments |= {"unpack": unpack, "explode": explode, "unnest": unnest, "where": where}
        arguments |= {"headers": headers, "metadata": metadata}
        policy = {"on_refused": on_refused, "stale": None}
        resolved = self._resolve(topic, {**arguments, "start": start}, store, policy)
        # Every record is an event, whatever its key, and whatever it deletes.
        spec = replace(resolved.spec, key=None, deletes=None)
        keep = parse_retention(retention)
        if keep is None and resolved.store.retention is not None:
            keep = EventTimeRetention(round(resolved.store.retention * 1000))
        options = {"retention": keep, "store": resolved.store, "metadata": resolved.metadata}
        return self._catalog.stream(spec, parse_skew(max_future_skew), options, resolved.policy)

    def initialize(self) -> list[KTable]:
        """Open every table that the settings declare, and start reading; what they declare with ``explode`` as a stream.

        Returns the tables.
        """
        declared = self.settings.tables.items()
        tables = [self.table(name) for name, each in declared if not each.explode]
        streams = [self.stream(name) for name, each in declared if each.explode]
        for rows in (*tables, *streams):
            rows.readiness()
        return tables

    def materialized(self) -> list[MaterializedTopic]:
        """Return the tables, streams and windows of tables that were asked for."""
        self._owner.require_here()
        return self._catalog.everything()

    def tables(self) -> list[KTable]:
        """Return the tables that were asked for."""
        self._owner.require_here()
        return self._catalog.tables()

    @uninterruptible
    def topic_names(self) -> tuple[str, ...]:
        """Return the names of the topics that this user may see, in order, internal ones left out."""
        self._require_open()
        return tuple(sorted(self._clients.cluster.topics()))

    @uninterruptible
    def topics(self) -> pl.DataFrame:
        """Return one row per topic of this cluster; see ``ktframe.topics``.

        Raises
        ------
        ContextClosedError
            When this connection was closed.
        """
        self._require_open()
        rows_are_read()
        return topics_frame(self._clients.cluster, self._clients.open_sampler)

    @with_known_keywords
    @uninterruptible
    def inspect(self, topic: str, sample: int = 100) -> Inspection:
        """Look at a topic of this cluster before it is loaded; see ``ktframe.inspect``.

        Raises
        ------
        ContextClosedError
            When this connection was closed.
        """
        self._require_open()
        rows_are_read()
        clients = self._clients
        return inspect_topic(clients.cluster, clients.open_sampler, topic, sample, clients.fetch_schema)

    @with_last_word
    @with_known_keywords
    def publish(
        self,
        topic: str,
        rows: Any,
        *,
        key: str | Sequence[str] | None = None,
        headers: str | Sequence[str] | None = None,
        value: str = "auto",
        key_format: str | None = None,
        atomic: bool = False,
        dry_run: bool = False,
    ) -> pl.DataFrame:
        """Write the rows of a frame to ``topic`` on this connection; see ``ktframe.publish``.

        Raises
        ------
        ContextClosedError
            When this connection was closed.
        """
        self._require_open()
        writer = self._clients.topic_writer
        if writer is None:
            raise NotWritableError(repr(topic))
        formats = {"value": value, "key_format": key_format or self._key_format}
        return publish(
            writer, topic, rows, key=key, headers=headers, atomic=atomic, dry_run=dry_run, **formats
        )

    def configure(
        self,
        *,
        monitor_interval: Duration | None = None,
        flush_interval: Duration | None = None,
        log_level: str | None = None,
    ) -> None:
        """Change what is safe to change while everything runs; it acts at once."""
        self._owner.require_here()
        if monitor_interval is not None:
            self._runtime.monitor_interval = parse_seconds("monitor_interval", monitor_interval)
            self._bindings.reschedule()
        if flush_interval is not None:
            self._runtime.flush_interval = parse_seconds("flush_interval", flush_interval)
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

    @uninterruptible
    def close(self) -> None:
        """Stop every table and close every store; returns when all is closed, also to who calls it second.

        In a callback it returns while the thread of that callback runs on, which ends after it. In a process that was forked
        off that of the connection it does nothing.

        Raises
        ------
        StoreError
            When a thread does not leave a store; it names that thread, and what it does. Call it again.
        """
        if not self._owner.is_here:
            return
        self._is_closed = True
        bindings = self._catalog.clear()
        try:
            self._close_parts()  # also for who calls second: what is closed stays so, what is being closed is waited for
            self._at_exit.detach()
        finally:
            for binding in bindings:
                binding.stopped()

    def _require_open(self) -> None:
        self._owner.require_here()
        if self._is_closed:
            raise ContextClosedError(repr(self))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else f"{len(self.tables())} tables"
        return f"Context({self.settings.bootstrap!r}, {state})"


def _no_table(topic: str | type) -> ConfigurationError:
    name = topic if isinstance(topic, str) else topic.__name__
    message = f"{name} is declared with explode=True: each object is an event, and a table has a row per key."
    shown = repr(name) if isinstance(topic, str) else name
    return ConfigurationError(message, f"ktframe.stream({shown}) has them all.")
