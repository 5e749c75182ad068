"""What a live table had to decide early is said, and made good at the next open or by ``relearn``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest

from ktframe.context.context import Context
from ktframe.errors import BrokerError
from ktframe.events import TableRebuilt
from ktframe.fold import learning
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.learned import Learned, Sample
from ktframe.formats.json.sightings import Sightings
from ktframe.sync import relearning
from ktframe.tables.base import MaterializedTopic
from ktframe.tables.table import KTable
from ktframe.testing import FakeBroker


@pytest.fixture
def broker() -> FakeBroker:
    """Return a cluster with an empty topic."""
    fake = FakeBroker()
    fake.create_topic("t")
    return fake


@pytest.fixture(name="is_large")
def _is_large() -> Iterator[None]:
    """Let every table be too large to be read again while it is ready."""
    with patch.object(relearning, "MOST_RECORDS", -1):
        yield


def table_of(context: Context) -> KTable:
    """Return the table that all of these tests have."""
    return context.table("t", on_refused="ignore")


def numbered(broker: FakeBroker, *values: Any) -> None:
    """Produce a record of each value in ``x``, each with its own key."""
    for value in values:
        broker.produce("t", f"k{broker._topics['t'].partitions[0].end}", {"x": value})


def shown(table: MaterializedTopic) -> tuple[pl.DataType, list[Any], list[str]]:
    """Return the type and the values of ``x``, and what the status says of relearning.

    The table is ready then: what comes next is not read anew because the table was still loading.
    """
    frame = table.to_polars()
    table.wait_until_ready(progress=False)
    said = [notice for notice in table.status().notices if "relearn()" in notice]
    return frame.schema["x"], sorted(frame["x"].drop_nulls()), said


SAID = ["records that came later decide the type of 'x' otherwise: relearn()"]


@pytest.mark.usefixtures("is_large")
def test_what_a_large_table_decided_early_is_said_and_stays(broker: FakeBroker) -> None:
    """It is not read again by itself: type and rows stay, repr, status and position say so."""
    with broker.connect() as context:
        table = table_of(context)
        numbered(broker, "n/a")
        assert shown(table) == (pl.String, ["n/a"], [])
        numbered(broker, 1, 2)
        assert shown(table) == (pl.String, ["n/a"], SAID)
        assert SAID[0] in repr(table)
        assert table.position().notices == tuple(SAID)
        numbered(broker, "x", 3)
        assert shown(table) == (pl.String, ["n/a", "x"], SAID)


@pytest.mark.usefixtures("is_large")
def test_relearning_gives_the_rows_of_a_load(broker: FakeBroker) -> None:
    """As the hint says; reads after it wait until the topic was read again."""
    with broker.connect() as context:
        table = table_of(context)
        numbered(broker, "n/a")
        assert shown(table)[0] == pl.String
        numbered(broker, 1, 2)
        assert shown(table)[2] == SAID
        for _ in range(3):
            table.relearn()
            assert shown(table) == (pl.Int64, [1, 2], [])


@pytest.mark.usefixtures("is_large")
def test_the_next_open_gives_the_rows_of_a_load(broker: FakeBroker, tmp_path: Path) -> None:
    """Without a word from the user, and only once."""
    with broker.connect(tmp_path) as context:
        table = table_of(context)
        numbered(broker, "n/a")
        assert shown(table)[0] == pl.String
        numbered(broker, 1, 2)
        assert shown(table)[2] == SAID
    for _ in range(2):
        with broker.connect(tmp_path) as context:
            assert shown(table_of(context)) == (pl.Int64, [1, 2], [])
    assert broker.assigned[-2:] == [{0: 0}, {0: 3}]


def test_rows_whose_records_are_gone_are_not_given_up(broker: FakeBroker, tmp_path: Path) -> None:
    """Where the log has lost records since they were read, only ``relearn`` reads it again."""
    for is_first in (True, False):
        with broker.connect(tmp_path) as context:
            table = table_of(context)
            if is_first:
                numbered(broker, "n/a", "old")
                assert shown(table) == (pl.String, ["n/a", "old"], [])
                broker.delete_records("t", 1)
                numbered(broker, 1, 2, 3)
            assert shown(table) == (pl.String, ["n/a", "old"], SAID)
    with broker.connect(tmp_path) as context:
        table = table_of(context)
        table.relearn()
        assert shown(table) == (pl.Int64, [1, 2, 3], [])


def test_a_stream_and_its_windows_relearn_together(broker: FakeBroker) -> None:
    """They have the same store; a table of the topic has its own."""
    with broker.connect() as context:
        stream = context.stream("t", on_refused="ignore")
        windows = stream.window(5)
        numbered(broker, 1, "x")
        assert shown(stream) == (pl.Int64, [1], [])
        windows.relearn()
        assert shown(windows) == shown(stream) == (pl.Int64, [1], [])
        broker.delete_records("t", 1)
        windows.relearn()
        assert shown(windows) == shown(stream) == (pl.String, ["x"], [])
        windows_of_table = table_of(context).window(5)
        windows_of_table.relearn()
        assert shown(windows_of_table) == (pl.String, ["x"], [])


def test_relearning_keeps_declared_types_and_takes_what_a_producer_sends_now(broker: FakeBroker) -> None:
    """Columns that no record has any more are gone, declared ones stay."""
    with broker.connect() as context:
        table = context.table("t", schema={"d": pl.Int32}, on_refused="ignore")
        broker.produce("t", "a", {"d": 1, "old": 1, "x": 1})
        assert table.to_polars().schema == {"key": pl.String, "d": pl.Int32, "old": pl.Int64, "x": pl.Int64}
        broker.produce("t", "a", {"d": 2, "x": "text"})
        broker.delete_records("t", 1)
        table.relearn()
        assert table.to_polars().schema == {"key": pl.String, "d": pl.Int32, "x": pl.String}
        assert table.to_polars().rows() == [("a", 2, "text")]


def test_a_table_that_was_not_read_relearns_when_it_is(broker: FakeBroker) -> None:
    """``relearn`` starts it, as a read does; an error of the cluster is raised."""
    numbered(broker, 1)
    with broker.connect() as context:
        broker.go_down()
        table = table_of(context)
        with pytest.raises(BrokerError):
            table.relearn()
        broker.come_back()
        table.relearn()
        assert shown(table) == (pl.Int64, [1], [])


def test_rows_stay_while_the_cluster_can_not_be_asked(broker: FakeBroker) -> None:
    """They are dropped when reading begins again, not before."""
    numbered(broker, 1)
    with broker.connect() as context:
        table = table_of(context)
        assert shown(table) == (pl.Int64, [1], [])
        broker.go_down()
        table.relearn()
        assert table.to_polars(fresh=False).height == 1
        broker.come_back()
        assert shown(table) == (pl.Int64, [1], [])


def test_what_is_read_again_is_an_incident(broker: FakeBroker) -> None:
    """Who follows events learns that rows were dropped and why; positions only rise again afterwards."""
    with broker.connect() as context:
        table = table_of(context)
        rebuilt: list[TableRebuilt] = []
        table.events.subscribe(TableRebuilt, rebuilt.append)
        numbered(broker, "n/a")
        assert shown(table)[0] == pl.String
        numbered(broker, 1, 2)
        assert shown(table) == (pl.Int64, [1, 2], [])
        assert [set(event.partitions) for event in rebuilt] == [{0}]
        assert "'x'" in rebuilt[0].partitions[0]


def test_a_clean_topic_is_read_once(broker: FakeBroker) -> None:
    """Fields that come later, nulls that get values and integers that become floats drop no row."""
    broker.create_topic("t", 2)
    with broker.connect() as context:
        table = table_of(context)
        for at, value in enumerate(
            [{"a": None}, {"a": 1}, {"b": [], "a": 2}, {"a": 0.5, "b": [{"c": 1}]}, {"z": "x"}, None]
        ):
            broker.produce("t", f"k{at}", value, partition=at % 2)
            table.to_polars()
        assert len(broker.assigned) == 1


def test_a_clean_topic_is_decoded_once(broker: FakeBroker) -> None:
    """In the order of their first record, fields need no second look; a record of another kind makes one."""
    for number in range(300):
        broker.produce(
            "t", f"k{number}", {"z": number, "n": None, "a": "x" if number % 2 else None, "f": 0.5}
        )
    decoded = TopicDecoder._decoded
    with broker.connect() as context, patch.object(TopicDecoder, "_decoded", autospec=True) as decode:
        decode.side_effect = decoded
        frame = table_of(context).to_polars()
        assert frame.columns == ["key", "z", "n", "a", "f"]
        assert decode.call_count == 1


def test_counts_in_columns_give_the_rows_of_counts_one_by_one(broker: FakeBroker) -> None:
    """Where whole numbers in a column of floats matter, the topic is counted again record by record."""
    with broker.connect() as context, patch.object(learning, "HEAD_RECORDS", 1):
        table = table_of(context)
        numbered(broker, 0.5)
        assert shown(table)[0] == pl.Float64
        numbered(broker, 2, 4, 6)  # integers, which a column of floats does not tell from floats
        assert shown(table)[1] == [0.5, 2.0, 4.0, 6.0]
        numbered(broker, 2**53 + 1, 2**53 + 3)
        assert shown(table) == (pl.Int64, [2, 4, 6, 2**53 + 1, 2**53 + 3], [])


def test_the_first_records_decide_and_later_ones_do_not(broker: FakeBroker) -> None:
    """However many there are of another kind: a field that these left open has the kind that comes first."""
    with (
        patch.object(learning, "SAMPLE_RECORDS", 3),
        broker.connect() as context,
    ):
        numbered(broker, 1, "x", 2, *"abcdef")
        broker.produce("t", "y1", {"y": True})
        broker.produce("t", "y2", {"y": 1})
        broker.produce("t", "y3", {"y": 2})
        table = table_of(context)
        assert shown(table) == (pl.Int64, [1, 2], [])
        assert table.to_polars().schema["y"] == pl.Boolean


def test_what_the_order_of_partitions_decided_is_said(broker: FakeBroker) -> None:
    """Of a field that came after the samples, where partitions disagree; within one the order is given."""
    broker.create_topic("t", 2)
    with (
        patch.object(learning, "SAMPLE_RECORDS", 1),
        broker.connect() as context,
    ):
        table = table_of(context)
        for partition in (0, 1):
            broker.produce("t", "a", {"x": 1}, partition=partition)
            broker.produce("t", "b", {"x": 0.5}, partition=partition)
            broker.produce("t", "c", {"x": "x"}, partition=partition)
        assert table.to_polars().schema == {"key": pl.String, "x": pl.Float64}
        assert table.status().notices == ()
        broker.produce("t", "d", {"y": "x"}, partition=1)
        assert table.to_polars().schema["y"] == pl.String
        broker.produce("t", "e", {"y": 1}, partition=0)
        table.to_polars()
        (said,) = table.status().notices
        assert "'y': the records that were read first decide" in said


def test_what_was_learned_comes_back_from_its_parts() -> None:
    """Counts, places and flags survive; a partition can be taken out again."""
    seen, keys = Sightings(), Sightings()
    seen.add_record({"a": [1, None, {"é": 2**53 + 1}], "b": {"": 0.5}, "n": None}, 2, 7)
    keys.add_record({"k": "x"}, 2, 7)
    keys.add_names({"k": "x"}, 2, 7)
    whole = Learned(
        accepted_wide=frozenset({("a", None, "é")}), is_exact=True, differing="'a'", by_arrival="'b'"
    )
    whole = whole.plus(2, Sample(7, 8, 1, seen, keys)).plus(0, Sample(0, 5, 3, seen))
    parts = whole.changes_since(Learned())
    again = Learned.from_parts(parts)
    assert again.changes_since(Learned()) == parts
    assert again.values.as_json() == whole.values.as_json()
    without = again.without([0])
    assert without.values.as_json() == seen.as_json()
    assert without.changes_since(again) == {"flags": parts["flags"], "0": b""}
    assert Learned.from_parts(parts | without.changes_since(again)).samples.keys() == {2}
    assert Learned.from_parts({}).samples == {}
