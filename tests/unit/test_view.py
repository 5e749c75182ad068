"""The view's rules one by one; ``tests/property/test_view.py`` holds it against a dict."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ktframe.columns import BOOKKEEPING, HASH, KEY, OFFSET, PARTITION, REMOVED, TIMESTAMP
from ktframe.fold import rows, waiting
from ktframe.fold.chunks import most_chunks
from ktframe.fold.view import View
from ktframe.store.kept_view import ViewFiles

FIELDS = {"n": pl.Int64()}
SCHEMA = pl.Schema({**BOOKKEEPING, KEY: pl.String(), **FIELDS})

Row = tuple[int, str, int | None, int | None]
"""Partition, key, timestamp, and the value or None for a removal."""


def delta(*rows: Row, fields: dict[str, Any] | None = None, hashed: int | None = None) -> pl.DataFrame:
    """Return changes as the view takes them, with all hashes ``hashed`` if that is given."""
    keys = pl.Series([key for _, key, _, _ in rows], dtype=pl.String)
    count = len(rows)
    return pl.DataFrame(
        {
            HASH: keys.hash() if hashed is None else pl.Series([hashed] * count, dtype=pl.UInt64),
            PARTITION: pl.Series([partition for partition, *_ in rows], dtype=pl.Int32),
            OFFSET: pl.Series(range(count), dtype=pl.Int64),
            TIMESTAMP: pl.Series([time for _, _, time, _ in rows], dtype=pl.Int64),
            REMOVED: pl.Series([value is None for *_, value in rows], dtype=pl.Boolean),
            KEY: keys,
            **(fields or {"n": pl.Series([value for *_, value in rows], dtype=pl.Int64)}),
        },
    )


def view_of(*deltas: pl.DataFrame) -> View:
    """Return a view that applied ``deltas`` one after the other."""
    view = View((KEY,), SCHEMA)
    for number, each in enumerate(deltas, 1):
        view.apply(each, SCHEMA, {0: number})
    return view


def values(view: View) -> dict[str, int | None]:
    """Return key to value; that no key is there twice is checked on the way."""
    rows = view.snapshot().rows
    assert rows[KEY].n_unique() == rows.height
    return dict(rows.select(KEY, "n").iter_rows())


def test_an_empty_view_has_its_columns() -> None:
    """Without rows the schema is whole, and no position is claimed."""
    snapshot = View((KEY,), SCHEMA).snapshot()
    assert (snapshot.rows.schema, snapshot.rows.height, snapshot.positions) == (SCHEMA, 0, {})


def test_the_last_row_of_a_key_counts() -> None:
    """Rows replace each other across batches, whether a read came between or not."""
    view = view_of(delta((0, "a", 1, 1), (0, "b", 1, 1)), delta((0, "a", 2, 2)))
    assert values(view) == {"a": 2, "b": 1}
    view.apply(delta((0, "a", 3, 3)), SCHEMA, {0: 3})
    assert values(view) == {"a": 3, "b": 1}


def test_a_removal_takes_the_row() -> None:
    """A removed key is gone, may come back, and removing an unknown key does nothing."""
    view = view_of(delta((0, "a", 1, 1), (0, "b", 1, 1)), delta((0, "a", 2, None), (0, "c", 2, None)))
    assert values(view) == {"b": 1}
    view.apply(delta((0, "a", 3, 3)), SCHEMA, {0: 3})
    assert values(view) == {"a": 3, "b": 1}
    view.apply(delta((0, "a", 4, None), (0, "b", 4, None)), SCHEMA, {0: 4})
    assert values(view) == {}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, "a", 5, 1), (1, "a", 4, 2)], 1),
        ([(0, "a", 4, 1), (1, "a", 5, 2)], 2),
        ([(0, "a", 5, 1), (1, "a", 5, 2)], 2),
        ([(0, "a", None, 1), (1, "a", -9, 2)], 2),
        ([(0, "a", -9, 1), (1, "a", None, 2)], 1),
        ([(0, "a", None, 1), (1, "a", None, 2)], 2),
        ([(2, "a", 5, 3), (1, "a", 5, 2), (0, "a", 6, 1)], 1),
    ],
)
@pytest.mark.parametrize("is_one_batch", [True, False])
def test_of_contested_rows_the_latest_shows(rows: list[Row], expected: int, *, is_one_batch: bool) -> None:
    """Among partitions the greatest (timestamp, partition) wins, a missing timestamp lowest; it is counted."""
    view = view_of(delta(*rows)) if is_one_batch else view_of(*map(delta, rows))
    assert values(view) == {"a": expected}
    assert view.contested == 1


def test_a_contest_with_a_row_that_was_read_is_noticed() -> None:
    """A row that comes to another partition after a read is contested with the one that is in the base."""
    view = view_of(delta((0, "a", 5, 1), (0, "b", 1, 1)))
    assert values(view) == {"a": 1, "b": 1}
    view.apply(delta((1, "a", 4, 2)), SCHEMA, {1: 1})
    assert values(view) == {"a": 1, "b": 1}
    assert view.contested == 1


def test_a_removal_acts_in_its_partition_only() -> None:
    """When the winner of a contested key is removed, the other partition's row shows."""
    view = view_of(delta((0, "a", 1, 1), (1, "a", 2, 2)))
    assert values(view) == {"a": 2}
    view.apply(delta((1, "a", 3, None)), SCHEMA, {1: 2})
    assert values(view) == {"a": 1}
    view.apply(delta((0, "a", 0, None)), SCHEMA, {0: 2})
    assert values(view) == {}


