"""Payloads that name their schema, beside others that name none: each read by what wrote it, all into one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import polars as pl

from ktframe.formats.base import Decoded, Format, Refusal
from ktframe.formats.bodies import BodyReader, Column, SchemaDocument
from ktframe.formats.body_readers import BodyReaders, JsonColumns, UnusableError, Written
from ktframe.formats.resolution import ConflictError, columns_of, joined, reading, rounding
from ktframe.formats.schemas import UNKNOWN_SCHEMA, UnknownSchemaError
from ktframe.formats.wire import LARGEST_MARK, spelt


@dataclass(frozen=True, slots=True)
class _Group:
    """The payloads of a batch that were written in one way: their lines in the batch, and their bodies."""

    reader: BodyReader | None
    plain: Format | None
    """What reads them where no reader does."""
    columns: tuple[Column, ...]
    lines: Sequence[int]
    bodies: list[bytes]


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows of one group, by lines of the batch, with the columns of their schema."""

    lines: Sequence[int]
    frame: pl.DataFrame
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class FramedFormat:
    """Reads payloads by the schemas that they name, and those that name none by ``plain``.

    Parameters
    ----------
    name
        What asks for it: ``"auto"``, ``"avro"``, ``"protobuf"`` or ``"json"``.
    readers
        What reads the bodies under a schema.
    plain
        Reads what names no schema; None: payloads without a schema are refused.
    exact_fields
        Fields that are part of a row's identity.
    integer_fields
        Fields whose integers never become floats; see ``keeping_integers``.
    is_key
        Whether every field is part of the identity, as in a record key: there are no more and no fewer later on.
    objects
        Reads the bodies under a JSON Schema that tells of fields; None: ``plain`` reads them too.

    Notes
    -----
    A column has the type that the values of all its schemas fit in (``resolution``). Records under a schema that does
    not go with the columns there are conflicts, and so are integers that a float column would round.
    """

    name: str
    readers: BodyReaders = field(compare=False)
    plain: Format | None = None
    exact_fields: frozenset[str] = frozenset()
    integer_fields: frozenset[str] = frozenset()
    is_key: bool = False
    objects: Format | None = None

    needs_headers: ClassVar[bool] = True
    has_one_spelling: ClassVar[bool] = False

    @property
    def initial_schema(self) -> pl.Schema:
        """The columns that are known before any record was seen: the declared ones; of a key, none."""
        return pl.Schema() if self.plain is None or self.is_key else self.plain.initial_schema

    @property
    def revision(self) -> int:
        """How often a schema came by which rows that were there read otherwise."""
        return self.readers.revision

    def decided(self, schema: pl.Schema) -> str | None:
        """Return which schemas the payloads have named; where none was named, what reads them without."""
        plain = self.plain.name if self.plain is not None and len(schema) else None
        return self.readers.describe() or plain

    def last_written(self) -> tuple[bytes, bytes, SchemaDocument] | None:
        """Return the schema that payloads named last, of those that came as new ones."""
        return self.readers.last_written()

    def forget_schemas(self) -> None:
        """Forget the schemas that payloads have named."""
        self.readers.forget()

    def knows_schema(self, payload: bytes) -> bool:
        """Say whether the schema that ``payload`` names is known; RegistryError where that can't be asked."""
        return self.readers.knows(payload)

    def takes(self, schema: pl.Schema) -> bool:
        """Say yes: what a schema makes of its payloads is no matter of types."""
        del schema
        return True

    def keeping_integers(self, *fields: str) -> FramedFormat:
        """Return this format with ``fields`` never widened from integers to floats."""
        plain, objects = (
            None if each is None else each.keeping_integers(*fields) for each in (self.plain, self.objects)
        )
        integer_fields = self.integer_fields | set(fields)
        return replace(self, plain=plain, objects=objects, integer_fields=integer_fields)

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Decode ``payloads`` against ``schema``, widening it where a schema that they name has more.

        Raises
        ------
        RegistryError
            When a schema is wanted that can't be asked for now.
        """
        is_framed = any(payload[0] <= LARGEST_MARK for payload in payloads if payload)
        # A key has the columns that the first had, no more and no fewer: the plain format alone would add some.
        may_widen = (
            self.is_key and bool(schema) and self.plain is not None and not self.plain.has_one_spelling
        )
        if self.plain is not None and not is_framed and not may_widen and self.plain.takes(schema):
            return self.plain.decode(payloads, schema)
        refused: list[Refusal] = []
        groups = self._groups(payloads, refused)
        catalog = self.readers.catalog
        columns = columns_of(schema or self.initial_schema, catalog)
        admitted: list[_Group] = []
        for group in groups:
            try:
                columns = self._joined(columns, group.columns)
                admitted.append(group)
            except ConflictError as conflict:
                refused += [Refusal(line, str(conflict), is_conflict=True) for line in group.lines]
        parts = [_read(group, group.reader, refused) for group in admitted if group.reader is not None]
        for plain in (self.plain, self.objects):
            unread = [group for group in admitted if group.reader is None and group.plain is plain]
            if unread and plain is not None:
                part, columns = self._read_plain(plain, unread, columns, refused)
                parts.append(part)
        # The newest default counts, whichever schemas are in this batch.
        columns = columns_of({column.name: column.dtype for column in columns}, catalog)
        fitted = [_fitted(part, columns, refused) for part in parts]
        wanted = pl.Schema({column.name: column.dtype for column in columns})
        return _together(fitted, wanted, refused)

    def _groups(self, payloads: Sequence[bytes], refused: list[Refusal]) -> list[_Group]:
        """Sort the payloads by what wrote them; refuse those of which that can't be known or read."""
        groups: list[_Group] = []
        for written, lines in self.readers.by_writer(payloads).items():
            try:
                reader, plain, columns = self._reader(written)
            except UnknownSchemaError as error:
                refused += [Refusal(line, f"{UNKNOWN_SCHEMA}: {error}") for line in lines]
            except UnusableError as error:
                refused += [Refusal(line, str(error)) for line in lines]
            else:
                start = written.length
                bodies = [payloads[line][start:] for line in lines]
                groups.append(_Group(reader, plain, columns, lines, bodies))
        return groups

    def _reader(self, written: Written) -> tuple[BodyReader | None, Format | None, tuple[Column, ...]]:
        if not written.name:
            if self.plain is None:
                message = (
                    f"names no schema, but value={self.name!r} wants the id or GUID that a registry gave"
                )
                raise UnusableError(message)
            return None, self.plain, ()
        found = self.readers.reader(written)
        for column in found.columns:
            is_exact = self.is_key or column.name in self.exact_fields
            if is_exact and (column.dtype.is_float() or column.dtype.is_nested()):
                message = f"{spelt(written.name)}: {column.name!r} is part of the key but {column.dtype}"
                raise UnusableError(message)
        if isinstance(found, JsonColumns):
            # A schema without fields may be one of text or numbers, which are no objects.
            return None, (self.objects if found.columns else None) or self.plain, found.columns
        return found, None, found.columns

    def _joined(self, known: tuple[Column, ...], further: tuple[Column, ...]) -> tuple[Column, ...]:
        columns = joined(known, further)
        if self.is_key and known and further and {c.name for c in known} != {c.name for c in further}:
            # With another field a key would be another identity: its row could never be updated or deleted.
            fields = " and ".join(_names(each) for each in (further, known))
            message = f"the keys of a table have the same fields always, not {fields}"
            raise ConflictError(message)
        before = {column.name: column.dtype for column in known}
        for column in columns:
            was_integer = before.get(column.name, column.dtype).is_integer()
            if column.name in self.integer_fields and was_integer and column.dtype.is_float():
                message = f"{column.name}: {column.dtype} in a column of {before[column.name]}"
                raise ConflictError(message)
        return columns

    def _read_plain(
        self, plain: Format, groups: Sequence[_Group], columns: tuple[Column, ...], refused: list[Refusal]
    ) -> tuple[_Part, tuple[Column, ...]]:
        """Read what is written without a schema, or under one that only tells of columns, with the columns after it."""
        order = sorted(
            (line, body) for group in groups for line, body in zip(group.lines, group.bodies, strict=True)
        )
        known = pl.Schema({column.name: column.dtype for column in columns})
        readable = pl.Schema(
            {name: dtype for name, dtype in known.items() if plain.takes(pl.Schema({name: dtype}))}
        )
        decoded = plain.decode([body for _, body in order], readable)
        lines = [line for line, _ in order]
        refused += [replace(each, index=lines[each.index]) for each in decoded.refused]
        part = _Part([lines[index] for index in decoded.accepted], decoded.frame, columns_of(decoded.schema))
        if self.is_key and columns:
            part = _without_further_fields(part, columns, refused)
        try:
            return part, joined(columns, part.columns)
        except ConflictError as conflict:
            refused += [Refusal(line, str(conflict), is_conflict=True) for line in part.lines]
            return _Part((), decoded.frame.clear(), part.columns), columns


