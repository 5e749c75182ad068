"""Formats: payload bytes to typed columns and back, whole batches at a time. Nothing here knows Kafka, keys or stores.

``value_format`` and ``key_format`` return a format by the name that a user gives, ``schemas_of`` tells the formats apart
whose payloads refer to schemas in a registry. A new format is a module here and one line in a table below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl

from ktframe.errors import ConfigurationError, SchemaError
from ktframe.formats.base import (
    VALUE_COLUMN,
    Decoded,
    Format,
    Headers,
    Refusal,
    SchemalessFormat,
    SeenSchemas,
)
from ktframe.formats.body_readers import JSON, KINDS_OF, BodyReaders
from ktframe.formats.field_names import FieldPath
from ktframe.formats.json.decision import Decision
from ktframe.formats.json.format import JsonFormat
from ktframe.formats.json.forms import NO_FORMS, Forms, map_dtype
from ktframe.formats.json.several import several
from ktframe.formats.plain import BytesFormat, IntFormat, LongFormat, StringFormat
from ktframe.formats.registry_format import RegistryFormat
from ktframe.formats.schemas import Schemas, TopicSchemas, without_registry
from ktframe.formats.windowed_keys import WindowedKeyFormat, split_name

__all__ = [
    "NO_FORMS",
    "VALUE_COLUMN",
    "Decision",
    "Decoded",
    "Format",
    "Forms",
    "Headers",
    "JsonFormat",
    "Refusal",
    "SeenSchemas",
    "decided_by",
    "forms_of",
    "inferring",
    "key_format",
    "map_dtype",
    "partial_rows",
    "reads_json_alone",
    "reads_times",
    "schemas_of",
    "several",
    "unpacks",
    "value_format",
    "with_forms",
]

_PLAIN: dict[str, Callable[[], SchemalessFormat]] = {
    "bytes": BytesFormat,
    "int": IntFormat,
    "long": LongFormat,
    "string": StringFormat,
}


def has_fields(name: object) -> bool:
    """Say whether values in the format of this name may have fields; also of names that there are not."""
    return not isinstance(name, str) or name not in _PLAIN


def value_format(
    name: str,
    *,
    declared: pl.Schema | None = None,
    json_fields: frozenset[str] = frozenset(),
    map_fields: frozenset[str] = frozenset(),
    exact_fields: frozenset[str] = frozenset(),
    exact_paths: frozenset[FieldPath] = frozenset(),
    integer_paths: frozenset[FieldPath] = frozenset(),
    objects: frozenset[FieldPath] = frozenset(),
    reserved: frozenset[str] = frozenset(),
    reads_times: bool = False,
    unpacks: bool = False,
    schemas: Schemas | None = None,
) -> Format:
    """Return the format that decodes record values.

    Parameters
    ----------
    name
        ``"auto"``, ``"json"``, ``"avro"``, ``"protobuf"``, ``"string"``, ``"int"``, ``"long"`` or ``"bytes"``.
    declared
        Fields whose type is fixed; only for JSON.
    json_fields
        Those of them whose columns hold JSON text exactly as it was sent.
    map_fields
        Those of them whose columns hold the entries of objects.
    exact_fields
        Fields that are part of a row's identity; only for a format with fields.
    exact_paths
        The same of fields inside of structs.
    integer_paths
        Fields inside of structs whose integers never become floats.
    objects
        Fields in which a key or a time is looked for.
    reserved
        Names that other columns have: JSON with such a field is refused.
    reads_times
        Whether inferred fields whose text is a time become times; only for JSON.
    unpacks
        Whether gzip and byte order marks are taken off; only for JSON.
    schemas
        Looks up the schemas that payloads refer to; None: payloads that refer to one are refused.

    Raises
    ------
    ConfigurationError
        There is no format of that name.
    SchemaError
        ``declared`` or ``exact_fields`` don't suit the format.
    """
    if name in KINDS_OF:
        has_plain = JSON in KINDS_OF[name]
        if declared and not has_plain:
            message = f"value={name!r}: the schemas in the registry decide the types of the fields."
            raise SchemaError(message, "leave schema= out, and cast columns of the frame.")
        plain = None
        if has_plain:
            plain = JsonFormat(
                declared,
                exact_fields,
                json_fields=json_fields,
                map_fields=map_fields,
                exact_paths=exact_paths,
                integer_paths=integer_paths,
                objects=objects,
                reserved=reserved,
                reads_times=reads_times,
                unpacks=unpacks,
            )
        readers = _readers(name, schemas)
        return RegistryFormat(name, readers, plain, exact_fields, exact_paths, json_fields=json_fields)
    if name not in _PLAIN:
        raise _unknown(name)
    if declared or exact_fields:
        unusable = "a declared schema" if declared else f"key fields {sorted(exact_fields)}"
        message = f"format {name!r} has no fields, so {unusable} can't apply to it."
        raise SchemaError(message, f"its only column is {VALUE_COLUMN!r}; value='json' has fields.")
    return _PLAIN[name]()


def key_format(name: str, *, schemas: Schemas | None = None) -> Format:
    """Return the format that decodes record keys.

    ``"auto"`` decodes a key by the schema that it refers to, and as text where it refers to none. ``"windowed:string"``
    and the like are keys of windows in Kafka Streams and ksqlDB, ``"session:string"`` those of their sessions. Every field
    of a key with fields is part of the identity, so none may be a float, a list or a struct.

    Raises
    ------
    ConfigurationError
        There is no format of that name.
    """
    times, inner = split_name(name)
    if times:
        return WindowedKeyFormat(key_format(inner, schemas=schemas), times)
    if name not in KINDS_OF:
        return value_format(name)
    objects = JsonFormat(are_all_exact=True)
    if name == "auto":
        return RegistryFormat(
            name, _readers(name, schemas, "key_format"), StringFormat(), is_key=True, objects=objects
        )
    plain = objects if name == "json" else None
    return RegistryFormat(name, _readers(name, schemas, "key_format"), plain, is_key=True)


def schemas_of(format_: Format) -> SeenSchemas | None:
    """Return the schemas that payloads in this format have referred to; None where they refer to none."""
    inner = format_.inner if isinstance(format_, WindowedKeyFormat) else format_
    return inner if isinstance(inner, RegistryFormat) else None


def inferring(format_: Format) -> JsonFormat | None:
    """Return the format that infers the types of all columns of ``format_``; None where they are not inferred."""
    if isinstance(format_, RegistryFormat):
        return format_.inferring
    return format_ if isinstance(format_, JsonFormat) else None


def decided_by(format_: Format, decision: Decision) -> Format:
    """Return ``format_`` with the types of inferred fields decided by ``decision``."""
    return format_.decided_by(decision) if isinstance(format_, JsonFormat | RegistryFormat) else format_


def with_forms(format_: Format, forms: Forms) -> Format:
    """Return ``format_`` with the values of inferred columns in these forms: as text, or the entries of maps."""
    return format_.with_forms(forms) if isinstance(format_, JsonFormat | RegistryFormat) else format_


def forms_of(format_: Format) -> Forms:
    """Return where columns of ``format_`` hold JSON text or the entries of maps, declared ones too."""
    plain = format_.plain if isinstance(format_, RegistryFormat) else format_
    return plain.all_forms if isinstance(plain, JsonFormat) else NO_FORMS


def reads_json_alone(format_: Format) -> bool:
    """Say whether ``format_`` was asked to read JSON in a way that other formats can't: times, or packed payloads."""
    plain = format_.plain if isinstance(format_, RegistryFormat) else format_
    return isinstance(plain, JsonFormat) and (plain.reads_times or plain.unpacks)