def test_uncontested_keys_are_not_counted() -> None:
    """A key that only moves, or is replaced in its partition, is not contested."""
    view = view_of(delta((0, "a", 1, 1), (1, "b", 1, 1)), delta((0, "a", 2, None)), delta((1, "a", 3, 3)))
    assert values(view) == {"a": 3, "b": 1}
    assert view.contested == 0


def test_equal_hashes_are_told_apart() -> None:
    """Identities whose hashes collide keep their own rows, in merges, removals and contests."""
    rows: list[Row] = [(0, "a", 1, 1), (0, "b", 1, 2), (1, "c", 1, 3), (1, "a", 2, 4)]
    view = View((KEY,), SCHEMA)
    view.apply(delta(*rows, hashed=7), SCHEMA, {0: 1})
    assert values(view) == {"a": 4, "b": 2, "c": 3}
    view.apply(delta((0, "b", 2, None), (1, "d", 2, 5), hashed=7), SCHEMA, {0: 2})
    assert values(view) == {"a": 4, "c": 3, "d": 5}
    view.apply(delta((1, "a", 3, None), hashed=7), SCHEMA, {0: 3})
    assert values(view) == {"a": 1, "c": 3, "d": 5}


def test_null_parts_are_equal_to_each_other() -> None:
    """A composite identity with a null part is one identity, replaced and removed like any other."""
    schema = pl.Schema({**BOOKKEEPING, "x": pl.String(), "y": pl.Int64(), "n": pl.Int64()})

    def batch(x: str | None, y: int | None, n: int | None) -> pl.DataFrame:
        row = {HASH: 1, PARTITION: 0, OFFSET: 0, TIMESTAMP: 0, REMOVED: n is None, "x": x, "y": y, "n": n}
        return pl.DataFrame([row], schema={**schema, REMOVED: pl.Boolean()})

    view = View(("x", "y"), schema)
    for n, (x, y) in enumerate([(None, 1), ("a", None), (None, 1), ("a", 1)]):
        view.apply(batch(x, y, n), schema, {0: n})
    assert sorted(view.snapshot().rows["n"]) == [1, 2, 3]
    view.apply(batch(None, 1, None), schema, {0: 5})
    view.apply(batch("a", None, 9), schema, {0: 6})
    assert sorted(view.snapshot().rows["n"]) == [3, 9]


def test_positions_advance_without_rows() -> None:
    """A batch that changes nothing moves the position all the same, and costs no new frame."""
    view = view_of(delta((0, "a", 1, 1)))
    before = view.snapshot()
    view.apply(pl.DataFrame(), SCHEMA, {0: 9, 1: 4})
    after = view.snapshot()
    assert (view.positions(), after.positions) == ({0: 9, 1: 4}, {0: 9, 1: 4})
    assert before.positions == {0: 1}
    assert after.rows is before.rows


