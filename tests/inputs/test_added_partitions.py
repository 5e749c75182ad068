"""A topic gets a second partition: what its only one knew has to count there too."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from ktframe.testing import FakeBroker


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
def test_a_tombstone_of_the_only_partition_hides_an_older_row_of_a_new_one(
    tmp_path: Path, *, is_open: bool
) -> None:
    """A store that followed the topic from before shows what a fresh one shows: the tombstone is the newest word."""
    broker = FakeBroker()
    broker.create_topic("t", 1)
    with ExitStack() as stack:
        table = stack.enter_context(broker.connect(tmp_path / "old")).table("t")
        broker.produce("t", "a", {"n": 1}, timestamp=1_000)
        broker.produce("t", "b", {"n": 1}, timestamp=1_000)
        broker.produce("t", "a", None, timestamp=10_000)
        assert table.to_polars()["key"].to_list() == ["b"]
        if not is_open:
            stack.close()
            table = stack.enter_context(broker.connect(tmp_path / "old")).table("t")
        broker.add_partitions("t", 2)
        broker.produce("t", "a", {"n": 2}, partition=1, timestamp=5_000)

        fresh = stack.enter_context(broker.connect(tmp_path / "fresh")).table("t")
        assert fresh.to_polars()["key"].to_list() == ["b"]
        assert sorted(table.to_polars()["key"]) == ["b"]
