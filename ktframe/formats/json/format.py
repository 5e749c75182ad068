"""The JSON format: whole batches with Arrow where the outcome is certain, record by record where it is not, or they are few."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.arrow import NATIVE_ERRORS, frame_of_records
from ktframe.formats.base import Decoded
from ktframe.formats.batches import SMALLEST_PIECE, split_batch
from ktframe.formats.dtypes import MOST_DIGITS
from ktframe.formats.errors import RefusedError
from ktframe.formats.field_names import FieldPath, field_name
from ktframe.formats.json.batches import begun, read_batch
from ktframe.formats.json.decision import Decision
from ktframe.formats.json.forms import MAP, NO_FORMS, TEXT, Forms
from ktframe.formats.json.inference import InferenceRules, first_crowding, has_many
from ktframe.formats.json.packed import unpacked
from ktframe.formats.json.records import decode_fields, decode_records, judge_records, parse
from ktframe.formats.json.scalars import as_objects, without_field
from ktframe.formats.json.sightings import Path, Sightings
from ktframe.formats.json.texts import quoted
from ktframe.formats.json.values import reader_of
from ktframe.formats.nested import nested_dtype

_SAMPLE = 200
_KEY_HINT = "a key needs values that are exactly equal: String, Int64, Decimal..."
MOST_ONE_BY_ONE = SMALLEST_PIECE
_MOST_BYTES_ONE_BY_ONE = 16_384


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """Decodes payloads that are one JSON object each: values as ``json.loads`` returns them, absent fields as null.

    Parameters
    ----------
    declared
        Fields whose type is fixed. A record is refused where a value does not fit exactly; only a Float32 rounds.
        Dates and times are ISO 8601 strings, with an offset for a column that has a time zone and without one for a
        column that has none; or, other than times of day, whole numbers of the column's unit (days of a Date) since 1970
        UTC. A Decimal takes numbers and strings. A String takes strings as they are and the JSON text
        of other values, also in lists and structs. The types of all other fields are inferred.
    exact_fields
        Top-level fields that are part of a row's identity: String, integers or Boolean, where not declared otherwise.
    integer_fields
        Top-level fields whose integers never become floats; see ``without_float_widening``.
    are_all_exact
        Whether every field is part of the identity, as in a record key. A payload that is text, a number or a boolean is then
        one column, ``value``.
    exact_paths, integer_paths
        The same of fields inside of objects.
    objects
        Fields that must stay objects, because a key or a time is looked for inside.
    json_fields
        Declared fields whose column, a String, holds the JSON text of their values exactly as it was sent.
    map_fields
        Declared fields whose column, a list of structs of ``key`` and ``value``, holds the entries of an object.
    reserved
        Names of other columns: a record with such a field is refused, so that others keep theirs.
    reads_times
        Whether an inferred field whose text is ISO 8601 with an offset is a Datetime in UTC; no part of an identity is.
    unpacks
        Whether gzip and byte order marks are taken off the payloads.
    forms
        Where inferred columns hold text or entries of maps: see ``decided_by``.
    decision
        What decides the types of fields: see ``decided_by``. None: the payloads of each call of ``decode``.

    Raises
    ------
    SchemaError
        A declared type can't be read from JSON, or can't be part of an identity.

    Notes
    -----
    *Refused* are payloads that are not one JSON object (RFC 8259: no lone surrogates, no byte order mark; but NaN,
    Infinity and -Infinity are numbers), that
    are nested deeper than 64 levels, or that have a field whose name has a NUL or begins with U+0001; and, as conflicts,
    those with a value that its column can't hold exactly. Of equal keys in one object the last one counts.

    *Inferred* integers are Int64, or UInt64 or Decimal(38, 0) where some of those that decide need it. Types widen from
    Null to any other and from Int64 to Float64, also in structs and lists; all else is a
    conflict. Without a ``decision`` a field gets the commonest kind among the records of the batch in which it first
    isn't null. A field that is always null is a ``Null`` column, and ``{}`` a struct without fields. Int64 does not
    become Float64 in a batch that has an integer beyond 2**53 in that field, and a Float64 column refuses such integers.
    Fields are in the order in which they first came. Refused records have no effect on the schema.
    """

    declared: pl.Schema | None = field(default=None, hash=False)
    exact_fields: frozenset[str] = frozenset()
    integer_fields: frozenset[str] = frozenset()
    are_all_exact: bool = False
    json_fields: frozenset[str] = frozenset()
    exact_paths: frozenset[FieldPath] = frozenset()
    integer_paths: frozenset[FieldPath] = frozenset()
    objects: frozenset[FieldPath] = frozenset()
    map_fields: frozenset[str] = frozenset()
    reserved: frozenset[str] = frozenset()
    reads_times: bool = False
    unpacks: bool = False
    forms: Forms = NO_FORMS
    decision: Decision | None = field(default=None, compare=False, repr=False)

    name: ClassVar[str] = "json"
    is_canonical: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.declared is None:
            return
        for name, dtype in self.declared.items():
            _check(name, dtype)
            is_exact = self.are_all_exact or name in self.exact_fields
            if is_exact and isinstance(dtype, pl.Float32 | pl.Float64 | pl.List | pl.Struct):
                message = f"field {name!r} is part of the key but declared {dtype}."
                raise SchemaError(message, _KEY_HINT)
        for path in self.exact_paths:
            inner = nested_dtype(self.declared, path)
            if inner is not None and (inner.is_float() or inner.is_nested()):
                message = f"field {field_name(path)!r} is part of the key but declared {inner}."
                raise SchemaError(message, _KEY_HINT)

    @property
    def initial_schema(self) -> pl.Schema:
        """The declared fields."""
        return self.declared or pl.Schema()

    @property
    def declared_fields(self) -> frozenset[str]:
        """The declared fields."""
        return frozenset(self.initial_schema)

    def without_float_widening(self, *fields: str) -> JsonFormat:
        """Return this format with ``fields`` never widened from Int64 to Float64.

        ``decode`` sees one batch, not the rows of earlier ones. Whoever keeps those rows decodes the batch again with
        this where one of them has an integer beyond 2**53; then the floats are refused instead.
        """
        return replace(self, integer_fields=self.integer_fields | set(fields))

    def decision_of(
        self,
        seen: Sightings,
        accepted_wide: frozenset[Path] = frozenset(),
        *,
        timed: frozenset[Path] = frozenset(),
        in_force: Forms = NO_FORMS,
    ) -> Decision:
        """Return the types that fields have by what was seen of them, of those that hold a time too; see ``Decision``."""
        return Decision(seen, replace(self._rules, timed=timed), accepted_wide, in_force)

    def decided_by(self, decision: Decision) -> JsonFormat:
        """Return this format with the types of new fields decided by ``decision``, whatever else is in a batch.

        A field that it leaves open has the type of the first payload that has it. Values have the forms that it has in
        force.
        """
        return replace(self, decision=decision, forms=decision.in_force)

    def with_forms(self, forms: Forms) -> JsonFormat:
        """Return this format with the values of inferred columns in these forms."""
        return replace(self, forms=forms)

    @property
    def all_forms(self) -> Forms:
        """Where columns hold text or entries of maps, declared ones too."""
        return self._declared_forms | self.forms

    @property
    def _declared_forms(self) -> Forms:
        texts = {((name,), TEXT) for name in self.json_fields}
        return frozenset(texts | {((name,), MAP) for name in self.map_fields})

    def inferred(self, schema: pl.Schema) -> pl.Schema:
        """Return the fields of ``schema`` whose types are inferred."""
        return pl.Schema({name: dtype for name, dtype in schema.items() if name not in self.initial_schema})

    def parse(self, payload: bytes) -> dict[str, Any] | None:
        """Return the object that is counted to decide the types of fields; None where the payload is none."""
        if self.unpacks:
            (payload,) = unpacked([payload])
        if self.are_all_exact:
            (payload,) = as_objects([payload])
        try:
            record = parse(quoted([payload], self._columns, self._declared_forms)[0])
        except RefusedError:
            return None
        # A key with such a part is refused, whatever the types of its fields are.
        is_unfit = self.are_all_exact and not all(map(_is_key_part, record.values()))
        return None if is_unfit else record

    def nothing_seen(self) -> Sightings:
        """Return counts of no record yet, which keep apart what is beside a key or a time, however many names it has."""
        return Sightings(self.objects)

    def has_many(self, seen: Sightings, times: int = 1) -> bool:
        """Say whether more names were seen than become columns, or so many times more."""
        return has_many(seen, self._rules, times)

    def first_crowding(self, seen: Sightings, records: Iterable[Mapping[str, Any] | None]) -> int | None:
        """Return the number of the first of ``records`` with which names are too many to become columns."""
        return first_crowding(seen, records, self._rules)

    def infers_from(self, name: str, value: Any) -> bool:
        """Say whether the value of a field has a type that is inferred."""
        if self.are_all_exact or name in self.exact_fields:
            return value is not None and _is_key_part(value)
        return type(value) is not int or _is_key_part(value)

    def supports(self, schema: pl.Schema) -> bool:
        """Say whether columns of these types can be read from JSON."""
        try:
            for name, dtype in schema.items():
                reader_of(dtype, name)
        except SchemaError:
            return False
        return True

    def begun(self, payloads: Sequence[bytes | None], schema: pl.Schema) -> Sequence[bytes | None]:
        """Return ``payloads``, of which many are parsed meanwhile as ``decode`` by ``schema`` would begin with."""
        known = self._with_declared(schema)
        if not known or self.are_all_exact or self.all_forms or self.unpacks:
            return payloads
        return begun(payloads, known, self.declared_fields)

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Decode ``payloads`` against ``schema``, which may be empty.

        Not more than some ten thousand payloads a call: other threads wait meanwhile.
        """
        known = self._with_declared(schema)
        if not payloads:
            return Decoded(known.to_frame(), (), (), known)
        if self.unpacks:
            payloads = unpacked(payloads)
        if not self.are_all_exact:
            return self._decode(payloads, known)
        decoded = self._decode(as_objects(payloads), known)
        refused = tuple(without_field(refusal, payloads[refusal.index]) for refusal in decoded.refused)
        return replace(decoded, refused=refused)

    def _decode(self, payloads: Sequence[bytes], known: pl.Schema) -> Decoded:
        if _are_few(payloads):
            return self._decode_records(payloads, known)
        # Strings mostly hold text already: payloads are only looked at where they can't be read as they are.
        has_forms = bool(self.all_forms)
        decoded = None if has_forms else self._decode_whole(payloads, known)
        if decoded is None:
            as_columns = self._quoted(payloads)
            if has_forms or as_columns is not payloads:
                decoded = self._decode_whole(as_columns, known)
            payloads = as_columns
        return decoded or self._decode_pieces(payloads, known)

    def _decode_whole(self, payloads: Sequence[bytes], known: pl.Schema) -> Decoded | None:
        """Decode a batch that certainly has one schema, None where it may not."""
        for likely in self._likely(payloads, known):
            frame = self._read_whole(payloads, likely)
            if frame is not None:
                return Decoded(frame, range(len(payloads)), (), likely)
        return None

    def _read_whole(self, payloads: Sequence[bytes], schema: pl.Schema) -> pl.DataFrame | None:
        return read_batch(payloads, schema, self.declared_fields)

    def decode_partly(self, payloads: Sequence[bytes], wanted: pl.Schema) -> Decoded:
        """Return the ``wanted`` fields of refused payloads, of those in which they can be read."""
        payloads = unpacked(payloads) if self.unpacks else payloads
        frame, accepted = decode_fields(self._quoted(payloads), wanted, self.declared_fields)
        return Decoded(frame, accepted, (), wanted)

    def _likely(self, payloads: Sequence[bytes], known: pl.Schema) -> Iterator[pl.Schema]:
        """Yield schemas that the whole batch may fit: the known one, then that one widened by the first records.

        If all records fit the second, inference from all of them would give the same schema.
        """
        yield known
        sample = judge_records(
            payloads, range(min(_SAMPLE, len(payloads))), known, self._rules, self.decision
        )
        if sample.schema != known and not sample.refused:
            yield sample.schema

    def _quoted(self, payloads: Sequence[bytes]) -> Sequence[bytes]:
        return quoted(payloads, self._columns, self.all_forms)

    @property
    def _columns(self) -> tuple[tuple[str, pl.DataType], ...]:
        return tuple(self.initial_schema.items())

    @property
    def _rules(self) -> InferenceRules:
        return InferenceRules(
            # Never inferred, whatever records have under these names.
            fixed=self.declared_fields | self.reserved,
            reserved=self.reserved,
            exact=self.exact_fields,
            are_all_exact=self.are_all_exact,
            integer=self.integer_fields,
            exact_paths=self.exact_paths,
            integer_paths=self.integer_paths,
            objects=self.objects,
            reads_times=self.reads_times,
        )

    def _with_declared(self, schema: pl.Schema) -> pl.Schema:
        declared = self.initial_schema
        if all(schema.get(name) == dtype for name, dtype in declared.items()):
            return schema
        return pl.Schema({**declared, **{name: schema[name] for name in schema if name not in declared}})

    def _decode_pieces(self, payloads: Sequence[bytes], known: pl.Schema) -> Decoded:
        """Read what can be read in pieces, and all other records together; the outcome is that of ``_judged``."""
        split = split_batch(
            range(len(payloads)), lambda piece: self._read_whole(_slice(payloads, piece), known)
        )
        decoded = decode_records(payloads, split.unread, known, self._rules, self.decision)
        if decoded.schema != known:
            again = split.read_again(lambda piece: self._read_whole(_slice(payloads, piece), decoded.schema))
            if again.unread != split.unread:  # a piece holds integers that the wider type would round
                return self._judged(payloads, known)
            split = again
        frame, accepted = split.merge(decoded.frame, decoded.accepted)
        return Decoded(frame, accepted, decoded.refused, decoded.schema)

    def _decode_records(self, payloads: Sequence[bytes], known: pl.Schema) -> Decoded:
        """Decode record by record, which ``decode`` must equal."""
        return self._judged(self._quoted(payloads), known)

    def _judged(self, payloads: Sequence[bytes], known: pl.Schema) -> Decoded:
        decoded = decode_records(payloads, range(len(payloads)), known, self._rules, self.decision)
        return Decoded(decoded.frame, decoded.accepted, decoded.refused, decoded.schema)


def _are_few(payloads: Sequence[bytes]) -> bool:
    """Say whether payloads are decoded one by one sooner than by Arrow's reader, which works on a thread of its own.

    The outcome is the same.
    """
    return len(payloads) <= MOST_ONE_BY_ONE and sum(map(len, payloads)) <= _MOST_BYTES_ONE_BY_ONE


def _is_key_part(value: Any) -> bool:
    is_integer = type(value) is int and abs(value) < 10**MOST_DIGITS
    return value is None or type(value) in {str, bool} or is_integer


def _slice(payloads: Sequence[bytes], piece: range) -> Sequence[bytes]:
    return payloads[piece.start : piece.stop]


@lru_cache(maxsize=1_024)  # every batch is decoded by a format that is made for it
def _check(name: str, dtype: pl.DataType) -> None:
    """Raise SchemaError, which names the declared field, where it can't be read from JSON or held in a column."""
    reader_of(dtype, name)
    try:
        frame_of_records([], pl.Schema({name: dtype}))
    except NATIVE_ERRORS as error:
        message = f"field {name!r} is declared {dtype}, which a column can't hold: {error}"
        raise SchemaError(message, "pl.String takes any value; cast the column of the frame.") from error
