"""Reading one batch further while the one before is parsed: the same rows, and nothing of what was read is lost."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktframe.errors import BrokerError
from ktframe.fold.records import RecordBatch
from ktframe.formats.json import batches
from ktframe.formats.json.batches import BegunPayloads, begun, read_batch
from ktframe.formats.json.format import JsonFormat
from ktframe.formats.wire import VALUE_HEADER
from ktframe.sync import read_ahead
from ktframe.sync.binding import TopicBinding
from ktframe.sync.read_ahead import ReadAhead
from ktframe.testing import FakeBroker, FakeReader

FULL = 100
NONE: frozenset[str] = frozenset()
SCHEMA = pl.Schema({"a": pl.Int64(), "s": pl.String(), "f": pl.Float64()})


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read ahead of batches of a hundred records."""
    monkeypatch.setattr(read_ahead, "FULL_BATCH", FULL)
    monkeypatch.setattr(read_ahead, "_FIRST_BATCH_RECORDS", FULL)


def batch_of(start: int, records: int) -> RecordBatch:
    """Return records of partition 0 that follow each other."""
    return RecordBatch(
        partitions=[0] * records,
        offsets=range(start, start + records),
        timestamps=[0] * records,
        timestamp_types=[1] * records,
        keys=[b"k"] * records,
        values=[b"{}"] * records,
        positions={0: start + records},
    )


class ScriptedReader:
    """A reader that returns, or raises, one thing after the other."""

    def __init__(self, *script: RecordBatch | Exception | None) -> None:
        self.script = list(script)
        self.calls: list[str] = []

    def assign(self, positions: Mapping[int, int]) -> None:
        """Note it."""
        self.calls.append(f"assign {dict(positions)}")

    def first_records(self, offsets: Mapping[int, int], is_over: Callable[[], bool]) -> Mapping[int, Any]:
        """Return nothing for each offset."""
        del is_over
        return dict.fromkeys(offsets)

    def poll(self) -> RecordBatch | None:
        """Return or raise what is next."""
        self.calls.append("poll")
        found = self.script.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """Note it."""
        self.calls.append("close")


def begin(batch: RecordBatch) -> RecordBatch:
    """Begin something."""
    return replace(batch, headers=[])


def test_one_batch_is_read_while_work_on_a_full_one_has_begun() -> None:
    """The next one is returned by the next call; one that is not full, or can't be begun, is not waited for."""
    inner = ScriptedReader(batch_of(0, FULL), batch_of(FULL, 1), RecordBatch(positions={0: 999}), None)
    reader = ReadAhead(inner, begin)
    first = reader.poll()
    assert first is not None
    assert (first.offsets, first.headers) == (range(FULL), [])
    assert inner.calls == ["poll", "poll"]
    second = reader.poll()
    assert second is not None
    assert (second.offsets, second.headers) == (range(FULL, FULL + 1), None)
    assert inner.calls == ["poll", "poll"]
    assert (reader.poll(), reader.poll()) == (RecordBatch(positions={0: 999}), None)
    assert reader.first_records({0: 1}, bool) == {0: None}

    inner = ScriptedReader(batch_of(0, FULL))
    assert ReadAhead(inner, lambda batch: batch).poll() is not None
    assert inner.calls == ["poll"]


def test_the_end_of_a_partition_that_was_read_ahead_is_passed_on() -> None:
    """A batch without records has positions: whoever waits for them would wait for ever without it."""
    end = RecordBatch(positions={0: FULL + 1})
    reader = ReadAhead(ScriptedReader(batch_of(0, FULL), end), begin)
    reader.poll()
    assert reader.poll() is end


def test_an_error_comes_after_what_was_read_before_it() -> None:
    """It is raised once, by the call after that which returns the batch."""
    error = BrokerError("localhost:9092", "gone")
    inner = ScriptedReader(batch_of(0, FULL), error, batch_of(FULL, 2))
    reader = ReadAhead(inner, begin)
    first = reader.poll()
    assert first is not None
    assert len(first) == FULL
    with pytest.raises(BrokerError, match="gone"):
        reader.poll()
    following = reader.poll()
    assert following is not None
    assert following.offsets == range(FULL, FULL + 2)
    reader.close()
    assert inner.calls[-1] == "close"


@pytest.mark.parametrize("read", [batch_of(FULL, FULL), BrokerError("localhost:9092", "gone")])
def test_what_was_read_ahead_of_an_assignment_is_forgotten(read: RecordBatch | Exception) -> None:
    """It would be read twice, or is of a log that is no longer there."""
    reader = ReadAhead(ScriptedReader(batch_of(0, FULL), read, batch_of(7, 1)), begin)
    reader.poll()
    reader.assign({0: 7})
    found = reader.poll()
    assert found is not None
    assert found.offsets == range(7, 8)


PAYLOADS = st.lists(
    st.builds(
        lambda fields, around: around.replace("x", json.dumps(fields)).encode(),
        st.fixed_dictionaries(
            {},
            optional={
                "a": st.integers(-(2**63), 2**63) | st.none(),
                "s": st.text(max_size=4) | st.none(),
                "f": st.floats(),
                "new": st.integers(),
            },
        ),
        st.sampled_from(["x", "x", "x", " x", "x\n", "x x", "[x]", "x\nx"]),
    )
    | st.sampled_from([b"", b"{", b'{"s":"\xff"}', b'{"a":', b"1}", b"null", b'{"a":1}}', b'\n{"a":1}']),
    min_size=1,
    max_size=12,
)


