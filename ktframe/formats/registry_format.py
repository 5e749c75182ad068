"""Reads payloads by the schemas they refer to in a registry, and all other payloads by a plain format, into one frame.

A batch is grouped by writer schema, each group is read whole by a reader of that schema, and the groups are put
together in the columns that all schemas of the topic have. *Lines* are indices in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import ClassVar

import polars as pl

from ktframe.formats.base import Decoded, Fault, Refusal, SchemalessFormat
from ktframe.formats.bodies import BodyReader, Column, SchemaDocument
from ktframe.formats.body_readers import BodyReaders, JsonColumns, WriterSchema
from ktframe.formats.dtypes import struct_fields
from ktframe.formats.encrypted import NONE_ENCRYPTED, Paths, marked_columns, marked_frame, unmarked_schema
from ktframe.formats.errors import ConflictError, UnusableSchemaError
from ktframe.formats.field_names import FieldPath, field_name
from ktframe.formats.json.batches import BegunPayloads
from ktframe.formats.json.decision import Decision
from ktframe.formats.json.format import JsonFormat
from ktframe.formats.json.forms import TEXT, Forms
from ktframe.formats.nested import nested_dtype, within
from ktframe.formats.parts import Part, fitted, together, without_extra_fields
from ktframe.formats.resolution import columns_of, joined
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
    encrypted: Paths
    """The paths of the fields that are encrypted, where ``reader`` is None."""


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
    exact_paths
        The same of fields inside of structs.
    integer_fields
        Fields whose integers never become floats; see ``without_float_widening``.
    json_fields
        Fields whose columns hold JSON text; only ``plain`` has such columns.
    is_key
        Whether the payloads are record keys. Then every field is part of the identity, and the known ones fix the
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
    exact_paths: frozenset[FieldPath] = frozenset()
    integer_fields: frozenset[str] = frozenset()
    json_fields: frozenset[str] = frozenset()
    is_key: bool = False
    objects: SchemalessFormat | None = None

    is_canonical: ClassVar[bool] = False

    @property
    def initial_schema(self) -> pl.Schema:
        """The declared columns of a value; a key has none."""
        return pl.Schema() if self.plain is None or self.is_key else self.plain.initial_schema

    @property
    def declared_fields(self) -> frozenset[str]:
        """The fields that were declared for payloads without a schema."""
        return frozenset() if self.plain is None else self.plain.declared_fields

    @property
    def revision(self) -> int:
        """How many schemas have changed how rows before them read."""
        return self.readers.revision

    def describe(self, schema: pl.Schema) -> str | None:
        """Return the schemas seen so far as text; before the first, the plain format that has read something."""
        plain = self.plain.name if self.plain is not None and len(schema) else None
        return self.readers.describe() or plain

    @property
    def tags(self) -> Mapping[str, tuple[str, ...]]:
        """The tags that the schemas seen so far give to columns; see ``BodyReaders.tags``."""
        return self.readers.tags

    def newest_schema(self) -> tuple[bytes, bytes, SchemaDocument] | None:
        """Return the schema that payloads began to refer to last."""
        return self.readers.newest_schema()

    def forget_schemas(self) -> None:
        """Forget the schemas: the topic was recreated."""
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

    @property
    def inferring(self) -> JsonFormat | None:
        """The plain format, if it is JSON and no payload has named a schema: the types of all columns are inferred then."""
        plain = self.plain if isinstance(self.plain, JsonFormat) else None
        return plain if self.readers.newest_schema() is None else None

    def decided_by(self, decision: Decision) -> RegistryFormat:
        """Return this format with the types of inferred fields decided by ``decision``."""
        return self if self.inferring is None else replace(self, plain=self.inferring.decided_by(decision))

    def with_forms(self, forms: Forms) -> RegistryFormat:
        """Return this format with the values of inferred columns in these forms, where payloads are JSON."""
        if not isinstance(self.plain, JsonFormat):
            return self
        texts = frozenset(path[0] or "" for path, form in forms if form == TEXT)
        return replace(self, plain=self.plain.with_forms(forms), json_fields=self.json_fields | texts)

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Decode ``payloads`` against ``schema``, widened by the schemas that they refer to.

        Raises
        ------
        RegistryError
            When a schema is needed and the registry can't be asked now.
        """
        if (plain := self._plain_for_all(payloads, schema)) is not None:
            return self._typed_by_schemas(plain).decode(payloads, schema)
        groups, unreadable = self._groups(payloads)
        merged = self.readers.merged_columns
        columns = columns_of(schema or self.initial_schema, merged)
        groups, columns, conflicts = self._with_joined_columns(groups, columns)
        parts = [_read(group, group.reader) for group in groups if group.reader is not None]
        for plain, encrypted in product(
            (self.plain, self.objects), dict.fromkeys(g.encrypted for g in groups)
        ):
            unread = [
                group
                for group in groups
                if group.reader is None and group.plain is plain and group.encrypted == encrypted
            ]
            if unread and plain is not None:
                part, columns = self._read_plain(plain, unread, columns, encrypted)
                parts.append(part)
        # The newest default counts, also where its schema is not in this batch.
        columns = columns_of({column.name: column.dtype for column in columns}, merged)
        return together([fitted(part, columns) for part in parts], columns, [*unreadable, *conflicts])

    def decode_partly(self, payloads: Sequence[bytes], wanted: pl.Schema) -> Decoded:
        """Return the ``wanted`` fields of refused payloads; see ``formats.partial_rows``.

        Those of Avro and Protobuf can be read where only the types of other fields disagree with the columns.
        """
        frames, lines = [wanted.to_frame()], pl.Series([], dtype=pl.UInt32)
        for group in self._groups(payloads)[0]:
            if group.reader is not None:
                if _has_fields(group.columns, wanted):
                    part = _read(group, group.reader)
                    dtypes = part.frame.schema
                    frames.append(
                        part.frame.select(
                            within(pl.col(name), dtypes[name], wanted[name]).alias(name) for name in wanted
                        )
                    )
                    lines.extend(pl.Series(part.lines, dtype=pl.UInt32))
            elif isinstance(group.plain, JsonFormat) and not any(
                path[0] in wanted for path in group.encrypted
            ):
                decoded = group.plain.decode_partly(group.bodies, wanted)
                frames.append(decoded.frame)
                lines.extend(pl.Series([group.lines[at] for at in decoded.accepted], dtype=pl.UInt32))
        order = lines.arg_sort()
        return Decoded(pl.concat(frames)[order], lines[order].to_list(), (), wanted)

    def _plain_for_all(self, payloads: Sequence[bytes], schema: pl.Schema) -> SchemalessFormat | None:
        """Return the plain format where no payload has a schema, and nothing has to be fitted to other columns."""
        plain = self.plain
        if plain is None or not (_are_objects(payloads) or _have_no_magic_byte(payloads)):
            return None
        # The fields of keys are fixed; the plain format alone would add some.
        may_widen = self.is_key and bool(schema) and not plain.is_canonical
        return plain if not may_widen and plain.supports(schema) else None

    def _groups(self, payloads: Sequence[bytes]) -> tuple[list[_Group], list[Refusal]]:
        """Group the payloads by writer schema; refuse those whose schema nobody has or can use."""
        groups: list[_Group] = []
        refused: list[Refusal] = []
        for writer_schema, lines in self.readers.group_by_writer_schema(payloads).items():
            try:
                reader, plain, columns, encrypted = self._reader(writer_schema)
            except UnknownSchemaError as error:
                refused += [
                    Refusal(line, f"{UNKNOWN_SCHEMA}: {error}", Fault.UNKNOWN_SCHEMA) for line in lines
                ]
            except UnusableSchemaError as error:
                refused += [Refusal(line, str(error)) for line in lines]
            else:
                start = writer_schema.prefix_length
                bodies = [payloads[line][start:] for line in lines]
                groups.append(_Group(reader, plain, columns, lines, bodies, encrypted))
        return groups, refused

    def _reader(
        self, writer_schema: WriterSchema
    ) -> tuple[BodyReader | None, SchemalessFormat | None, tuple[Column, ...], Paths]:
        if not writer_schema.ref:
            if self.plain is None:
                message = f"names no schema, but {self.name!r} needs the id or GUID that a registry gave"
                raise UnusableSchemaError(message)
            return None, self.plain, (), NONE_ENCRYPTED
        reader = self.readers.reader(writer_schema)
        for column in reader.columns:
            is_exact = self.is_key or column.name in self.exact_fields
            if is_exact and (column.dtype.is_float() or column.dtype.is_nested()):
                message = f"{describe_ref(writer_schema.ref)}: {column.name!r} is part of the key but {column.dtype}"
                raise UnusableSchemaError(message)
        dtypes = pl.Schema({column.name: column.dtype for column in reader.columns})
        for path in self.exact_paths:
            dtype = nested_dtype(dtypes, path)
            if dtype is not None and (dtype.is_float() or dtype.is_nested()):
                where = describe_ref(writer_schema.ref)
                message = f"{where}: {field_name(path)!r} is part of the key but {dtype}"
                raise UnusableSchemaError(message)
        if isinstance(reader, JsonColumns):
            # A JSON Schema without fields may describe text or numbers, which ``objects`` would refuse.
            plain = (self.objects if reader.columns else None) or self.plain
            declared = self.initial_schema
            columns = tuple(column for column in reader.columns if column.name not in declared)
            return None, plain, columns, reader.encrypted
        return reader, None, reader.columns, NONE_ENCRYPTED

    def _with_joined_columns(
        self, groups: Sequence[_Group], columns: tuple[Column, ...]
    ) -> tuple[list[_Group], tuple[Column, ...], list[Refusal]]:
        """Return the groups that go with ``columns`` and each other, the columns of all, and what is refused."""
        accepted: list[_Group] = []
        refused: list[Refusal] = []
        for group in groups:
            try:
                if group.reader is not None:
                    self._require_json(group.columns)
                columns = self._joined(columns, group.columns)
                accepted.append(group)
            except ConflictError as conflict:
                refused += [
                    Refusal(line, str(conflict), Fault.SCHEMA, conflict.fields) for line in group.lines
                ]
        return accepted, columns, refused

    def _require_json(self, columns: tuple[Column, ...]) -> None:
        names = tuple(column.name for column in columns if column.name in self.json_fields)
        if names:
            message = f"{', '.join(names)}: in a column of ktframe.Json, but the record is not JSON"
            raise ConflictError(message, names)

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
            raise ConflictError(message, tuple(column.name for column in new))
        before = {column.name: column.dtype for column in known}
        for column in columns:
            was_integer = before.get(column.name, column.dtype).is_integer()
            if column.name in self.integer_fields and was_integer and column.dtype.is_float():
                message = f"{column.name}: {column.dtype} in a column of {before[column.name]}"
                raise ConflictError(message, (column.name,))
        return columns

    def _typed_by_schemas(self, plain: SchemalessFormat) -> SchemalessFormat:
        """Return ``plain`` as it reads beside values that name a schema: text stays text.

        All fields of these are typed batch by batch: which text were times would depend on how batches were cut.
        """
        if self.inferring is None and isinstance(plain, JsonFormat) and plain.reads_times:
            return replace(plain, reads_times=False)
        return plain

    def _read_plain(
        self, plain: SchemalessFormat, groups: Sequence[_Group], columns: tuple[Column, ...], encrypted: Paths
    ) -> tuple[Part, tuple[Column, ...]]:
        """Read payloads without a schema, or with a JSON Schema; return also the columns after them."""
        order = sorted(
            (line, body) for group in groups for line, body in zip(group.lines, group.bodies, strict=True)
        )
        known = unmarked_schema(pl.Schema({column.name: column.dtype for column in columns}), encrypted)
        readable = pl.Schema(
            {name: dtype for name, dtype in known.items() if plain.supports(pl.Schema({name: dtype}))}
        )
        decoded = self._typed_by_schemas(plain).decode([body for _, body in order], readable)
        lines = [line for line, _ in order]
        refused = tuple(replace(refusal, index=lines[refusal.index]) for refusal in decoded.refused)
        accepted = [lines[index] for index in decoded.accepted]
        read = columns_of(decoded.schema)
        frame = marked_frame(decoded.frame, read, encrypted) if encrypted else decoded.frame
        part = Part(accepted, frame, marked_columns(read, encrypted), refused)
        if self.is_key and columns:
            part = without_extra_fields(part, columns)
        try:
            return part, joined(columns, part.columns)
        except ConflictError as conflict:
            conflicts = [Refusal(line, str(conflict), Fault.SCHEMA, conflict.fields) for line in part.lines]
            return Part((), frame.clear(), part.columns, (*part.refused, *conflicts)), columns


