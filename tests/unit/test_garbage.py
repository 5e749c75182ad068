"""What a load leaves behind: nothing that holds its batches until Python collects garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import FrameType

import pytest

from ktframe.testing import FakeBroker


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    """Return a list that gets what a collection finds in cycles, once one is made; none is made by itself meanwhile."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_no_batch_stays_in_memory_when_its_fields_are_learned(garbage: list[object]) -> None:
    """Records that widen the schema are refused inside first: no error of that holds frames, and in them the batch."""
    broker = FakeBroker()
    for number in range(200):
        broker.produce("t", f"k{number}", {"n": number} if number % 2 else {"n": number / 8, "s": "x"})
    with broker.connect() as kt:
        assert kt.table("t").to_polars().height == 200
        gc.collect()
        files = [each.f_code.co_filename for each in garbage if isinstance(each, FrameType)]
        assert [file for file in files if "ktframe" in file] == []
