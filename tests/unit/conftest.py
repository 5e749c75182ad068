"""Fixtures that several unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.notebook_page import Drawing, Page, page_around
from support.stores import OPTIONS

from ktframe.store.manager import StoreManager
from ktframe.widgets.panel import Panel


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[StoreManager]:
    """Yield a manager of an empty state directory, and close what it opened."""
    manager = StoreManager(tmp_path / "state", OPTIONS)
    yield manager
    manager.close_all()


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """Return a notebook around this test."""
    return page_around(monkeypatch)


@pytest.fixture
def picture() -> Drawing:
    """Return a picture."""
    return Drawing()


@pytest.fixture
def shown(page: Page, picture: Drawing) -> Iterator[Panel]:
    """Yield a panel of the picture, which is on the page."""
    found = Panel(picture)
    found._ipython_display_()
    yield found
    found.close()
