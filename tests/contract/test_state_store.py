"""What every store promises, backend by backend: the rules of ``StateStore`` one by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.changes import Line, changes_of, refused_record
from support.stores import ORDERS, lines_of

from ktframe.columns import IDENTITY, KEY, OFFSET, PARTITION, TIMESTAMP
from ktframe.config.settings import StoreOptions
from ktframe.errors import StoreError
from ktframe.fold.identity_codec import encode_part
from ktframe.fold.records import Cause, Position, RefusedRecord, StaleMarks
from ktframe.fold.refused import all_causes
from ktframe.formats.base import Fault
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import CHUNK_ROWS, Horizon, StateStore

A, B, C = (encode_part(letter) for letter in "abc")
SCHEMA = pl.Schema({"a": pl.Int64()})


@pytest.fixture(params=["memory", "rocksdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStore]:
    """Yield an empty store of each backend."""
    options = StoreOptions(backend=request.param)
    manager = StoreManager(tmp_path, options)
    yield manager.get_or_open(ORDERS, options)
    manager.close_all()


def test_an_applied_row_is_found(store: StateStore) -> None:
    """A row is returned with its partition, and a later one of the same identity replaces it."""
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    store.apply(changes_of([(0, A, b"2")]), {0: 2})
    assert store.get(A) == [(0, b"2")]


def test_an_unknown_identity_has_no_rows(store: StateStore) -> None:
    """What was never applied is an empty list, before and after other rows exist."""
    assert store.get(A) == []
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    assert store.get_many([B, A, C]) == [[], [(0, b"1")], []]
    assert store.get_many([]) == []


def test_partitions_are_apart(store: StateStore) -> None:
    """One identity has a row in every partition that holds it, in partition order, whichever came first."""
    store.apply(changes_of([(7, A, b"seven"), (7, B, b"x")]), {7: 2})
    store.apply(changes_of([(2, A, b"two")]), {2: 1})
    assert store.get_many([A, B]) == [[(2, b"two"), (7, b"seven")], [(7, b"x")]]


def test_a_removal_acts_in_its_partition_only(store: StateStore) -> None:
    """A value of None removes the row of its partition and no other; removing nothing does nothing."""
    store.apply(changes_of([(0, A, b"0"), (1, A, b"1")]), {0: 1, 1: 1})
    store.apply(changes_of([(0, A, None), (0, B, None)]), {0: 3})
    assert lines_of(store.items()) == [(1, A, b"1")]


def test_more_identities_than_a_chunk_are_found_at_once(store: StateStore) -> None:
    """``get_many`` answers in the order of the question, however long that is."""
    identities = [encode_part(number) for number in range(CHUNK_ROWS + 5)]
    store.apply(changes_of((0, each, each[-2:]) for each in identities[::2]), {0: 1})
    expected = [[(0, each[-2:])] if at % 2 == 0 else [] for at, each in enumerate(identities)]
    assert store.get_many(identities) == expected


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (None, None),
        (B, None),
        (None, B),
        (A, C),
        (B, B),
        (C, A),
        (A + b"\0", None),
        (None, C + b"\0"),
        (b"", b"\xff"),
    ],
)
def test_items_yields_a_range_in_order(store: StateStore, start: bytes | None, end: bytes | None) -> None:
    """``items(start, end)`` holds ``start <= identity < end``, partition by partition, in identity order."""
    lines = [(1, C, b"1c"), (1, A, b"1a"), (0, B, b"0b"), (0, A, b"0a"), (2, C, b"2c")]
    store.apply(changes_of(lines), dict.fromkeys(range(3), 1))
    expected = sorted(line for line in lines if (start or b"") <= line[1] and (end is None or line[1] < end))
    assert lines_of(store.items(start, end)) == expected


@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS, CHUNK_ROWS + 1, 2 * CHUNK_ROWS])
def test_items_comes_in_chunks(store: StateStore, count: int) -> None:
    """No chunk has more than 10,000 rows, none is empty, none crosses partitions, and no row is lost or twice."""
    lines = [(p, encode_part(number), b"%d" % number) for p in (0, 1) for number in range(count)]
    store.apply(changes_of(lines), {0: 1, 1: 1})
    chunks = list(store.items())
    assert all(0 < len(chunk.identities) <= CHUNK_ROWS for chunk in chunks)
    assert all(len(set(chunk.partitions)) == 1 for chunk in chunks)
    assert lines_of(iter(chunks)) == lines


def test_positions_advance_with_or_without_rows(store: StateStore) -> None:
    """A position is the next offset; stream time is the greatest seen, and stays where a batch has none."""
    store.apply(changes_of([(0, A, b"1")], stream_times={0: 50}), {0: 1})
    store.apply(changes_of(stream_times={0: -3, 1: -7}), {0: 4, 1: 2})
    store.apply(changes_of(), {0: 9, 3: 0})
    expected = {0: Position(9, stream_time=50), 1: Position(2, stream_time=-7), 3: Position(0)}
    assert store.positions() == expected


def test_dropped_rows_are_gone_and_the_horizon_is_remembered(store: StateStore) -> None:
    """``drop`` removes the rows below the bound of its partition alone, and its position says what went."""
    store.apply(changes_of([(0, A, b"1"), (0, B, b"2"), (1, A, b"3")], stream_times={0: 50}), {0: 3, 1: 1})
    store.drop({0: Horizon(value=20, bound=B, rows=1, newest=19)})
    assert lines_of(store.items()) == [(0, B, b"2"), (1, A, b"3")]
    once = Position(3, stream_time=50, horizon=20, dropped=1, cut=19)
    assert store.positions() == {0: once, 1: Position(1)}
    store.drop({0: Horizon(value=30, bound=C, rows=1)})
    assert lines_of(store.items()) == [(1, A, b"3")]
    assert store.positions()[0] == replace(once, horizon=30, dropped=2)


def test_a_horizon_survives_a_restart(tmp_path: Path) -> None:
    """A store that is opened again knows what retention has dropped."""
    for step in ("write", "read"):
        manager = StoreManager(tmp_path, StoreOptions())
        store = manager.get_or_open(ORDERS, StoreOptions())
        if step == "write":
            store.apply(changes_of([(0, A, b"1"), (0, B, b"2")]), {0: 2})
            store.drop({0: Horizon(value=20, bound=B, rows=1, newest=19)})
        assert store.positions() == {0: Position(2, horizon=20, dropped=1, cut=19)}
        assert lines_of(store.items()) == [(0, B, b"2")]
        manager.close_all()


def test_refused_records_are_counted_and_kept(store: StateStore) -> None:
    """Every refused record comes back whole, in offset order, and is counted; conflicts apart."""
    odd = RefusedRecord(1, 3, None, None, None, "null key ☃")
    headers = [("n", b"many"), ("n", None), ("", b"")]
    empty = RefusedRecord(1, 4, -1, b"", b"", "", headers=headers)
    records = [refused_record(0, 5), refused_record(0, 6, is_conflict=True), odd, empty]
    store.apply(changes_of(refused=records), {1: 5, 0: 7})
    assert store.refused() == records
    expected = {0: Position(7, refused=2, conflicts=1), 1: Position(5, refused=2)}
    assert store.positions() == expected


def test_late_records_are_kept_apart_from_refused_ones(store: StateStore) -> None:
    """Late records come back whole, in offset order, are counted by themselves, and go when their partition does."""
    late = [refused_record(0, 5), refused_record(0, 6), refused_record(1, 2)]
    changes = changes_of(refused=[refused_record(0, 4)])
    store.apply(replace(changes, late=tuple(late)), {0: 7, 1: 3})
    assert (store.late(), store.refused()) == (late, [refused_record(0, 4)])
    assert store.positions() == {0: Position(7, refused=1, conflicts=0, late=2), 1: Position(3, late=1)}
    store.clear([0])
    assert store.late() == late[2:]


def test_only_the_newest_refused_records_are_kept(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the oldest of each partition go, within a batch as well, and the counts stay exact."""
    for module in ("memory", "slots"):
        monkeypatch.setattr(f"ktframe.store.{module}.REFUSED_KEPT", 3)
    store.apply(
        changes_of(refused=[refused_record(0, 0), refused_record(1, 0), refused_record(0, 1)]), {0: 2, 1: 1}
    )
    store.apply(changes_of(refused=[refused_record(0, offset) for offset in range(2, 9)]), {0: 9})
    store.apply(changes_of(refused=[refused_record(0, 9), refused_record(1, 9)]), {0: 10, 1: 10})
    kept = [(record.partition, record.offset) for record in store.refused()]
    assert kept == [(0, 7), (0, 8), (0, 9), (1, 0), (1, 9)]
    assert {p: position.refused for p, position in store.positions().items()} == {0: 10, 1: 2}


