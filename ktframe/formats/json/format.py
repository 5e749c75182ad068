"""JSON objects to typed columns: whole batches in Arrow where that is certain, record by record where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.arrow import NATIVE_ERRORS, frame_of_records
from ktframe.formats.base import Decoded
from ktframe.formats.batches import split_batch
from ktframe.formats.json.batches import read_batch
from ktframe.formats.json.inference import InferenceRules
from ktframe.formats.json.records import judge
from ktframe.formats.json.values import reader_of

_SAMPLE = 200


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """One JSON object a payload; accepted values equal those of ``json.loads``, absent fields are null.

    Parameters
    ----------
    declared
        Fields whose type is fixed. Their values are taken exactly or the record is refused; only a Float32 rounds.
        Dates and times are ISO 8601 strings: with an offset for a column that has a time zone, without one for a
        column that has none. A Decimal takes numbers and strings. Other fields are inferred, and kept.
    exact_fields
        Top-level fields that are part of a row's identity: String, Int64 or Boolean, where not declared otherwise.
    integer_fields
        Top-level fields whose integers never become floats; see ``without_float_widening``.
    are_all_exact
        Whether every field is part of the identity, as in a record key.

    Raises
    ------
    SchemaError
        A declared type has no form in JSON, or can't be part of an identity.

    Notes
    -----
    *Refused*: what isn't one JSON object (RFC 8259: no NaN, no lone surrogates, no byte order mark), what is nested
    deeper than 64 levels, what has a NUL in a field's name or U+0001 at its start, and, as a conflict, what its column can't hold exactly. Of equal keys the last one counts.

    *Inferred*: Null < every kind, Int64 < Float64, structs and lists inside; others conflict. A field takes the
    commonest kind among the records of the batch in which it first isn't null. Null alone is a ``Null`` column, ``{}``
    a struct without fields. A known kind never changes but from Int64 to Float64, and not in a batch that holds an
    integer beyond 2**53 there; a Float64 column refuses such integers. Fields are in order of first appearance, and
    refused records leave no trace in the schema.
    """

    declared: pl.Schema | None = field(default=None, hash=False)
    exact_fields: frozenset[str] = frozenset()
    integer_fields: frozenset[str] = frozenset()
    are_all_exact: bool = False

    name: ClassVar[str] = "json"
    is_canonical: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.declared is None:
            return
        object.__setattr__(self, "declared", _checked(self.declared))
        for name, dtype in self.declared.items():
            is_exact = self.are_all_exact or name in self.exact_fields
            if is_exact and isinstance(dtype, pl.Float32 | pl.Float64 | pl.List | pl.Struct):
                message = f"field {name!r} is part of the key but declared {dtype}."
                raise SchemaError(
                    message, "a key needs values that are exactly equal: String, Int64, Decimal..."
                )

    @property
    def initial_schema(self) -> pl.Schema:
        """The declared fields."""
        return self.declared or pl.Schema()

    def without_float_widening(self, *fields: str) -> JsonFormat:
        """Return this format with ``fields`` never widened from Int64 to Float64.

        ``decode`` knows the schema, not the rows of earlier batches. ``Materializer.apply``, which keeps them, asks
        its view (``View.inexact``) for the columns that the new schema makes floats and in which a row holds an
        integer beyond 2**53; it decodes the batch again with this, and the floats are refused instead.
        """
        return replace(self, integer_fields=self.integer_fields | set(fields))

    def supports(self, schema: pl.Schema) -> bool:
        """Say whether JSON has a form for these types."""
        try:
            for name, dtype in schema.items():
                reader_of(dtype, name)
        except SchemaError:
            return False
        return True

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Decode ``payloads`` against ``schema``, which may be empty.

        At most some ten thousand payloads a call keep the time short for which other threads wait.
        """
        known = self._with_declared(schema)
        if not payloads:
            return Decoded(known.to_frame(), (), (), known)
        for likely in self._likely(payloads, known):
            frame = read_batch(payloads, likely)
            if frame is not None:
                return Decoded(frame, range(len(payloads)), (), likely)
        return self._decode_pieces(payloads, known)

    def _likely(self, payloads: Sequence[bytes], known: pl.Schema) -> Iterator[pl.Schema]:
        """Yield what the whole batch may fit: what is known, then what its first records make of that.

        A batch that fits the second as a whole would have widened the schema to just that.
        """
        yield known
        sample = judge(payloads, range(min(_SAMPLE, len(payloads))), known, self._rules)
        if sample.schema != known:
            yield sample.schema

    @property
    def _rules(self) -> InferenceRules:
        return InferenceRules(
            fixed=frozenset(self.initial_schema),
            exact=self.exact_fields,
            are_all_exact=self.are_all_exact,
            integer=self.integer_fields,
        )

    def _with_declared(self, schema: pl.Schema) -> pl.Schema:
        declared = self.initial_schema
        if all(schema.get(name) == dtype for name, dtype in declared.items()):
            return schema
        return pl.Schema({**declared, **{name: schema[name] for name in schema if name not in declared}})

    def _decode_pieces(self, payloads: Sequence[bytes], known: pl.Schema) -> Decoded:
        """Read what can be read in pieces and judge the rest together, with the outcome of judging everything."""
        split = split_batch(range(len(payloads)), lambda piece: read_batch(_slice(payloads, piece), known))
        verdict = judge(payloads, split.unread, known, self._rules)
        if verdict.schema != known:
            again = split.read_again(lambda piece: read_batch(_slice(payloads, piece), verdict.schema))
            if again.unread != split.unread:  # a piece holds integers that the wider type would round
                return self._decode_records(payloads, known)
            split = again
        frame, accepted = split.merge(verdict.frame, verdict.accepted)
        return Decoded(frame, accepted, verdict.refused, verdict.schema)

    def _decode_records(self, payloads: Sequence[bytes], known: pl.Schema) -> Decoded:
        """Judge every payload: what ``decode`` must equal."""
        verdict = judge(payloads, range(len(payloads)), known, self._rules)
        return Decoded(verdict.frame, verdict.accepted, verdict.refused, verdict.schema)


def _slice(payloads: Sequence[bytes], piece: range) -> Sequence[bytes]:
    return payloads[piece.start : piece.stop]


def _checked(declared: pl.Schema) -> pl.Schema:
    """Return ``declared`` fully specified; SchemaError names the field that can't be."""
    for name, dtype in declared.items():
        reader_of(dtype, name)
        try:
            frame_of_records([], pl.Schema({name: dtype}))
        except NATIVE_ERRORS as error:
            message = f"field {name!r} is declared {dtype}, which can't be held: {error}"
            raise SchemaError(message, "see the Polars data types.") from error
    return declared
