"""Own columns: their names are distinct, no field has one, and Arrow takes them."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

import ktframe
from ktframe import columns

NAMES = [value for name, value in vars(columns).items() if name.isupper() and isinstance(value, str)]


def test_own_names_are_distinct_and_marked() -> None:
    """No two names are equal, and each one is told from a field by its first character."""
    assert len(set(NAMES)) == len(NAMES) > 20
    assert [name for name in NAMES if columns.is_field(name)] == []
    assert columns.is_field("key")
    assert columns.is_field("")


def test_arrow_takes_own_names() -> None:
    """A frame with own columns goes to Arrow and back."""
    frame = pl.DataFrame({name: [1] for name in NAMES})
    assert pl.DataFrame(frame.to_arrow()).equals(frame)


def test_own_names_are_made_in_one_place() -> None:
    """No other module writes the prefix of own names into a string."""
    package = Path(ktframe.__file__).parent
    makers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if re.search(r"""(?<!b)["']\\(x01|0)\w""", path.read_text())
    }
    assert makers == set()