def test_clearing_a_partition_leaves_the_others(store: StateStore) -> None:
    """Rows, index, refused records and position of a cleared partition are gone; schema and the rest stay."""
    lines = [(0, A, b"0"), (1, A, b"1")]
    records = [refused_record(0, 0), refused_record(1, 0)]
    store.apply(changes_of(lines, record_keys=[b"k", b"k"], refused=records, schema=SCHEMA), {0: 1, 1: 1})
    store.clear([0, 99])
    assert lines_of(store.items()) == [(1, A, b"1")]
    assert store.refused() == [refused_record(1, 0)]
    assert store.positions() == {1: Position(1, refused=1)}
    assert store.identities_of(0, b"k") == []
    assert store.identities_of(1, b"k") == [A]
    assert store.schema() == SCHEMA


def test_a_cleared_partition_starts_afresh(store: StateStore) -> None:
    """What is applied after a clear is all there is, also where another partition comes in between."""
    store.apply(changes_of([(0, A, b"old"), (0, B, b"old")], refused=[refused_record(0, 1)]), {0: 5})
    store.clear([0])
    store.apply(changes_of([(4, C, b"four")]), {4: 1})
    store.apply(changes_of([(0, A, b"new")]), {0: 1})
    assert lines_of(store.items()) == [(0, A, b"new"), (4, C, b"four")]
    assert store.positions() == {0: Position(1), 4: Position(1)}


