"""Imports Google's library and ptars when a reader or writer is made, not before, and works around a crash of Google's.

Both are optional (``pip install 'ktframe[protobuf]'``) and have no types that mypy could use.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ktframe.errors import ConfigurationError


def google(module: str) -> Any:
    """Return a module of ``google.protobuf``.

    Raises
    ------
    ConfigurationError
        When it is not installed.
    """
    try:
        import google.protobuf as package  # type: ignore[import-untyped] # noqa: PLC0415 - optional

        return _submodule(package, module)
    except ImportError as error:
        raise _missing(error) from error


def ptars() -> Any:
    """Return the module ``ptars``.

    Raises
    ------
    ConfigurationError
        When it is not installed.
    """
    try:
        import ptars as package  # noqa: PLC0415 - optional
    except ImportError as error:
        raise _missing(error) from error
    return package


def standard_file(name: str) -> Any | None:
    """Return the descriptor of a file that Google ships compiled, such as ``google/type/date.proto``; None for others."""
    parts = name.removesuffix(".proto").split("/")
    if parts[0] != "google" or not name.endswith(".proto") or not all(part.isidentifier() for part in parts):
        return None
    try:
        import google as package  # noqa: PLC0415 - optional

        return _submodule(package, ".".join(parts[1:]) + "_pb2").DESCRIPTOR
    except (ImportError, AttributeError, google("runtime_version").VersionError):
        return None  # VersionError: compiled for a later version of the library


def missing_fields(message: Any, path: str = "") -> list[str]:
    """Return the required fields that are not set in ``message``, nested ones with their path."""
    # Not FindInitializationErrors, which SerializeToString calls too: upb 7.36 may crash in it.
    missing = [
        f"{path}{field.name}"
        for field in message.DESCRIPTOR.fields
        if field.is_required and not message.HasField(field.name)
    ]
    for field, value in message.ListFields():
        if field.message_type is not None:
            missing += _missing_inside(field, value, f"{path}{field.name}")
    return missing


def _missing_inside(field: Any, value: Any, path: str) -> list[str]:
    if not field.is_repeated:
        return missing_fields(value, f"{path}.")
    if field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"].message_type
        parts = value.items() if inner is not None else ()
    else:
        parts = enumerate(value)
    return [name for at, part in parts for name in missing_fields(part, f"{path}[{at}].")]


def _submodule(package: ModuleType, name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - only where it is needed

    return import_module(f"{package.__name__}.{name}")


def _missing(error: ImportError) -> ConfigurationError:
    fact = f"Protobuf needs a package that is not installed ({error})."
    return ConfigurationError(fact, "pip install 'ktframe[protobuf]'")
