"""Checks ``where=``: a condition on the fields of a single record, which decides whether it becomes a row."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, TypeAlias

import polars as pl

from ktframe.errors import ConfigurationError
from ktframe.formats.field_names import field_path

Where: TypeAlias = pl.Expr | Mapping[str, Any]
"""An expression over the fields of a record, or fields and what they must equal."""

Usage: TypeAlias = dict[str, "Usage"]
"""The fields of a struct that an expression takes out of it; empty where it looks at the whole value."""

_EXAMPLE: Final = 'where={"type": "user"} or where=pl.col("type") == "user"'
_OTHERS_HINT: Final = f"{_EXAMPLE} judges a record by its own fields; what looks at other rows goes into to_polars().filter(...)."
_LIST_HINT: Final = "give is_in() a list: pl.col(...).is_in([1, 2]) compares with each of its values."
_FORMAT_HINT: Final = 'give to_date(), to_datetime() or to_time() the format, such as pl.col(...).str.to_date("%Y-%m-%d", strict=False).'
SHARED_HINTS: Final = frozenset({_LIST_HINT, _FORMAT_HINT})
"""Those that help with any condition, whatever the argument is called."""
_EQUAL_HINT: Final = 'where={"type": "user"} takes text, a number, True or False; all else is an expression, such as where=pl.col("type").is_null().'

# What Polars calls the parts of an expression, of those that look at one row alone. What is not known is refused.
_NODES: Final = frozenset({"Column", "Literal", "BinaryExpr", "Cast", "Alias", "Ternary", "Function", "Eval"})
_FAMILIES: Final = frozenset(["StringExpr", "TemporalExpr", "ListExpr", "ArrayExpr", "BinaryExpr"])
_NOT_OF_FAMILIES: Final = frozenset({"ConcatVertical", "Sample"})
_RANDOM: Final = frozenset({"Random", "Sample"})
_BOOLEAN: Final = frozenset(
    [
        "IsNull",
        "IsNotNull",
        "IsFinite",
        "IsInfinite",
        "IsNan",
        "IsNotNan",
        "IsBetween",
        "IsIn",
        "IsClose",
        "Not",
        "AllHorizontal",
        "AnyHorizontal",
    ]
)
_FUNCTIONS: Final = frozenset(
    [
        "Abs",
        "Pow",
        "Round",
        "RoundSF",
        "Floor",
        "Ceil",
        "Sign",
        "Negate",
        "Clip",
        "FillNull",
        "Coalesce",
        "Replace",
        "ReplaceStrict",
        "MaxHorizontal",
        "MinHorizontal",
        "SumHorizontal",
        "MeanHorizontal",
        "Log",
        "Log1p",
        "Exp",
        "AsStruct",
    ]
)


@dataclass(frozen=True, slots=True)
class Atom:
    """A part of an expression that is judged as one, with the fields that it looks at."""

    expr: pl.Expr
    usage: Usage


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts that ``and``, ``or`` or ``not`` join."""

    how: str
    parts: tuple[Part, ...]


Part: TypeAlias = Atom | Joined


@dataclass(frozen=True)
class Condition:
    """A checked ``where=``. Two that say the same are equal."""

    identity: str
    """Everything that it says, as text: part of the name of a store."""
    text: str = field(compare=False)
    """As users see it."""
    equal: Mapping[str, Any] | None = field(default=None, compare=False)
    """Fields and what they must equal; None for an expression."""
    expr: pl.Expr | None = field(default=None, compare=False)

    @cached_property
    def part(self) -> Part | None:
        """The expression in parts."""
        return None if self.expr is None else _part(self.expr)

    @cached_property
    def usage(self) -> Usage:
        """The fields that it looks at, by their names; without those of ``equal``."""
        usage: Usage = {}
        for atom in atoms(self.part):
            _merge(usage, atom.usage)
        return usage

    @property
    def names(self) -> list[str]:
        """The fields of the top, or nested ones as they were named, that it looks at."""
        return [*(self.usage if self.equal is None else self.equal)]


def atoms(part: Part | None) -> Iterator[Atom]:
    """Yield the atoms of an expression."""
    if isinstance(part, Atom):
        yield part
    elif part is not None:
        for inner in part.parts:
            yield from atoms(inner)


