"""Reads whole batches of bodies to Arrow arrays in one call of arrow-avro (through ``polars_avro``).

The bodies are joined to one object container file. After each body stand the same random bytes (the guard): only if
they come back after every row was each row read from exactly one body. The file does not have the writer schema but one
with the same encoding, of types that arrow-avro reads without mistakes: see ``_same_encoding``. What arrow-avro does not
check is checked here and in ``arrow``. Where anything is in doubt the result is None, and ``decode`` reads the bodies.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from io import BytesIO
from itertools import count
from operator import gt
from typing import Any

import pyarrow as pa

from ktframe.errors import ConfigurationError
from ktframe.formats.avro.arrow import converter
from ktframe.formats.avro.binary import long_bytes
from ktframe.formats.avro.bounds import BatchBounds
from ktframe.formats.avro.types import LARGEST_PRECISION, AvroType, parts_of
from ktframe.formats.errors import UncertainBatchError

_GUARD_BYTES = 8
_SYNC = b"ktframe ktframe "
_LARGEST_BYTES = 2**30  # Arrow's offsets have 31 bits
_MOST_BRANCHES = 126  # Arrow's unions have 7 bits

_DEEPEST = (125, 62)
"""How many levels the JSON of the file's schema may have, and how deep arrays may be nested for Arrow to hand them over."""

_LARGEST_OPTIONAL_BYTES = 1024
_LARGEST_REPEATED_BYTES = 64


class NativeReader:
    """Reads batches of bodies of one type, or says that it can't.

    Raises
    ------
    ConfigurationError
        When polars-avro is not installed.
    """

    def __init__(self, root: AvroType) -> None:
        self._source = _avro_source()
        guard = {"type": "fixed", "name": "Guard", "size": _GUARD_BYTES}
        fields = [{"name": "body", "type": _same_encoding(root, count())}, {"name": "guard", "type": guard}]
        schema = json.dumps({"type": "record", "name": "Row", "fields": fields}).encode()
        entries = {b"avro.schema": schema, b"avro.codec": b"null"}
        pairs = (_with_length(key) + _with_length(value) for key, value in entries.items())
        self._header = b"".join([b"Obj\x01", long_bytes(len(entries)), *pairs, b"\0", _SYNC])
        self._convert = converter(root)
        self._bounds = BatchBounds(root)

    def read(self, bodies: Sequence[bytes]) -> Any | None:
        """Return the Arrow array of the values of ``bodies`` (one or more), None if any of them is in doubt."""
        nonce = secrets.token_bytes(_GUARD_BYTES)
        rows = b"".join([nonce.join(bodies), nonce])
        if len(rows) > _LARGEST_BYTES or self._bounds.may_be_huge(len(rows)):
            return None
        head = long_bytes(len(bodies)) + long_bytes(len(rows))
        batch = self._read_file(b"".join([self._header, head, rows, _SYNC]), len(bodies))
        if batch is None or batch.num_rows != len(bodies):
            return None
        if batch.column(1).buffers()[1].to_pybytes()[: _GUARD_BYTES * len(bodies)] != nonce * len(bodies):
            return None
        try:
            array = batch.column(0)
            return self._convert(array, None) if self._bounds.are_within(array, bodies) else None
        except (UncertainBatchError, pa.ArrowException, ValueError, NotImplementedError):
            return None

    def _read_file(self, file: bytes, rows: int) -> Any | None:
        """Return the whole of a file of so many rows as one record batch."""
        # polars-avro crashes the interpreter when its objects are destroyed while an exception is being raised: these two
        # names keep them alive until it was caught.
        source = batches = None
        try:
            source = self._source([lambda: nullcontext(BytesIO(file))], False, False)
            # One batch of all rows, and no second one: on a file with bytes after its rows the iterator never ends.
            batches = source.batch_iter(rows, None)
            return pa.record_batch(next(batches))
        except Exception:  # noqa: BLE001 - the strict decoder finds out what is wrong
            return None
        except BaseException as error:
            # A panic in Rust is not an Exception, and every library has its own class for it.
            if type(error).__name__ != "PanicException":
                raise
            return None


def obstacle(root: AvroType) -> str | None:
    """Return why bodies of a type can't be read in batches, with the field; None where they can."""
    reason = _obstacle(root, "", is_repeated=False, is_optional=False)
    if reason is None and any(map(gt, _depths(_same_encoding(root, count())), _DEEPEST)):
        return "types too deep inside of each other"
    return reason


def _obstacle(avro: AvroType, name: str, *, is_repeated: bool, is_optional: bool) -> str | None:
    own = _own_obstacle(avro)
    largest = _LARGEST_REPEATED_BYTES if is_repeated else _LARGEST_OPTIONAL_BYTES
    if is_optional and avro.kind == "fixed" and avro.size > largest:
        # A null takes one byte in a body, but all bytes of the fixed in an Arrow array.
        own = f"a long fixed in a union{', in a list' if is_repeated else ''}"
    if own is not None:
        return f"{own} in field {name!r}" if name else own
    is_repeated = is_repeated or avro.kind in {"array", "map"}
    is_optional = is_optional or avro.kind == "union"
    for part, inner in parts_of(avro):
        whole = f"{name}.{part}" if name and part else name or part
        reason = _obstacle(inner, whole, is_repeated=is_repeated, is_optional=is_optional)
        if reason is not None:
            return reason
    return None


