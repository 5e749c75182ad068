"""The functions of the package, thin over one default ``Context``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import RLock
from typing import Any

import polars as pl

from ktframe.config.settings import RUNTIME_SETTINGS
from ktframe.config.sources import resolve_settings
from ktframe.context import completion
from ktframe.context.context import Context
from ktframe.current import CURRENT
from ktframe.explore.inspection import Inspection
from ktframe.kafka.registry import Registry
from ktframe.tables.stream import KStream
from ktframe.tables.table import KTable
from ktframe.tour.demo import DEFAULT_RATE, start_demo

_lock = RLock()

_demo: tuple[object, ...] | None = None
"""What the demo that is there was asked for with; None where there is none."""


def connect(bootstrap_or_config: str | Path | Mapping[str, Any] | None = None, **settings: Any) -> Context:
    """Connect to a cluster; ``ktframe.table`` uses this connection from then on.

    Safe to run again: with equal settings it returns the connection that is there, with others it closes that one
    and makes a new one. A change of ``monitor_interval``, ``flush_interval`` or ``log_level`` alone acts on the
    connection that is there.

    Parameters
    ----------
    bootstrap_or_config
        ``"host:port"``, a mapping of librdkafka settings, or the path of a ``.toml`` or ``.properties`` file.
    **settings
        Fields of ``Settings``, ``profile=``, and librdkafka's names with underscores (``sasl_username=``). They win
        over ``KTFRAME_*`` in the environment, which wins over ``ktframe.toml``.

    Raises
    ------
    ConfigurationError
        When a setting is wrong or unknown.
    BrokerUnreachableError, AuthenticationError
        When the cluster can't be reached within ``request_timeout``, or refuses the login.
    """
    global _demo  # noqa: PLW0603 - the default Context is what this module is for
    wanted = resolve_settings(bootstrap_or_config, **settings)
    with _lock:
        here: Context | None = CURRENT.connection
        if here is not None and not here.is_closed and _demo is None:
            changed = wanted.changed_in(here.settings)
            if not changed:
                return here
            if changed <= RUNTIME_SETTINGS:
                return here.adopt(wanted)
        made = _replace(Context(wanted))
        _demo = None
        return made


def demo(rate: float = DEFAULT_RATE, *, writable: bool = False, registry: Registry | None = None) -> Context:
    """Connect to an embedded broker with sample topics: ``orders``, ``customers`` and ``clicks``; needs no Kafka.

    ``rate`` orders a second change from then on; 0 keeps everything still. With ``writable`` there is an empty topic
    ``scratch`` to try writing. ``registry`` takes the place of a schema registry: ``ktframe.testing.FakeRegistry()`` is
    one. Safe to run again.
    """
    global _demo  # noqa: PLW0603 - the default Context is what this module is for
    asked = (rate, writable, registry)
    with _lock:
        here: Context | None = CURRENT.connection
        if here is not None and not here.is_closed and _demo == asked:
            return here
        made = _replace(start_demo(rate, writable=writable, registry=registry).context)
        _demo = asked
        return made


def _replace(made: Context) -> Context:
    """Put ``made`` in the place of the connection that is there; one that could not be made never comes here."""
    if CURRENT.connection is not None:
        CURRENT.connection.close()
    CURRENT.connection = made
    completion.install()
    return made


def table(topic: str | type, *args: Any, **kwargs: Any) -> KTable:
    """Return the latest row per key of ``topic`` on the default connection; see ``Context.table``.

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    """
    return default_context().table(topic, *args, **kwargs)


def stream(topic: str | type, *args: Any, **kwargs: Any) -> KStream:
    """Return every event of ``topic`` on the default connection; see ``Context.stream``.

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    """
    return default_context().stream(topic, *args, **kwargs)


def topics() -> pl.DataFrame:
    """Return one row per topic of the default connection; see ``Context.topics``.

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    """
    return default_context().topics()


def inspect(topic: str, sample: int = 100) -> Inspection:
    """Look at a topic of the default connection before it is loaded; see ``Context.inspect``.

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    """
    return default_context().inspect(topic, sample)


def publish(topic: str, rows: Any, **kwargs: Any) -> pl.DataFrame:
    """Write the rows of a frame to ``topic`` on the default connection; see ``Context.publish``.

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    """
    return default_context().publish(topic, rows, **kwargs)


def default_context() -> Context:
    """Return the connection that ``connect`` or ``demo`` made last."""
    with _lock:
        found: Context = CURRENT.required()
        return found