def condition(where: object) -> Condition:
    """Return what ``where`` says, checked.

    Raises
    ------
    ConfigurationError
        When it is no condition on single records.
    """
    if isinstance(where, Condition):
        return where
    if isinstance(where, Mapping) and where:
        return _of_fields(where)
    if not isinstance(where, pl.Expr):
        message = f"where={where!r} is no condition."
        raise ConfigurationError(message, f"give fields or an expression: {_EXAMPLE}.")
    tree = _tree(where)
    names: Usage = {}
    _require_same_answers(tree, where)
    _require_own_fields(tree, where)
    _note(tree, names)
    if not names:
        raise _no_condition(where, "names no field of a record.")
    found = Condition(json.dumps(tree), str(where), expr=where)
    for atom in atoms(found.part):
        _require_boolean(atom, where)
    return found


def _of_fields(where: Mapping[Any, Any]) -> Condition:
    for name, value in where.items():
        if not isinstance(name, str) or not isinstance(value, str | int | float):
            message = f"where={{{name!r}: {value!r}}} can't be compared with the field of a record."
            raise ConfigurationError(message, _EQUAL_HINT)
    text = repr(dict(where))
    return Condition(repr(sorted(where.items())), text, equal=dict(where))


def _no_condition(where: pl.Expr, why: str, hint: str = _OTHERS_HINT) -> ConfigurationError:
    return ConfigurationError(f"where={where} {why}", hint)


def _tree(where: pl.Expr) -> Any:
    """Return the parts of an expression as Polars writes them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # the form is only for this version of Polars: so is what we do with it
            return json.loads(where.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, ValueError) as error:
        # Functions of Python can't be written. Whether such a one looks at one row nobody knows.
        raise _no_condition(where, "calls a function of Python.") from error


def _require_same_answers(tree: Any, where: pl.Expr) -> None:
    """Refuse what takes chance, the place of a record in its batch, or the other values there into account."""
    for kind, inner in _nodes(tree):
        if kind == "Series":
            raise _no_condition(
                where, "compares records with the values of a Series by their place.", _LIST_HINT
            )
        if kind == "Function" and _infers_format(inner):
            why = "takes the format of a time from the record that comes first."
            raise _no_condition(where, why, _FORMAT_HINT)
        if kind in _RANDOM:
            raise _no_condition(where, f"gives another answer each time ({kind}).")


def _infers_format(call: Mapping[str, Any]) -> bool:
    """Say whether a function finds out how times are written, of texts that are not given with it."""
    name, variant = _kind(call["function"])
    is_open = (
        name == "StringExpr" and _kind(variant)[0] == "Strptime" and variant["Strptime"][1]["format"] is None
    )
    return is_open and any(kind == "Column" for kind, _ in _nodes(call["input"]))


def _nodes(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names of the parts of an expression that have parts themselves, with these."""
    if isinstance(tree, Mapping):
        yield from tree.items()
        tree = list(tree.values())
    if isinstance(tree, list):
        for child in tree:
            if isinstance(child, Mapping | list):
                yield from _nodes(child)


def _require_own_fields(node: Any, where: pl.Expr) -> None:
    """Refuse what looks at other rows: aggregates, shifts, windows, sorts, and what is not known."""
    kind, inner = _kind(node)
    if kind not in _NODES:
        raise _no_condition(where, f"looks beyond one record ({kind}).")
    if kind == "Function":
        function = inner["function"]
        name, variant = _kind(function)
        if isinstance(variant, Mapping | str):
            variant = _kind(variant)[0]
        is_known = (
            (name in _FAMILIES and variant not in _NOT_OF_FAMILIES)
            or (name == "StructExpr" and variant == "FieldByName")
            or (name == "Boolean" and variant in _BOOLEAN)
            or name in _FUNCTIONS
        )
        if not is_known:
            raise _no_condition(where, f"looks beyond one record ({variant if name == 'Boolean' else name}).")
    for child in _children(kind, inner):
        _require_own_fields(child, where)


def _kind(node: Any) -> tuple[str, Any]:
    if isinstance(node, Mapping) and node:
        return next(iter(node.items()))
    return str(node), None


def _children(kind: str, inner: Any) -> list[Any]:
    if kind == "Function":
        return list(inner["input"])
    names = {
        "BinaryExpr": ("left", "right"),
        "Cast": ("expr",),
        "Eval": ("expr",),
        "Ternary": ("predicate", "truthy", "falsy"),
    }
    if kind == "Alias":
        return [inner[0]]
    return [inner[name] for name in names.get(kind, ())]