def reads_times(format_: Format) -> bool:
    """Say whether fields whose text is a time are times, though nothing declares them."""
    plain = format_.plain if isinstance(format_, RegistryFormat) else format_
    return isinstance(plain, JsonFormat) and plain.reads_times


def unpacks(format_: Format) -> bool:
    """Say whether gzip and byte order marks are taken off the payloads of ``format_``."""
    plain = format_.plain if isinstance(format_, RegistryFormat) else format_
    return isinstance(plain, JsonFormat) and plain.unpacks


def partial_rows(format_: Format, payloads: Sequence[bytes], wanted: pl.Schema) -> Decoded:
    """Return the ``wanted`` fields of refused payloads, as far as each has all of them in a form that can be read.

    Null counts as absent does: a field that is not there is null. Formats whose payloads can be read wholly or not at
    all give no rows.
    """
    if isinstance(format_, JsonFormat | RegistryFormat):
        return format_.decode_partly(payloads, wanted)
    return Decoded(wanted.to_frame(), (), (), wanted)


def _readers(name: str, schemas: Schemas | None, argument: str = "value") -> BodyReaders:
    return BodyReaders(schemas or TopicSchemas(without_registry), KINDS_OF[name], argument)


def _unknown(name: str) -> ConfigurationError:
    known = ", ".join(map(repr, sorted({*_PLAIN, *KINDS_OF})))
    return ConfigurationError(f"there is no format {name!r}.", f"the formats are {known}.")
