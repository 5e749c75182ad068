"""Avro schemas and values made by Hypothesis, and what columns have to show for them.

A second, naive implementation of the rules in ``AvroReader``'s docstring, on ``fastavro``'s decoding; it shares no code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import fastavro
import hypothesis.strategies as st
import polars as pl

from ktframe.formats.bodies import SchemaDocument

INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)
FLOAT32 = st.floats(width=32)
TIMES = {"time-millis": 86_400_000, "time-micros": 86_400_000_000}
UNITS = {"millis": "ms", "micros": "us", "nanos": "ns"}
STAMPS = [f"{prefix}timestamp-{unit}" for prefix in ("", "local-") for unit in UNITS]
NAMES = ["a", "B", "c_1", "value", "key", "é"]
PLAIN = {"int": INT, "long": LONG, "float": FLOAT32, "double": st.floats(), "string": st.text(max_size=8)}
PLAIN |= {"null": st.none(), "boolean": st.booleans(), "bytes": st.binary(max_size=8)}
PRIMITIVES = sorted(PLAIN)


@dataclass
class Made:
    """A schema with its references; ``names`` are the definitions of all named types."""

    schema: Any
    references: list[Any]
    names: dict[str, Any] = field(default_factory=dict)

    @property
    def document(self) -> SchemaDocument:
        """The schema as a registry keeps it; a reference refers to those before it."""
        documents: tuple[tuple[str, SchemaDocument], ...] = ()
        for each in self.references:
            documents = (*documents, (each["name"], SchemaDocument("AVRO", json.dumps(each), documents)))
        return SchemaDocument("AVRO", json.dumps(self.schema), documents)


@st.composite
def schemas(draw: st.DrawFn, depth: int = 3) -> Made:
    """Draw a schema of which some named types come from other documents."""
    made = Made(None, [])
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        made.references.append(draw(_named(made, 1)))
    made.schema = draw(_records(made, depth) if draw(st.integers(0, 5)) else _types(made, depth))
    return made


@st.composite
def _types(draw: st.DrawFn, made: Made, depth: int) -> Any:
    kinds = ["primitive", "primitive", "logical", "named", "known"]
    kinds += ["array", "map", "nullable", "nullable", "union"] if depth else []
    kind = draw(st.sampled_from(kinds))
    if kind == "known" and made.names:
        return draw(st.sampled_from(sorted(made.names)))
    if kind == "array":
        return {"type": "array", "items": draw(_types(made, depth - 1))}
    if kind == "map":
        return {"type": "map", "values": draw(_types(made, depth - 1))}
    if kind in {"nullable", "union"}:
        return draw(_unions(made, depth, 1 if kind == "nullable" else 3))
    if kind == "named":
        return draw(_named(made, depth))
    return draw(st.sampled_from(PRIMITIVES) if kind == "primitive" else _logicals())


@st.composite
def _unions(draw: st.DrawFn, made: Made, depth: int, most: int) -> list[Any]:
    branches = ["null"] if draw(st.integers(0, 4)) else []
    seen = {"null", "union"}
    for _ in range(draw(st.integers(1, most))):
        before = dict(made.names)
        branch = draw(_types(made, depth - 1))
        name = _kind(branch) if _kind(branch) not in {"record", "enum", "fixed"} else branch["name"]
        if name in seen:
            made.names = before
        else:
            branches.append(branch)
            seen.add(name)
    return draw(st.permutations(branches or ["int"]))


@st.composite
def _named(draw: st.DrawFn, made: Made, depth: int) -> dict[str, Any]:
    kind = draw(st.sampled_from(["enum", "fixed", "uuid", "decimal", *(["record"] * 3 if depth else [])]))
    if kind == "record":
        return draw(_records(made, depth - 1))
    name = f"n{draw(st.integers(0, 1))}.T{len(made.names)}"
    if kind == "enum":
        schema: dict[str, Any] = {
            "type": "enum",
            "name": name,
            "symbols": draw(_some_of(["X", "y", "Z9", "_"])),
        }
    elif kind == "uuid":
        schema = {"type": "fixed", "name": name, "size": 16, "logicalType": "uuid"}
    else:
        schema = {"type": "fixed", "name": name, "size": draw(st.integers(0, 20))}
        if kind == "decimal":
            schema |= {"logicalType": "decimal", "precision": draw(st.integers(1, 50)), "scale": 1}
        elif schema["size"] == 12:
            schema |= {"logicalType": "duration"}
    made.names[name] = schema
    return schema


@st.composite
def _records(draw: st.DrawFn, made: Made, depth: int) -> dict[str, Any]:
    names = draw(_some_of(NAMES))[:4] if draw(st.integers(0, 9)) else []
    fields = [{"name": name, "type": draw(_types(made, depth))} for name in names]
    name = f"n.T{len(made.names)}"
    made.names[name] = {"type": "record", "name": name, "fields": fields}
    return made.names[name]


def _some_of(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=1, unique=True)


@st.composite
def _logicals(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["date", "time-millis", "time-micros", *STAMPS, "uuid", "decimal", "other"]))
    if kind == "decimal":
        precision = draw(st.integers(1, 45))
        return {
            "type": "bytes",
            "logicalType": kind,
            "precision": precision,
            "scale": draw(st.integers(0, precision)),
        }
    bases = {
        "date": "int",
        "time-millis": "int",
        "uuid": "string",
        "other": draw(st.sampled_from(PRIMITIVES)),
    }
    return {"type": bases.get(kind, "long"), "logicalType": kind}


def _kind(schema: Any) -> str:
    if isinstance(schema, list):
        return "union"
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _resolved(schema: Any, made: Made) -> Any:
    return made.names.get(schema, schema) if isinstance(schema, str) else schema


def plain(schema: Any, made: Made, seen: set[str]) -> Any:
    """Return a schema with the same bytes for fastavro: without logical types, every branch in a record of its own.

    So fastavro tells which branch it was, and gives numbers of times.
    """
    schema = _resolved(schema, made)
    kind = _kind(schema)
    if kind == "union":
        wrapped = []
        for at, each in enumerate(schema):
            name = f"Branch{len(seen)}"
            seen.add(name)
            inner = [{"name": str(f"b{at}"), "type": plain(each, made, seen)}]
            wrapped.append(each if each == "null" else {"type": "record", "name": name, "fields": inner})
        return wrapped
    if not isinstance(schema, dict):
        return schema
    if "name" in schema:
        if schema["name"] in seen:
            return schema["name"]
        seen.add(schema["name"])
    kept = {key: schema[key] for key in ("type", "name", "size", "symbols") if key in schema}
    if kind == "record":
        kept["fields"] = [{**each, "type": plain(each["type"], made, seen)} for each in schema["fields"]]
    for part in ("items", "values"):
        if part in schema:
            kept[part] = plain(schema[part], made, seen)
    return kept


def values(schema: Any, made: Made) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one for each kind
    """Draw values as fastavro has them under ``plain(schema)``."""
    schema = _resolved(schema, made)
    kind = _kind(schema)
    if kind == "union":
        return st.one_of([_branch_values(at, each, made) for at, each in enumerate(schema)])
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    if logical in TIMES and kind in {"int", "long"}:
        return st.integers(0, TIMES[logical] - 1)
    if logical == "uuid":
        return st.uuids().map(lambda each: each.bytes if kind == "fixed" else str(each).upper())
    if logical == "decimal":
        return _decimal_values(schema, kind)
    if kind == "enum":
        return st.sampled_from(schema["symbols"])
    if kind == "fixed":
        return st.binary(min_size=schema["size"], max_size=schema["size"])
    if kind == "array":
        return st.lists(values(schema["items"], made), max_size=3)
    if kind == "map":
        return st.dictionaries(st.text(max_size=3), values(schema["values"], made), max_size=3)
    if kind == "record":
        return st.fixed_dictionaries({each["name"]: values(each["type"], made) for each in schema["fields"]})
    return PLAIN[kind]


def _branch_values(at: int, schema: Any, made: Made) -> st.SearchStrategy[Any]:
    return st.none() if schema == "null" else values(schema, made).map(lambda value: {f"b{at}": value})


def _decimal_values(schema: dict[str, Any], kind: str) -> st.SearchStrategy[bytes]:
    if kind == "fixed" and not is_decimal(schema):
        return st.binary(min_size=schema["size"], max_size=schema["size"])
    end = 10 ** schema["precision"] - 1
    size = schema["size"] if kind == "fixed" else 20
    return st.integers(-end, end).map(lambda value: value.to_bytes(size, "big", signed=True))


def is_decimal(schema: dict[str, Any]) -> bool:
    """Tell whether a fixed is large enough for the decimals that it says it holds."""
    return "size" not in schema or 10 ** schema["precision"] <= 2 ** max(8 * schema["size"] - 1, 0)


def written(schema: Any, datum: Any) -> bytes:
    """Return the bytes that fastavro writes for a value."""
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), datum)
    return out.getvalue()


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal, NaN to itself."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and bool(left == right)


def dtype_of(schema: Any, made: Made) -> pl.DataType:  # noqa: PLR0911 - one for each kind
    """Return the column type that a schema has to have."""
    schema = _resolved(schema, made)
    kind = _kind(schema)
    if kind == "union":
        carried = {label: dtype_of(each, made) for label, each in labels(schema, made)}
        if len(carried) > 1:
            return pl.Struct(carried)
        return next(iter(carried.values()), pl.Null())
    logical = schema.get("logicalType", "") if isinstance(schema, dict) else ""
    if logical == "decimal" and is_decimal(schema):
        small = schema["precision"] <= 38
        return pl.Decimal(schema["precision"], schema["scale"]) if small else pl.String()
    if "timestamp" in logical:
        unit = UNITS[logical.rpartition("-")[2]]
        return pl.Datetime(unit, None if logical.startswith("local") else "UTC")  # type: ignore[arg-type]
    if logical in {"date", "uuid", *TIMES}:
        return {"date": pl.Date(), "uuid": pl.String()}.get(logical, pl.Time())
    if kind == "array":
        return pl.List(dtype_of(schema["items"], made))
    if kind == "map":
        return pl.List(pl.Struct({"key": pl.String(), "value": dtype_of(schema["values"], made)}))
    if kind == "record":
        return pl.Struct({each["name"]: dtype_of(each["type"], made) for each in schema["fields"]})
    leaves = {"null": pl.Null(), "boolean": pl.Boolean(), "int": pl.Int32(), "long": pl.Int64()}
    leaves |= {"float": pl.Float32(), "double": pl.Float64(), "bytes": pl.Binary(), "fixed": pl.Binary()}
    return leaves.get(kind, pl.String())


def labels(schema: Sequence[Any], made: Made) -> list[tuple[str, Any]]:
    """Return the branches of a union that hold a value, by the names of their fields."""
    found: list[tuple[str, Any]] = []
    for each in schema:
        whole = _resolved(each, made)
        name = whole["name"] if isinstance(whole, dict) and "name" in whole else _kind(whole)
        if name != "null":
            found.append((name.rpartition(".")[2], whole))
    return found


def shown(schema: Any, made: Made, value: Any) -> Any:  # noqa: PLR0911 - one for each kind
    """Return what a column shows, times as numbers, for what fastavro reads under ``plain(schema)``."""
    schema = _resolved(schema, made)
    kind = _kind(schema)
    if kind == "union":
        return _shown_union(schema, made, value)
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    if logical == "decimal" and is_decimal(schema):
        unscaled = int.from_bytes(value, "big", signed=True)
        digits = tuple(map(int, str(abs(unscaled))))
        exact = Decimal((int(unscaled < 0), digits, -schema["scale"]))
        return exact if schema["precision"] <= 38 else format(exact, "f")
    if logical == "uuid":
        return str(UUID(bytes=value) if kind == "fixed" else UUID(value))
    if logical in TIMES:
        return value * (10**6 if logical == "time-millis" else 10**3)
    if kind == "array":
        return [shown(schema["items"], made, each) for each in value]
    if kind == "map":
        return [{"key": key, "value": shown(schema["values"], made, each)} for key, each in value.items()]
    if kind == "record":
        return {each["name"]: shown(each["type"], made, value[each["name"]]) for each in schema["fields"]}
    return value


def _shown_union(schema: Sequence[Any], made: Made, value: Any) -> Any:
    if value is None:
        return None
    ((at, inner),) = ((int(key[1:]), each) for key, each in value.items())
    carried = labels(schema, made)
    taken = [each for each in schema if each != "null"].index(schema[at])
    read = shown(schema[at], made, inner)
    if len(carried) == 1:
        return read
    return {label: read if number == taken else None for number, (label, _) in enumerate(carried)}
