"""The checks before rows are written: what the table would refuse, or would read back otherwise, is not sent.

Rows are encoded, then read back by the table's own decoder. Each check raises a SchemaError with column and row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import polars as pl

from ktframe.errors import SchemaError
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.learned import Learned
from ktframe.fold.records import BatchContext, RecordBatch
from ktframe.fold.row_codec import record_key_of
from ktframe.formats import inferring
from ktframe.formats.base import Headers
from ktframe.formats.schemas import UNKNOWN_SCHEMA
from ktframe.sync.materializer import Materializer

_CREATE_TIME: Final = 1


def one_value(name: str, value: Any, dtype: pl.DataType | None) -> pl.Series:
    """Return ``value`` as a column of ``dtype``, without converting it; None: of the dtype that Polars gives it."""
    # Nested values keep their own dtype: Polars casts the fields of structs, and drops unknown ones, without an error.
    is_known = dtype is not None and dtype != pl.Null and not dtype.is_nested()
    try:
        if isinstance(value, bool) and is_known and dtype != pl.Boolean:
            raise TypeError(value)  # noqa: TRY301 - as Polars does for other kinds
        column = pl.Series(name, [value], dtype=dtype if is_known else None, strict=True)
        if is_known and column[0] != value and value == value:  # noqa: PLR0124 - NaN does not equal itself
            raise TypeError(value)  # noqa: TRY301 - Polars has rounded it, or taken a number for a date
        return column  # noqa: TRY300 - nothing else can fail here
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        message = f"column {name!r}: {value!r} is not {dtype}, the type of this column in the table."
        raise SchemaError(message, "table.schema has the columns and their types.") from error


def require_whole_fields(decoder: TopicDecoder) -> None:
    """Refuse to write rows whose columns are not the fields of records."""
    if decoder.unnested.structs:
        message = (
            f"unnest={decoder.unnested.argument!r}: the columns of this table are not the fields of records."
        )
        raise SchemaError(message, "write to the table without unnest=, whose rows are as records are.")


def require_readable_schemas(materializer: Materializer) -> None:
    """Refuse to write JSON to a topic whose records have a schema that could not be looked up."""
    reasons = (record.reason for record in materializer.store.refused() if UNKNOWN_SCHEMA in record.reason)
    reason = next(reasons, None)
    if reason is not None:
        message = f"the topic's records have a schema, and what is written would not: {reason}."
        raise SchemaError(message, "connect(..., schema_registry=...) tells where the schema is.")


def require_fields(content: pl.DataFrame, fields: pl.Schema, about: Collection[str] = ()) -> None:
    """Refuse columns that the topic's records do not have, or that are ``about`` a record."""
    unknown = [name for name in content.columns if name not in fields]
    told = [name for name in unknown if name in about]
    if fields and told:
        message = f"{', '.join(map(repr, told))} in a frame is about the record that a row comes from: no field of its value."
        raise SchemaError(
            message, "to_polars(metadata=False) gives rows without it, to change and write back."
        )
    if fields and unknown:
        message = f"the topic's records have no field {', '.join(map(repr, unknown))}: there are {', '.join(fields)}."
        raise SchemaError(
            message, "rename or drop the column; a new field is first written by ktframe.publish()."
        )


def read_back(
    decoder: TopicDecoder,
    schema: pl.Schema,
    keys: Sequence[bytes | None],
    values: Sequence[bytes],
    headers: Sequence[Headers] | None,
) -> tuple[pl.DataFrame, pl.Schema]:
    """Return the rows that the table will make of the records, and its schema then.

    Raises
    ------
    SchemaError
        When it would refuse one of them.
    """
    count = len(values)
    batch = RecordBatch(
        partitions=[0] * count,
        offsets=range(count),
        timestamps=[0] * count,
        timestamp_types=[_CREATE_TIME] * count,
        keys=keys,
        values=values,
        headers=headers,
    )
    records = decoder.read(batch, schema)
    if decoder.sieve is not None:
        found = decoder.headers.read_batch(batch)
        sifted = decoder.sieve.sift(batch, found, inferring(decoder.value_format), Learned())
        if not sifted.left_out:
            records, sifted = sifted.after(records, decoder.values)
        if sifted.left_out or sifted.left_out_later:
            message = "a row would be left out of this table: where= is not true for it."
            raise SchemaError(
                message, "nothing was written; write it by the table of all records, without where=."
            )
        if sifted.batch is not sifted.original:
            message = "a row would delete one instead: it is what deletes= says."
            raise SchemaError(message, "nothing was written; delete() deletes rows.")
    rows, refused, after, _ = records
    assigned = decoder.identity.assign(rows, BatchContext())
    refused = [*refused, *assigned.refused]
    if refused:
        first = min(refused, key=lambda refusal: refusal.index)
        message = f"row {first.index} would be refused: {first.reason}."
        raise SchemaError(message, "nothing was written; table.schema has the columns and their types.")
    return rows, after


def require_types(content: pl.DataFrame, fields: pl.Schema, after: pl.Schema) -> None:
    """Refuse rows that would change the type of a column for everyone who reads the topic."""
    for column in content.iter_columns():
        before = fields.get(column.name, pl.Null())
        if before in (pl.Null, after[column.name]):
            continue
        is_odd = ~column.cast(before, strict=False).eq_missing(column)
        row = is_odd.arg_max() or 0
        message = (
            f"column {column.name!r}, row {row}: {column[row]!r} is not {before}, as in the topic's records."
        )
        raise SchemaError(message, "nothing was written; cast the column to its type in table.schema.")


def require_equal(content: pl.DataFrame, read: pl.DataFrame) -> None:
    """Refuse rows whose values would be read back as other values."""
    for column in content.iter_columns():
        if column.name not in read.columns:
            continue
        back = read[column.name]
        try:
            # A column that is read back with nulls only has no dtype to compare in.
            written = column if back.dtype == pl.Null else column.cast(back.dtype, strict=True)
            is_other = ~written.eq_missing(back.cast(written.dtype))
        except pl.exceptions.PolarsError:
            continue  # of another kind, such as a time that JSON holds as text: it is read back as it was written
        if is_other.any():
            row = is_other.arg_max() or 0
            message = f"column {column.name!r}, row {row}: {column[row]!r} would be read as {back[row]!r}."
            raise SchemaError(
                message,
                "nothing was written; write what would be read, or a value that the schema of the topic can hold.",
            )


def require_no_other_rows(
    materializer: Materializer, partition: int, key: bytes, to_delete: Sequence[bytes]
) -> None:
    """Refuse a tombstone for a record key that would also delete rows outside of ``to_delete``."""
    store = materializer.store
    sharing = [identity for identity in store.identities_of(partition, key) if identity not in to_delete]
    others = [
        identity
        for identity, row in zip(sharing, store.get_of(partition, sharing), strict=True)
        if row is not None and record_key_of(row) == key
    ]
    if others:
        message = f"deleting the row of record key {key!r} would delete {len(others):,} other rows with that record key."
        raise SchemaError(message, "give all their keys in one call, or write rows that say they are gone.")
