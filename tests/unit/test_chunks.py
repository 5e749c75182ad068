"""Frames in chunks: what is wanted is found whatever the chunks are, and those without any of it are not copied."""

from __future__ import annotations

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from ktframe.fold import chunks
from ktframe.fold.chunks import in_few_chunks, most_chunks, parted

ROWS = 4


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take four rows for a chunk of usual size."""
    monkeypatch.setattr(chunks, "ROWS_A_CHUNK", ROWS)


def frame_of(lengths: list[int]) -> pl.DataFrame:
    """Return rows that are numbered, in chunks of these lengths."""
    parts, start = [pl.DataFrame(schema={"n": pl.Int64(), "s": pl.String()})], 0
    for length in lengths:
        numbers = range(start, start + length)
        parts.append(pl.DataFrame({"n": numbers, "s": list(map(str, numbers))}, schema=parts[0].schema))
        start += length
    return pl.concat(parts, rechunk=False)


def addresses(frame: pl.DataFrame) -> set[int]:
    """Return where the numbers of each chunk lie."""
    return {
        chunk.buffers()[1].address + 8 * chunk.offset
        for chunk in frame.to_arrow().column("n").chunks
        if len(chunk)
    }


@given(st.lists(st.tuples(st.integers(0, 3 * ROWS), st.floats(0, 1)), max_size=9), st.randoms())
def test_the_wanted_rows_are_parted_from_the_others(parts: list[tuple[int, float]], random: object) -> None:
    """As filters would, with all rows of both in their order."""
    frame = frame_of([length for length, _ in parts])
    wanted = [random.random() < share for length, share in parts for _ in range(length)]  # type: ignore[attr-defined]
    is_wanted = pl.Series(wanted, dtype=pl.Boolean)
    kept, found = parted(frame, is_wanted)
    assert kept.equals(frame.filter(~is_wanted))
    assert found.equals(frame.filter(is_wanted))
    assert kept.schema == found.schema == frame.schema


@given(st.lists(st.integers(0, 3 * ROWS), max_size=60), st.integers(0, 200))
def test_few_chunks_have_the_same_rows(lengths: list[int], least: int) -> None:
    """In their order, and never in more chunks than that; also where chunks are left that lost all rows."""
    frame = frame_of(lengths).filter(pl.col("n") >= least)
    few = in_few_chunks(frame)
    assert few.equals(frame)
    assert few.n_chunks() <= max(1, most_chunks(frame.height))


def test_chunks_without_a_wanted_row_are_not_copied() -> None:
    """One row of one chunk is taken away: the other chunks lie where they lay, a part of a long one too."""
    frame = frame_of([ROWS, ROWS, 3 * ROWS, ROWS])
    before = addresses(frame.slice(0, ROWS)) | addresses(frame.slice(2 * ROWS, ROWS))
    kept, _ = parted(frame, frame["n"].is_in([ROWS + 1]))
    assert before | addresses(frame.slice(5 * ROWS)) <= addresses(kept)
    kept, _ = parted(frame, frame["n"].is_in([3 * ROWS + 1]))
    assert before | addresses(frame.slice(4 * ROWS)) <= addresses(kept)


def test_chunks_of_usual_size_are_not_copied_for_the_small_ones_behind_them() -> None:
    """Small ones become one."""
    frame = frame_of([ROWS, ROWS, *[1] * 20])
    few = in_few_chunks(frame)
    assert few.n_chunks() < frame.n_chunks()
    assert addresses(frame.head(2 * ROWS)) <= addresses(few)
