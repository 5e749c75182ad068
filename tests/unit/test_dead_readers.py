"""A reader whose connection may be dead: others that read by the same one are told of it."""

from __future__ import annotations

import pytest
from support.waiting import wait_until

from ktframe.testing import FakeBroker, FakeReader


@pytest.mark.parametrize("is_dead", [True, False])
def test_only_a_reader_that_may_be_dead_is_distrusted(monkeypatch: pytest.MonkeyPatch, is_dead: bool) -> None:  # noqa: FBT001
    """Not one that is closed to read the topic again, or because the table is closed."""
    calls: list[str] = []
    monkeypatch.setattr(FakeReader, "distrust", lambda _: calls.append("distrust"))
    monkeypatch.setattr(FakeReader, "close", lambda _: calls.append("close"))
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    with broker.connect() as kt:
        table = kt.table("t")
        assert table.to_polars().height == 1
        binding = table._reader.binding
        if is_dead:
            monkeypatch.setattr(binding.contact, "_is_dead", lambda _: "close" not in calls)
            binding.check()
        else:
            binding._read_again()
        wait_until(lambda: "close" in calls, "the reader to be closed")
        assert calls[:2] == (["distrust", "close"] if is_dead else ["close"])
        broker.produce("t", "b", {"n": 2})
        assert table.to_polars().height == 2
    assert calls.count("distrust") == is_dead
