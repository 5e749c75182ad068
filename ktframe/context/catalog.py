"""What users hold, by what they asked for: the same question gives the same object, and no second reader.

Windowed tables share the source of a store from which they can be derived. Not thread safe: the Context is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ktframe.columns import KEY
from ktframe.config.settings import StoreOptions
from ktframe.context.arguments import TopicArguments
from ktframe.context.opener import Opener, Wanted
from ktframe.errors import ConfigurationError, ContextClosedError, KtframeError
from ktframe.fold.stream_key import StreamKey
from ktframe.fold.window_key import WindowKey
from ktframe.sync.binding import TopicBinding
from ktframe.sync.source import Source
from ktframe.tables.base import MaterializedTopic
from ktframe.tables.presentation import Presentation
from ktframe.tables.stream import KStream
from ktframe.tables.table import KTable
from ktframe.tables.table_writer import TableWriter
from ktframe.tables.topic_writer import TopicWriter
from ktframe.tables.windowed_table import Shape, WindowedKTable, WindowRequest
from ktframe.windows.fixed import FixedWindows, Windows
from ktframe.windows.retention import Retention, WindowRetention

logger = logging.getLogger("ktframe")
T = TypeVar("T", bound=MaterializedTopic)


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    """What a user holds, and what it was asked for with beside the question itself."""

    what: T
    source: Source
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Windowed:
    """The question that a windowed table, or a store of one, answers."""

    table: TopicArguments
    windows: Windows
    grace_ms: int | None
    skew_ms: int | None

    def holds(self, other: _Windowed) -> bool:
        """Say whether the windows of ``other`` can be derived from a store of these."""
        if self == other:
            return True
        is_comparable = (self.table, self.skew_ms) == (other.table, other.skew_ms)
        never_close = self.grace_ms is None and other.grace_ms is None
        divides = self.windows.is_tumbling and other.windows.base_ms % self.windows.base_ms == 0
        return is_comparable and never_close and divides


@dataclass(slots=True)
class Catalog:
    """The tables, windowed tables and streams of one Context."""

    opener: Opener
    start: Callable[[TopicBinding], None]
    close: Callable[[MaterializedTopic], None]
    open_windowed: Callable[[TopicArguments, WindowRequest], WindowedKTable]
    topic_writer: TopicWriter | None = None
    """Writes for the tables; None where the connection only reads."""
    _tables: dict[TopicArguments, _Held[KTable]] = field(default_factory=dict)
    _windowed: dict[tuple[_Windowed, float], _Held[WindowedKTable]] = field(default_factory=dict)
    """By question and ``idle_after``, which decides no row: two of them share a store."""
    _streams: dict[tuple[TopicArguments, int | None], _Held[KStream]] = field(default_factory=dict)
    _window_sources: dict[_Windowed, Source] = field(default_factory=dict)
    _start_with: dict[TopicArguments, list[TopicBinding]] = field(default_factory=dict)
    """Bindings of windows that were declared with a table: they start when it does."""

    def table(
        self,
        arguments: TopicArguments,
        key_name: str | None,
        options: StoreOptions,
        windows: Sequence[Any] = (),
    ) -> KTable:
        """Return the table of ``arguments``; its ``windows`` start when it does."""
        given = {"key_name": key_name, "store": options}
        held = _known(self._tables, arguments, f"table {arguments.topic!r}", given)
        if held is None:
            held = self._tables[arguments] = self._new_table(arguments, given)
        for size in windows:
            self._declare_window(arguments, WindowRequest(size))
        return held.what

    def _new_table(self, arguments: TopicArguments, given: Mapping[str, Any]) -> _Held[KTable]:
        identity = arguments.identity()
        wanted = Wanted(arguments.topic, arguments, identity, given["store"], {})
        source = self.opener.source(wanted, start=lambda binding: self._start_table(binding, arguments))
        presentation = Presentation(identity.columns, given["key_name"])
        formats = {"value_format": arguments.value, "key_format": arguments.key_format or "string"}
        topic_writer = self.topic_writer
        table = KTable(
            source,
            presentation,
            close=self.close,
            open_windowed=lambda request: self.open_windowed(arguments, request),
            writer=None
            if topic_writer is None
            else TableWriter(topic_writer, source, presentation, **formats),
        )
        return _Held(table, source, given)

    def _start_table(self, binding: TopicBinding, arguments: TopicArguments) -> None:
        self.start(binding)
        for window in self._start_with.get(arguments, ()):
            try:
                self.start(window)
            except KtframeError as error:  # it is raised when the window itself is read
                logger.warning("%s: %s", window.name, error.fact)

    def _declare_window(self, arguments: TopicArguments, request: WindowRequest) -> None:
        self.windowed(arguments, request)
        binding = self._windowed[_question(arguments, request), request.idle_seconds].source.binding
        known = self._start_with.setdefault(arguments, [])
        if binding not in known:
            known.append(binding)

    def windowed(self, arguments: TopicArguments, request: WindowRequest) -> WindowedKTable:
        """Return windows of the table of ``arguments``, derived from those of an open store where that can be."""
        asked = _question(arguments, request)
        held = self._windowed.get((asked, request.idle_seconds))
        if held is None:
            table = self._tables.get(arguments)
            if table is None:
                name = f"table {arguments.topic!r}"
                raise ContextClosedError(name)
            stored, source = self._window_source(asked, table.given["store"])
            shape = Shape(asked.windows, stored, asked.grace_ms, request.idle_seconds, request.tz or "UTC")
            key = arguments.identity().columns
            presentation = Presentation(key, table.given["key_name"], is_windowed=True)
            made = WindowedKTable(source, presentation, shape, close=self.close)
            held = self._windowed[asked, request.idle_seconds] = _Held(made, source, {})
        return held.what

    def _window_source(self, asked: _Windowed, options: StoreOptions) -> tuple[Windows, Source]:
        usable = [stored for stored in self._window_sources if stored.holds(asked)]
        if usable:
            largest = max(usable, key=lambda stored: stored.windows.base_ms)
            return largest.windows, self._window_sources[largest]
        base = asked.windows.base_ms
        # Late for five minutes is not late for fifteen: with grace, windows have a store of their own.
        windows = FixedWindows(base, base) if asked.grace_ms is None else asked.windows
        source = self.opener.source(_wanted(asked, windows, options))
        self._window_sources[_Windowed(asked.table, windows, asked.grace_ms, asked.skew_ms)] = source
        return windows, source

    def stream(
        self,
        arguments: TopicArguments,
        retention: Retention | None,
        skew_ms: int | None,
        options: StoreOptions,
    ) -> KStream:
        """Return the stream of ``arguments``."""
        question, given = (arguments, skew_ms), {"retention": retention, "store": options}
        held = _known(self._streams, question, f"stream {arguments.topic!r}", given)
        if held is None:
            identity, settings = StreamKey(skew_ms, retention), {"skew": repr(skew_ms)}
            source = self.opener.source(
                Wanted(f"{arguments.topic} stream", arguments, identity, options, settings)
            )
            stream = KStream(source, Presentation((KEY,), is_stream=True), close=self.close)
            held = self._streams[question] = _Held(stream, source, given)
        return held.what

    def tables(self) -> list[KTable]:
        """Return the tables that were asked for."""
        return [held.what for held in self._tables.values()]

    def everything(self) -> list[MaterializedTopic]:
        """Return what was asked for: tables, windows of tables, streams."""
        tables, windowed, streams = (
            [held.what for held in each.values()] for each in (self._tables, self._windowed, self._streams)
        )
        return [*tables, *windowed, *streams]

    def forget(self, what: MaterializedTopic | None = None) -> list[TopicBinding]:
        """Let go of what a user closes, a table with its windows (None: of everything).

        Returns the bindings that nobody needs any more.
        """
        closed = {arguments for arguments, held in self._tables.items() if what in (None, held.what)}
        before = self._bindings()
        self._tables = {q: held for q, held in self._tables.items() if q not in closed}
        self._streams = {q: held for q, held in self._streams.items() if what not in (None, held.what)}
        self._windowed = {
            question: held
            for question, held in self._windowed.items()
            if what not in (None, held.what) and question[0].table not in closed
        }
        after = self._bindings()
        self._window_sources = {q: s for q, s in self._window_sources.items() if s.binding in after}
        self._start_with = {q: [b for b in bs if b in after] for q, bs in self._start_with.items()}
        return [binding for binding in before if binding not in after]

    def _bindings(self) -> list[TopicBinding]:
        sources = [
            *(held.source for held in self._tables.values()),
            *(held.source for held in self._windowed.values()),
            *(held.source for held in self._streams.values()),
        ]
        return list(dict.fromkeys(source.binding for source in sources))


def _known(
    held: Mapping[Any, _Held[T]], question: Any, what: str, given: Mapping[str, Any]
) -> _Held[T] | None:
    found = held.get(question)
    if found is None:
        return None
    for name, wanted in given.items():
        if found.given[name] != wanted:
            message = f"{what} is already there with {name}={found.given[name]!r}, not {wanted!r}."
            raise ConfigurationError(message, "use the same arguments, or close() it first.")
    return found


def _question(arguments: TopicArguments, request: WindowRequest) -> _Windowed:
    return _Windowed(arguments, request.windows, request.grace_ms, request.skew_ms)


def _wanted(asked: _Windowed, windows: Windows, options: StoreOptions) -> Wanted:
    keep_ms = None if options.retention is None else round(options.retention * 1000)
    identity = WindowKey(
        asked.table.identity(),
        windows,
        asked.grace_ms,
        asked.skew_ms,
        asked.table.time,
        None if keep_ms is None else WindowRetention(windows, keep_ms),
    )
    settings = {"window": windows.name, "grace": repr(asked.grace_ms), "skew": repr(asked.skew_ms)}
    return Wanted(f"{asked.table.topic} window {windows.name}", asked.table, identity, options, settings)