def _own_obstacle(avro: AvroType) -> str | None:  # noqa: PLR0911 - one for each kind
    if avro.kind == "reference":
        return f"a {avro.short_name} inside of itself"
    if avro.kind == "record" and not avro.fields:
        return "a record without fields"
    if _has_always_null(avro):
        return "a value that is always null"  # arrow-avro: a null in a field that can't be null
    if avro.kind == "fixed" and avro.size == 0:
        return "a fixed without bytes"
    if avro.kind == "array" and avro.inner[0].smallest == 0:
        return "items without bytes"
    if avro.kind == "union" and len(avro.inner) > _MOST_BRANCHES:
        return f"a union of more than {_MOST_BRANCHES} types"
    if avro.logical == "decimal" and avro.precision > LARGEST_PRECISION:
        return f"a decimal of more than {LARGEST_PRECISION} digits"
    return None


def _has_always_null(avro: AvroType) -> bool:
    types = [field.type for field in avro.fields] if avro.kind == "record" else avro.inner[:1]
    return avro.kind in {"record", "map"} and any(inner.kind == "null" for inner in types)


def _same_encoding(avro: AvroType, numbers: Iterator[int]) -> Any:  # noqa: PLR0911 - one for each kind
    """Return a schema that encodes every value to the same bytes as ``avro``, of types that arrow-avro reads right.

    Maps become arrays of entries, dates and times numbers, and all names are new.
    """
    # arrow-avro takes any byte for a boolean, any index for an enum, and in a union of null and one type any index but 0
    # for that type. So booleans are read as bytes and enums as integers, which ``arrow`` checks, and unions get one more type.
    if avro.logical == "decimal":
        return {
            **_named(avro, numbers),
            "logicalType": "decimal",
            "precision": avro.precision,
            "scale": avro.scale,
        }
    if avro.kind == "boolean":
        return {"type": "fixed", "name": f"T{next(numbers)}", "size": 1}
    if avro.kind == "fixed":
        return _named(avro, numbers)
    if avro.kind == "array":
        return {"type": "array", "items": _same_encoding(avro.inner[0], numbers)}
    if avro.kind == "map":
        return {
            "type": "array",
            "items": _record(["string", _same_encoding(avro.inner[0], numbers)], numbers),
        }
    if avro.kind == "record":
        return _record([_same_encoding(field.type, numbers) for field in avro.fields], numbers)
    if avro.kind == "union":
        return _union(avro, numbers)
    return "int" if avro.kind == "enum" else avro.kind


def _union(avro: AvroType, numbers: Iterator[int]) -> list[Any]:
    # Each branch in a record, which adds no byte: two branches may have become the same type.
    branches = [
        branch.kind if branch.kind == "null" else _record([_same_encoding(branch, numbers)], numbers)
        for branch in avro.inner
    ]
    # Two more types where there is only null, because arrow-avro treats a union of null and one type specially.
    more = range(1 if avro.value_branches else 2)
    return [*branches, *({"type": "fixed", "name": f"T{next(numbers)}", "size": 1} for _ in more)]


def _named(avro: AvroType, numbers: Iterator[int]) -> dict[str, Any]:
    if avro.kind == "bytes":
        return {"type": "bytes"}
    return {"type": "fixed", "name": f"T{next(numbers)}", "size": avro.size}


def _record(types: Sequence[Any], numbers: Iterator[int]) -> dict[str, Any]:
    fields = [{"name": f"f{at}", "type": inner} for at, inner in enumerate(types)]
    return {"type": "record", "name": f"T{next(numbers)}", "fields": fields}


def _depths(schema: Any) -> tuple[int, int]:
    """Return how deep a schema of ``_same_encoding`` is, as JSON and as nested arrays."""
    if isinstance(schema, str):
        return 0, 0
    if isinstance(schema, list):
        parts, levels, arrays = schema, 1, 1
    elif "fields" in schema:
        parts, levels, arrays = [field["type"] for field in schema["fields"]], 3, 1
    else:
        parts, levels, arrays = [schema["items"]] if "items" in schema else [], 1, int("items" in schema)
    depths = [_depths(part) for part in parts]
    return (
        levels + max((inner for inner, _ in depths), default=0),
        arrays + max((inner for _, inner in depths), default=0),
    )


def _with_length(raw: bytes) -> bytes:
    return long_bytes(len(raw)) + raw


def _avro_source() -> Any:
    try:
        # The private class, because the public functions try to read after the last row.
        from polars_avro._avro_rs import AvroSource  # noqa: PLC0415 - optional
    except ImportError as error:
        message = "Avro needs the package 'polars-avro', which is not installed."
        raise ConfigurationError(message, "pip install 'ktframe[avro]'") from error
    return AvroSource
