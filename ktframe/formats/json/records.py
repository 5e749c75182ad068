"""Decodes JSON record by record: which are accepted, which refused and why, and what the schema becomes.

This decides what is right. ``batches`` is faster, and must never give another outcome.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from operator import attrgetter
from typing import Any

import orjson
import polars as pl

from ktframe.columns import is_field
from ktframe.formats.arrow import NATIVE_ERRORS, frame_of_records
from ktframe.formats.base import Refusal
from ktframe.formats.batches import frame_of_rows
from ktframe.formats.dtypes import leaf_types, struct_fields
from ktframe.formats.errors import RefusedError
from ktframe.formats.json.constants import may_have_constants, without_constants
from ktframe.formats.json.decision import Decision
from ktframe.formats.json.inference import InferenceRules, inferred_schema
from ktframe.formats.json.refusals import why_no_json, why_no_object
from ktframe.formats.json.turns import read_all, read_in_turn, with_reasons
from ktframe.formats.json.values import row_reader

DEEPEST = 64
"""How many levels of lists and objects a payload may have."""

_LONG_NUMBER = re.compile(rb"\d{19}")
_CONTROL_ESCAPE = b"\\u000"


@dataclass(frozen=True, slots=True)
class JudgedRecords:
    """The accepted payloads as rows that fit the schema, by index, and the refused ones."""

    rows: dict[int, dict[str, Any]]
    refused: list[Refusal]
    schema: pl.Schema


@dataclass(frozen=True, slots=True)
class DecodedRecords:
    """The rows of the accepted payloads, in order, with their indices and schema; and the refused ones."""

    frame: pl.DataFrame
    accepted: list[int]
    refused: tuple[Refusal, ...]
    schema: pl.Schema


def decode_records(
    payloads: Sequence[bytes],
    indices: Iterable[int],
    known: pl.Schema,
    rules: InferenceRules,
    decision: Decision | None = None,
) -> DecodedRecords:
    """Decode the payloads at ``indices``; see ``judge_records``."""
    judged = judge_records(payloads, indices, known, rules, decision)
    frame, unbuildable = _build(judged.rows, judged.schema)
    refused = sorted([*judged.refused, *unbuildable], key=attrgetter("index"))
    return DecodedRecords(frame, list(judged.rows), tuple(refused), judged.schema)


def judge_records(
    payloads: Sequence[bytes],
    indices: Iterable[int],
    known: pl.Schema,
    rules: InferenceRules,
    decision: Decision | None = None,
) -> JudgedRecords:
    """Decide which of the payloads at ``indices`` are accepted, and what the schema becomes.

    Where some don't fit the known schema, ``decision`` says what it may become. Fields that it leaves open are decided
    by the first record that has them, in the order of the payloads. Without one all of these payloads decide together;
    their order then decides only ties. Records that don't fit are refused, and have no effect on the schema.
    """
    has_decimals = any(pl.Decimal in leaf_types(dtype) for dtype in known.values())
    records: dict[int, dict[str, Any]] = {}
    refused: list[Refusal] = []
    for index in indices:
        try:
            records[index] = parse(payloads[index], has_decimals=has_decimals)
        except RefusedError as error:
            refused.append(Refusal(index, str(error)))
    schema = known
    rows, unfit = read_all(records, schema, rules)
    if unfit:
        if decision is None:
            columns = schema = inferred_schema(known, records.values(), rules)
            rows, unfit = read_all(records, schema, rules)
        else:
            whole, columns = decision.whole, decision.widened(known)
            rules = replace(rules, most=decision.most, timed=decision.rules.timed)
            rows, unfit = read_in_turn(records, columns, rules, whole, decision.schema)
        accepted = {index: records[index] for index in rows}
        if decision is None:
            final = inferred_schema(known, accepted.values(), rules)
        else:
            # What was accepted agrees: where floats came before integers, they may stay there together.
            agreeing = replace(rules, integer=frozenset())
            final = inferred_schema(
                known, accepted.values(), agreeing, whole, decision.schema, is_capped=False
            )
            final = decision.with_floats(final)
        if decision is not None or final != schema:
            schema = final
            rows, further = read_all(accepted, schema, rules)
            unfit += further
        unfit = with_reasons(unfit, records, {**columns, **schema}, rules)
    return JudgedRecords(rows, refused + unfit, schema)


def decode_fields(
    payloads: Sequence[bytes], wanted: pl.Schema, declared: frozenset[str]
) -> tuple[pl.DataFrame, list[int]]:
    """Return the ``wanted`` fields of the payloads in which they can be read, and the indices of these payloads."""
    has_decimals = any(pl.Decimal in leaf_types(dtype) for dtype in wanted.values())
    read = row_reader(tuple(wanted.items()), InferenceRules(fixed=declared))
    rows: dict[int, dict[str, Any]] = {}
    for index, payload in enumerate(payloads):
        try:
            record = parse(payload, has_decimals=has_decimals)
            rows[index] = read(_only(record, wanted))
        except RefusedError:
            continue
    frame, _ = _build(rows, wanted)
    return frame, list(rows)


def _only(record: Mapping[str, Any], wanted: Mapping[str, pl.DataType]) -> dict[str, Any]:
    """Return the fields that are wanted, and of objects only those inside that are: the others may be unreadable."""
    return {
        name: _only(record[name], struct_fields(dtype))
        if isinstance(dtype, pl.Struct) and type(record[name]) is dict
        else record[name]
        for name, dtype in wanted.items()
        if name in record
    }


def parse(payload: bytes, *, has_decimals: bool = False) -> dict[str, Any]:
    """Return the payload as an object with exact integers, and Decimals for other finite numbers if ``has_decimals``."""
    if not payload:
        message = "empty value"
        raise RefusedError(message)
    value, has_constants = _parsed(payload)
    if type(value) is not dict:
        raise RefusedError(why_no_object(value))
    check_shape(payload, value)
    if has_decimals or has_constants or _LONG_NUMBER.search(payload):
        # orjson makes floats of integers beyond 64 bits.
        value = json.loads(payload, parse_float=Decimal if has_decimals else float)
    record: dict[str, Any] = value
    return record


def _parsed(payload: bytes) -> tuple[Any, bool]:
    """Return what a payload was parsed to, with 0 in the place of NaN and infinities, and whether it has these."""
    try:
        return orjson.loads(payload), False
    except ValueError as error:
        if not may_have_constants(payload):
            raise RefusedError(why_no_json(payload, error)) from None
    try:
        return orjson.loads(without_constants(payload)), True
    except ValueError as error:
        raise RefusedError(why_no_json(payload, error)) from None


def check_shape(payload: bytes, value: Any = None) -> None:
    """Refuse an object that is too deep, or has a name that no field can have; ``value`` is what it was parsed to."""
    may_be_deep = payload.count(b"{") + payload.count(b"[") > DEEPEST
    has_odd_names = _CONTROL_ESCAPE in payload
    if not (may_be_deep or has_odd_names):
        return
    value = _without_numbers(payload) if value is None else value
    if may_be_deep and _is_deep(value):
        message = f"nested deeper than {DEEPEST} levels"
        raise RefusedError(message)
    if has_odd_names:
        _check_names(value)


def _without_numbers(payload: bytes) -> Any:
    """Parse a payload of which only the shape is wanted: no number is too large."""
    try:
        return orjson.loads(payload)
    except ValueError:
        return json.loads(payload, parse_int=str, parse_float=str)


def _build(rows: dict[int, dict[str, Any]], schema: pl.Schema) -> tuple[pl.DataFrame, list[Refusal]]:
    """Return the frame of ``rows``; remove and refuse those that no column can hold."""
    built = frame_of_rows(rows, schema, lambda some: _frame(some, schema))
    for index in built.refused:
        del rows[index]
    return built.frame, [Refusal(index, reason) for index, reason in built.refused.items()]


def _frame(rows: Sequence[Mapping[str, Any]], schema: pl.Schema) -> pl.DataFrame | None:
    try:
        return frame_of_records(rows, schema)
    except NATIVE_ERRORS:
        return None


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            item
            for outer in level
            for item in (outer.values() if type(outer) is dict else outer)
            if type(item) in {dict, list}
        ]
        if not level:
            return False
    return True


def _check_names(value: dict[str, Any]) -> None:
    if not all(map(is_field, value)):
        message = "a field name starts with U+0001, as only the names of ktframe's own columns do"
        raise RefusedError(message)
    level: list[Any] = [value]
    while level:
        if any("\0" in name for value in level if type(value) is dict for name in value):
            message = "a field name holds a NUL character, which no column name can"
            raise RefusedError(message)
        level = [
            item
            for outer in level
            for item in (outer.values() if type(outer) is dict else outer)
            if type(item) in {dict, list}
        ]