def _names(columns: tuple[Column, ...]) -> str:
    return f"({', '.join(column.name for column in columns)})"


def _has_fields(columns: tuple[Column, ...], wanted: pl.Schema) -> bool:
    """Say whether every ``wanted`` field is a column of that type, or of smaller integers."""
    dtypes = {column.name: column.dtype for column in columns}
    return all(name in dtypes and _has(dtypes[name], dtype) for name, dtype in wanted.items())


def _has(dtype: pl.DataType, wanted: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct) and isinstance(wanted, pl.Struct):
        have = struct_fields(dtype)
        return all(name in have and _has(have[name], inner) for name, inner in struct_fields(wanted).items())
    return dtype == wanted or (wanted == pl.Int64 and dtype == pl.Int32)


def _are_objects(payloads: Sequence[bytes]) -> bool:
    """Say whether it is known that each payload begins with a brace."""
    return isinstance(payloads, BegunPayloads) and payloads.text is not None


def _have_no_magic_byte(payloads: Sequence[bytes]) -> bool:
    smallest = min(filter(None, payloads), default=None)  # no other one has a smaller first byte
    return smallest is None or smallest[0] > LARGEST_MAGIC_BYTE


def _read(group: _Group, reader: BodyReader) -> Part:
    result = reader.read(group.bodies)
    refused = tuple(Refusal(group.lines[index], reason) for index, reason in result.refused.items())
    lines: Sequence[int] = group.lines
    if refused:
        lines = [line for index, line in enumerate(lines) if index not in result.refused]
    return Part(lines, result.frame, group.columns, refused)
