"""The view equals a dict after any batches, removals, reads, loads and clears."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock
from zlib import crc32

import hypothesis.strategies as st
import polars as pl
from hypothesis import given
from support.examples import examples

from ktframe.columns import BOOKKEEPING, HASH, OFFSET, PARTITION, REMOVED, TIMESTAMP
from ktframe.fold import rows as rows_module
from ktframe.fold import waiting
from ktframe.fold.identity_codec import encode_parts
from ktframe.fold.rows import Spill, in_memory
from ktframe.fold.view import View
from ktframe.store.kept_view import ViewFiles

PARTITIONS = (0, 1, 2)
IDENTITY = ("x", "y")
SCHEMAS: list[dict[str, pl.DataType]] = [
    {"x": pl.String(), "y": pl.Int64()},
    {"x": pl.String(), "y": pl.Int64(), "a": pl.Null()},
    {"x": pl.String(), "y": pl.Int64(), "a": pl.Int64()},
    {"x": pl.String(), "y": pl.Int64(), "a": pl.Float64(), "s": pl.Struct({"p": pl.Null()})},
    {
        "x": pl.String(),
        "y": pl.Int64(),
        "a": pl.Float64(),
        "s": pl.Struct({"p": pl.String(), "q": pl.Int64()}),
    },
]
"""Each is wider than the one before."""

Identity = tuple[str | None, int | None]
Key = tuple[int, Identity]


def hashed(identity: Identity, hashes: int) -> int:
    """Return one of so many hashes: with few of them, most identities collide."""
    return crc32(encode_parts(identity)) % hashes


def value_of(number: int, width: int) -> dict[str, Any]:
    """Return the fields of a row that was decoded under schema number ``width``."""
    fields: dict[str, Any] = {"a": [None, number, float(number), number + 0.5][width - 1]} if width else {}
    if width >= 3:
        fields["s"] = {"p": None} if width == 3 else {"p": str(number), "q": number}
    return fields


def widened(fields: dict[str, Any], width: int) -> dict[str, Any]:
    """Return ``fields`` as schema number ``width`` shows them."""
    wide = {name: fields.get(name) for name in ("a", "s") if name in SCHEMAS[width]}
    if width == 4 and wide["s"] is not None:
        wide["s"] = {"p": None, "q": None, **wide["s"]}
    return wide


def frame_of(lines: dict[Key, Any], width: int, hashes: int) -> pl.DataFrame:
    """Return a batch as the view takes it."""
    schema = {**BOOKKEEPING, REMOVED: pl.Boolean(), **SCHEMAS[width]}
    rows = [
        {
            HASH: hashed((x, y), hashes),
            PARTITION: partition,
            OFFSET: 0,
            TIMESTAMP: None if change is None else change[0],
            REMOVED: change is None,
            "x": x,
            "y": y,
            **({} if change is None else change[1]),
        }
        for (partition, (x, y)), change in lines.items()
    ]
    return pl.DataFrame(rows, schema=schema)


def fields_by_identity(rows: pl.DataFrame) -> dict[Identity, Any]:
    """Return the fields of each identity among rows of a view."""
    return {
        (row["x"], row["y"]): {name: row[name] for name in ("a", "s") if name in row}
        for row in rows.iter_rows(named=True)
    }


def assert_some_are_found(
    view: View, schema: pl.Schema, rows: dict[Key, Any], width: int, hashes: int
) -> None:
    """Assert that ``rows_of`` has the rows that are shown, of one hash, of some and of all."""
    everyone = sorted({hashed(identity, hashes) for _, identity in rows} | {0})
    for some in ([everyone[-1]], everyone[:2], everyone):
        found = view.rows_of(pl.Series(HASH, some, dtype=pl.UInt64))
        expected = {i: fields for i, fields in shown(rows, width).items() if hashed(i, hashes) in some}
        assert found.schema == schema
        assert fields_by_identity(found) == expected
        assert found.height == len(expected)


def assert_a_part_is_found(view: View, _: pl.Schema, rows: dict[Key, Any], width: int, __: int) -> None:
    """Assert that ``part`` has some columns of the rows that are shown and fulfil a condition."""
    wanted = {i: fields for i, fields in shown(rows, width).items() if i[1] == 0}
    names = ["x", *(name for name in ("a", "s") if name in SCHEMAS[width])]
    part = view.part(names, pl.col("y") == 0)
    assert part.schema == pl.Schema({name: SCHEMAS[width][name] for name in names})
    assert {row.pop("x"): row for row in part.to_dicts()} == {x: row for (x, _), row in wanted.items()}
    assert part.height == len(wanted)


def assert_all_are_found(view: View, schema: pl.Schema, rows: dict[Key, Any], width: int, _: int) -> None:
    """Assert that a snapshot has the rows that are shown."""
    snapshot = view.snapshot()
    assert snapshot.positions == view.positions()
    found = snapshot.rows
    assert found.schema == schema
    fields = fields_by_identity(found)
    assert found.height == len(fields)
    assert fields == shown(rows, width)
    as_they_lie = view.rows()
    assert as_they_lie.height == found.height
    assert fields_by_identity(as_they_lie.lazy().collect()) == fields
    first = fields_by_identity(as_they_lie.head(3))
    assert len(first) == min(3, found.height)
    assert all(fields[identity] == values for identity, values in first.items())
    by = [TIMESTAMP, PARTITION]
    newest = as_they_lie.top_k(3, by).select(by).sort(by).rows()
    assert newest == found.top_k(3, by=by).select(by).sort(by).rows()


def kept(view: View, other: View, positions: dict[int, int]) -> View:
    """Return a view with the frames of another one."""
    frames = {name: some for name, some in view.frames().items() if some.height}
    assert other.restore(frames, view.schema)
    other.apply(pl.DataFrame(), view.schema, positions)
    return other


def shown(rows: dict[Key, Any], width: int) -> dict[Identity, Any]:
    """Return the winner of each identity: the greatest (timestamp, partition), a missing timestamp lowest."""
    winners: dict[Identity, Any] = {}
    for (partition, identity), (time, fields) in rows.items():
        rank = (time is not None, time or 0, partition)
        if identity not in winners or winners[identity][0] < rank:
            winners[identity] = (rank, widened(fields, width))
    return {identity: fields for identity, (_, fields) in winners.items()}


identities = st.tuples(st.sampled_from(["a", "ab", "", None]), st.sampled_from([0, -1, None]))
batch = st.fixed_dictionaries(
    {
        "lines": st.dictionaries(
            st.tuples(st.sampled_from(PARTITIONS), identities),
            st.none() | st.tuples(st.none() | st.integers(-3, 3), st.integers(0, 99)),
            max_size=10,
        ),
        "wider": st.sampled_from([0, 0, 0, 1]),
        "positions": st.dictionaries(st.sampled_from(PARTITIONS), st.integers(0, 100)),
    },
)
steps = st.lists(
    st.one_of(
        batch,
        batch,
        batch,
        st.just("read"),
        st.just("part"),
        st.just("some"),
        st.just("merge"),
        st.just("keep"),
        st.just("load"),
        st.lists(st.sampled_from(PARTITIONS), unique=True),
        st.just("clear"),
    ),
    max_size=15,
)


READS = {"read": assert_all_are_found, "part": assert_a_part_is_found, "some": assert_some_are_found}


@mock.patch.object(waiting, "_FEW_SHARE", 0)  # whatever is there, its deltas are few
@examples(2)
@given(steps, st.sampled_from([2, 2**32]))
def test_the_view_equals_a_dict(history: list[Any], hashes: int) -> None:
    """Whatever came, the rows are the fold per partition, the winner per identity, under the widest schema."""
    check(history, hashes, in_memory)


@mock.patch.object(waiting, "_FEW_SHARE", 0)
@examples(1)
@given(steps, st.sampled_from([2, 2**32]), st.sampled_from([0, 300, 1500]))
def test_the_view_equals_a_dict_when_rows_lie_in_files(history: list[Any], hashes: int, most: int) -> None:
    """As many as are left of ``most`` bytes in memory."""
    with TemporaryDirectory() as directory, mock.patch.object(rows_module, "SPILL_BYTES", most):
        check(history, hashes, ViewFiles(Path(directory)).spill)


def check(history: list[Any], hashes: int, spill: Spill) -> None:
    """Compare a view with a dict after each step."""
    width = 0

    def schema() -> pl.Schema:
        return pl.Schema({**BOOKKEEPING, **SCHEMAS[width]})

    view = View(IDENTITY, schema(), spill=spill)
    rows: dict[Key, Any] = {}
    positions: dict[int, int] = {}
    for step in [*history, "some", "part", "read"]:
        if isinstance(step, dict):
            width = min(width + step["wider"], len(SCHEMAS) - 1)
            lines = {
                key: None if change is None else (change[0], value_of(change[1], width))
                for key, change in step["lines"].items()
            }
            view.apply(frame_of(lines, width, hashes), schema(), step["positions"])
            rows = {key: change for key, change in (rows | lines).items() if change is not None}
            positions |= step["positions"]
        elif isinstance(step, list):
            view.clear(step, schema())
            rows = {key: row for key, row in rows.items() if key[0] not in step}
            positions = {
                partition: offset for partition, offset in positions.items() if partition not in step
            }
        elif step == "clear":
            width, rows, positions = 0, {}, {}
            view.clear(None, schema())
        elif step == "load":
            view = View(IDENTITY, schema(), spill=spill)
            stored = {key: (time, widened(fields, width)) for key, (time, fields) in rows.items()}
            whole = frame_of(stored, width, hashes).drop(REMOVED)
            view.load([whole.head(2), whole.slice(2)], positions)
        elif step == "merge":
            view.merge_when_idle()
        elif step == "keep":
            view = kept(view, View(IDENTITY, schema(), spill=spill), positions)
        else:
            assert view.positions() == positions
            READS[step](view, schema(), rows, width, hashes)