def _without_further_fields(part: _Part, columns: tuple[Column, ...], refused: list[Refusal]) -> _Part:
    """Return ``part`` without the keys that have a field which the others have not."""
    known = {column.name for column in columns}
    further = [name for name in part.frame.columns if name not in known]
    if not further:
        return part
    is_odd = part.frame.select(pl.any_horizontal(pl.col(further).is_not_null())).to_series()
    for line in pl.Series(part.lines).filter(is_odd):
        reason = f"a key with further fields: {', '.join(further)}"
        refused.append(Refusal(line, reason, is_conflict=True))
    lines = pl.Series(part.lines).filter(~is_odd).to_list()
    kept = tuple(column for column in part.columns if column.name in known)
    return _Part(lines, part.frame.filter(~is_odd).drop(further), kept)


def _names(columns: tuple[Column, ...]) -> str:
    return f"({', '.join(column.name for column in columns)})"


def _read(group: _Group, reader: BodyReader, refused: list[Refusal]) -> _Part:
    read = reader.read(group.bodies)
    refused += [Refusal(group.lines[index], reason) for index, reason in read.refused.items()]
    lines: Sequence[int] = group.lines
    if read.refused:
        lines = [line for index, line in enumerate(lines) if index not in read.refused]
    return _Part(lines, read.frame, group.columns)


