"""How a wait is shown: in a terminal, in a notebook, and not at all."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ktframe.events import BindingState, PartitionLag, Reason
from ktframe.sync.monitor import Readiness
from ktframe.sync.progress import Progress, describe


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def readiness(**changes: Any) -> Readiness:
    """Return a table that is half-way through its restore."""
    facts: dict[str, Any] = {
        "name": "orders",
        "is_ready": False,
        "reason": Reason.RESTORING,
        "state": BindingState.RESTORING,
        "total_lag": 500,
        "partitions": (PartitionLag(0, 500, 1000),),
        "data_age": None,
        "eta": 125.0,
        "rate": 4.0,
        "progress": 0.5,
        "at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Readiness(**{**facts, **changes})


DONE = readiness(
    is_ready=True, reason=Reason.READY, state=BindingState.READY, total_lag=0, eta=0.0, progress=1.0
)


def test_a_terminal_shows_a_bar_and_leaves_one_line() -> None:
    """The line is overwritten while it waits and ends with a line feed."""
    stream = Terminal()
    progress = Progress(delay=0, stream=stream)
    progress._drawn = 0
    progress(readiness())
    progress(readiness())
    progress.close(DONE)
    drawn = stream.getvalue().split("\r\x1b[K")[1:]
    assert drawn == [
        "[############------------] orders: restoring, 50%, 500 to go, 4/s, about 2 min left",
        "[########################] orders: ready, 100%, 4/s\n",
    ]


def test_a_short_wait_shows_nothing() -> None:
    """What is done within a second leaves no trace."""
    stream = Terminal()
    progress = Progress(stream=stream)
    progress(readiness())
    progress.close(DONE)
    assert stream.getvalue() == ""


def test_a_pipe_shows_nothing() -> None:
    """Output that nobody watches stays clean."""
    stream = io.StringIO()
    progress = Progress(delay=0, stream=stream)
    progress._drawn = 0
    progress(readiness())
    progress.close(DONE)
    assert stream.getvalue() == ""


def test_a_notebook_shows_one_bar_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A display is made once and updated; names are escaped."""
    pages: list[str] = []
    handle = SimpleNamespace(update=lambda page: pages.append(page.data))

    def display(page: Any, *, display_id: bool) -> Any:
        assert display_id
        pages.append(page.data)
        return handle

    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    )
    fake = SimpleNamespace(HTML=lambda data: SimpleNamespace(data=data), display=display)
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    progress = Progress(delay=0)
    progress._drawn = 0
    progress(readiness(name="<b>"))
    progress.close(DONE)
    assert len(pages) == 2
    assert '<progress value="0.500"' in pages[0]
    assert "&lt;b&gt;" in pages[0]
    assert "<progress" not in pages[1]


def test_a_failure_is_described_by_its_detail() -> None:
    """A line about what is not ready says why."""
    failed = readiness(
        reason=Reason.BROKER_UNREACHABLE,
        state=BindingState.BACKING_OFF,
        detail="no broker answered",
        rate=None,
        eta=None,
        progress=None,
    )
    assert describe(failed) == "orders: recovering, 500 to go, no broker answered"
