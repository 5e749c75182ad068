"""Headers as users ask for them: ``headers=`` for some as columns, ``metadata="headers"`` for all of a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import polars as pl

from ktframe.context.schema import as_schema, json_fields, map_fields
from ktframe.errors import ConfigurationError, SchemaError
from ktframe.fold.condition import Condition
from ktframe.fold.deletes import DeleteRule
from ktframe.fold.headers import HeaderColumns
from ktframe.formats.field_names import column_name
from ktframe.formats.header_values import is_readable_type
from ktframe.tables.presentation import HEADERS_NAME, Metadata

HeadersLike: TypeAlias = Mapping[str, Any] | pl.Schema
"""Names of headers, and the types of their columns: Polars' dtypes, their names, or Python types."""

_HINT: Final = 'give names and types, such as headers={"event-type": pl.String}.'
_TYPE_HINT: Final = "declare pl.String or pl.Binary, and cast the column of the frame."


def header_types(headers: object) -> tuple[tuple[str, pl.DataType], ...]:
    """Return the headers that are columns, checked.

    Raises
    ------
    SchemaError
        When it names no headers, or a type that text can't be read as.
    """
    if not isinstance(headers, Mapping) or not headers or not all(isinstance(name, str) for name in headers):
        message = f"headers={headers!r} names no headers."
        raise SchemaError(message, _HINT)
    odd = json_fields(headers) | map_fields(headers)
    types = as_schema({name: pl.Object if name in odd else dtype for name, dtype in headers.items()})
    for name, dtype in types.items():
        if not is_readable_type(dtype):
            message = f"headers={{{name!r}: {headers[name]!r}}}: a header can't be read as that."
            raise SchemaError(message, _TYPE_HINT)
    return tuple(types.items())


def wants_headers(metadata: Metadata | None) -> bool:
    """Say whether ``metadata`` has all headers of a record among what it names."""
    shown = shown_metadata(metadata)
    return shown if isinstance(shown, bool) else HEADERS_NAME in shown


def shown_metadata(metadata: object) -> bool | tuple[str, ...]:
    """Return which columns about the record frames have, in one form for equal ones."""
    if metadata is None or isinstance(metadata, bool):
        return bool(metadata)
    names: tuple[object, ...] = (metadata,)
    if isinstance(metadata, Iterable) and not isinstance(metadata, str):
        names = tuple(metadata)
    texts = tuple(name for name in names if isinstance(name, str))
    if len(texts) < len(names):
        message = f"metadata={metadata!r} names no columns about the record."
        raise ConfigurationError(message, 'give True, or names such as metadata=["offset", "headers"].')
    return texts


def check_headers(
    headers: HeaderColumns,
    key: Sequence[str],
    time: str | None,
    where: Condition | None,
    deletes: DeleteRule | None,
) -> None:
    """Check that no header is the key, one that is the ``time`` can be one, and none is compared with what it can't equal.

    Raises
    ------
    SchemaError
        When a header has the name of a field of the key, or a type that is no time.
    ConfigurationError
        When a condition compares a header with a value of another type.
    """
    types = dict(headers.types)
    named = next((name for name in key if column_name(name) in types), None)
    if named is not None:
        message = f"key={named!r} names a header: the record key, or fields of the value, identify rows."
        raise SchemaError(message, _last_of_each(column_name(named)))
    if time in types and not _can_be_time(types[time]):
        message = f"time={time!r} names a header that is declared {types[time]}, which is no time."
        hint = f'declare headers={{{time!r}: pl.Datetime("us", "UTC")}} for ISO 8601 text, pl.Int64 for milliseconds.'
        raise SchemaError(message, hint)
    conditions: Iterable[Condition] = () if deletes is None else deletes.conditions
    for argument, each in (("where", where), *(("deletes", each) for each in conditions)):
        for name, value in ((each and each.equal) or {}).items():
            dtype = types.get(name)
            if dtype is not None and not _can_equal(dtype, value):
                message = f"{argument}={{{name!r}: {value!r}}}, but headers= declares {name!r} as {dtype}, which never equals that."
                raise ConfigurationError(message, _equal_hint(name, value))


def _last_of_each(name: str) -> str:
    """Return what to do instead of a header as the key."""
    return f'where a field is meant, leave {name!r} out of headers=; ktframe.stream(..., headers={{{name!r}: pl.String}}).to_polars().unique({name!r}, keep="last", maintain_order=True) has the last event of each.'


def _can_be_time(dtype: pl.DataType) -> bool:
    is_time = dtype.is_temporal() or dtype.is_integer() or dtype.is_float()
    return is_time or dtype == pl.String


def _can_equal(dtype: pl.DataType, value: object) -> bool:
    if isinstance(value, bool):
        return dtype == pl.Boolean
    return dtype == pl.String if isinstance(value, str) else dtype.is_numeric()


def _equal_hint(name: str, value: object) -> str:
    kind = {bool: "pl.Boolean", str: "pl.String", int: "pl.Int64"}.get(type(value), "pl.Float64")
    return f"declare headers={{{name!r}: {kind}}}, or give an expression over what it is declared as."
