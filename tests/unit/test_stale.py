"""Marks of refused records, kept in few frames however many batches brought them."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from ktframe.columns import HASH, KEY, OFFSET, PARTITION
from ktframe.fold.stale import newest_marks, with_marks, without_outdated

ROW = [PARTITION, KEY]
MOST_KEYS = 40


def marks(offsets: range | list[int], keys: list[int]) -> pl.DataFrame:
    """Return the marks of one batch."""
    names = pl.Series(KEY, [f"k{key}" for key in keys], dtype=pl.String)
    return pl.DataFrame(
        {
            HASH: names.hash(),
            KEY: names,
            PARTITION: pl.Series([0] * len(keys), dtype=pl.Int32),
            OFFSET: pl.Series(list(offsets), dtype=pl.Int64),
        }
    )


@given(st.lists(st.tuples(st.booleans(), st.integers(0, MOST_KEYS)), max_size=150))
@examples(0.5)
def test_marks_are_those_of_a_dict(batches: list[tuple[bool, int]]) -> None:
    """A later record of the key takes its mark away, a later refused one replaces it; frames grow with the logarithm."""
    frames: tuple[pl.DataFrame, ...] = ()
    expected: dict[str, int] = {}
    for offset, (is_refused, key) in enumerate(batches):
        line = marks([offset], [key])
        if is_refused:
            frames = with_marks(frames, line, ROW)
            expected[f"k{key}"] = offset
        else:
            frames = tuple(without_outdated(frame, line) for frame in frames)
            expected.pop(f"k{key}", None)
        assert len(frames) <= MOST_KEYS.bit_length() + 1
    found = newest_marks(frames, ROW)
    assert (dict(found.select(KEY, OFFSET).iter_rows()) if frames else {}) == expected


def test_marks_that_no_row_concerns_stay_the_same_object() -> None:
    """So that what a read found out about them still holds after a batch of other keys."""
    some = marks(range(5), [0, 1, 2, 3, 4])
    assert without_outdated(some, marks([9], [9])) is some