@given(PAYLOADS)
def test_payloads_that_were_begun_are_read_as_the_others(payloads: list[bytes]) -> None:
    """Whatever they are: by Arrow at once, by Arrow meanwhile, and record by record."""
    found, expected = (read_batch(each, SCHEMA, NONE) for each in (begun(payloads, SCHEMA, NONE), payloads))  # type: ignore[arg-type] - no tombstones
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.equals(expected)
    decoded = JsonFormat().decode(begun(payloads * 20, SCHEMA, NONE), SCHEMA)  # type: ignore[arg-type] - no tombstones
    plain = JsonFormat().decode(payloads * 20, SCHEMA)
    assert (decoded.refused, decoded.accepted) == (plain.refused, plain.accepted)
    assert decoded.frame.equals(plain.frame)


def test_what_was_begun_by_another_schema_is_parsed_again() -> None:
    """A schema that widened meanwhile has other columns."""
    payloads = [b'{"a":1,"s":"x","f":1.5,"new":7}'] * 3
    wider = pl.Schema({**SCHEMA, "new": pl.Int64()})
    ahead = begun(payloads, SCHEMA, NONE)
    assert read_batch(ahead, SCHEMA, NONE) is None  # type: ignore[arg-type] - no tombstones
    found = read_batch(ahead, wider, NONE)  # type: ignore[arg-type] - no tombstones
    assert found is not None
    assert found["new"].to_list() == [7] * 3


def test_tombstones_and_a_lack_of_threads_begin_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The payloads are returned as they are, to be parsed when their turn comes."""
    payloads = [b'{"a":1}', None]
    assert begun(payloads, SCHEMA, NONE) is payloads

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(batches, "Thread", refuse)
    assert begun(payloads[:1], SCHEMA, NONE) == [b'{"a":1}']
    assert not isinstance(begun(payloads[:1], SCHEMA, NONE), BegunPayloads)


@pytest.mark.parametrize("half", ["_proven", "_parsed"])
def test_an_error_of_the_thread_is_raised_where_its_work_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    """Whichever half of the work it ends: nobody waits for ever for the other one."""

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(batches, half, fail)
    ahead = begun([b'{"a":1}'], SCHEMA, NONE)
    assert isinstance(ahead, BegunPayloads)
    with pytest.raises(MemoryError):
        ahead.table()
    if half == "_proven":
        with pytest.raises(MemoryError):
            assert ahead.text
    else:
        assert ahead.text == b'{"a":1}'


class _CutReader(FakeReader):
    """Reads batches of 150 records, as far as they are there."""

    def poll(self) -> RecordBatch | None:
        """Return the next ones."""
        before = dict(self._positions)
        batch = super().poll()
        if batch is None or len(batch) <= 150:
            return batch
        columns = {
            name: [*(getattr(batch, name) or ())][:150]
            for name in (
                "partitions",
                "offsets",
                "timestamps",
                "timestamp_types",
                "keys",
                "values",
                "headers",
            )
        }
        ends = dict(zip(columns["partitions"], columns["offsets"], strict=True))
        self._positions = before | {partition: offset + 1 for partition, offset in ends.items()}
        return RecordBatch(**columns, positions=dict(self._positions))


@pytest.mark.parametrize("kind", ["table", "stream", "where", "headers", "names of schemas"])
def test_a_load_reads_ahead_and_gives_the_rows_of_the_log(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Records that are refused, tombstones and new fields among them, headers too; each of them once."""
    was_begun: list[bool] = []
    take = TopicBinding._take

    def note(binding: TopicBinding, batch: RecordBatch) -> None:
        was_begun.append(isinstance(batch.values, BegunPayloads))
        take(binding, batch)

    monkeypatch.setattr(TopicBinding, "_take", note)
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    expected: dict[str, int] = {}
    events = 0
    names = {"headers": "trace-id", "names of schemas": VALUE_HEADER}
    headers = [(names[kind], b"x")] if kind in names else []
    for n in range(3_000):
        key = f"k{n % 700}"
        value: Any = {"n": n} | ({"late": n} if n > 2_000 else {})
        if n % 501 == 500:
            value = None
        elif n % 333 == 332:
            value = {"n": "no number"}
        broker.produce("t", key, value, partition=n % 700 % 2, headers=headers)
        if value is None:
            expected.pop(key, None)
        elif isinstance(value["n"], int):
            expected[key], events = n, events + 1
    monkeypatch.setattr("ktframe.testing.broker.FakeReader", _CutReader)
    with broker.connect() as context:
        match kind:
            case "table" | "headers" | "names of schemas":
                frame = context.table("t", stale="show", on_refused="ignore").to_polars()
                assert dict(frame.select("key", "n").iter_rows()) == expected
            case "where":
                frame = context.table(
                    "t", where=pl.col("n") >= 0, stale="show", on_refused="ignore"
                ).to_polars()
                assert dict(frame.select("key", "n").iter_rows()) == expected
            case _:
                frame = context.stream("t", on_refused="ignore").to_polars()
                assert frame.drop_nulls("n").height == events
    assert any(was_begun) == (kind not in ("where", "names of schemas"))
