"""The settings of a connection: frozen dataclasses that check themselves and never show a secret.

``sources`` reads them from arguments, the environment and files.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

import platformdirs

from ktframe.config.durations import parse_seconds
from ktframe.errors import ConfigurationError

_set: Final = object.__setattr__  # frozen dataclasses normalise their own fields

ConfigValue: TypeAlias = str | int | bool | Callable[..., object]
"""A value of a librdkafka setting; the callables are callbacks such as ``oauth_cb``."""

Backend: TypeAlias = Literal["rocksdb", "memory"]
OnRefused: TypeAlias = Literal["warn", "raise", "ignore"]
Stale: TypeAlias = Literal["hide", "show", "raise"]
TimeUnit: TypeAlias = Literal["d", "s", "ms", "us", "ns"]
"""What numbers count since 1970, by Polars' names: days, seconds, milliseconds, microseconds or nanoseconds."""
Times: TypeAlias = Literal["auto"]
"""Which text of JSON values becomes times."""
Compression: TypeAlias = Literal["none", "snappy", "zlib", "bz2", "lz4", "lz4hc", "zstd"]

RUNTIME_SETTINGS: Final = frozenset({"monitor_interval", "flush_interval", "log_level"})
"""Settings, by the names of ``Settings.changed_in``, that can change at run time: neither rows nor connection depend on them."""

_SECRETS: Final = r"(?i)passw|passphrase|secret|jaas|token(?!.endp)|key.?pem|user.?info|oauthbearer.config"
_USERINFO: Final = r"(?s)(?<=://).*@"
_SERVER: Final = r"(?i)((SASL_)?(PLAINTEXT|SSL)://)?(\[[0-9a-f:.%]+\]|[^\s:/@\[\]]+)(:\d{1,5})?"
_REGISTRY_HINT: Final = 'give "https://host:8081", or a mapping with url and basic.auth.user.info.'


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a local store is kept. Only ``retention`` decides which rows exist.

    ``retention`` is how long the windows of a table are kept after they end, in stream time (a table itself keeps its
    keys until a tombstone; a stream has an argument of that name). The block cache is shared by all stores of a
    Context; a write buffer above 8 MiB stalls the interpreter for longer. ``bloom_bits`` 0 means no filter. Times are
    seconds and may be given as any ``Duration``.
    """

    backend: Backend = "rocksdb"
    block_cache_bytes: int = 64 << 20
    write_buffer_bytes: int = 8 << 20
    compression: Compression = "lz4"
    bloom_bits: int = 10
    flush_interval: float = 5.0
    retention: float | None = None

    def __post_init__(self) -> None:
        _check_choice(self, "backend", get_args(Backend))
        _check_choice(self, "compression", get_args(Compression))
        _check_counts(self, 1, "block_cache_bytes", "write_buffer_bytes")
        _check_counts(self, 0, "bloom_bits")
        _set_seconds(self, "flush_interval", *(() if self.retention is None else ("retention",)))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How reading is restarted after a failure: exponential back-off between ``initial_delay`` and ``max_delay`` seconds.

    Up to ``jitter`` seconds are added at random. It is restarted as long as it takes, unless ``attempts`` says after how
    many consecutive failures to give up; the count starts again once reading was healthy for ``healthy_after`` seconds.
    Errors that time does not heal end it at once, and others than Kafka's and the registry's after five failures.
    Times may be given as any ``Duration``.
    """

    attempts: int | None = None
    initial_delay: float = 0.5
    max_delay: float = 3.0
    jitter: float = 1.0
    healthy_after: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts is not None:
            _check_counts(self, 1, "attempts")
        _set_seconds(self, "initial_delay", "max_delay", "healthy_after")
        _set_seconds(self, "jitter", at_least_ms=0)
        if self.max_delay < self.initial_delay:
            message = (
                f"max_delay ({self.max_delay} s) is shorter than initial_delay ({self.initial_delay} s)."
            )
            raise ConfigurationError(message, "raise max_delay or lower initial_delay.")