def _note(node: Any, usage: Usage, inside: tuple[str, ...] = ()) -> None:
    """Add the fields that ``node`` looks at; ``inside`` are those that are taken out of it."""
    kind, inner = _kind(node)
    if kind == "Column":
        known = usage.get(inner)
        wanted: Usage = {}
        for name in reversed(inside):
            wanted = {name: wanted}
        if known is None:
            usage[inner] = wanted
        elif not known or not wanted:
            usage[inner] = {}
        else:
            _merge(known, wanted)
        return
    function = inner["function"] if kind == "Function" else None
    field_of = _kind(function)[1] if function is not None and _kind(function)[0] == "StructExpr" else None
    taken = field_of.get("FieldByName") if isinstance(field_of, Mapping) else None
    for child in _children(kind, inner):
        _note(child, usage, (taken, *inside) if taken is not None else ())


def _merge(usage: Usage, more: Usage) -> None:
    for name, inner in more.items():
        if name not in usage:
            usage[name] = dict(inner)
        elif not usage[name] or not inner:
            usage[name] = {}
        else:
            _merge(usage[name], inner)


def _part(expr: pl.Expr) -> Part:
    """Return an expression in the parts that ``&``, ``|`` and ``~`` join."""
    tree = _tree(expr)
    kind, inner = _kind(tree)
    if kind == "BinaryExpr" and inner["op"] in ("And", "Or"):
        right, left = expr.meta.pop()
        return Joined(inner["op"].lower(), (_part(left), _part(right)))
    if kind == "Function" and inner["function"] == {"Boolean": "Not"}:
        return Joined("not", (_part(expr.meta.pop()[0]),))
    usage: Usage = {}
    _note(tree, usage)
    return Atom(expr, usage)


# --- types of which nothing is known ----------------------------------------------------------------------------------

NULLS: Final[tuple[pl.DataType, ...]] = (
    pl.Null(),
    pl.String(),
    pl.Int64(),
    pl.Float64(),
    pl.Boolean(),
    pl.Datetime("us", "UTC"),
    pl.Date(),
    pl.List(pl.String()),
    pl.List(pl.Int64()),
    pl.Binary(),
)
"""What a null may be one of, the likeliest first: its result is the same for all that a function takes."""


def dtype_within(usage: Usage, leaf: pl.DataType) -> pl.DataType:
    """Return the type of a field of which ``usage`` takes others."""
    return pl.Struct({name: dtype_within(inner, leaf) for name, inner in usage.items()}) if usage else leaf


def result(expr: pl.Expr, schema: pl.Schema) -> pl.DataType | None:
    """Return the type of ``expr`` over a row of nulls; None where it can't be evaluated."""
    row = pl.DataFrame([pl.Series(name, [None], dtype=dtype) for name, dtype in schema.items()])
    try:
        return row.select(expr).to_series().dtype
    except pl.exceptions.PolarsError:
        return None


def assignments(names: list[str], most: int = 2) -> Iterator[dict[str, pl.DataType]]:
    """Yield what types the nulls of ``names`` may be of: the same for all first, then, of few, each by itself."""
    for dtype in NULLS:
        yield dict.fromkeys(names, dtype)
    if 1 < len(names) <= most:
        for first in NULLS:
            for second in NULLS:
                yield dict(zip(names, (first, second), strict=True))


def _require_boolean(atom: Atom, where: pl.Expr) -> None:
    names = [*atom.usage]
    found = set()
    for types in assignments(names):
        schema = pl.Schema({name: dtype_within(atom.usage[name], types[name]) for name in names})
        found.add(result(atom.expr, schema))
        if pl.Boolean() in found:
            return
    if found - {None, pl.Null()}:
        raise _no_condition(where, "is neither true nor false.")


def value_at(record: Mapping[str, Any], name: str, *, or_around: bool = False) -> Any:
    """Return the value of a field of ``record``: that of the top which is called so, else the nested one.

    ``or_around``: where something else stands in the place of an object around it, that.
    """
    value = record.get(name)
    if value is None and ("." in name or "\\" in name):
        value = record
        for part in field_path(name):
            if not isinstance(value, Mapping):
                return value if or_around else None
            value = value.get(part)
    return value