def _fitted(part: _Part, columns: tuple[Column, ...], refused: list[Refusal]) -> _Part:
    """Return ``part`` with the columns that all rows get; without the rows whose integers that would round."""
    have = {column.name: column for column in part.columns}
    frame, lines = part.frame, part.lines
    wanted = {column.name: column.dtype for column in columns}
    for name, dtype in frame.schema.items():
        is_rounded = rounding(pl.col(name), dtype, wanted.get(name, dtype))
        if is_rounded is None:
            continue
        doubtful = frame.select(is_rounded.fill_null(value=False)).to_series()
        if doubtful.any():
            reason = f"{name}: an integer beyond 2**53 in a column of {wanted[name]}"
            refused += [Refusal(lines[at], reason, is_conflict=True) for at in doubtful.arg_true()]
            lines = [line for line, is_bad in zip(lines, doubtful, strict=True) if not is_bad]
            frame = frame.filter(~doubtful)
    # Not select alone: of rows without a column of their own, such as empty messages, it would make one row or none.
    read = frame.with_columns(reading(have, column) for column in columns)
    return _Part(lines, read.select(*wanted) if wanted else read, columns)


def _together(parts: Sequence[_Part], schema: pl.Schema, refused: list[Refusal]) -> Decoded:
    """Put the parts together in the order of the batch."""
    refused.sort(key=lambda each: each.index)
    if len(parts) == 1:
        return Decoded(parts[0].frame, parts[0].lines, tuple(refused), schema)
    lines = pl.Series([line for part in parts for line in part.lines], dtype=pl.UInt32)
    whole = pl.concat([pl.DataFrame(schema=schema), *(part.frame for part in parts)])
    order = lines.arg_sort()
    return Decoded(whole[order], lines[order].to_list(), tuple(refused), schema)
