"""Settings of the Kafka client: librdkafka's names pass through; Java's and ktframe's own are refused with a hint.

No error text here may hold a value: it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import javaproperties

from ktframe.config.settings import Settings
from ktframe.config.spelling import similar_names
from ktframe.errors import ConfigurationError, did_you_mean

# Keyword arguments that begin like this, with underscores for dots, are librdkafka's.
CLIENT_NAME: Final = re.compile(
    r"(allow|api|batch|bootstrap_servers|broker|check|client|compression|connections|delivery|enable|fetch|group"
    r"|heartbeat|https|isolation|linger|auto|max_(in|partition|poll)|message|metadata|plugin|queued?|receive"
    r"|reconnect|request|retry_backoff|sasl|security|session|socket|ssl|statistics|test|topic|transaction(al)?)(_|$).*"
)

WITHOUT_DOT: Final = frozenset({"acks", "debug", "log_level", "partitioner", "retries"})

OFTEN_MEANT: Final = (
    "sasl.mechanism",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
)

REGISTRY_NAMES: Final = (
    "url",
    "basic.auth.user.info",
    "bearer.auth.token",
    "bearer.auth.credentials.source",
    "bearer.auth.client.id",
    "bearer.auth.client.secret",
    "bearer.auth.scope",
    "bearer.auth.issuer.endpoint.url",
    "bearer.auth.logical.cluster",
    "bearer.auth.identity.pool.id",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "proxy",
    "timeout",
    "max.retries",
    "retries.wait.ms",
    "retries.max.wait.ms",
)

_ADDRESSES: Final = ("bootstrap.servers", "metadata.broker.list")
_NO_COMMITS: Final = "ktframe never commits; positions are kept in the store"
_TIME_LIMIT: Final = "write_timeout= is the time that a write may take"

_OWNED: Final = {
    "auto.offset.reset": "ktframe decides where to start; ktframe.stream() has start=",
    "auto.commit.enable": _NO_COMMITS,
    "enable.auto.commit": _NO_COMMITS,
    "enable.auto.offset.store": _NO_COMMITS,
    "enable.partition.eof": "ktframe needs the end-of-partition events to know when a table is complete",
    "isolation.level": "a table holds committed records only",
    "transactional.id": "each atomic write has an id of its own, which begins with ktframe-",
    "delivery.report.only.error": "ktframe waits for every acknowledgement",
    "delivery.timeout.ms": _TIME_LIMIT,
    "message.timeout.ms": _TIME_LIMIT,
}

_ALWAYS: Final = {
    "acks": ("all", "-1"),
    "request.required.acks": ("all", "-1"),
    "enable.idempotence": ("true",),
    "check.crcs": ("true",),
}
"""Settings that ktframe fixes: giving the same value is allowed, and has no effect."""

_JAVA_ONLY: Final = {
    r"sasl\.jaas\.config": "sasl.username and sasl.password",
    r"sasl\.(login|client)\..*class": "sasl.mechanism, with sasl.oauthbearer.method or oauth_cb",
    r"ssl\.truststore\.certificates": "ssl.ca.pem",
    r"ssl\.truststore\..*": "ssl.ca.location, the path of a PEM file",
    r"ssl\.keystore\.key": "ssl.key.pem",
    r"ssl\.keystore\.certificate\.chain": "ssl.certificate.pem",
    r"ssl\.keystore\.type": "ssl.keystore.location with a PKCS#12 file, or ssl.key.location with a PEM file",
    r"fetch\.max\.wait\.ms": "fetch.wait.max.ms",
    r"(.*\.)?(de)?serializer(\..*)?": "value= and key_format= of ktframe.table()",
}

_OURS: Final = frozenset(each.name for each in fields(Settings)) - WITHOUT_DOT


def with_client_settings(where: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layer with its client settings checked, and an address among them moved to ``bootstrap``."""
    given = _flat(checked_table(layer.get("kafka", {}), f"the Kafka settings of {where}"))
    for name, value in given.items():
        _check_client_setting(name, value, where)
    client = {name: value for name, value in given.items() if name not in _ALWAYS}
    if "schema_registry" in layer:
        layer = {**layer, "schema_registry": _registry_settings(layer["schema_registry"], where)}
    addresses = [client.pop(name) for name in _ADDRESSES if name in client]
    address = {"bootstrap": addresses[0]} if addresses else {}
    return {**address, **layer, "kafka": client}


