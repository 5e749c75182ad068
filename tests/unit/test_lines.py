"""The lines of a batch."""

from __future__ import annotations

import hypothesis.strategies as st
import polars as pl
from hypothesis import given
from support.examples import examples

from ktframe.columns import BOOKKEEPING, IDENTITY, LINE, PARTITION
from ktframe.fold.lines import in_key_order, last_of_each


def lines(rows: list[tuple[int, bytes]]) -> pl.DataFrame:
    """Return numbered lines with these partitions and identities."""
    return pl.DataFrame(
        {
            LINE: pl.Series(range(len(rows)), dtype=pl.UInt32),
            PARTITION: pl.Series([partition for partition, _ in rows], dtype=BOOKKEEPING[PARTITION]),
            IDENTITY: pl.Series([identity for _, identity in rows], dtype=pl.Binary),
        }
    )


def check_fold(rows: list[tuple[int, bytes]]) -> None:
    """Compare the last lines of all rows with those of a dictionary."""
    expected = {row: line for line, row in enumerate(rows)}
    folded = in_key_order(last_of_each(lines(rows)))
    partitions = list(dict.fromkeys(folded[PARTITION].to_list()))
    in_order = sorted(expected, key=lambda row: (partitions.index(row[0]), row[1]))
    assert folded[LINE].to_list() == [expected[row] for row in in_order]


@examples(1)
@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=2)), max_size=12))
def test_the_last_line_of_each_row_is_left_in_order(rows: list[tuple[int, bytes]]) -> None:
    """The lines are those of a dictionary: of one partition after the other, sorted as RocksDB sorts keys."""
    check_fold(rows)


def test_of_many_lines_of_few_rows_the_last_ones_are_left() -> None:
    """A batch as large as any, in which rows come again and again."""
    rows = [(number % 3, b"%d" % (number * number % 7)) for number in range(10_000)]
    check_fold(rows)