def test_clearing_everything_notes_the_topic(store: StateStore) -> None:
    """``clear()`` forgets the schema too; a topic id is kept until another one comes."""
    assert store.topic_id is None
    store.apply(changes_of([(0, A, b"0")], schema=SCHEMA), {0: 1})
    store.clear(topic_id="first")
    assert (lines_of(store.items()), store.positions(), store.schema()) == ([], {}, pl.Schema())
    assert store.topic_id == "first"
    store.clear([])
    assert store.topic_id == "first"
    store.clear([], topic_id="second")
    assert store.topic_id == "second"


def test_clearing_nothing_keeps_all(store: StateStore) -> None:
    """``clear([])``, by which a topic id is noted, takes no row."""
    store.apply(changes_of([(0, A, b"0")], schema=SCHEMA), {0: 1})
    store.clear([], topic_id="id")
    assert lines_of(store.items()) == [(0, A, b"0")]
    assert store.schema() == SCHEMA


def test_the_last_known_schema_is_remembered(store: StateStore) -> None:
    """Changes that know no fields leave the schema alone; order of fields is part of it."""
    store.apply(changes_of(schema=SCHEMA), {0: 1})
    store.apply(changes_of(), {0: 2})
    assert store.schema() == SCHEMA
    wider = pl.Schema({"b": pl.String(), "a": pl.Float64()})
    store.apply(changes_of(schema=wider), {0: 3})
    assert list(store.schema().items()) == list(wider.items())


