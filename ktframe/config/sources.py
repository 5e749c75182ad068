"""Reads settings from arguments, the environment, ktframe.toml and client.properties, and merges them in that order.

A layer is a dict in the shape of the TOML file. Layers are merged first and checked once, by ``settings``.
No error text here may hold a value of a client setting: it may be a secret.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import platformdirs

from ktframe.config.librdkafka import (
    CLIENT_NAME,
    OFTEN_MEANT,
    WITHOUT_DOT,
    check_names,
    checked_table,
    read_properties,
    read_text,
    with_client_settings,
)
from ktframe.config.settings import RetryPolicy, Settings, StoreOptions, TableDeclaration
from ktframe.errors import ConfigurationError

Layer: TypeAlias = dict[str, Any]
_Built = TypeVar("_Built")
_SETTINGS: Final = {each.name: str(each.type) for each in fields(Settings)}
_PARTS: Final = {"store": StoreOptions, "retry": RetryPolicy}

# As environment variables and keyword arguments write them: "store_backend", "retry_attempts".
_FLAT: Final = {f"{part}_{each.name}": str(each.type) for part, cls in _PARTS.items() for each in fields(cls)}
_IN_FILE: Final = {*_SETTINGS, "kafka"} - {"librdkafka", "profile"}
_IN_ENVIRONMENT: Final = {*_SETTINGS, *_FLAT} - {"librdkafka", "tables", *_PARTS}
_REGISTRY: Final = "schema_registry"

_FLAGS: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)


def resolve_settings(
    bootstrap_or_config: str | Path | Mapping[str, Any] | None = None,
    *,
    profile: str | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
    **kwargs: Any,
) -> Settings:
    """Return the settings of arguments, environment and files together.

    Arguments win over ``KTFRAME_*`` variables, those over ``ktframe.toml`` (its profile over its top level), that over
    a ``client.properties``, that over the defaults. Single names are overridden, not whole tables.

    Parameters
    ----------
    bootstrap_or_config
        Addresses (``"host:9092"``), a mapping of librdkafka names, or the path of a .toml or .properties file.
    profile
        Name of a ``[profiles.<name>]`` table; else ``KTFRAME_PROFILE``, else ``default_profile`` of the file.
    environ, cwd
        Where variables and relative paths are looked up. The file is ``KTFRAME_CONFIG``, else ``ktframe.toml`` in
        ``cwd``, else in the user's configuration directory.
    **kwargs
        Any field of ``Settings``; ``store_...`` and ``retry_...``; librdkafka names in ``config`` or in underscore
        spelling (``sasl_username=...``). None counts as not given.

    Raises
    ------
    ConfigurationError
        No address is known, or a name, a value, a file or a profile is wrong.
    """
    folder = cwd or Path.cwd()
    variables = _environment_layer(environ)
    named_profile = variables.pop("profile", None)
    file = environ.get("KTFRAME_CONFIG")
    argument: Layer = {}
    properties: Layer = {}
    if isinstance(bootstrap_or_config, Mapping):
        argument = with_client_settings("the configuration", {"kafka": bootstrap_or_config})
    elif str(bootstrap_or_config).endswith(".properties"):
        properties = read_properties(folder / Path(str(bootstrap_or_config)).expanduser())
    elif isinstance(bootstrap_or_config, Path) or str(bootstrap_or_config).endswith(".toml"):
        file = str(bootstrap_or_config)
    elif bootstrap_or_config is not None:
        argument = {"bootstrap": bootstrap_or_config}
    in_file = _file_layer(
        folder / Path(file).expanduser() if file else _find_file(folder), profile or named_profile
    )
    keywords = _keyword_layer(kwargs)
    _check_one_address(argument, keywords, "the first argument and bootstrap=")
    given = _merged(_merged(variables, argument), keywords)
    if not given.get("bootstrap"):
        # By the order of layers the TOML file would win, but connecting to the wrong cluster is worse than an error.
        _check_one_address(properties, in_file, "the properties file and ktframe.toml")
    return _settings(_merged(_merged(properties, in_file), given), folder)


def _settings(layer: Layer, folder: Path) -> Settings:
    if not layer.get("bootstrap"):
        message = "no Kafka address is configured."
        hint = 'ktframe.connect("host:9092"), KTFRAME_BOOTSTRAP or ktframe.toml; ktframe.demo() needs none.'
        raise ConfigurationError(message, hint)
    values = {**layer, "librdkafka": layer.get("kafka", {})}
    values.pop("kafka", None)
    values |= {part: _built(cls, layer.get(part, {}), f"[{part}]") for part, cls in _PARTS.items()}
    tables = checked_table(layer.get("tables", {}), "tables")
    values["tables"] = {name: _declaration(name, table) for name, table in tables.items()}
    if "state_dir" in layer:
        values["state_dir"] = folder / Path(str(layer["state_dir"])).expanduser()
    return _built(Settings, values, "the settings")


def _declaration(name: str, given: Any) -> TableDeclaration:
    if isinstance(given, TableDeclaration):
        return given
    table = {"name": name, **checked_table(given, f"[tables.{name}]")}
    check_names(
        table.get("store", {}), (each.name for each in fields(StoreOptions)), f"[tables.{name}.store]"
    )
    return _built(TableDeclaration, table, f"[tables.{name}]")


def _built(cls: type[_Built], given: Any, where: str) -> _Built:
    if isinstance(given, cls):
        return given
    known = [each.name for each in fields(cls)]  # type: ignore[arg-type]  # every caller gives a dataclass
    check_names(checked_table(given, where), known, where)
    try:
        return cls(**given)
    except TypeError as exc:
        message = f"a value in {where} is of the wrong kind: {exc}."
        raise ConfigurationError(message) from exc


def _keyword_layer(kwargs: Mapping[str, Any]) -> Layer:
    layer: Layer = {"kafka": {}}
    for name, value in kwargs.items():
        if value is None:
            continue
        if name.startswith(_REGISTRY):
            _place_registry(layer, name, value)
        elif name in {"config", "librdkafka"}:
            layer["kafka"] |= checked_table(value, name)
        elif name in _PARTS and is_dataclass(value):
            layer[name] = {each.name: getattr(value, each.name) for each in fields(value)}
        elif name in _SETTINGS or name in _FLAT:
            _place(layer, name, value)
        elif name in WITHOUT_DOT or name.endswith("_cb"):
            layer["kafka"][name] = value
        elif CLIENT_NAME.fullmatch(name):
            layer["kafka"][name.replace("_", ".")] = value
        else:
            often_meant = (each.replace(".", "_") for each in OFTEN_MEANT)
            check_names([name], {*_SETTINGS, *_FLAT, *often_meant, "config"}, "the arguments")
    return with_client_settings("the arguments", layer)


def _environment_layer(environ: Mapping[str, str]) -> Layer:
    layer: Layer = {"kafka": {}}
    for variable, text in environ.items():
        prefix, _, name = variable.lower().partition("_")
        # KTFRAME_TEST_* belongs to the test suite; an empty variable is an unset one.
        if prefix != "ktframe" or not text or name == "config" or name.startswith("test_"):
            continue
        if name.startswith("kafka_"):
            name = name.removeprefix("kafka_")
            layer["kafka"][name if name in WITHOUT_DOT else name.replace("_", ".")] = text
            continue
        if name.startswith(_REGISTRY):
            _place_registry(layer, name, text)
            continue
        known = {f"KTFRAME_{each.upper()}" for each in (*_IN_ENVIRONMENT, "config")}
        check_names([variable.upper()], known, "the environment")
        _place(layer, name, _from_text(text, (_SETTINGS | _FLAT)[name]))
    return with_client_settings("the environment", layer)


def _from_text(text: str, kind: str) -> str | bool | int | float:
    if kind == "bool":
        return _FLAGS.get(text.lower(), text)
    if kind.startswith(("int", "float")) and re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text) if "." in text else int(text)
    return text


def _place_registry(layer: Layer, name: str, value: Any) -> None:
    """Put ``schema_registry`` (an address or a table), or one setting of it in underscore spelling, in its place."""
    rest = name.removeprefix(_REGISTRY).lstrip("_").replace("_", ".") or "url"
    table = value if isinstance(value, Mapping) else {rest: value}
    layer[_REGISTRY] = {**layer.get(_REGISTRY, {}), **table}


def _place(layer: Layer, name: str, value: Any) -> None:
    part, _, leaf = name.partition("_")
    if name in _FLAT:
        layer[part] = {**checked_table(layer.get(part, {}), part), leaf: value}
    else:
        layer[name] = _merged(layer[name], value) if name in layer and isinstance(value, Mapping) else value


def _find_file(folder: Path) -> Path | None:
    places = (folder, platformdirs.user_config_path("ktframe", appauthor=False))
    return next((place / "ktframe.toml" for place in places if (place / "ktframe.toml").is_file()), None)


def _file_layer(path: Path | None, profile: str | None) -> Layer:
    document: Layer = {} if path is None else _read_toml(path)
    where = "ktframe.toml, which was not found" if path is None else str(path)
    profiles = checked_table(document.pop("profiles", {}), f"[profiles] in {where}")
    default = document.pop("default_profile", None)
    chosen = profile or default
    if chosen is not None and chosen not in profiles:
        message = f"there is no profile {chosen!r} in {where}."
        raise ConfigurationError(message, f"there are: {', '.join(sorted(profiles)) or 'none'}.")
    # Each on its own first: two profiles may write the same address in different ways.
    layers = {name: _file_part(part, f"[profiles.{name}] of {where}") for name, part in profiles.items()}
    layer = _merged(_file_part(document, where), {} if chosen is None else layers[chosen])
    if path is not None and "state_dir" in layer:
        layer["state_dir"] = path.parent / Path(str(layer["state_dir"])).expanduser()
    return layer | {"profile": chosen}


def _file_part(part: Any, where: str) -> Layer:
    check_names(checked_table(part, where), _IN_FILE, where)
    return with_client_settings(where, part)


def _read_toml(path: Path) -> Layer:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as exc:
        message = f"{path} is not TOML: {exc}."
        raise ConfigurationError(message, "text needs quotes; a backslash in it needs single ones.") from exc


def _check_one_address(one: Layer, other: Layer, where: str) -> None:
    addresses = (one.get("bootstrap"), other.get("bootstrap"))
    if all(addresses) and addresses[0] != addresses[1]:
        message = f"{where} name different Kafka addresses."
        raise ConfigurationError(message, "give one of them.")


def _merged(low: Mapping[str, Any], high: Mapping[str, Any]) -> Layer:
    merged = {**low, **high}
    for name in low.keys() & high.keys():
        if isinstance(low[name], Mapping) and isinstance(high[name], Mapping):
            merged[name] = _merged(low[name], high[name])
    return merged