def test_loaded_rows_are_the_base() -> None:
    """Rows of a store come with its positions, contested ones included, and a batch folds into them."""
    chunks = [delta((0, "a", 1, 1), (0, "b", 1, 2)).drop(REMOVED), delta((1, "a", 2, 3)).drop(REMOVED)]
    view = view_of(delta((0, "gone", 1, 1)))
    view.load((chunk.select(list(SCHEMA)) for chunk in chunks), {0: 5, 1: 6})
    assert values(view) == {"a": 3, "b": 2}
    assert (view.contested, view.positions()) == (1, {0: 5, 1: 6})
    view.apply(delta((0, "b", 2, None)), SCHEMA, {0: 6})
    assert values(view) == {"a": 3}


def test_loading_nothing_leaves_nothing() -> None:
    """An empty store makes an empty view."""
    view = view_of(delta((0, "a", 1, 1)))
    view.load([], {})
    assert (values(view), view.positions(), view.snapshot().rows.schema) == ({}, {}, SCHEMA)


def test_clearing_a_partition_leaves_the_others() -> None:
    """Rows and position of a cleared partition are gone, merged or not; another partition's row then shows."""
    view = view_of(delta((0, "a", 1, 1), (1, "a", 2, 2), (1, "b", 2, 2)))
    view.apply(pl.DataFrame(), SCHEMA, {1: 7})
    view.clear([1, 5], SCHEMA)
    assert (values(view), view.positions()) == ({"a": 1}, {0: 1})
    view.clear([], SCHEMA)
    assert (values(view), view.positions()) == ({"a": 1}, {0: 1})


def test_clearing_everything_takes_the_new_columns() -> None:
    """After ``clear(None, schema)`` nothing of the rows, positions, contests or columns is left."""
    other = pl.Schema({**BOOKKEEPING, KEY: pl.String()})
    view = view_of(delta((0, "a", 1, 1), (1, "a", 2, 2)))
    view.clear(None, other)
    snapshot = view.snapshot()
    assert (snapshot.rows.schema, snapshot.rows.height, snapshot.positions) == (other, 0, {})
    assert view.contested == 0
    assert view.schema == other