def test_the_index_keeps_record_keys_apart(store: StateStore) -> None:
    """Keys that are prefixes of each other, empty, or full of FF bytes never find each other's identities."""
    keys = [b"", b"a", b"aa", b"a\xff", b"\xff", b"\xff\xff", b"\0", b"a\0"]
    lines = [(0, encode_part(number), b"row") for number, _ in enumerate(keys)]
    store.apply(changes_of(lines, record_keys=keys), {0: 1})
    store.apply(changes_of([(0, A, b"row"), (1, B, b"row")], record_keys=[b"a", b"a"]), {0: 2, 1: 1})
    expected = {key: [encode_part(number)] for number, key in enumerate(keys)}
    expected[b"a"].append(A)
    assert {key: store.identities_of(0, key) for key in keys} == expected
    assert store.identities_of(1, b"a") == [B]
    assert store.identities_of(2, b"a") == []


def test_a_removal_drops_its_index_entry(store: StateStore) -> None:
    """A row removed under a record key is no longer found by it; a null record key has no entry."""
    lines = [(0, A, b"1"), (0, B, b"2"), (0, C, b"3")]
    store.apply(changes_of(lines, record_keys=[b"k", b"k", None]), {0: 3})
    store.apply(changes_of([(0, A, None), (0, C, None)], record_keys=[b"k", None]), {0: 5})
    assert store.identities_of(0, b"k") == [B]


def test_a_reader_sees_all_of_a_batch_or_nothing(store: StateStore) -> None:
    """Rows of one batch, in several partitions, are of the same batch for any reader, and no position is ahead."""
    identities = [encode_part(number) for number in range(20)]
    store.apply(changes_of((p, i, b"0") for p in range(3) for i in identities), dict.fromkeys(range(3), 0))
    is_done = threading.Event()

    def read() -> tuple[int, list[Any]]:
        torn: list[Any] = []
        reads = 0
        while not is_done.is_set() or not reads:
            position = store.positions()[0].offset
            found = {int(row) for pairs in store.get_many(identities) for _, row in pairs}
            if len(found) != 1 or found.pop() < position:
                torn.append((position, found))
            if len(set(store.positions().values())) != 1:
                torn.append(store.positions())
            reads += 1
        return reads, torn

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(1, 200):
            lines = [(p, i, b"%d" % number) for p in range(3) for i in identities]
            store.apply(changes_of(lines), dict.fromkeys(range(3), number))
        is_done.set()
        assert [reader.result()[1] for reader in readers] == [[], []]


def test_a_closed_store_says_so(store: StateStore) -> None:
    """After ``close`` every call raises StoreError with the reason, and closing again does nothing."""
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    under_way = store.items()
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.get(A),
        lambda: store.get_many([A]),
        lambda: store.identities_of(0, b"k"),
        lambda: list(under_way),
        lambda: list(store.items()),
        store.refused,
        store.positions,
        store.schema,
        lambda: store.apply(changes_of([(0, A, b"1")]), {0: 1}),
        store.clear,
        store.flush,
    ]
    for call in calls:
        with pytest.raises(StoreError, match=r"store .*: it is closed\."):
            call()


def test_documents_are_kept_in_order(store: StateStore) -> None:
    """What rows need in order to be read stays, in the order in which it came, until all rows are forgotten."""
    assert store.documents() == []
    for number in range(12):
        store.add_document(b"document %d" % number)
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    expected = [b"document %d" % number for number in range(12)]
    assert store.documents() == expected
    store.clear([0])
    assert store.documents() == expected
    store.clear()
    assert store.documents() == []
    store.add_document(b"another")
    assert store.documents() == [b"another"]


