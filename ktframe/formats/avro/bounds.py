"""Limits on the memory that the arrays and maps of one body may take, so that a megabyte can't become gigabytes.

An item of an array may take no bytes, or one byte and hundreds of columns (a null instead of a wide record). The cells
of such *cheap* items are counted body by body, and limited by the length of the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ktframe.formats.avro.types import AvroType, walk
from ktframe.formats.batches import CELLS_PER_BYTE, MOST_CELLS
from ktframe.formats.errors import RefusedError

MOST_EMPTY_ITEMS = 10_000
"""How many items that take no bytes one body may have."""

_MOST_CELLS_AT_ONCE = 2**27


class CellBudget:
    """How many items and cells the body that is being decoded may still have."""

    def __init__(self) -> None:
        self._items = self._cells = 0

    def reset(self, body: bytes) -> None:
        """Start to count anew, for ``body``."""
        self._items = MOST_EMPTY_ITEMS
        self._cells = _most_cells(len(body))

    def spend(self, count: int, smallest: int, width: int, left: int) -> None:
        """Count ``count`` items of at least ``smallest`` bytes and ``width`` columns, with ``left`` bytes of the body left.

        Raises
        ------
        IndexError
            When the rest of the body is too short for them.
        RefusedError
            When the body has too many.
        """
        if smallest:
            if count * smallest > left:
                raise IndexError
        else:
            self._items -= count
            if self._items < 0:
                message = f"more than {MOST_EMPTY_ITEMS:,} items that take no bytes"
                raise RefusedError(message)
        if _is_cheap(smallest, width):
            self._cells -= count * width
            if self._cells < 0:
                message = f"nearly empty items in more than {MOST_CELLS:,} cells and {CELLS_PER_BYTE} a byte"
                raise RefusedError(message)


def item_size(avro: AvroType) -> tuple[int, int]:
    """Return the fewest bytes that an item of an array or an entry of a map takes, and its number of columns."""
    inner, key = avro.inner[0], int(avro.kind == "map")
    return inner.smallest + key, inner.width + key


def has_cheap_items(avro: AvroType) -> bool:
    """Say whether an array or map inside ``avro`` has cheap items."""
    return any(inner.kind in {"array", "map"} and _is_cheap(*item_size(inner)) for inner in walk(avro))


class BatchBounds:
    """The same limits for whole batches of bodies of one type, in which every item takes some bytes."""

    def __init__(self, root: AvroType) -> None:
        self._root = root
        sizes = [item_size(inner) for inner in walk(root) if inner.kind in {"array", "map"}]
        self._cells_per_byte = max(
            (-(-width // smallest) for smallest, width in sizes if smallest and _is_cheap(smallest, width)),
            default=0,
        )

    def may_be_huge(self, size: int) -> bool:
        """Say whether bodies of so many bytes together may become too many cells for one call."""
        return size * self._cells_per_byte > _MOST_CELLS_AT_ONCE

    def are_within(self, array: Any, bodies: Sequence[bytes]) -> bool:
        """Say whether every body is within its limit; ``array`` has their values as arrow-avro makes them."""
        cells = _cells_of_cheap_items(array, self._root) if self._cells_per_byte else None
        if cells is None:
            return True
        limits = pa.array([_most_cells(len(body)) for body in bodies], pa.int64())
        return bool(pc.all(pc.less_equal(cells, limits)).as_py())


def _most_cells(size: int) -> int:
    return MOST_CELLS + CELLS_PER_BYTE * size


def _is_cheap(smallest: int, width: int) -> bool:
    """Say whether an item takes so few bytes that its cells are counted."""
    return smallest == 0 or width > CELLS_PER_BYTE * smallest


def _cells_of_cheap_items(array: Any, avro: AvroType) -> Any | None:
    """Return the cells that cheap items take in each value of an array; None where there are no lists."""
    if avro.kind in {"array", "map"}:
        return _cells_of_items(array, avro)
    if avro.kind == "union":
        parts = [_cells_of_branch(array, index, branch) for index, branch in avro.value_branches]
    else:
        parts = [_cells_of_cheap_items(array.field(at), field.type) for at, field in enumerate(avro.fields)]
    return _sum([cells for cells in parts if cells is not None])


def _cells_of_branch(array: Any, index: int, avro: AvroType) -> Any | None:
    cells = _cells_of_cheap_items(array.field(index).field(0), avro)
    if cells is None:
        return None
    at = pc.if_else(pc.equal(array.type_codes, index), array.offsets, None)
    return pc.fill_null(cells.take(at), 0)


def _cells_of_items(array: Any, avro: AvroType) -> Any:
    smallest, width = item_size(avro)
    inner = array.values.field(1) if avro.kind == "map" else array.values
    cells = []
    if _is_cheap(smallest, width):
        cells = [pc.multiply(pc.pairwise_diff(array.offsets.cast(pa.int64()))[1:], width)]
    below = _cells_of_cheap_items(inner, avro.inner[0])
    if below is not None:
        sums = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(below)])
        cells.append(pc.pairwise_diff(sums.take(array.offsets))[1:])
    return _sum(cells)


def _sum(parts: Sequence[Any]) -> Any | None:
    total = parts[0] if parts else None
    for part in parts[1:]:
        total = pc.add(total, part)
    return total
