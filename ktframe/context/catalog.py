"""The tables, windows and streams of one Context: asking again with equal arguments gives the same object.

Windows share the store of smaller windows from which they can be made, and with it the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from threading import RLock
from typing import Any, Generic, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import polars as pl

from ktframe.columns import KEY
from ktframe.config.settings import ReadPolicy, StoreOptions
from ktframe.context.factory import BindingFactory
from ktframe.context.store_spec import StoreSpec
from ktframe.context.topic_spec import TopicSpec
from ktframe.errors import ConfigurationError, ContextClosedError
from ktframe.process.forks import Owner
from ktframe.sync.binding import TopicBinding
from ktframe.sync.manager import BindingManager
from ktframe.sync.reader import BindingReader
from ktframe.tables.base import MaterializedTopic
from ktframe.tables.presentation import Presentation
from ktframe.tables.stream import KStream
from ktframe.tables.table import KTable
from ktframe.tables.table_writer import TableWriter
from ktframe.tables.topic_writer import TopicWriter
from ktframe.tables.window_spec import WindowSpec
from ktframe.tables.windowed_table import WindowedKTable

T = TypeVar("T", bound=MaterializedTopic)
_TableKey: TypeAlias = tuple[TopicSpec, ReadPolicy]


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    """A table, stream or windows; its reader; and the options that decide no row but must agree when asked again."""

    rows: T
    reader: BindingReader
    options: Mapping[str, Any]


class Catalog:
    """The tables, windows and streams that users of one Context hold. Thread safe.

    Parameters
    ----------
    factory
        Makes the reader of each store.
    bindings
        Starts and stops what the readers follow.
    topic_writer
        Writes for the tables; None where the connection only reads.
    """

    def __init__(
        self, factory: BindingFactory, bindings: BindingManager, topic_writer: TopicWriter | None
    ) -> None:
        self._factory = factory
        self._bindings = bindings
        self._topic_writer = topic_writer
        self._owner = Owner("this table")
        self._lock = RLock()
        self._tables: dict[_TableKey, _Entry[KTable]] = {}
        self._windowed: dict[tuple[_TableKey, WindowSpec], _Entry[WindowedKTable]] = {}
        self._streams: dict[tuple[TopicSpec, int | None, ReadPolicy], _Entry[KStream]] = {}
        self._window_stores: dict[tuple[TopicSpec, WindowSpec], BindingReader] = {}
        """The readers of windows, by what their stores hold."""
        self._closing: WeakKeyDictionary[MaterializedTopic, WeakSet[TopicBinding]] = WeakKeyDictionary()
        """What stopped with each table that was closed, for whoever closes it again to wait for that."""

    def table(
        self,
        spec: TopicSpec,
        shown: Mapping[str, Any],
        store: StoreOptions,
        policy: ReadPolicy,
        windows: Iterable[WindowSpec] = (),
    ) -> KTable:
        """Return the table of ``spec``, ``shown`` with ``key_name`` and ``metadata``; its ``windows`` start when it does.

        Tables that differ in their ``policy`` only share a reader.
        """
        options = {**shown, "store": store}
        key = (spec, policy)
        with self._lock:
            same_rows = [entry for other, entry in self._tables.items() if other[0] == spec]
            _require_equal(same_rows, f"table {spec.topic!r}", options)
            entry = self._tables.get(key)
            if entry is None:
                reader = same_rows[0].reader if same_rows else None
                entry = self._tables[key] = self._new_table(key, options, reader)
            # The finest first: what can be made of these does not read the topic again.
            for window_spec in sorted(windows, key=lambda spec: spec.windows.base_ms):
                self.windowed(key, window_spec)
                window_reader = self._windowed[key, window_spec].reader
                self._bindings.start_together(entry.reader.binding, window_reader.binding)
            return entry.rows

    def _new_table(
        self, key: _TableKey, options: Mapping[str, Any], reader: BindingReader | None
    ) -> _Entry[KTable]:
        spec, policy = key
        store_spec = StoreSpec.of_table(spec, options["store"])
        reader = reader or self._factory.new_reader(store_spec)
        presentation = _presentation(
            spec, options, Presentation(store_spec.identity.columns, options["key_name"])
        )
        writer = None
        if self._topic_writer is not None:
            writer = TableWriter(
                self._topic_writer,
                reader,
                presentation,
                value_format=spec.value,
                key_format=spec.key_format,
            )
        table = KTable(
            reader,
            presentation,
            policy=policy,
            close=self.close,
            open_windowed=partial(self.windowed, key),
            writer=writer,
        )
        return _Entry(table, reader, options)

    def windowed(self, key: _TableKey, spec: WindowSpec) -> WindowedKTable:
        """Return windows of a table.

        Raises
        ------
        ForkedError
            When it belongs to the process that this one was forked off.
        ContextClosedError
            When that table was closed.
        """
        self._owner.require_here()
        with self._lock:
            entry = self._windowed.get((key, spec))
            if entry is None:
                table = self._tables.get(key)
                if table is None:
                    name = f"table {key[0].topic!r}"
                    raise ContextClosedError(name)
                entry = self._windowed[key, spec] = self._new_windowed(key, spec, table.options)
            return entry.rows

    def _new_windowed(
        self, key: _TableKey, spec: WindowSpec, options: Mapping[str, Any]
    ) -> _Entry[WindowedKTable]:
        topic, policy = key
        stored, reader = self._window_store(topic, spec, options["store"])
        presentation = _presentation(
            topic, options, Presentation(topic.identity().columns, options["key_name"], is_windowed=True)
        )
        windowed = WindowedKTable(reader, presentation, spec, stored.windows, policy=policy, close=self.close)
        return _Entry(windowed, reader, {})

    def _window_store(
        self, topic: TopicSpec, spec: WindowSpec, options: StoreOptions
    ) -> tuple[WindowSpec, BindingReader]:
        """Return a store that is open and from which the windows can be made, the coarsest; else a new one."""
        usable = [key for key in self._window_stores if key[0] == topic and key[1].can_make(spec)]
        if usable:
            coarsest = max(usable, key=lambda key: key[1].windows.base_ms)
            return coarsest[1], self._window_stores[coarsest]
        stored = spec.to_store()
        reader = self._factory.new_reader(StoreSpec.of_windows(topic, stored, options))
        self._window_stores[topic, stored] = reader
        return stored, reader

    def stream(
        self,
        spec: TopicSpec,
        skew_ms: int | None,
        options: Mapping[str, Any],
        policy: ReadPolicy,
    ) -> KStream:
        """Return the stream of ``spec``; streams that differ in their ``policy`` only share a reader.

        ``options`` are ``retention``, ``store`` and ``metadata``.
        """
        with self._lock:
            same_rows = [entry for other, entry in self._streams.items() if other[:2] == (spec, skew_ms)]
            _require_equal(same_rows, f"stream {spec.topic!r}", options)
            entry = self._streams.get((spec, skew_ms, policy))
            if entry is None:
                reader = (
                    same_rows[0].reader
                    if same_rows
                    else self._factory.new_reader(
                        StoreSpec.of_stream(spec, skew_ms, options["retention"], options["store"])
                    )
                )
                presentation = _presentation(
                    spec, options, Presentation((KEY,), is_stream=True, has_index=spec.explode)
                )
                stream = KStream(reader, presentation, policy=policy, close=self.close)
                entry = self._streams[spec, skew_ms, policy] = _Entry(stream, reader, options)
            return entry.rows

    def tables(self) -> list[KTable]:
        """Return the tables that were asked for."""
        with self._lock:
            return [entry.rows for entry in self._tables.values()]

    def everything(self) -> list[MaterializedTopic]:
        """Return what was asked for: tables, windows of tables, streams."""
        with self._lock:
            return [entry.rows for entry in self._entries()]

    def close(self, rows: MaterializedTopic) -> None:
        """Stop what a user closes, a table with its windows; also what only they read from. Returns when that has ended."""
        if not self._owner.is_here:
            return
        with self._lock:
            closed = {key for key, entry in self._tables.items() if entry.rows is rows}
            is_open = any(entry.rows is rows for entry in self._entries())
            before = self._open_bindings()
            self._tables = {key: entry for key, entry in self._tables.items() if key not in closed}
            self._streams = {key: entry for key, entry in self._streams.items() if entry.rows is not rows}
            self._windowed = {
                key: entry
                for key, entry in self._windowed.items()
                if entry.rows is not rows and key[0] not in closed
            }
            after = self._open_bindings()
            self._window_stores = {
                key: reader for key, reader in self._window_stores.items() if reader.binding in after
            }
            if is_open:
                self._closing[rows] = WeakSet(binding for binding in before if binding not in after)
            stopped = list(self._closing.get(rows, ()))
            # Here: whoever asks for the same rows from now on opens the store after these have stopped to.
            for binding in stopped:
                binding.stop()
        # Outside the lock: a binding's thread may be in a callback that asks for a table.
        with ExitStack() as stack:
            for binding in stopped:
                stack.callback(self._bindings.stop, binding)

    def clear(self) -> list[TopicBinding]:
        """Let go of everything; return the bindings, which are not stopped yet."""
        with self._lock:
            bindings = self._open_bindings()
            self._closing.update((entry.rows, WeakSet(bindings)) for entry in self._entries())
            for entries in (self._tables, self._windowed, self._streams, self._window_stores):
                entries.clear()
            return bindings

    def _entries(self) -> Sequence[_Entry[Any]]:
        return [*self._tables.values(), *self._windowed.values(), *self._streams.values()]

    def _open_bindings(self) -> list[TopicBinding]:
        return list(dict.fromkeys(entry.reader.binding for entry in self._entries()))


def _presentation(spec: TopicSpec, options: Mapping[str, Any], presentation: Presentation) -> Presentation:
    """Return ``presentation`` with the columns about the record that ``options`` name.

    Raises
    ------
    ConfigurationError
        When a record has no such column.
    """
    shown = replace(presentation, has_headers=spec.headers.keeps_all, metadata=options["metadata"])
    shown.names(pl.Schema(), metadata=shown.metadata)
    return shown


def _require_equal(entries: Iterable[_Entry[Any]], name: str, options: Mapping[str, Any]) -> None:
    """Check that ``entries``, which show the same rows, have equal options.

    Raises
    ------
    ConfigurationError
        When one has others.
    """
    for entry in entries:
        for option, wanted in options.items():
            if entry.options[option] != wanted:
                message = f"{name} is already there with {option}={entry.options[option]!r}, not {wanted!r}."
                raise ConfigurationError(message, "use the same arguments, or close() it first.")
