"""Batches that can't be read whole are read in pieces, with the outcome of reading every body alone."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest

from ktframe.formats.batches import frame_of_rows, read_whole_or_apart
from ktframe.formats.bodies import BodiesRead

SCHEMA = pl.Schema({"n": pl.Int64()})


class Reader:
    """Reads bodies that are digits; notes how many it read in batches and one by one."""

    def __init__(self) -> None:
        self.in_batches = self.one_by_one = 0

    def batch(self, bodies: Sequence[bytes]) -> pl.DataFrame | None:
        """Return the numbers, None if one body is odd."""
        if not all(body.isdigit() for body in bodies):
            return None
        self.in_batches += len(bodies)
        return pl.DataFrame({"n": [int(body) for body in bodies]}, schema=SCHEMA)

    def each(self, bodies: Sequence[bytes]) -> BodiesRead:
        """Return the numbers; a plus is read too, a minus is refused."""
        self.one_by_one += len(bodies)
        numbers = [int(body.lstrip(b"+")) for body in bodies if body != b"-"]
        refused = {index: "no number" for index, body in enumerate(bodies) if body == b"-"}
        return BodiesRead(pl.DataFrame({"n": numbers}, schema=SCHEMA), refused)


@pytest.mark.parametrize("count", [1, 63, 64, 65, 1_024, 10_000])
@pytest.mark.parametrize("odd", [{}, {0: b"-"}, {0: b"+0"}, {17: b"-", 60: b"+60"}, {62: b"+62"}])
def test_rows_keep_their_order_and_bad_bodies_their_index(count: int, odd: dict[int, bytes]) -> None:
    """As if each body had been read alone; where one is odd, most are read in batches all the same."""
    bodies = [odd.get(index, b"%d" % index) for index in range(count)]
    reader = Reader()
    read = read_whole_or_apart(bodies, reader.batch, reader.each)
    alone = Reader().each(bodies)
    assert read.frame.equals(alone.frame)
    assert read.refused == alone.refused
    assert reader.in_batches + reader.one_by_one == count
    if count > 1_000:
        assert reader.one_by_one <= 64 * len(odd)


def test_where_no_piece_can_be_read_it_is_not_split_further() -> None:
    """Sixteen pieces are tried, and then every body is read alone."""
    tried: list[int] = []

    def batch(bodies: Sequence[bytes]) -> None:
        tried.append(len(bodies))

    read = read_whole_or_apart([b"+1"] * 1_600, batch, Reader().each)
    assert tried == [1_600, *[100] * 16]
    assert read.frame.height == 1_600


def test_few_bodies_are_not_split() -> None:
    """Up to ``smallest`` they are read one by one at once."""
    reader = Reader()
    assert read_whole_or_apart([b"-", *[b"1"] * 99], reader.batch, reader.each, smallest=100).refused == {
        0: "no number"
    }
    assert (reader.in_batches, reader.one_by_one) == (0, 100)


def test_a_row_that_no_column_can_hold_is_refused_alone() -> None:
    """The others stay, in order; with none left the frame has its columns."""

    def build(rows: Sequence[int]) -> pl.DataFrame | None:
        return None if -1 in rows else pl.DataFrame({"n": list(rows)}, schema=SCHEMA)

    read = frame_of_rows({3: 1, 5: -1, 8: 2}, SCHEMA, build)
    assert (read.frame["n"].to_list(), read.refused) == ([1, 2], {5: "its values can't be held in a column"})
    assert frame_of_rows({5: -1}, SCHEMA, build).frame.schema == SCHEMA
