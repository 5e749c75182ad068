"""What types the JSON fields of a topic have, and which records are refused: a naive second implementation.

It knows nothing of batches, columns or Polars' casts. The first records of each partition vote; then the records are
judged one after the other.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import polars as pl

Place: TypeAlias = tuple[int, int, int]
WIDE, INT64 = 2**53, 2**63
VALUES = ("number", "str", "bool", "list", "dict")


@dataclass
class Limits:
    """When an object is a map: see ``Node.is_map``."""

    names: int = 2_000
    any: int = 64
    sparse: int = 16


LIMITS = Limits()
SIZES = {"small", "negative", "unsigned", "huge", "endless"}


@dataclass
class Node:
    """The votes on one path, and what the accepted records have had there."""

    votes: dict[str, set[tuple[Any, ...]]] = field(default_factory=dict)
    firsts: dict[str, Place] = field(default_factory=dict)
    inner: dict[str | None, Node] = field(default_factory=dict)
    entries: Node | None = None
    """The values under all names together, each of which votes."""
    is_mentioned: bool = False
    """Whether an accepted record has it, if only as a null."""
    kind: str | None = None
    """The kind of the accepted records."""
    integers: pl.DataType | None = None
    """The type of the integers that were accepted first."""
    side: str | None = None
    """``wide`` or ``real``: what an accepted number has decided."""

    def at(self, name: str | None) -> Node:
        """Return the node below."""
        return self.inner.setdefault(name, Node())

    def vote(self, value: Any, place: list[int], *, with_nulls: bool, voter: tuple[Any, ...] = ()) -> None:
        """Count a value; ``place`` is partition, offset and the number of the value in the record.

        ``voter`` is who votes besides the record: in a map each name does.
        """
        if value is None and not with_nulls:
            return
        here = (place[0], place[1], place[2])
        place[2] += 1
        for kind in kinds_of(value):
            self.votes.setdefault(kind, set()).add((*here[:2], *voter))
            self.firsts[kind] = min(self.firsts.get(kind, here), here)
        for name, item in parts_of(value):
            if name is not None:
                self.entries = self.entries or Node()
                self.entries.vote(item, [*place], with_nulls=with_nulls, voter=(*voter, name))
            self.at(name).vote(item, place, with_nulls=with_nulls, voter=voter)

    def records(self, *kinds: str) -> int:
        """Return how many have voted for these kinds."""
        return sum(len(self.votes.get(kind, ())) for kind in kinds)

    @property
    def voted(self) -> str | None:
        """The commonest kind of what was counted; an empty list is an object where there are any."""
        filled = "filled" if "dict" in self.votes else "list"
        kind = self.decided(("number", "str", "bool", filled, "dict"))
        return "list" if kind == "filled" else kind

    @property
    def competes(self) -> bool:
        """Whether two records and one in a hundred would be refused in a column of the commonest kind."""
        every = self.records(*VALUES)
        odd = every - self.records(self.voted or "")
        if self.voted == "dict":
            odd -= self.records("list") - self.records("filled")
        if self.voted == "number":
            real, wide = self.records("real"), self.records("wide")
            odd += wide if real and real >= wide else real + self.records("endless")
        return odd >= 2 and odd * 100 >= every

    @property
    def is_text(self) -> bool:
        """Whether the column holds JSON text."""
        is_mixed = self.voted == "list" and None in self.inner and self.inner[None].is_text_in_list
        return self.competes or is_mixed

    @property
    def is_text_in_list(self) -> bool:
        """Whether the items of a list are of kinds that compete, or lists of such items are."""
        is_list = self.voted == "list" and None in self.inner
        return self.competes or (is_list and self.inner[None].is_text_in_list)

    @property
    def is_map(self) -> bool:
        """Whether the column holds the entries of a map."""
        counts = [
            node.records(*VALUES) for name, node in self.inner.items() if name is not None and node.votes
        ]
        names = sum(count > 0 for count in counts)
        is_sparse = names > LIMITS.any and names * self.records("dict") > LIMITS.sparse * sum(counts)
        return self.voted == "dict" and (is_sparse or len(counts) > LIMITS.names)

    def shown(self, value: Any) -> Any:
        """Return a value as the column has it."""
        if value is None:
            return None
        if self.is_text:
            return json.dumps(value)
        if self.is_map and self.entries is not None:
            return [{"key": name, "value": self.entries.shown(item)} for name, item in parts_of(value)]
        if isinstance(value, list):
            return {} if self.kind == "dict" else [self.at(None).shown(item) for item in value]
        return (
            {name: self.at(name).shown(item) for name, item in value.items()}
            if isinstance(value, dict)
            else value
        )

    def dtype_of_integers(self, values: list[Any]) -> pl.DataType | None:
        """Return the type of integers that was decided; where nothing was, that of the first ``values``."""
        sizes = {*self.votes} & SIZES
        if not sizes and self.integers is not None:
            return self.integers
        sizes = sizes or {size for value in values for size in kinds_of(value)} & SIZES
        if not sizes:
            return None
        if "huge" in sizes or {"unsigned", "negative"} <= sizes:
            return pl.Decimal(38, 0)
        return pl.UInt64() if "unsigned" in sizes else pl.Int64()

    def decided(self, kinds: tuple[str, ...]) -> str | None:
        """Return the commonest of ``kinds``; of equals the one seen first."""
        found = [kind for kind in self.votes if kind in kinds]
        return min(found, key=lambda kind: (-len(self.votes[kind]), self.firsts[kind]), default=None)

    @property
    def wanted(self) -> str | None:
        """The kind that values here must have."""
        return self.voted or self.kind

    @property
    def wanted_side(self) -> str | None:
        """Which numbers may not be here: with ``wide`` floats, with ``real`` integers beyond 2**53."""
        return self.decided(("wide", "real")) or self.side

    def shown_fields(self, record: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return a record as a row; None for a tombstone."""
        return None if record is None else {name: self.at(name).shown(item) for name, item in record.items()}

    def take(self, value: Any) -> bool:  # noqa: C901, PLR0911 - one rule a line
        """Note a value of a record; False where it does not agree with what was decided, or was there before."""
        self.is_mentioned = True
        if value is None:
            return True
        if self.is_text:
            self.kind = "str"
            return True
        kinds = kinds_of(value)
        if value == [] and self.wanted == "dict":
            self.kind = kinds[0] = "dict"
        if not kinds or (self.wanted or kinds[0]) != kinds[0]:
            return False
        side = next((kind for kind in kinds if kind in ("wide", "real")), None)
        if side and (self.wanted_side or side) != side:
            return False
        if type(value) is int and self.wanted_side != "real":
            self.integers = self.dtype_of_integers([value])
            if not holds(self.integers, value):
                return False
        if "endless" in kinds:
            return False
        if isinstance(value, list):
            # All integers of a record decide together where they are the first.
            self.at(None).integers = self.at(None).dtype_of_integers(value)
        self.kind, self.side = kinds[0], side or self.side
        if self.is_map and self.entries is not None:
            self.entries.is_mentioned = True
            return all(self.entries.take(item) for _, item in parts_of(value))
        return all(self.at(name).take(item) for name, item in parts_of(value))

    @property
    def dtype(self) -> pl.DataType:
        """The type of the column."""
        if self.kind == "number":
            return pl.Float64() if self.wanted_side == "real" else self.integers or pl.Int64()
        if self.kind == "list":
            return pl.List(self.at(None).dtype)
        if self.kind == "dict" and self.is_map and self.entries is not None:
            return pl.List(pl.Struct({"key": pl.String(), "value": self.entries.dtype}))
        if self.kind == "dict":
            return pl.Struct(self.fields)
        return {"str": pl.String(), "bool": pl.Boolean(), None: pl.Null()}[self.kind]

    @property
    def fields(self) -> dict[str, pl.DataType]:
        """The fields inside, in the order in which they came first; those that did not vote last, by name."""
        named = [(name, node) for name, node in self.inner.items() if name is not None and node.is_mentioned]
        named.sort(key=lambda pair: (min(pair[1].firsts.values(), default=(INT64, 0, 0)), pair[0]))
        return {name: node.dtype for name, node in named}


