"""Builds readers: wires store, view, binding and barrier for one ``StoreSpec``. Opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from ktframe.clock import SystemClock
from ktframe.config.settings import RuntimeSettings, Settings, StoreOptions
from ktframe.context.clients import Clients
from ktframe.context.store_spec import StoreSpec
from ktframe.events import Events, ReadyChanged
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import StoreDescription
from ktframe.store.schemas import stored_schemas
from ktframe.sync.barrier import Barrier
from ktframe.sync.binding import TopicBinding
from ktframe.sync.manager import BindingManager
from ktframe.sync.materializer import Materializer
from ktframe.sync.reader import BindingReader

_OPENERS = count(1)
"""Numbers of those that open stores: of two bindings with one store the newer has it."""


class BindingFactory:
    """Makes the bindings of one Context, and what reads from them."""

    def __init__(
        self,
        settings: Settings,
        clients: Clients,
        stores: StoreManager,
        bindings: BindingManager,
        runtime: RuntimeSettings,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._cluster_id = clients.cluster.cluster_id()
        self._stores = stores
        self._bindings = bindings
        self._runtime = runtime

    def new_reader(self, spec: StoreSpec) -> BindingReader:
        """Return a reader of a new binding, which opens its store and starts when it is first read.

        Raises
        ------
        ConfigurationError
            When there is no such format.
        SchemaError
            When the schema does not fit the format.
        """
        # Made once now, without schemas, so that what can't be decoded is refused before anything starts.
        needs_headers = spec.topic.decoder(spec.identity).needs_headers
        topic, clock, cluster = spec.topic.topic, SystemClock(), self._clients.cluster
        opener = next(_OPENERS)
        events = Events()
        binding = TopicBinding(
            topic,
            cluster=cluster,
            open_materializer=lambda: self._open_materializer(spec, events, opener),
            open_reader=lambda: self._clients.open_reader(topic, needs_headers),
            events=events,
            clock=clock,
            retry=self._settings.retry,
            flush_interval=self._flush_interval_of(spec.options),
            monitor_interval=lambda: self._runtime.monitor_interval,
            name=spec.name,
            start=spec.topic.start,
        )
        return BindingReader(
            binding,
            Barrier(binding, clock),
            self._bindings,
            stall_timeout=self._settings.stall_timeout,
            clock=clock,
        )

    def _open_materializer(self, spec: StoreSpec, events: Events, opener: int) -> Materializer:
        description = StoreDescription(
            self._cluster_id, spec.topic.topic, spec.identity.kind, spec.settings()
        )
        store = self._stores.get_or_open(description, spec.options, opener=opener)
        try:
            fetch = self._clients.fetch_schema
            values, keys = (stored_schemas(store, role, fetch) for role in ("value", "key"))
            decoder = spec.topic.decoder(spec.identity, values=values, keys=keys)
            replacement = self._stores.replacement_of(store)
            if replacement is not None:
                # Ready: the new store has what was in the topic when reading began.
                events.subscribe(
                    ReadyChanged, lambda event: replacement.complete() if event.is_ready else None
                )
            return Materializer(spec.name, decoder, store, SystemClock(), replacement)
        except BaseException:
            self._stores.close(store)
            raise

    def _flush_interval_of(self, options: StoreOptions) -> Callable[[], float]:
        if options.flush_interval != self._settings.store.flush_interval:
            return lambda: options.flush_interval  # the table's own
        return lambda: self._runtime.flush_interval
