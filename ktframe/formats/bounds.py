"""How many cells of columns one body may claim without paying for them in bytes, whatever its format."""

from __future__ import annotations

from typing import Final

MOST_CELLS: Final = 20_000
CELLS_PER_BYTE: Final = 32
"""Cells that what is nearly empty inside of one body may take, beside ``MOST_CELLS``, for each byte of the body."""