@dataclass(frozen=True, slots=True)
class TableDeclaration:
    """A table that configuration declares: the arguments of ``table()`` and the windows to keep stores for.

    None leaves an argument at its default; ``topic`` defaults to the name of the table. ``windows`` hold what
    ``table.window()`` takes: minutes as an int, text, or a timedelta. ``store`` overrides single store options.
    """

    name: str
    topic: str = ""
    key: str | tuple[str, ...] | None = None
    key_format: str | None = None
    value: str | None = None
    schema: Any = None
    time: str | None = None
    time_unit: TimeUnit | None = None
    times: Times | None = None
    start: str | None = None
    unpack: bool | None = None
    explode: bool | None = None
    unnest: Any = None
    where: Any = None
    deletes: Any = None
    headers: Any = None
    metadata: Any = None
    on_refused: OnRefused | None = None
    stale: Stale | None = None
    windows: tuple[int | str | timedelta, ...] = ()
    store: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _set(self, "topic", self.topic or self.name)
        _set(self, "key", self.key if isinstance(self.key, str | None) else tuple(self.key))
        given: Any = self.windows
        windows = tuple(given) if isinstance(given, list | tuple) else (given,)
        are_windows = all(type(window) in (int, str, timedelta) for window in windows)
        fact = f"{given!r} are not windows of table {self.name!r}."
        _require(are_windows, fact, 'give minutes, or text such as "5m": windows = [5, "1h"].')
        _set(self, "windows", windows)
        # Settings are compared, and expressions don't say whether they are equal.
        several = self.deletes if isinstance(self.deletes, list | tuple) else [self.deletes]
        are_fields = all(each is None or isinstance(each, str | Mapping) for each in (self.where, *several))
        fact = f"where and deletes of table {self.name!r} are fields here, not an expression."
        _require(
            are_fields,
            fact,
            'give fields, such as where = {type = "user"}; table(where=...) takes expressions.',
        )
        _set(self, "store", MappingProxyType(dict(self.store)))
        self.store_options(StoreOptions())
        if self.on_refused is not None:
            _check_choice(self, "on_refused", get_args(OnRefused))
        if self.stale is not None:
            _check_choice(self, "stale", get_args(Stale))

    def store_options(self, defaults: StoreOptions) -> StoreOptions:
        """Return ``defaults`` with what this table overrides."""
        return replace(defaults, **self.store)


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """Whether reads warn or raise for refused records, and hide or show rows whose newest record was refused."""

    on_refused: OnRefused = "warn"
    stale: Stale = "hide"

    def __post_init__(self) -> None:
        _check_choice(self, "on_refused", get_args(OnRefused))
        _check_choice(self, "stale", get_args(Stale))


def default_state_dir() -> Path:
    """Return the default directory of stores: in the user's data directory, which survives a reboot."""
    return platformdirs.user_data_path("ktframe", appauthor=False) / "stores"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Settings:
    """All settings of a Context.

    ``librdkafka`` holds librdkafka's own names, unchanged, without ``bootstrap.servers``. Times are seconds and may
    be given as any ``Duration``: ``stall_timeout`` is how long a fresh read may go without progress,
    ``write_timeout`` how long the brokers may take to acknowledge what one call writes.
    ``on_refused`` and ``stale`` are what reads do about refused records; see ``ktframe.table``.
    ``schema_registry`` is an address, or holds it as ``url`` among the names of confluent-kafka's registry client; empty
    means that there is none. Equality compares secrets too; the repr never shows them.
    """

    bootstrap: str
    librdkafka: Mapping[str, ConfigValue] = field(default_factory=dict)
    state_dir: Path = field(default_factory=default_state_dir)
    writable: bool = False
    monitor_interval: float = 5.0
    stall_timeout: float = 30.0
    request_timeout: float = 5.0
    write_timeout: float = 60.0
    store: StoreOptions = field(default_factory=StoreOptions)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    log_level: str | None = None
    tables: Mapping[str, TableDeclaration] = field(default_factory=dict)
    profile: str | None = None
    schema_registry: Mapping[str, ConfigValue] = field(default_factory=dict)
    on_refused: OnRefused = "warn"
    stale: Stale = "hide"

    def __post_init__(self) -> None:
        _set(self, "bootstrap", _as_bootstrap(self.bootstrap))
        _set(self, "schema_registry", MappingProxyType(_as_registry(self.schema_registry)))
        _set(self, "librdkafka", MappingProxyType(dict(self.librdkafka)))
        _set(self, "state_dir", Path(self.state_dir).expanduser())
        _set(self, "tables", MappingProxyType(dict(self.tables)))
        _check_choice(self, "writable", (True, False))
        _check_choice(self, "on_refused", get_args(OnRefused))
        _check_choice(self, "stale", get_args(Stale))
        if self.log_level is not None:
            _set(self, "log_level", str(self.log_level).upper())
            _check_choice(self, "log_level", tuple(logging.getLevelNamesMapping()))
        _set_seconds(self, "monitor_interval", "stall_timeout", "request_timeout", "write_timeout")

    def changed_in(self, other: Settings) -> frozenset[str]:
        """Return the names of the settings that differ, those of the store options and the retry policy without a prefix.

        A callback that a re-run cell defines again with the same code counts as unchanged.
        """
        mine, theirs = _leaves(self), _leaves(other)
        return frozenset(name for name in mine if mine[name] != theirs[name])

    def describe(self) -> dict[str, Any]:
        """Return all settings as plain nested values, secrets redacted."""
        return redact({each.name: getattr(self, each.name) for each in fields(self)})

    def __eq__(self, other: object) -> bool:
        return not self.changed_in(other) if isinstance(other, Settings) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it holds mappings

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.describe().items())})"


