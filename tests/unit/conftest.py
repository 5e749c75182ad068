"""Fixtures that several unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stores import OPTIONS

from ktframe.store.manager import StoreManager


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[StoreManager]:
    """Yield a manager of an empty state directory, and close what it opened."""
    manager = StoreManager(tmp_path / "state", OPTIONS)
    yield manager
    manager.close_all()
