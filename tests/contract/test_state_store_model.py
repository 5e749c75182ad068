"""Both backends equal a dict after any applies, rebuilds, switches, clears, flushes and re-opens."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given
from support.changes import changes_of, refused_record
from support.examples import examples
from support.stores import ORDERS, lines_of

from ktframe.config.settings import StoreOptions
from ktframe.fold.identity_codec import encode_part
from ktframe.fold.records import Position, RefusedRecord
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import Horizon, Rebuild, StateStore

SCHEMA = pl.Schema({"a": pl.Int64()})
PARTITIONS = (0, 1, 2)
IDENTITIES = [encode_part(part) for part in ("", "a", "a\0", "ab", None, -1, b"\xff")]
KEYS = [b"", b"a", b"ab", b"\xff", b"a\xff"]
KEPT = 4
AGAIN = 100
"""Added to the number of a partition: the rows of it that are read again, in the dicts of the model."""


@dataclass
class Model:
    """A store as dicts, written without a look at either backend."""

    reasons: dict[int, str] = field(default_factory=dict)

    rows: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    index: set[tuple[int, bytes, bytes]] = field(default_factory=set)
    refused: dict[int, list[RefusedRecord]] = field(default_factory=dict)
    offsets: dict[int, int] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    horizons: dict[int, Horizon] = field(default_factory=dict)
    schema: pl.Schema = field(default_factory=pl.Schema)
    topic_id: str | None = None

    def written(self, partition: int) -> int:
        """Return which rows of a partition are written to."""
        return partition + AGAIN if partition in self.reasons else partition

    def rebuild(self, starts: dict[int, int], why: str) -> None:
        """Begin to read partitions again."""
        self._remove([partition + AGAIN for partition in starts])
        self.reasons |= dict.fromkeys(starts, why)
        self.offsets |= {partition + AGAIN: offset for partition, offset in starts.items()}

    def switch(self) -> None:
        """Show what was read again."""
        self._remove(list(self.reasons))
        for partition in self.reasons:
            again = partition + AGAIN
            self.rows = {(partition if p == again else p, i): value for (p, i), value in self.rows.items()}
            self.index = {(partition if p == again else p, *entry) for p, *entry in self.index}
            for kept in (self.refused, self.offsets, self.times, self.horizons):
                if again in kept:
                    kept[partition] = kept.pop(again)
        self.reasons = {}

    def apply(self, change: dict[str, Any]) -> None:
        """Take one batch."""
        for (at, identity), (value, key) in change["lines"].items():
            partition = self.written(at)
            if value is None:
                self.rows.pop((partition, identity), None)
                self.index.discard((partition, key, identity))
            else:
                self.rows[partition, identity] = value
                self.index |= {(partition, key, identity)} if key is not None else set()
        for partition, count in change["refused"].items():
            records = self.refused.setdefault(self.written(partition), [])
            records += [
                refused_record(partition, len(records) + at, is_conflict=at % 2 == 0) for at in range(count)
            ]
        for at, time in change["times"].items():
            partition = self.written(at)
            self.times[partition] = max(time, self.times.get(partition, time))
        self.offsets |= dict.fromkeys(map(self.written, PARTITIONS), change["offset"])
        self.schema = change["schema"] or self.schema

    def drop(self, horizons: dict[int, Horizon]) -> None:
        """Drop rows below horizons, and add up what went."""
        for each, horizon in horizons.items():
            partition = self.written(each)
            self.rows = {
                at: value for at, value in self.rows.items() if at[0] != partition or at[1] >= horizon.bound
            }
            before = self.horizons.get(partition, horizon)
            dropped = horizon.rows + (before.rows if partition in self.horizons else 0)
            newest = max(before.newest or 0, horizon.newest or 0)
            self.horizons[partition] = Horizon(horizon.value, horizon.bound, dropped, newest)

    def clear(self, partitions: list[int] | None, topic_id: str | None) -> None:
        """Forget partitions."""
        for partition in PARTITIONS if partitions is None else partitions:
            self._remove([partition, partition + AGAIN])
            self.reasons.pop(partition, None)
        self.schema = pl.Schema() if partitions is None else self.schema
        self.topic_id = topic_id or self.topic_id

    def _remove(self, partitions: list[int]) -> None:
        for partition in partitions:
            self.rows = {at: value for at, value in self.rows.items() if at[0] != partition}
            self.index = {entry for entry in self.index if entry[0] != partition}
            for kept in (self.refused, self.offsets, self.times, self.horizons):
                kept.pop(partition, None)

    def _dropped(self, partition: int) -> dict[str, Any]:
        horizon = self.horizons.get(partition)
        if horizon is None:
            return {}
        return {"horizon": horizon.value, "dropped": horizon.rows, "cut": horizon.newest}

    def describe(self) -> dict[str, Any]:
        """Return everything that a store must answer."""
        positions = {p: self._position(p) for p in self.offsets}
        return {
            "rows": sorted((p, identity, value) for (p, identity), value in self.rows.items() if p < AGAIN),
            "rebuilt rows": sorted((p - AGAIN, *rest) for (p, *rest) in self._lines() if p >= AGAIN),
            "found": [
                [(p, self.rows[p, identity]) for p in PARTITIONS if (p, identity) in self.rows]
                for identity in IDENTITIES
            ],
            "written": [self.rows.get((self.written(p), i)) for p in PARTITIONS for i in IDENTITIES],
            "index": sorted(
                (p, *entry) for p in PARTITIONS for at, *entry in self.index if at == self.written(p)
            ),
            "refused": [record for p in PARTITIONS for record in self.refused.get(p, [])[-KEPT:]],
            "positions": {p: position for p, position in positions.items() if p < AGAIN},
            "rebuilds": {p: Rebuild(why, positions[p + AGAIN]) for p, why in self.reasons.items()},
            "schema": self.schema,
            "topic_id": self.topic_id,
        }

    def _lines(self) -> list[tuple[int, bytes, bytes]]:
        return [(p, identity, value) for (p, identity), value in self.rows.items()]

    def _position(self, partition: int) -> Position:
        refused = self.refused.get(partition, [])
        position = Position(
            self.offsets[partition],
            self.times.get(partition),
            len(refused),
            sum(record.is_conflict for record in refused),
        )
        return replace(position, **self._dropped(partition))


@dataclass(frozen=True)
class _Drop:
    """A step that drops rows below horizons."""

    horizons: dict[int, Horizon]


@dataclass(frozen=True)
class _Rebuild:
    """A step that begins to read partitions again, from these offsets on."""

    starts: dict[int, int]
    why: str


def described(store: StateStore) -> dict[str, Any]:
    """Return everything that a store answers, as ``Model.describe`` does."""
    return {
        "rows": lines_of(store.items()),
        "rebuilt rows": lines_of(store.items(rebuilt=True)),
        "found": store.get_many(IDENTITIES),
        "written": [row for p in PARTITIONS for row in store.get_of(p, IDENTITIES)],
        "index": sorted((p, key, i) for p in PARTITIONS for key in KEYS for i in store.identities_of(p, key)),
        "refused": store.refused(),
        "positions": store.positions(),
        "rebuilds": store.rebuilds(),
        "schema": store.schema(),
        "topic_id": store.topic_id,
    }


lines = st.dictionaries(
    st.tuples(st.sampled_from(PARTITIONS), st.sampled_from(IDENTITIES)),
    st.tuples(st.none() | st.binary(max_size=3), st.none() | st.sampled_from(KEYS)),
    max_size=12,
)
applied = st.fixed_dictionaries(
    {
        "lines": lines,
        "refused": st.dictionaries(st.sampled_from(PARTITIONS), st.integers(1, 6), max_size=2),
        "times": st.dictionaries(st.sampled_from(PARTITIONS), st.integers(-5, 5)),
        "offset": st.integers(0, 2**62),
        "schema": st.sampled_from(
            [pl.Schema(), SCHEMA, pl.Schema({"a": pl.Float64(), "b": pl.List(pl.String())})]
        ),
    },
)
cleared = st.tuples(
    st.none() | st.lists(st.sampled_from(PARTITIONS), unique=True),
    st.none() | st.sampled_from(["id-1", "id-2"]),
)
dropped = st.dictionaries(
    st.sampled_from(PARTITIONS),
    st.builds(Horizon, st.integers(-5, 5), st.sampled_from(IDENTITIES), st.integers(0, 9), st.integers(0, 9)),
    min_size=1,
)
rebuilt = st.builds(
    _Rebuild,
    st.dictionaries(st.sampled_from(PARTITIONS), st.integers(0, 9), min_size=1),
    st.sampled_from(["the log went back", "é\n"]),
)
steps = st.lists(
    st.one_of(
        applied,
        applied,
        applied,
        cleared,
        rebuilt,
        st.builds(_Drop, dropped),
        st.sampled_from(["switch", "reopen", "flush"]),
    ),
    max_size=14,
)


def _take(step: Any, model: Model, stores: tuple[StateStore, StateStore]) -> None:
    """Take a step with the model, then with both stores."""
    each: Callable[[StateStore], object]
    if step == "switch":
        model.switch()
        each = lambda store: store.switch()  # noqa: E731
    elif isinstance(step, _Rebuild):
        # Only what was read can be read again.
        starts = {p: offset for p, offset in step.starts.items() if p in model.offsets}
        model.rebuild(starts, step.why)
        rebuilds = {p: Rebuild(step.why, Position(at)) for p, at in starts.items()}
        each = lambda store: store.rebuild(rebuilds)  # noqa: E731
    elif isinstance(step, _Drop):
        # Retention drops from partitions that it has seen rows of.
        known = {p: drop for p, drop in step.horizons.items() if model.written(p) in model.offsets}
        model.drop(known)
        each = lambda store: store.drop(known)  # noqa: E731
    elif isinstance(step, tuple):
        model.clear(*step)
        each = lambda store: store.clear(step[0], topic_id=step[1])  # noqa: E731
    else:
        before = {p: len(model.refused.get(model.written(p), [])) for p in PARTITIONS}
        model.apply(step)
        after = {p: model.refused.get(model.written(p), []) for p in PARTITIONS}
        changes = changes_of(
            [(p, identity, value) for (p, identity), (value, _) in step["lines"].items()],
            record_keys=[key for _, key in step["lines"].values()],
            refused=[record for p, records in after.items() for record in records[before[p] :]],
            stream_times=step["times"],
            schema=step["schema"],
        )
        each = lambda store: store.apply(changes, dict.fromkeys(PARTITIONS, step["offset"]))  # noqa: E731
    for store in stores:
        each(store)


@pytest.mark.slow
@examples(0.6)
@given(steps)
def test_both_backends_equal_a_dict(history: list[Any]) -> None:
    """After any applies, rebuilds, switches, clears, flushes and re-opens, both backends answer exactly what dicts would."""
    options = StoreOptions()
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        for module in ("memory", "slots"):
            patched.setattr(f"ktframe.store.{module}.REFUSED_KEPT", KEPT)
        manager = StoreManager(Path(directory), options)
        model = Model()
        memory = StoreManager(Path(directory), options).get_or_open(ORDERS, StoreOptions(backend="memory"))
        rocks = manager.get_or_open(ORDERS, options)
        try:
            for step in history:
                if step == "reopen":
                    manager.close(rocks)
                    rocks = manager.get_or_open(ORDERS, options)
                elif step == "flush":
                    rocks.flush()
                else:
                    _take(step, model, (memory, rocks))
                assert described(memory) == model.describe()
                assert described(rocks) == model.describe()
        finally:
            manager.close_all()