def kinds_of(value: Any) -> list[str]:
    """Return what a value is, the kind of its column first."""
    if value is None:
        return ["null"]
    if isinstance(value, list) and value:
        return ["list", "filled"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [type(value).__name__]
    if isinstance(value, float):
        return ["number", "real"]
    sizes = ["negative"] if value < 0 else []
    if -INT64 <= value < INT64:
        sizes.append("small")
    elif 0 <= value < 2 * INT64:
        sizes.append("unsigned")
    else:
        sizes.append("huge" if abs(value) < 10**38 else "endless")
    return ["number", *sizes, "wide"] if abs(value) > WIDE else ["number", *sizes]


def holds(dtype: pl.DataType | None, value: int) -> bool:
    """Say whether a column of integers holds one."""
    if isinstance(dtype, pl.Decimal):
        return abs(value) < 10**38
    return 0 <= value < 2 * INT64 if isinstance(dtype, pl.UInt64) else -INT64 <= value < INT64


def parts_of(value: Any) -> list[tuple[str | None, Any]]:
    """Return the values inside."""
    if isinstance(value, dict):
        return list(value.items())
    return [(None, item) for item in value] if isinstance(value, list) else []


@dataclass
class Record:
    """One record of the log; a value of None is a tombstone, bytes are no JSON object."""

    partition: int
    offset: int
    key: str
    value: Any


@dataclass
class Outcome:
    """What a table of the records has: its columns, the accepted records as rows, and the places of the refused ones."""

    fields: dict[str, pl.DataType]
    accepted: list[Record]
    refused: list[tuple[int, int]]


def outcome(log: list[Record], most: int, head: int) -> Outcome:
    """Return what a table makes of the records, of which the first ``most`` of each partition vote.

    Of the first ``head`` also the nulls count for the order of columns.
    """
    root, seen = Node(), dict[int, int]()
    for record in log:
        seen[record.partition] = seen.get(record.partition, 0) + 1
        if seen[record.partition] <= most and isinstance(record.value, dict):
            place = [record.partition, record.offset, 0]
            for name, value in record.value.items():
                root.at(name).vote(value, place, with_nulls=seen[record.partition] <= head)
    accepted, refused = [], []
    for record in log:
        after = deepcopy(root)
        if record.value is None:
            accepted.append(record)
        elif isinstance(record.value, dict) and all(
            after.at(name).take(value) for name, value in record.value.items()
        ):
            accepted.append(record)
            root = after
        else:
            refused.append((record.partition, record.offset))
    rows = [replace(record, value=root.shown_fields(record.value)) for record in accepted]
    return Outcome(root.fields, rows, sorted(refused))
