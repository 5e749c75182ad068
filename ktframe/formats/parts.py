"""The rows of one batch that were read in several parts: fitted to common columns, and put together in order.

*Lines* are indices in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ktframe.formats.base import Decoded, Fault, Refusal
from ktframe.formats.bodies import Column
from ktframe.formats.resolution import reading, rounding


@dataclass(frozen=True, slots=True)
class Part:
    """Rows with their lines, the columns of their schemas, and the payloads of the same groups that were refused."""

    lines: Sequence[int]
    frame: pl.DataFrame
    columns: tuple[Column, ...]
    refused: tuple[Refusal, ...] = ()


def without_extra_fields(part: Part, columns: tuple[Column, ...]) -> Part:
    """Return ``part`` without the keys that have a field beyond ``columns``."""
    known = {column.name for column in columns}
    extra = [name for name in part.frame.columns if name not in known]
    if not extra:
        return part
    has_extra = part.frame.select(pl.any_horizontal(pl.col(extra).is_not_null())).to_series()
    lines = pl.Series(part.lines)
    own: dict[int, list[str]] = {}
    for name in extra:
        for line in lines.filter(part.frame[name].is_not_null()):
            own.setdefault(line, []).append(name)
    refused = [
        Refusal(line, f"a key with additional fields: {', '.join(names)}", Fault.SCHEMA, tuple(names))
        for line, names in own.items()
    ]
    kept = tuple(column for column in part.columns if column.name in known)
    frame = part.frame.filter(~has_extra).drop(extra)
    return Part(lines.filter(~has_extra).to_list(), frame, kept, (*part.refused, *refused))


def fitted(part: Part, columns: tuple[Column, ...]) -> Part:
    """Return ``part`` in ``columns``; refuse the rows with integers that a float column would round."""
    own = {column.name: column for column in part.columns}
    dtypes = {column.name: column.dtype for column in columns}
    frame, lines, refused = part.frame, part.lines, list(part.refused)
    for name, dtype in frame.schema.items():
        is_rounded = rounding(pl.col(name), dtype, dtypes.get(name, dtype))
        if is_rounded is None:
            continue
        rounded = frame.select(is_rounded.fill_null(value=False)).to_series()
        if rounded.any():
            reason = f"{name}: an integer beyond 2**53 in a column of {dtypes[name]}"
            refused += [Refusal(lines[at], reason, Fault.SCHEMA, (name,)) for at in rounded.arg_true()]
            lines = [line for line, is_bad in zip(lines, rounded, strict=True) if not is_bad]
            frame = frame.filter(~rounded)
    # Not select alone, which would lose the height of a frame without columns, such as one of empty messages.
    filled = frame.with_columns(reading(own, column) for column in columns)
    return Part(lines, filled.select(*dtypes) if dtypes else filled, columns, tuple(refused))


def together(parts: Sequence[Part], columns: tuple[Column, ...], refused: Sequence[Refusal]) -> Decoded:
    """Put parts that have the same ``columns`` together in the order of the batch."""
    schema = pl.Schema({column.name: column.dtype for column in columns})
    refusals = [*refused, *(refusal for part in parts for refusal in part.refused)]
    by_line = tuple(sorted(refusals, key=lambda refusal: refusal.index))
    if len(parts) == 1:
        return Decoded(parts[0].frame, parts[0].lines, by_line, schema)
    lines = pl.Series([line for part in parts for line in part.lines], dtype=pl.UInt32)
    whole = pl.concat([pl.DataFrame(schema=schema), *(part.frame for part in parts)])
    order = lines.arg_sort()
    return Decoded(whole[order], lines[order].to_list(), by_line, schema)
