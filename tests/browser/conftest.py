"""Fixtures of the tests in a browser: servers and Chromium once a session, and a front end for each test.

A test that prints an error on a page's console fails, whatever else it asserts, unless it takes the error. One that
fails leaves a picture of its pages in its ``tmp_path``, and the next one starts on a new page.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from playwright.sync_api import Browser, Error
from support.browser import chromium
from support.jupyter_frontends import FrontEnd, Lab, NotebookSeven, Voila
from support.jupyter_server import JupyterServer
from support.voila_server import VoilaServer

F = TypeVar("F", bound=FrontEnd)
HAS_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a test failed, for the fixtures that clean up after it."""
    report = yield
    item.stash[HAS_FAILED] = item.stash.get(HAS_FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Yield a running Chromium; a machine without one fails the test, so nothing passes unseen."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def jupyter_server() -> Iterator[JupyterServer]:
    """Yield a running Jupyter server."""
    with JupyterServer() as server:
        yield server


@pytest.fixture(scope="session")
def voila_server() -> Iterator[VoilaServer]:
    """Yield a running Voila."""
    with VoilaServer() as server:
        yield server


# A context has cookies and a cache of its own. The servers need one each: cookies do not tell ports apart.
@pytest.fixture(scope="session")
def _lab(browser: Browser, jupyter_server: JupyterServer) -> Lab:
    return Lab(browser.new_context(), jupyter_server)


@pytest.fixture(scope="session")
def _notebook7(browser: Browser, jupyter_server: JupyterServer) -> NotebookSeven:
    return NotebookSeven(browser.new_context(), jupyter_server)


@pytest.fixture(scope="session")
def _voila(browser: Browser, voila_server: VoilaServer) -> Voila:
    return Voila(browser.new_context(), voila_server)


@contextmanager
def _one_test(front_end: F, item: pytest.Item, pictures: Path) -> Iterator[F]:
    yield front_end
    if item.stash.get(HAS_FAILED, False):
        for number, page in enumerate(front_end.pages):
            page.screenshot(path=pictures / f"failed-{number}.png")
        with suppress(Error):  # the failure itself is what there is to know
            front_end.leave()
        front_end.discard()
        front_end.console.take()
        return
    front_end.leave()
    assert front_end.console.take() == []


@pytest.fixture
def lab(_lab: Lab, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Yield JupyterLab without a notebook, in the light theme."""
    with _one_test(_lab, request.node, tmp_path) as lab:
        yield lab


@pytest.fixture
def notebook7(
    _notebook7: NotebookSeven, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[NotebookSeven]:
    """Yield Notebook 7 without a page."""
    with _one_test(_notebook7, request.node, tmp_path) as notebook7:
        yield notebook7


@pytest.fixture
def voila(_voila: Voila, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Voila]:
    """Yield Voila without a page."""
    with _one_test(_voila, request.node, tmp_path) as voila:
        yield voila
