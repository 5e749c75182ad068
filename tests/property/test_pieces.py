"""However many batches are applied together, stores, views, counters and refused records are those of batch by batch."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from itertools import cycle
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import example, given
from support.examples import examples, histories

from ktframe.columns import ROW, own_name
from ktframe.config.settings import StoreOptions
from ktframe.context.context import Context
from ktframe.events import BindingState, Reason
from ktframe.sync import binding as bindings
from ktframe.sync import piece as pieces
from ktframe.sync.binding import TopicBinding
from ktframe.testing import FakeBroker
from ktframe.testing.log import read_log

MINUTE = 60_000
KINDS: dict[str, Callable[[Context], Any]] = {
    "table": lambda context: context.table("t"),
    "declared table": lambda context: context.table("t", schema={"id": pl.Int64, "n": pl.Int64}),
    "key": lambda context: context.table("t", key="id"),
    "window": lambda context: context.table("t").window(5),
    "window with grace": lambda context: context.table("t").window(5, grace=5),
    "window by key": lambda context: context.table("t", key="id").window(5),
    "kept window": lambda context: context.table(
        "t", store=StoreOptions(backend="memory", retention=120)
    ).window(1),
    "stream": lambda context: context.stream("t"),
    "kept stream": lambda context: context.stream("t", retention="5m"),
    "exploded stream": lambda context: context.stream("t", explode=True),
}
NUMBERS = [1, 2, 2**53 + 1, 0.5, "x", None]


def _value(number: int) -> bytes:
    """Return JSON that fits for the most part; its field ``n`` changes its type now and then."""
    if number == 0:
        return b"no JSON"
    if number == 3:
        return b'[{"id": 0, "n": 1}, {"id": 1, "n": 0.5}, {"id": 2}]'
    value = {"id": number % 3} if number < 8 else {"id": number % 3, "later": number}
    return json.dumps({**value, "n": NUMBERS[number % 12] if number % 12 < len(NUMBERS) else number}).encode()


records = st.tuples(
    st.integers(0, 1),
    st.sampled_from([b"a", b"a", b"b", b"c", None]),
    st.one_of(st.none(), st.integers(0, 23).map(_value), st.integers(1, 2).map(_value)),
    st.integers(0, 12).map(lambda minutes: minutes * MINUTE),
)
batches = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 5), st.booleans()), min_size=1, max_size=6)
"""The partition and the number of the records of each batch, and whether it is awaited; over and over again."""


# A record that is refused, with batches behind it; one that is refused between two tombstones of its record key; and records
# that come after retention has dropped their window.
REFUSED = [(0, key, _value(number), 0) for key, number in [(b"a", 1), (b"a", 4), (b"b", 1), (b"c", 1)]]
DELETED = [
    *[(0, b"a", value, 0) for value in (_value(1), _value(1), None)],
    *[(0, b"a", _value(16), 7 * MINUTE), (0, b"a", None, 0), (1, b"a", _value(1), 0)],
]
EXPIRED = [(0, b"a", _value(1), minutes * MINUTE) for minutes in (0, 12, 0, 0)]


def _attached(binding: TopicBinding) -> dict[int, int]:
    """Begin to read, as the binding's thread does."""
    binding.life.enter(BindingState.RESTORING, Reason.RESTORING)
    return binding._attach()


def load(binding: TopicBinding, broker: FakeBroker, cuts: list[Any], *, is_awaited: bool | None) -> list[str]:
    """Read everything in batches; return what was logged. ``is_awaited`` None: as ``cuts`` say."""
    logs, positions = broker._topics["t"].partitions, _attached(binding)
    logged: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("ktframe.sync")
    logger.addHandler(handler)
    try:
        for partition, most, waits in cycle(cuts):
            ends = {p: log.end for p, log in enumerate(logs)}
            if positions == ends:
                break
            if positions[partition] == ends[partition]:
                partition = 1 - partition  # noqa: PLW2901
            batch = read_log(logs[partition], partition, positions[partition], most)
            with patch.object(
                binding, "_is_awaited", lambda _, waits=waits: is_awaited or (is_awaited is None and waits)
            ):
                binding._take(batch)
            if binding._reopen.is_set():
                binding._end_session()
                binding._reopen.clear()
                positions = _attached(binding)
            else:
                positions |= batch.positions
        binding._end_session()
    finally:
        logger.removeHandler(handler)
    return logged


def described(binding: TopicBinding) -> dict[str, Any]:
    """Return what is in the store and in the view."""
    rows = binding.required()
    store, shown = rows.store, rows.view.snapshot().rows
    lines, markers = (part.drop(own_name("hash")) for part in rows.view.lines())
    return {
        "schema": rows.schema,
        "lines": lines.sort(pl.all(), nulls_last=True).rows(named=True),
        "markers": markers.sort(pl.all(), nulls_last=True).rows(named=True),
        "shown": shown.drop(own_name("hash")).sort(pl.all(), nulls_last=True).rows(named=True),
        "stale": sorted(rows.view.stale(shown, rows.view.marks()).drop(ROW).rows()),
        "stored": [
            line
            for chunk in store.items()
            for line in zip(chunk.partitions, chunk.identities, chunk.values, strict=True)
        ],
        # When rows were last as the log is differs by the moment.
        "positions": {
            p: {name: getattr(at, name) for name in at.__slots__ if name != "present"}
            for p, at in store.positions().items()
        },
        "refused": store.refused(),
        "causes": store.causes(),
        "late": store.late(),
        "learned": store.learned(),
        "stream times": rows.stream_times,
        "sees deletes": rows.sees_deletes,
        "key deletes": rows.key_deletes,
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@examples(0.2)
@example(REFUSED, [(0, 1, False)])
@example(DELETED, [(0, 1, False)])
@example(EXPIRED, [(0, 1, False)])
@given(histories(records), batches)
def test_pieces_of_any_size_leave_what_single_batches_leave(
    kind: str, history: list[Any], cuts: list[Any]
) -> None:
    """The store, the view, all counters, the refused and late records and what is logged of them."""
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    for partition, key, value, at in history:
        broker.produce("t", key, value, partition=partition, timestamp=at)
    found = []
    with (
        patch.object(bindings, "FULL_BATCH", 0),
        patch.object(pieces, "_LINES", 4),
    ):
        for is_awaited in (True, None, False):
            with broker.connect(store=StoreOptions(backend="memory")) as context:
                binding = KINDS[kind](context)._reader.binding
                binding.prepare()
                logged = load(binding, broker, cuts, is_awaited=is_awaited)
                found.append(described(binding) | {"logged": logged})
    assert found[1] == found[0]
    assert found[2] == found[0]
