"""One local store as it is asked for: rows of which topic, by which identity, kept how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from ktframe.config.settings import StoreOptions
from ktframe.context.topic_spec import TopicSpec
from ktframe.fold.identity import Identity
from ktframe.fold.stream_key import ItemKey, StreamKey
from ktframe.fold.window_key import WindowKey
from ktframe.tables.window_spec import WindowSpec
from ktframe.windows.retention import Retention, WindowRetention


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """The store that a binding opens and fills."""

    name: str
    """How log lines and threads call it."""
    topic: TopicSpec
    identity: Identity
    options: StoreOptions
    identity_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the identity that decide which rows exist, as text."""

    def settings(self) -> dict[str, str]:
        """Return every setting that decides which rows the store holds: its directory is named after them."""
        return {**self.topic.settings(), **self.identity_settings}

    @classmethod
    def of_table(cls, topic: TopicSpec, options: StoreOptions) -> Self:
        """Return the store of a table: the latest row per key."""
        return cls(topic.topic, topic, topic.identity(), options)

    @classmethod
    def of_windows(cls, topic: TopicSpec, spec: WindowSpec, options: StoreOptions) -> Self:
        """Return the store of a windowed table: the latest row per key per window."""
        windows = spec.windows
        keep_ms = None if options.retention is None else round(options.retention * 1000)
        retention = None if keep_ms is None else WindowRetention(windows, keep_ms)
        identity = WindowKey(
            topic.identity(), windows, spec.grace_ms, spec.skew_ms, topic.event_time, retention
        )
        settings = {"window": windows.name, "grace": repr(spec.grace_ms), "skew": repr(spec.skew_ms)}
        return cls(f"{topic.topic} window {windows.name}", topic, identity, options, settings)

    @classmethod
    def of_stream(
        cls, topic: TopicSpec, skew_ms: int | None, retention: Retention | None, options: StoreOptions
    ) -> Self:
        """Return the store of a stream: every record, or every object of each."""
        identity = (ItemKey if topic.explode else StreamKey)(skew_ms, retention, topic.event_time)
        return cls(f"{topic.topic} stream", topic, identity, options, {"skew": repr(skew_ms)})
