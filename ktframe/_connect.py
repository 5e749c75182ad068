"""The connection that the package's functions use: how it is made, replaced and found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import RLock
from typing import Any, Unpack

from ktframe.config.keywords import with_known_keywords
from ktframe.config.options import ConnectOptions
from ktframe.config.settings import RUNTIME_SETTINGS
from ktframe.config.sources import resolve_settings
from ktframe.context import completion
from ktframe.context.context import Context
from ktframe.current import CURRENT
from ktframe.kafka.registry import Registry
from ktframe.process.forks import in_child
from ktframe.process.threads import Tell, uninterrupted
from ktframe.tour.demo import DEFAULT_RATE, start_demo

_lock = RLock()
in_child(lambda: globals().update(_lock=RLock()))  # another thread may have held it at the fork
_demo: tuple[object, ...] | None = None
"""The arguments of the demo that is running; None while none is."""


def connect(
    bootstrap_or_config: str | Path | Mapping[str, Any] | None = None, /, **options: Unpack[ConnectOptions]
) -> Context:
    """Connect to a cluster; ``ktframe.table`` and the other functions use this connection from then on.

    Safe to run again: with equal settings it returns the connection that is open; with others it closes that one
    and opens a new one. A change of ``monitor_interval``, ``store_flush_interval`` or ``log_level`` alone acts on the
    open connection.

    Parameters
    ----------
    bootstrap_or_config
        ``"host:port"`` (several separated by commas), a mapping of librdkafka settings, or the path of a ``.toml`` or
        ``.properties`` file.
    **options
        What else to set: the fields of ``ktframe.Settings``, those of ``StoreOptions`` and ``RetryPolicy`` with a
        prefix (``store_flush_interval="10s"``, ``retry_attempts=3``), ``profile=`` of ``ktframe.toml``, and librdkafka's
        names with underscores for dots (``sasl_username="ada"``). They win over ``KTFRAME_*`` in the environment,
        which wins over ``ktframe.toml``.

    Returns
    -------
    Context
        The connection; as a context manager it closes at the end of the block.

    Raises
    ------
    ConfigurationError
        When a setting is wrong or unknown.
    BrokerUnreachableError, AuthenticationError
        When the cluster can't be reached within ``request_timeout``, or refuses the login.

    Examples
    --------
    >>> import ktframe
    >>> ktframe.connect("localhost:9092")  # doctest: +SKIP
    >>> ktframe.connect("host:9093", security_protocol="SASL_SSL", sasl_username="ada")  # doctest: +SKIP
    """
    global _demo  # noqa: PLW0603 - the default Context is what this module is for
    settings = resolve_settings(bootstrap_or_config, **options)
    with _lock:
        current: Context | None = CURRENT.connection
        if current is not None and not current.is_closed and _demo is None:
            changed = settings.changed_in(current.settings)
            if not changed:
                return current
            if changed <= RUNTIME_SETTINGS:
                return current.adopt(settings)
        context = _replace(_whole(lambda: Context(settings)))
        _demo = None
        return context


@with_known_keywords
def demo(rate: float = DEFAULT_RATE, *, writable: bool = False, registry: Registry | None = None) -> Context:
    """Connect to a broker inside this process with sample topics; needs no Kafka.

    The topics are ``orders``, ``customers`` and ``clicks``. Safe to run again: with equal arguments it returns the demo
    that is running.

    Parameters
    ----------
    rate
        Orders that change per second from then on; 0 keeps everything still.
    writable
        Add an empty topic ``scratch`` and allow writing.
    registry
        Stands in for a schema registry, such as ``ktframe.testing.FakeRegistry()``.

    Returns
    -------
    Context
        The connection; closing it ends the broker and removes its stores.

    Raises
    ------
    ConfigurationError
        When ``rate`` is negative.

    Examples
    --------
    >>> import ktframe
    >>> with ktframe.demo(rate=0) as kt:
    ...     kt.table("orders").to_polars().height > 5_000
    True
    """
    global _demo  # noqa: PLW0603 - the default Context is what this module is for
    arguments = (rate, writable, registry)
    with _lock:
        current: Context | None = CURRENT.connection
        if current is not None and not current.is_closed and _demo == arguments:
            return current
        context = _replace(_whole(lambda: start_demo(rate, writable=writable, registry=registry).context))
        _demo = arguments
        return context


def _whole(make: Callable[[], Context]) -> Context:
    """Return a new connection, whole: one that is interrupted while it is made is closed."""

    def work(tell: Tell) -> Context:
        context = make()
        try:
            tell(context)
        except BaseException:
            context.close()
            raise
        return context

    return uninterrupted(work)


def _replace(context: Context) -> Context:
    """Put ``context``, which works, in the place of the connection that is open."""
    if CURRENT.connection is not None:
        CURRENT.connection.close()
    CURRENT.connection = context
    completion.install()
    return context


def default_context() -> Context:
    """Return the connection that ``connect`` or ``demo`` made last.

    Raises
    ------
    NotConnectedError
        When there is none.
    """
    with _lock:
        context: Context = CURRENT.required()
        return context
