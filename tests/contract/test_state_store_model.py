"""Both backends equal a dict after any applies, clears, flushes and re-opens."""

from __future__ import annotations

import tempfile
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
from ktframe.store.protocol import Horizon, StateStore

SCHEMA = pl.Schema({"a": pl.Int64()})
PARTITIONS = (0, 1, 2)
IDENTITIES = [encode_part(part) for part in ("", "a", "a\0", "ab", None, -1, b"\xff")]
KEYS = [b"", b"a", b"ab", b"\xff", b"a\xff"]
KEPT = 4


@dataclass
class Model:
    """A store as dicts, written without a look at either backend."""

    rows: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    index: set[tuple[int, bytes, bytes]] = field(default_factory=set)
    refused: dict[int, list[RefusedRecord]] = field(default_factory=dict)
    offsets: dict[int, int] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    horizons: dict[int, Horizon] = field(default_factory=dict)
    schema: pl.Schema = field(default_factory=pl.Schema)
    topic_id: str | None = None

    def apply(self, change: dict[str, Any]) -> None:
        """Take one batch."""
        for (partition, identity), (value, key) in change["lines"].items():
            if value is None:
                self.rows.pop((partition, identity), None)
                self.index.discard((partition, key, identity))
            else:
                self.rows[partition, identity] = value
                self.index |= {(partition, key, identity)} if key is not None else set()
        for partition, count in change["refused"].items():
            records = self.refused.setdefault(partition, [])
            records += [
                refused_record(partition, len(records) + at, is_conflict=at % 2 == 0) for at in range(count)
            ]
        for partition, time in change["times"].items():
            self.times[partition] = max(time, self.times.get(partition, time))
        self.offsets |= dict.fromkeys(PARTITIONS, change["offset"])
        self.schema = change["schema"] or self.schema

    def drop(self, horizons: dict[int, Horizon]) -> None:
        """Drop rows below horizons, and add up what went."""
        for partition, horizon in horizons.items():
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
            self.rows = {at: value for at, value in self.rows.items() if at[0] != partition}
            self.index = {entry for entry in self.index if entry[0] != partition}
            for kept in (self.refused, self.offsets, self.times, self.horizons):
                kept.pop(partition, None)
        self.schema = pl.Schema() if partitions is None else self.schema
        self.topic_id = topic_id or self.topic_id

    def _dropped(self, partition: int) -> dict[str, Any]:
        horizon = self.horizons.get(partition)
        if horizon is None:
            return {}
        return {"horizon": horizon.value, "dropped": horizon.rows, "cut": horizon.newest}

    def describe(self) -> dict[str, Any]:
        """Return everything that a store must answer."""
        return {
            "rows": sorted((p, identity, value) for (p, identity), value in self.rows.items()),
            "found": [
                [(p, self.rows[p, identity]) for p in PARTITIONS if (p, identity) in self.rows]
                for identity in IDENTITIES
            ],
            "index": sorted(self.index),
            "refused": [record for p in PARTITIONS for record in self.refused.get(p, [])[-KEPT:]],
            "positions": {
                p: replace(
                    Position(
                        offset,
                        self.times.get(p),
                        len(self.refused.get(p, [])),
                        sum(record.is_conflict for record in self.refused.get(p, [])),
                    ),
                    **self._dropped(p),
                )
                for p, offset in self.offsets.items()
            },
            "schema": self.schema,
            "topic_id": self.topic_id,
        }


@dataclass(frozen=True)
class _Drop:
    """A step that drops rows below horizons."""

    horizons: dict[int, Horizon]


def described(store: StateStore) -> dict[str, Any]:
    """Return everything that a store answers, as ``Model.describe`` does."""
    return {
        "rows": lines_of(store.items()),
        "found": store.get_many(IDENTITIES),
        "index": sorted((p, key, i) for p in PARTITIONS for key in KEYS for i in store.identities_of(p, key)),
        "refused": store.refused(),
        "positions": store.positions(),
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
steps = st.lists(
    st.one_of(
        applied,
        applied,
        applied,
        cleared,
        st.builds(_Drop, dropped),
        st.just("reopen"),
        st.just("flush"),
    ),
    max_size=14,
)


@pytest.mark.slow
@examples(0.6)
@given(steps)
def test_both_backends_equal_a_dict(history: list[Any]) -> None:
    """After any applies, clears, flushes and re-opens, both backends answer exactly what dicts would."""
    options = StoreOptions()
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        for backend in ("memory", "rocksdb"):
            patched.setattr(f"ktframe.store.{backend}.REFUSED_KEPT", KEPT)
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
                elif isinstance(step, _Drop):
                    # Retention drops from partitions that it has seen rows of.
                    known = {p: each for p, each in step.horizons.items() if p in model.offsets}
                    model.drop(known)
                    for store in (memory, rocks):
                        store.drop(known)
                elif isinstance(step, tuple):
                    model.clear(*step)
                    for store in (memory, rocks):
                        store.clear(step[0], topic_id=step[1])
                else:
                    before = {p: len(records) for p, records in model.refused.items()}
                    model.apply(step)
                    changes = changes_of(
                        [(p, identity, value) for (p, identity), (value, _) in step["lines"].items()],
                        record_keys=[key for _, key in step["lines"].values()],
                        refused=[r for p, rs in model.refused.items() for r in rs[before.get(p, 0) :]],
                        stream_times=step["times"],
                        schema=step["schema"],
                    )
                    for store in (memory, rocks):
                        store.apply(changes, dict.fromkeys(PARTITIONS, step["offset"]))
                assert described(memory) == model.describe()
                assert described(rocks) == model.describe()
        finally:
            manager.close_all()