def test_what_was_learned_is_kept_part_by_part(store: StateStore) -> None:
    """Parts stay until they are replaced, given no bytes, or all is cleared; clearing rows leaves them."""
    assert store.learned() == {}
    store.learn({"0": b"a", "1": b"b"})
    store.learn({"1": b"", "2": b"c"})
    assert store.learned() == {"0": b"a", "2": b"c"}
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    store.clear([0])
    assert store.learned() == {"0": b"a", "2": b"c"}
    store.clear()
    assert store.learned() == {}


def test_the_schema_may_be_cleared_with_the_rows(store: StateStore) -> None:
    """What was learned and the documents stay then."""
    schema = pl.Schema({"x": pl.Int64()})
    store.apply(replace(changes_of([(0, A, b"1")]), schema=schema), {0: 1})
    store.learn({"0": b"a"})
    store.add_document(b"document")
    store.clear([0])
    assert store.schema() == schema
    store.clear([], keeps_schema=False)
    assert (store.schema(), store.learned(), store.documents()) == (pl.Schema(), {"0": b"a"}, [b"document"])


def test_the_record_key_may_be_part_of_the_schema(store: StateStore) -> None:
    """The type of the record key comes back first, beside fields of any name."""
    schema = pl.Schema({KEY: pl.Struct({"id": pl.Int64()}), "key": pl.String(), "": pl.Int64()})
    store.apply(replace(changes_of([(0, A, b"1")]), schema=schema), {0: 1})
    assert store.schema() == schema


def test_causes_are_counted_by_partition(store: StateStore) -> None:
    """Reasons that differ in numbers only are one cause, with its first and last record; they go with the partition."""

    def refused(partition: int, offset: int, reason: str, fields: tuple[str, ...] = ()) -> RefusedRecord:
        at = offset * 10
        return RefusedRecord(partition, offset, at, b"k", b"v", reason, fault=Fault.FIELD, fields=fields)

    first = [refused(0, 1, "not JSON: char 4", ("a",)), refused(0, 3, "other"), refused(1, 0, "other")]
    store.apply(changes_of(refused=first), {0: 4, 1: 1})
    store.apply(changes_of(refused=[refused(0, 7, "not JSON: char 25", ("b",))]), {0: 8})
    by_reason = {cause.reason: cause for cause in store.causes()[0].values()}
    assert by_reason == {
        "not JSON: char 4": Cause("not JSON: char 4", Fault.FIELD, ("a", "b"), 2, (0, 1), (0, 7), 10, 70),
        "other": Cause("other", Fault.FIELD, (), 1, (0, 3), (0, 3), 30, 30),
    }
    assert [cause.records for cause in all_causes(store.causes().values())] == [2, 2]
    store.clear([0])
    assert {cause.reason for cause in all_causes(store.causes().values())} == {"other"}


def test_there_are_not_more_causes_than_a_hundred(store: StateStore) -> None:
    """What comes after counts as one: reasons that hold text of a producer's can be as many as records."""
    reasons = [f"letter {chr(0x4E00 + number)}" for number in range(150)]
    records = [replace(refused_record(0, at), reason=reason) for at, reason in enumerate(reasons)]
    store.apply(changes_of(refused=records), {0: 150})
    causes = all_causes(store.causes().values())
    assert (len(causes), causes[-1].records, causes[-1].reason) == (101, 50, "other reasons")


def marks_of(*lines: tuple[int, bytes, int, int | None]) -> pl.DataFrame:
    """Return marks of refused records: partition, identity, offset, timestamp."""
    schema = {PARTITION: pl.Int32, IDENTITY: pl.Binary, OFFSET: pl.Int64, TIMESTAMP: pl.Int64}
    return pl.DataFrame(lines, schema=schema, orient="row")