@dataclass(slots=True)
class RuntimeSettings:
    """Settings that can change while tables are open: one mutable object, which every table reads."""

    monitor_interval: float
    flush_interval: float


def redact(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that is safe to show: secrets and credentials in URLs as ``"***"``, callables by name only.

    Examples
    --------
    >>> redact({"sasl.username": "ada", "sasl.password": "swordfish", "url": "https://ada:swordfish@host/"})
    {'sasl.username': 'ada', 'sasl.password': '***', 'url': 'https://***@host/'}
    """
    return {name: "***" if re.search(_SECRETS, name) else _shown(value) for name, value in settings.items()}


def _shown(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return redact({each.name: getattr(value, each.name) for each in fields(value)})
    if isinstance(value, Mapping):
        return redact(value)
    if isinstance(value, str | Path):
        return re.sub(_USERINFO, "***@", str(value))
    # Not a callable's repr: that of a functools.partial shows the arguments it holds.
    return f"<{getattr(value, '__qualname__', type(value).__qualname__)}>" if callable(value) else value


def _leaves(settings: Settings) -> dict[str, Any]:
    own = {each.name: getattr(settings, each.name) for each in fields(settings)}
    for part in ("librdkafka", "schema_registry"):
        own[part] = {name: _identity(value) for name, value in own[part].items()}
    nested = (own.pop("store"), own.pop("retry"))
    return own | {each.name: getattr(part, each.name) for part in nested for each in fields(part)}


def _identity(value: ConfigValue) -> object:
    if isinstance(value, FunctionType):
        return value.__code__, value.__defaults__, value.__kwdefaults__, value.__closure__
    return value


def _set_seconds(owner: object, *names: str, at_least_ms: int = 1) -> None:
    for name in names:
        _set(owner, name, parse_seconds(name, getattr(owner, name), at_least_ms=at_least_ms))


def _require(holds: object, fact: str, hint: str) -> None:
    if not holds:
        raise ConfigurationError(fact, hint)


def _check_choice(owner: object, name: str, choices: Sequence[object]) -> None:
    given = getattr(owner, name)
    # The type as well: 1 == True.
    is_choice = given in choices and type(given) is type(choices[0])
    _require(is_choice, f"{name} can't be {given!r}.", f"choose one of {', '.join(map(str, choices))}.")


def _check_counts(owner: object, minimum: int, *names: str) -> None:
    for name in names:
        given = getattr(owner, name)
        # Not isinstance: a bool is an int too.
        is_count = type(given) is int and given >= minimum
        _require(is_count, f"{name} can't be {given!r}.", f"give a whole number of at least {minimum}.")


def _as_registry(given: object) -> dict[str, ConfigValue]:
    config = {"url": given} if isinstance(given, str) else dict(given) if isinstance(given, Mapping) else None
    _require(config is not None, f"schema_registry can't be a {type(given).__name__}.", _REGISTRY_HINT)
    if not config:
        return {}
    urls = str(config.get("url", "")).split(",")
    # Not shown: there may be a password in it.
    is_address = all(re.match(r"(https?|mock)://", url.strip()) for url in urls)
    _require(
        is_address, "schema_registry has no address that starts with http:// or https://.", _REGISTRY_HINT
    )
    return config


def _as_bootstrap(given: object) -> str:
    text = given if isinstance(given, str) else ""
    servers = [each.strip() for each in text.split(",") if each.strip()]
    # The text before an @ may be a password in the wrong place.
    fact = f"{re.sub('(?s).*@', '***@', text)!r} is not a list of Kafka addresses."
    is_list = servers and all(re.fullmatch(_SERVER, each) for each in servers)
    _require(is_list, fact, 'give "host:9092", several separated by commas, or the name of a .toml file.')
    return ",".join(servers)
