"""How a source comes to be: store, reader and binding wired for one topic by one identity; nothing is opened yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ktframe.clock import SystemClock
from ktframe.config.settings import Settings, StoreOptions
from ktframe.context.arguments import TopicArguments
from ktframe.context.clients import Clients
from ktframe.errors import ConfigurationError
from ktframe.events import Events
from ktframe.fold.identity import Identity
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import StoreDescription
from ktframe.store.schemas import stored_schemas
from ktframe.sync.barrier import Barrier
from ktframe.sync.binding import TopicBinding
from ktframe.sync.materializer import Materializer
from ktframe.sync.source import Source


@dataclass(slots=True)
class Tuning:
    """What may change while everything runs."""

    monitor_interval: float
    flush_interval: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read, and how to keep it: ``settings`` are those of the identity that decide which rows exist."""

    name: str
    arguments: TopicArguments
    identity: Identity
    options: StoreOptions
    settings: Mapping[str, str]


class Opener:
    """Makes the sources of one Context."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        stores: StoreManager,
        tuning: Tuning,
        *,
        start: Callable[[TopicBinding], None],
    ) -> None:
        self._settings = settings
        self._cluster = clients.cluster
        self._cluster_id = clients.cluster.cluster_id()
        self._open_reader = clients.open_reader
        self._stores = stores
        self._tuning = tuning
        self._fetch_schema = clients.fetch_schema
        self._start = start

    def source(self, wanted: Wanted, *, start: Callable[[TopicBinding], None] | None = None) -> Source:
        """Return a source that opens its store and reads when it is first asked; ``start`` replaces how it does.

        Raises
        ------
        ConfigurationError
            When an option is not there yet, or the arguments make no entity.
        """
        if not wanted.options.cache:
            message = "store option cache=False does nothing yet."
            raise ConfigurationError(message, "leave it out.")
        entity = wanted.arguments.entity(wanted.identity)  # what can't be made is refused now
        topic, clock = wanted.arguments.topic, SystemClock()
        binding = TopicBinding(
            topic,
            cluster=self._cluster,
            open_materializer=lambda: self._open_materializer(wanted),
            open_reader=lambda: self._open_reader(topic, entity.needs_headers),
            events=Events(),
            clock=clock,
            retry=self._settings.retry,
            flush_interval=self._flush_interval_of(wanted.options),
            name=wanted.name,
            start=wanted.arguments.start,
        )
        barrier = Barrier(binding, self._cluster, clock)
        return Source(
            binding,
            barrier,
            start=start or self._start,
            stall_timeout=self._settings.stall_timeout,
            clock=clock,
        )

    def _open_materializer(self, wanted: Wanted) -> Materializer:
        settings = {**wanted.arguments.settings(), **wanted.settings}
        description = StoreDescription(
            self._cluster_id, wanted.arguments.topic, wanted.identity.kind, settings
        )
        store = self._stores.get_or_open(description, wanted.options)
        try:
            values, keys = (stored_schemas(store, role, self._fetch_schema) for role in ("value", "key"))
            entity = wanted.arguments.entity(wanted.identity, values=values, keys=keys)
            return Materializer(wanted.name, entity, store, SystemClock())
        except BaseException:
            self._stores.close(store)
            raise

    def _flush_interval_of(self, options: StoreOptions) -> Callable[[], float]:
        if options.flush_interval != self._settings.store.flush_interval:
            return lambda: options.flush_interval  # the table's own
        return lambda: self._tuning.flush_interval