def test_the_last_mark_of_each_row_is_kept(store: StateStore) -> None:
    """A later mark replaces an earlier one, a removal ends it, and it goes with its partition or below a horizon."""
    store.apply(replace(changes_of([(0, A, b"1")]), stale=marks_of((0, A, 1, None), (0, B, 2, 5))), {0: 3})
    store.apply(replace(changes_of(), stale=marks_of((0, A, 4, -7), (1, C, 0, 9))), {0: 5, 1: 1})
    assert store.stale() == StaleMarks([0, 0, 1], [A, B, C], [4, 2, 0], [-7, 5, 9])
    store.apply(changes_of([(0, A, None)]), {0: 6})
    assert store.stale() == StaleMarks([0, 1], [B, C], [2, 0], [5, 9])
    store.drop({0: Horizon(value=1, bound=C, rows=0)})
    store.clear([1])
    assert len(store.stale()) == 0


def test_causes_and_marks_survive_a_restart(tmp_path: Path) -> None:
    """A store that is opened again knows why records were refused, and which rows are stale."""
    found = []
    for step in ("write", "read"):
        manager = StoreManager(tmp_path, StoreOptions())
        store = manager.get_or_open(ORDERS, StoreOptions())
        if step == "write":
            refused = changes_of(refused=[refused_record(0, 5), refused_record(0, 6)])
            store.apply(replace(refused, stale=marks_of((0, A, 5, 50), (0, B, 6, None))), {0: 7})
        found.append((store.causes(), store.stale(), store.positions()))
        manager.close_all()
    assert found[0] == found[1]
    assert found[0][1] == StaleMarks([0, 0], [A, B], [5, 6], [50, None])


def test_a_store_is_opened_again_with_what_was_flushed(store: StateStore) -> None:
    """Opening a store again, which a disk may make necessary, keeps everything that was flushed."""
    store.apply(changes_of([(0, A, b"1")], refused=[refused_record(0, 1)], schema=SCHEMA), {0: 2})
    store.add_document(b"document")
    store.learn({"name": b"part"})
    store.flush()
    before = (lines_of(store.items()), store.positions(), store.refused(), store.schema(), store.learned())
    assert not store.has_failed
    store.reopen()
    after = (lines_of(store.items()), store.positions(), store.refused(), store.schema(), store.learned())
    assert (after, store.documents()) == (before, [b"document"])
    store.apply(changes_of([(0, B, b"2")]), {0: 3})
    assert store.positions()[0].offset == 3
    store.close()
    with pytest.raises(StoreError, match="it is closed"):
        store.reopen()


def test_what_rows_are_dropped_by_is_kept(store: StateStore) -> None:
    """A store remembers what it is cut by, whatever becomes of its rows; a horizon can be taken back."""
    assert store.note("retention") == ""
    store.apply(changes_of([(0, A, b"1"), (0, B, b"2")]), {0: 2})
    store.keep_note("retention", "5 ms")
    store.drop({0: Horizon(7, B, 1, 3)})
    store.drop({0: Horizon(None, b"", 0)})
    at = store.positions()[0]
    assert (at.horizon, at.dropped, at.cut) == (None, 1, 3)
    assert [identity for chunk in store.items() for identity in chunk.identities] == [B]
    store.clear(None, topic_id="another")
    assert store.note("retention") == "5 ms"


def test_many_lines_are_written_partition_by_partition(
    store: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there afterwards is what one write would leave."""
    monkeypatch.setattr("ktframe.store.slots._WRITE_LINES", 2)
    lines: list[Line] = [(2, A, b"2a"), (0, A, b"0a"), (0, B, b"0b"), (0, C, b"0c"), (1, A, b"1a")]
    records = [refused_record(partition, 4) for partition in (0, 1, 2)]
    store.apply(changes_of(lines, refused=records, schema=SCHEMA), {0: 5, 1: 5, 2: 5, 3: 5})
    assert store.get(A) == [(0, b"0a"), (1, b"1a"), (2, b"2a")]
    assert (store.get(B), store.get(C), store.refused()) == ([(0, b"0b")], [(0, b"0c")], records)
    assert store.positions() == {p: Position(5, refused=int(p < 3)) for p in (0, 1, 2, 3)}
    assert store.schema() == SCHEMA