WIDENINGS: list[tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = [
    ({"a": [1]}, {"a": [2], "b": ["x"]}, [{"a": 1, "b": None}, {"a": 2, "b": "x"}]),
    ({"b": [None]}, {"b": ["x"]}, [{"b": None}, {"b": "x"}]),
    ({"a": [1]}, {"a": [2.5]}, [{"a": 1.0}, {"a": 2.5}]),
    ({"s": [{"x": 1}]}, {"s": [{"x": 2, "y": "z"}]}, [{"s": {"x": 1, "y": None}}, {"s": {"x": 2, "y": "z"}}]),
    ({"s": [{"x": 1}]}, {"s": [{"x": 1.5}]}, [{"s": {"x": 1.0}}, {"s": {"x": 1.5}}]),
    ({"l": [[]]}, {"l": [["x"]]}, [{"l": []}, {"l": ["x"]}]),
    (
        {"l": [[{"x": 1}]]},
        {"l": [[{"x": 2, "y": 3}]]},
        [{"l": [{"x": 1, "y": None}]}, {"l": [{"x": 2, "y": 3}]}],
    ),
    ({"l": [[1, None]]}, {"l": [[0.5]]}, [{"l": [1.0, None]}, {"l": [0.5]}]),
]


@pytest.mark.parametrize(("first", "second", "expected"), WIDENINGS)
@pytest.mark.parametrize("is_read_between", [True, False])
def test_columns_widen(
    first: dict[str, Any], second: dict[str, Any], expected: list[dict[str, Any]], *, is_read_between: bool
) -> None:
    """Rows of a narrower schema take the wider one's columns, types and nested fields, unread or already merged."""
    wide = pl.Schema({**BOOKKEEPING, KEY: pl.String(), **pl.DataFrame(expected).schema})
    narrow = pl.Schema({**BOOKKEEPING, KEY: pl.String(), **pl.DataFrame(first).schema})
    view = View((KEY,), pl.Schema({**BOOKKEEPING, KEY: pl.String()}))
    view.apply(delta((0, "a", 1, 0), fields=first), narrow, {0: 1})
    if is_read_between:
        assert view.snapshot().rows.schema == narrow
    view.apply(delta((0, "b", 1, 0), fields=second), wide, {0: 2})
    rows = view.snapshot().rows
    assert rows.schema == wide
    assert rows.sort(KEY).select(list(expected[0])).to_dicts() == expected


BIG = 2**53 + 1


@pytest.mark.parametrize(
    ("held", "wider", "expected"),
    [
        ([2**53, -(2**53)], pl.Float64(), False),
        ([BIG], pl.Float64(), True),
        ([-BIG], pl.Float64(), True),
        ([-(2**63)], pl.Float64(), True),
        ([None], pl.Float64(), False),
        ([[1], [BIG]], pl.List(pl.Float64), True),
        ([[1], [], None], pl.List(pl.Float64()), False),
        ([{"x": BIG, "y": "z"}], pl.Struct({"x": pl.Float64(), "y": pl.String()}), True),
        ([{"x": 1, "y": "z"}], pl.Struct({"x": pl.Float64, "y": pl.String, "z": pl.Int64}), False),
        ([{"x": BIG}], pl.Struct({"x": pl.Int64(), "new": pl.String()}), False),
        ([[{"x": [BIG]}]], pl.List(pl.Struct({"x": pl.List(pl.Float64())})), True),
        ([[{"x": [1]}], None], pl.List(pl.Struct({"x": pl.List(pl.Float64())})), False),
        ([None], pl.String(), False),
    ],
)
@pytest.mark.parametrize("is_merged", [True, False])
def test_integers_that_a_float_cannot_hold_are_found(
    held: list[Any], wider: pl.DataType, *, expected: bool, is_merged: bool
) -> None:
    """``inexact`` names the fields, at any depth, in which a row that is there would lose digits."""
    frame = pl.DataFrame({"f": held})
    view = View((KEY,), pl.Schema({**BOOKKEEPING, KEY: pl.String(), **frame.schema}))
    rows: list[Row] = [(0, str(at), 1, 0) for at in range(frame.height)]
    view.apply(delta(*rows, fields={"f": frame["f"]}), view.schema, {0: 1})
    if is_merged:
        view.snapshot()
    wanted = frozenset({"f"}) if expected else frozenset()
    assert view.inexact(pl.Schema({"f": wider, "new": pl.Float64()})) == wanted


def test_unread_changes_are_merged_by_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody reads does not pile up: the writer merges beyond a number of rows or of batches."""
    monkeypatch.setattr(waiting, "_ABOVE_ROWS", 10)
    monkeypatch.setattr(waiting, "_ABOVE_BATCHES", 4)
    view = view_of(*[delta((0, f"k{number}", 1, number)) for number in range(5)])
    assert view._waiting.rows == 0
    view.apply(delta(*[(0, f"k{number}", 2, number) for number in range(12)]), SCHEMA, {0: 9})
    assert view._waiting.rows == 0
    assert values(view) == {f"k{number}": number for number in range(12)}


def test_the_writer_does_not_wait_for_a_merging_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a reader replaces the base, a batch that would be due for merging is only appended."""
    monkeypatch.setattr(waiting, "_ABOVE_BATCHES", 0)
    view = View((KEY,), SCHEMA)
    with view._merging:
        view.apply(delta((0, "a", 1, 1)), SCHEMA, {0: 1})
        assert view.positions() == {0: 1}
    assert values(view) == {"a": 1}


def test_a_read_does_not_wait_for_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the thread of the binding copies the rows into one piece, reads find and merge what comes; nothing is lost."""
    view = view_of(delta((0, "a", 1, 1), (0, "b", 1, 1)), delta((0, "c", 1, 1)))
    rechunk = pl.DataFrame.rechunk
    read: list[dict[str, int | None]] = []

    def copy_slowly(frame: pl.DataFrame) -> pl.DataFrame:
        monkeypatch.undo()
        view.apply(delta((0, "a", 2, 2)), SCHEMA, {0: 3})
        reader = threading.Thread(target=lambda: read.append(values(view)), daemon=True)
        reader.start()
        reader.join(5)
        return rechunk(frame)

    monkeypatch.setattr(pl.DataFrame, "rechunk", copy_slowly)
    view.merge_when_idle()
    assert read == [values(view)] == [{"a": 2, "b": 1, "c": 1}]


def test_a_table_of_many_chunks_may_become_empty() -> None:
    """All rows of all chunks are removed at once, and some come again."""
    view = view_of(delta((0, "k0", 0, 0)))
    for number in range(1, 9):
        view.apply(delta((0, f"k{number}", number, number)), SCHEMA, {0: number})
        view.snapshot()
    view.apply(delta(*[(0, f"k{number}", 20, None) for number in range(9)]), SCHEMA, {0: 20})
    assert values(view) == {}
    view.apply(delta((0, "k3", 21, 3)), SCHEMA, {0: 21})
    assert values(view) == {"k3": 3}


def test_at_leisure_the_rows_become_one_piece() -> None:
    """What was merged is in one chunk, so that it is grouped and filtered fast."""
    view = view_of(delta((0, "a", 1, 1), (0, "b", 1, 1)), delta((0, "c", 1, 1)))
    view.snapshot()
    view.apply(delta((0, "d", 1, 1)), SCHEMA, {0: 3})
    view.merge_when_idle()
    assert view.snapshot().rows.n_chunks("all") == [1] * len(SCHEMA)


def test_reading_often_keeps_the_chunks_few() -> None:
    """A thousand reads between small batches leave a frame of few chunks with every row in it."""
    view = view_of(delta(*[(0, f"k{number}", 0, 0) for number in range(1000)]))
    expected = dict.fromkeys((f"k{number}" for number in range(1000)), 0)
    for number in range(300):
        key = f"k{number * 7 % 1100}"
        view.apply(delta((0, key, number, number)), SCHEMA, {0: number})
        expected[key] = number
        assert view.snapshot().rows.n_chunks() <= most_chunks(len(expected))
    assert values(view) == expected


def test_snapshots_stand_for_their_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one thread applies, every snapshot of another holds exactly what its positions say."""
    monkeypatch.setattr(waiting, "_ABOVE_BATCHES", 20)
    view = View((KEY,), SCHEMA)
    is_done = threading.Event()
    keys = [f"k{number}" for number in range(50)]

    def read() -> list[Any]:
        wrong: list[Any] = []
        while not is_done.is_set():
            snapshot = view.snapshot()
            number = snapshot.positions.get(0, 0)
            expected = (len(keys), {number}) if number else (0, set())
            found = (snapshot.rows.height, set(snapshot.rows["n"]))
            if found != expected:
                wrong.append((number, found))
        return wrong

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for number in range(1, 300):
            rows: list[Row] = [(0, key, number, number) for key in keys]
            view.apply(delta(*rows), SCHEMA, {0: number})
        is_done.set()
        assert [reader.result() for reader in readers] == [[], [], []]
    assert values(view) == dict.fromkeys(keys, 299)


def test_a_large_merge_is_exact() -> None:
    """Hundreds of thousands of rows, changed by half as many, equal the dict."""
    count = 200_000
    keys = [f"k{number}" for number in range(count)]
    view = View((KEY,), SCHEMA)
    view.apply(delta(*[(0, key, 1, 1) for key in keys]), SCHEMA, {0: 1})
    view.apply(
        delta(*[(0, key, 2, None if at % 3 else 2) for at, key in enumerate(keys[::2])]), SCHEMA, {0: 2}
    )
    expected = dict.fromkeys(keys, 1)
    for at, key in enumerate(keys[::2]):
        if at % 3:
            del expected[key]
        else:
            expected[key] = 2
    assert values(view) == expected


def test_what_is_no_longer_contested_is_not_counted() -> None:
    """Once one living row or none is left, by a removal or by a cleared partition, the contest is over."""
    rows: list[Row] = [(partition, key, partition, 1) for key in "abc" for partition in (0, 1)]
    view = view_of(delta(*rows), delta((1, "a", 2, None), (0, "b", 3, None), (1, "b", 3, None)))
    assert values(view) == {"a": 1, "c": 1}
    assert view.contested == 1
    view.apply(delta((1, "a", 4, 2), (0, "d", 4, 4)), SCHEMA, {0: 3})
    assert values(view) == {"a": 2, "c": 1, "d": 4}
    assert view.contested == 2
    view.clear([1], SCHEMA)
    assert values(view) == {"a": 1, "c": 1, "d": 4}
    assert view.contested == 0


def test_clearing_a_partition_leaves_other_contests() -> None:
    """Rows that two remaining partitions still have stay contested."""
    view = view_of(delta((0, "a", 1, 1), (1, "a", 2, 2), (2, "a", 3, 3), (2, "b", 1, 1), (0, "b", 1, 1)))
    view.clear([2], SCHEMA)
    assert (values(view), view.contested) == ({"a": 2, "b": 1}, 1)


class Files:
    """Files that take rows, until they are ``full``; counts those that were written."""

    def __init__(self, directory: Path) -> None:
        self._files = ViewFiles(directory)
        self.full, self.written = False, 0

    def spill(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        """Put rows into a file."""
        self.written += 1
        return None if self.full else self._files.spill(rows)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    """Let all rows lie in files."""
    monkeypatch.setattr(rows, "SPILL_BYTES", 0)
    return Files(tmp_path)


def in_files(files: Files, *deltas: pl.DataFrame) -> View:
    """Return a view of these changes, each merged before the next."""
    view = View((KEY,), SCHEMA, spill=files.spill)
    for number, some in enumerate(deltas):
        view.apply(some, SCHEMA, {0: number})
        view.rows()
    return view


def test_a_row_that_is_gone_outdates_no_mark(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its partition is read again, and a record is refused that was not there before."""
    lines = view_of(delta(*[(number % 2, f"k{number}", 1, 1) for number in range(40)])).snapshot().rows
    monkeypatch.setattr(rows, "SPILL_BYTES", int(lines.estimated_size()) // 4)
    view = View((KEY,), SCHEMA, spill=files.spill)
    view.load([lines], {})
    view.clear([0], SCHEMA)
    assert view.rows().has_gone
    marks = lines.filter(pl.col(PARTITION) == 0).select(HASH, PARTITION, KEY, OFFSET, TIMESTAMP)
    view.apply(pl.DataFrame(), SCHEMA, {}, marks.with_columns(pl.lit(-1, dtype=pl.Int64).alias(OFFSET)))
    other = View((KEY,), SCHEMA, spill=files.spill)
    assert other.restore(view.frames(), SCHEMA)
    assert other.marks().height == view.marks().height == 20


def test_where_the_disk_is_full_rows_stay_in_their_files(files: Files) -> None:
    """Those that lie there are not brought into memory, where there may be no room for them."""
    view = in_files(files, delta(*[(0, f"k{number}", 1, number) for number in range(100)]))
    files.full = True
    view.apply(delta(*[(0, f"k{number}", 2, -number) for number in range(90)]), SCHEMA, {0: 2})
    assert values(view) == {f"k{number}": -number if number < 90 else number for number in range(100)}
    assert view.rows().parts
    files.full = False
    assert len(values(view)) == 100
    assert not view.rows().has_gone


def test_all_rows_are_one_frame_until_some_change(files: Files) -> None:
    """What was found out about it still holds."""
    view = in_files(files, delta((0, "a", 1, 1)), delta((0, "b", 1, 1)))
    frame = view.snapshot().rows
    view.apply(pl.DataFrame(), SCHEMA, {0: 7})
    assert view.snapshot().rows is frame
    view.apply(delta((0, "a", 2, 2)), SCHEMA, {0: 8})
    assert view.snapshot().rows is not frame


def test_frames_of_another_version_are_not_taken(files: Files) -> None:
    """Whatever else they hold might be missing."""
    view = in_files(files, delta((0, "a", 1, 1)))
    frames = view.frames()
    assert View((KEY,), SCHEMA).restore(frames, SCHEMA)
    assert not View((KEY,), SCHEMA).restore({**frames, "other": frames["rows"]}, SCHEMA)


def test_a_few_changes_write_no_part_anew(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies near them is copied for a frame of all rows."""
    monkeypatch.setattr(rows, "SPILL_BYTES", 500_000)
    view = in_files(files, delta(*[(0, f"k{number}", 1, number) for number in range(50_000)]))
    assert view.lies_in_files
    written = files.written
    view.apply(delta(*[(0, f"k{number}", 2, -1) for number in (7, 20_000, 49_999)]), SCHEMA, {0: 2})
    assert view.snapshot().rows.height == 50_000
    assert files.written == written
