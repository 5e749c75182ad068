"""Fields that a call names and no record has: the key, the time and what is unnested are errors, other declared fields a warning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

import orjson
import polars as pl

from ktframe.columns import is_field
from ktframe.config.spelling import similar_fields, similar_names
from ktframe.errors import SchemaError, did_you_mean
from ktframe.fold.as_sent import seen_headers
from ktframe.fold.condition import Condition
from ktframe.fold.row_codec import headers_of, unpack_rows
from ktframe.formats.base import Fault
from ktframe.formats.dtypes import struct_fields
from ktframe.formats.field_names import field_name, field_path
from ktframe.formats.nested import field_names, nested_dtype
from ktframe.sync.materializer import Materializer
from ktframe.sync.missing import Missing
from ktframe.tables.completeness import Notice

_MOST_NAMES = 20
_OF_READ_VALUES = frozenset({Fault.KEY_FIELDS, Fault.TIME})
"""What only values that were read are refused for."""


def with_misnamed(missing: Missing, materializer: Materializer, topic: str) -> Missing:
    """Return ``missing`` with the error of ``key=``, ``time=`` or ``unnest=`` where these name a field that no record has.

    Of a key of several fields, which all but one may be null, only a name that looks like another one is an error; for
    the others there is a warning, see ``AbsentFields``.
    """
    decoder = materializer.decoder
    where = None if decoder.sieve is None else decoder.sieve.where
    are_values = missing.accepted > 0 and _are_objects(materializer)
    if where is not None and not are_values:
        known = decoder.fields(materializer.schema)
        seen = {*filter(is_field, materializer.learned.seen), *known, *field_names(known)}
        seen |= {*decoder.headers.names} if seen else set()
        error = _absent_header(where, materializer, topic) or _misnamed_condition(where, seen, topic)
        if error is not None:
            return replace(missing, misnamed=error, hint=error.hint)
    fields = decoder.fields(materializer.schema)
    is_read = are_values or any(cause.fault in _OF_READ_VALUES for cause in missing.causes)
    if not is_read and decoder.declared_fields.issuperset(fields):
        return missing  # no value was read yet
    named = [("key", name) for name in decoder.key_fields]
    if decoder.time is not None and decoder.time not in decoder.headers.names:
        named.append(("time", decoder.time))
    absent = decoder.unnested.absent(fields)
    if absent is not None:
        named.append(("unnest", absent))
    paths = dict(decoder.nested.paths)
    for argument, name in named:
        if name in fields or nested_dtype(fields, paths.get(name, (name,))) is not None:
            continue
        is_key_or_time = argument != "unnest"
        meant = _meant(name, fields) if is_key_or_time else did_you_mean(similar_names(name, [*fields]))
        if argument != "key" or len(decoder.key_fields) == 1 or meant:
            message = f"{argument}={name!r}: no record of {topic!r} has a field of that name."
            error = SchemaError(message, meant or f"the fields are {_listed(_near(name, fields))}.")
            return replace(missing, misnamed=error, hint=error.hint)
    return missing


def _are_objects(materializer: Materializer) -> bool:
    """Say whether what was accepted has fields: a list without objects is accepted too where values are taken apart."""
    return not materializer.decoder.identity.takes_apart or materializer.view.snapshot().rows.height > 0


def _misnamed_condition(where: Condition, seen: AbstractSet[str], topic: str) -> SchemaError | None:
    """Return the error of ``where=`` where no record passes, and none has a field that it names; ``seen`` are theirs."""
    absent = next((name for name in where.names if seen and name not in seen), None)
    if absent is None:
        return None
    message = f"where= names {absent!r}: no record of {topic!r} has a field of that name."
    tops = sorted(name for name in seen if len(field_path(name)) == 1)
    meant = did_you_mean(similar_fields(absent, sorted(seen)))
    return SchemaError(message, meant or f"the fields are {_listed(tops)}.")


def _absent_header(where: Condition, materializer: Materializer, topic: str) -> SchemaError | None:
    """Return the error of ``where=`` where no record passes, and none has a header that it names."""
    seen = seen_headers(materializer.learned.seen)
    names = [name for name in materializer.decoder.headers.names if name in where.names]
    absent = next((name for name in names if seen is not None and name not in seen), None)
    if seen is None or absent is None:
        return None
    message = f"where= names {absent!r}: no record of {topic!r} has a header of that name."
    listed = f"the headers are {_listed(sorted(seen))}." if seen else _samples(topic)
    return SchemaError(message, did_you_mean(similar_names(absent, sorted(seen))) or listed)


def _samples(topic: str) -> str:
    return f"ktframe.inspect({topic!r}).samples has records with their headers."


def _meant(name: str, fields: pl.Schema) -> str | None:
    """Return the hint for a name that may be a misspelling, or that of a field which is inside of another one."""
    return did_you_mean(similar_fields(name, field_names(fields)))


def _near(name: str, fields: pl.Schema) -> list[str]:
    """Return the fields that are where ``name`` would be: beside it in the innermost struct that there is."""
    path = field_path(name)
    for depth in range(len(path) - 1, 0, -1):
        if isinstance(dtype := nested_dtype(fields, path[:depth]), pl.Struct) and dtype.fields:
            return [field_name((*path[:depth], inner)) for inner in struct_fields(dtype)]
    return [field_name((top,)) for top in fields]


def _listed(names: Iterable[str]) -> str:
    shown = [*names]
    more = ", ..." if len(shown) > _MOST_NAMES else ""
    return ", ".join(map(repr, shown[:_MOST_NAMES])) + more


class AbsentFields:
    """Finds the declared fields and headers that no record has; what was seen once is not looked for again."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def find(self, materializer: Materializer, topic: str) -> Iterator[Notice]:
        """Yield a notice of each such field; none while there are no rows."""
        decoder = materializer.decoder
        chosen = [] if decoder.sieve is None or decoder.sieve.where is None else decoder.sieve.where.names
        # What where= names is there, or was chosen to be null.
        headers = {*decoder.headers.names}.difference(chosen)
        declared = decoder.declared_fields.union(decoder.key_fields, headers)
        unseen = declared.difference(self._seen)
        if not unseen:
            return
        rows = materializer.view.snapshot().rows
        unseen = unseen.intersection(rows.columns)  # unnest= may show the fields of one in its place
        if not rows.height:
            return
        self._seen |= {name for name in unseen if rows[name].null_count() < rows.height}
        null = sorted(unseen - self._seen)
        self._seen |= set(_in_values(materializer, [name for name in null if name not in headers]))
        self._seen |= _in_headers(materializer, headers.intersection(null))
        known = declared.union(decoder.headers.names)
        others = [name for name in rows.columns if is_field(name) and name not in known]
        for name in null:
            if name in headers and name not in self._seen:
                fact = f"no row of {topic!r} has the header {name!r}: it is null everywhere."
                yield Notice(f"absent: {name}", fact, _samples(topic))
            elif name not in self._seen:
                hint = f"the other fields are {_listed(others)}." if others else "there are no other fields."
                fact = f"no row of {topic!r} has the field {name!r}: it is null everywhere."
                yield Notice(f"absent: {name}", fact, did_you_mean(similar_names(name, others)) or hint)


def _in_values(materializer: Materializer, names: list[str]) -> Iterator[str]:
    """Yield those of ``names`` that the first stored values have, though with null."""
    if not names:
        return
    chunk = next(materializer.store.items(), None)
    if chunk is None:
        return
    _, payloads = unpack_rows(chunk.values)
    for name in names:
        quoted = orjson.dumps(field_path(name)[-1])
        if any(quoted in payload for payload in payloads):
            yield name


def _in_headers(materializer: Materializer, names: AbstractSet[str]) -> set[str]:
    """Return those of ``names`` that the first stored rows have as headers, though with null."""
    chunk = next(materializer.store.items(), None) if names else None
    stored = () if chunk is None else chunk.values
    return {name for row in stored for name, _ in headers_of(row) or () if name in names}