def _registry_settings(given: Any, where: str) -> dict[str, Any]:
    """Return the settings of the registry's client under their own names; an address alone is its ``url``."""
    if isinstance(given, str):
        return _without_login({"url": given}, where)
    flat = _flat(checked_table(given, f"schema_registry of {where}"))
    found = {name.replace("_", "."): value for name, value in flat.items()}
    check_names(found, REGISTRY_NAMES, f"schema_registry of {where}")
    return _without_login(found, where)


def _without_login(settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the settings with user and password taken out of the address, because HTTP libraries log addresses."""
    url = settings.get("url")
    if not isinstance(url, str) or "@" not in url:
        return settings
    try:
        parts = urlsplit(url)
        is_read = bool(parts.username and parts.hostname) and parts.port != 0
    except ValueError:
        is_read = False
    if not is_read:
        # Neither shown nor chained: a part of the password may stand where the port should be.
        message = f"the address of the schema registry in {where} can't be read."
        raise ConfigurationError(message, "write / # ? @ in its password as %2F %23 %3F %40.")
    login = ":".join(unquote(each) for each in (parts.username, parts.password) if each is not None)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return {"basic.auth.user.info": login, **settings, "url": bare}


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted names, which TOML reads as nested tables where they have no quotes."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        nested = _flat(value) if isinstance(value, Mapping) else {}
        flat |= {f"{name}.{rest}": each for rest, each in nested.items()} if nested else {name: value}
    return flat


def _check_client_setting(name: str, value: object, where: str) -> None:
    if not re.fullmatch(r"[a-z0-9._]+", name):
        # Not shown: it may be the second line of a private key.
        message = f"a name in {where} can't be a Kafka client setting."
        raise ConfigurationError(
            message, "names are lower case with dots; continue a value with a backslash."
        )
    if name in _OWNED:
        message = f"{name!r} in {where} can't be set: {_OWNED[name]}."
        raise ConfigurationError(message, "leave it out.")
    if name in _ALWAYS and str(value).lower() not in _ALWAYS[name]:
        message = f"{name!r} in {where} can't be changed: ktframe writes with acks=all and idempotence, and checks checksums."
        raise ConfigurationError(message, f"leave it out, or set it to {_ALWAYS[name][0]}.")
    for pattern, instead in _JAVA_ONLY.items():
        if re.fullmatch(pattern, name):
            message = f"{name!r} in {where} is a setting of the Java client only."
            raise ConfigurationError(message, f"use {instead}.")
    if name in _OURS:
        message = f"{name!r} in {where} is a setting of ktframe, not of the Kafka client."
        raise ConfigurationError(message, f"give it by itself: {name}=...")
    # librdkafka checks names with a dot itself; a name without one is rarely right.
    if "." not in name and not name.endswith("_cb"):
        check_names([name], {*WITHOUT_DOT, *OFTEN_MEANT, *_ADDRESSES}, where)
    if not isinstance(value, str | int | bool) and not callable(value):
        message = f"{name!r} in {where} can't be a {type(value).__name__}."
        raise ConfigurationError(message, "give text, a whole number, or true or false.")


def read_properties(path: Path) -> dict[str, Any]:
    """Return the settings of a Java-style properties file: comments, continued lines and escapes included."""
    try:
        settings = javaproperties.loads(read_text(path))
    except javaproperties.InvalidUEscapeError:
        settings = None
    if settings is None:
        # Raised out here, unchained: the library's error shows a part of the value.
        message = f"{path.name}: a \\u is not followed by four hexadecimal digits."
        raise ConfigurationError(message, "write a backslash in a value as two.")
    return with_client_settings(path.name, {"kafka": settings})


def read_text(path: Path) -> str:
    """Return the text of a configuration file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        message = f"the configuration file {path} can't be read: {reason}."
        raise ConfigurationError(message, "relative paths start at the working directory.") from exc


def check_names(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise for a name that is not known, with the name that was probably meant."""
    choices = sorted(known)
    for name in given:
        if name not in choices:
            message = f"there is no setting {name!r} in {where}."
            hint = did_you_mean(similar_names(name, choices)) or f"there are {', '.join(choices)}."
            raise ConfigurationError(message, hint)


def checked_table(value: Any, where: str) -> Mapping[str, Any]:
    """Return ``value`` if it is a table of names and values."""
    if isinstance(value, Mapping):
        return value
    message = f"{where} must be a table of names and values, not a {type(value).__name__}."
    raise ConfigurationError(message)
