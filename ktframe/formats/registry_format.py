"""Reads payloads by the schemas they refer to in a registry, and all other payloads by a plain format, into one frame.

A batch is grouped by writer schema, each group is read whole by a reader of that schema, and the groups are put
together in the columns that all schemas of the topic have. *Lines* are indices in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import polars as pl

from ktframe.formats.base import Decoded, Refusal, SchemalessFormat
from ktframe.formats.bodies import BodyReader, Column, SchemaDocument
from ktframe.formats.body_readers import BodyReaders, JsonColumns, UnusableError, WriterSchema
from ktframe.formats.resolution import ConflictError, columns_of, joined, reading, rounding
from ktframe.formats.schemas import UNKNOWN_SCHEMA, UnknownSchemaError
from ktframe.formats.wire import LARGEST_MAGIC_BYTE, describe_ref


@dataclass(frozen=True, slots=True)
class _Group:
    """The payloads of a batch under one writer schema: their lines, and their bodies."""

    reader: BodyReader | None
    plain: SchemalessFormat | None
    """Reads the bodies where ``reader`` is None."""
    columns: tuple[Column, ...]
    lines: Sequence[int]
    bodies: list[bytes]


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one group with their lines, and the columns of their schema."""

    lines: Sequence[int]
    frame: pl.DataFrame
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class RegistryFormat:
    """Reads payloads by the schemas that they refer to, and those without a schema by ``plain``.

    Parameters
    ----------
    name
        The user's name of the format: ``"auto"``, ``"avro"``, ``"protobuf"`` or ``"json"``.
    readers
        The readers of the schemas.
    plain
        Reads payloads without a schema; None: they are refused.
    exact_fields
        Fields that are part of a row's identity.
    integer_fields
        Fields whose integers never become floats; see ``without_float_widening``.
    is_key
        Whether the payloads are record keys. Then every field is part of the identity, and the first batch fixes the
        fields.
    objects
        Reads the bodies under a JSON Schema that has fields; None: ``plain`` reads them too.

    Notes
    -----
    A column has the type that the values of all its schemas fit in (``resolution``). Conflicts are records under a
    schema that does not go with the columns so far, and integers that a float column would round.
    """

    name: str
    readers: BodyReaders = field(compare=False)
    plain: SchemalessFormat | None = None
    exact_fields: frozenset[str] = frozenset()
    integer_fields: frozenset[str] = frozenset()
    is_key: bool = False
    objects: SchemalessFormat | None = None

    is_canonical: ClassVar[bool] = False

    @property
    def initial_schema(self) -> pl.Schema:
        """The declared columns of a value; a key has none."""
        return pl.Schema() if self.plain is None or self.is_key else self.plain.initial_schema

    @property
    def revision(self) -> int:
        """How many schemas have changed how rows before them read."""
        return self.readers.revision

    def describe(self, schema: pl.Schema) -> str | None:
        """Return the schemas seen so far as text; before the first, the plain format that has read something."""
        plain = self.plain.name if self.plain is not None and len(schema) else None
        return self.readers.describe() or plain

    def newest_schema(self) -> tuple[bytes, bytes, SchemaDocument] | None:
        """Return the schema that payloads began to refer to last."""
        return self.readers.newest_schema()

    def forget_schemas(self) -> None:
        """Forget the schemas: the topic was made anew."""
        self.readers.forget()

    def has_schema(self, payload: bytes) -> bool:
        """Say whether the schema that ``payload`` refers to can be had; RegistryError where nobody can say now."""
        return self.readers.knows(payload)

    def without_float_widening(self, *fields: str) -> RegistryFormat:
        """Return this format with ``fields`` never widened from integers to floats."""
        plain, objects = (
            None if inner is None else inner.without_float_widening(*fields)
            for inner in (self.plain, self.objects)
        )
        integer_fields = self.integer_fields | set(fields)
        return replace(self, plain=plain, objects=objects, integer_fields=integer_fields)

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Decode ``payloads`` against ``schema``, widened by the schemas that they refer to.

        Raises
        ------
        RegistryError
            When a schema is needed and the registry can't be asked now.
        """
        has_refs = any(payload[0] <= LARGEST_MAGIC_BYTE for payload in payloads if payload)
        # The fields of keys are fixed by the first batch; the plain format alone would add some.
        may_widen = self.is_key and bool(schema) and self.plain is not None and not self.plain.is_canonical
        if self.plain is not None and not has_refs and not may_widen and self.plain.supports(schema):
            return self.plain.decode(payloads, schema)
        refused: list[Refusal] = []
        groups = self._groups(payloads, refused)
        merged = self.readers.merged_columns
        columns = columns_of(schema or self.initial_schema, merged)
        accepted: list[_Group] = []
        for group in groups:
            try:
                columns = self._joined(columns, group.columns)
                accepted.append(group)
            except ConflictError as conflict:
                refused += [Refusal(line, str(conflict), is_conflict=True) for line in group.lines]
        parts = [_read(group, group.reader, refused) for group in accepted if group.reader is not None]
        for plain in (self.plain, self.objects):
            unread = [group for group in accepted if group.reader is None and group.plain is plain]
            if unread and plain is not None:
                part, columns = self._read_plain(plain, unread, columns, refused)
                parts.append(part)
        # The newest default counts, also where its schema is not in this batch.
        columns = columns_of({column.name: column.dtype for column in columns}, merged)
        fitted = [_fitted(part, columns, refused) for part in parts]
        after = pl.Schema({column.name: column.dtype for column in columns})
        return _together(fitted, after, refused)

    def _groups(self, payloads: Sequence[bytes], refused: list[Refusal]) -> list[_Group]:
        """Group the payloads by writer schema; refuse those whose schema nobody has or can use."""
        groups: list[_Group] = []
        for writer_schema, lines in self.readers.group_by_writer_schema(payloads).items():
            try:
                reader, plain, columns = self._reader(writer_schema)
            except UnknownSchemaError as error:
                refused += [Refusal(line, f"{UNKNOWN_SCHEMA}: {error}") for line in lines]
            except UnusableError as error:
                refused += [Refusal(line, str(error)) for line in lines]
            else:
                start = writer_schema.prefix_length
                bodies = [payloads[line][start:] for line in lines]
                groups.append(_Group(reader, plain, columns, lines, bodies))
        return groups

    def _reader(
        self, writer_schema: WriterSchema
    ) -> tuple[BodyReader | None, SchemalessFormat | None, tuple[Column, ...]]:
        if not writer_schema.ref:
            if self.plain is None:
                message = (
                    f"names no schema, but value={self.name!r} needs the id or GUID that a registry gave"
                )
                raise UnusableError(message)
            return None, self.plain, ()
        reader = self.readers.reader(writer_schema)
        for column in reader.columns:
            is_exact = self.is_key or column.name in self.exact_fields
            if is_exact and (column.dtype.is_float() or column.dtype.is_nested()):
                message = f"{describe_ref(writer_schema.ref)}: {column.name!r} is part of the key but {column.dtype}"
                raise UnusableError(message)
        if isinstance(reader, JsonColumns):
            # A JSON Schema without fields may describe text or numbers, which ``objects`` would refuse.
            return None, (self.objects if reader.columns else None) or self.plain, reader.columns
        return reader, None, reader.columns

    def _joined(self, known: tuple[Column, ...], new: tuple[Column, ...]) -> tuple[Column, ...]:
        columns = joined(known, new)
        if (
            self.is_key
            and known
            and new
            and {column.name for column in known} != {column.name for column in new}
        ):
            # A key with another field would be another identity: no record could update or delete its row.
            message = f"all keys of a table must have the same fields, not {_names(new)} and {_names(known)}"
            raise ConflictError(message)
        before = {column.name: column.dtype for column in known}
        for column in columns:
            was_integer = before.get(column.name, column.dtype).is_integer()
            if column.name in self.integer_fields and was_integer and column.dtype.is_float():
                message = f"{column.name}: {column.dtype} in a column of {before[column.name]}"
                raise ConflictError(message)
        return columns

    def _read_plain(
        self,
        plain: SchemalessFormat,
        groups: Sequence[_Group],
        columns: tuple[Column, ...],
        refused: list[Refusal],
    ) -> tuple[_Part, tuple[Column, ...]]:
        """Read payloads without a schema, or with a JSON Schema; return also the columns after them."""
        order = sorted(
            (line, body) for group in groups for line, body in zip(group.lines, group.bodies, strict=True)
        )
        known = pl.Schema({column.name: column.dtype for column in columns})
        readable = pl.Schema(
            {name: dtype for name, dtype in known.items() if plain.supports(pl.Schema({name: dtype}))}
        )
        decoded = plain.decode([body for _, body in order], readable)
        lines = [line for line, _ in order]
        refused += [replace(refusal, index=lines[refusal.index]) for refusal in decoded.refused]
        part = _Part([lines[index] for index in decoded.accepted], decoded.frame, columns_of(decoded.schema))
        if self.is_key and columns:
            part = _without_extra_fields(part, columns, refused)
        try:
            return part, joined(columns, part.columns)
        except ConflictError as conflict:
            refused += [Refusal(line, str(conflict), is_conflict=True) for line in part.lines]
            return _Part((), decoded.frame.clear(), part.columns), columns


def _without_extra_fields(part: _Part, columns: tuple[Column, ...], refused: list[Refusal]) -> _Part:
    """Return ``part`` without the keys that have a field beyond ``columns``."""
    known = {column.name for column in columns}
    extra = [name for name in part.frame.columns if name not in known]
    if not extra:
        return part
    has_extra = part.frame.select(pl.any_horizontal(pl.col(extra).is_not_null())).to_series()
    for line in pl.Series(part.lines).filter(has_extra):
        reason = f"a key with additional fields: {', '.join(extra)}"
        refused.append(Refusal(line, reason, is_conflict=True))
    lines = pl.Series(part.lines).filter(~has_extra).to_list()
    kept = tuple(column for column in part.columns if column.name in known)
    return _Part(lines, part.frame.filter(~has_extra).drop(extra), kept)


def _names(columns: tuple[Column, ...]) -> str:
    return f"({', '.join(column.name for column in columns)})"


def _read(group: _Group, reader: BodyReader, refused: list[Refusal]) -> _Part:
    result = reader.read(group.bodies)
    refused += [Refusal(group.lines[index], reason) for index, reason in result.refused.items()]
    lines: Sequence[int] = group.lines
    if result.refused:
        lines = [line for index, line in enumerate(lines) if index not in result.refused]
    return _Part(lines, result.frame, group.columns)


def _fitted(part: _Part, columns: tuple[Column, ...], refused: list[Refusal]) -> _Part:
    """Return ``part`` in ``columns``, without the rows whose integers a float column would round."""
    own = {column.name: column for column in part.columns}
    frame, lines = part.frame, part.lines
    dtypes = {column.name: column.dtype for column in columns}
    for name, dtype in frame.schema.items():
        is_rounded = rounding(pl.col(name), dtype, dtypes.get(name, dtype))
        if is_rounded is None:
            continue
        rounded = frame.select(is_rounded.fill_null(value=False)).to_series()
        if rounded.any():
            reason = f"{name}: an integer beyond 2**53 in a column of {dtypes[name]}"
            refused += [Refusal(lines[at], reason, is_conflict=True) for at in rounded.arg_true()]
            lines = [line for line, is_bad in zip(lines, rounded, strict=True) if not is_bad]
            frame = frame.filter(~rounded)
    # Not select alone, which would lose the height of a frame without columns, such as one of empty messages.
    fitted = frame.with_columns(reading(own, column) for column in columns)
    return _Part(lines, fitted.select(*dtypes) if dtypes else fitted, columns)


def _together(parts: Sequence[_Part], schema: pl.Schema, refused: list[Refusal]) -> Decoded:
    """Put the parts together in the order of the batch."""
    refused.sort(key=lambda refusal: refusal.index)
    if len(parts) == 1:
        return Decoded(parts[0].frame, parts[0].lines, tuple(refused), schema)
    lines = pl.Series([line for part in parts for line in part.lines], dtype=pl.UInt32)
    whole = pl.concat([pl.DataFrame(schema=schema), *(part.frame for part in parts)])
    order = lines.arg_sort()
    return Decoded(whole[order], lines[order].to_list(), tuple(refused), schema)
