"""Errors in a notebook: the hint comes first, no line of ktframe and no secret is shown."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell

import ktframe
from ktframe.context.context import Context
from ktframe.errors import ConfigurationError, KtframeError
from ktframe.ipython import short_traceback
from ktframe.process.threads import Tell, uninterrupted
from ktframe.testing import FakeBroker

SECRET = "hunter2"


@pytest.fixture
def kt() -> Iterator[Context]:
    """Yield a connection to a broker."""
    with FakeBroker().connect() as kt:
        yield kt


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[InteractiveShell]:
    """Yield IPython's shell in this process."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell()
    yield shell
    shell.history_manager.end_session()
    InteractiveShell.clear_instance()


def raised(kt: Context, password: str = SECRET) -> KtframeError:
    """Return an error as a call of a user's raises it; a secret is among the arguments."""
    try:
        kt.table("orders").window(0 if password else 5)
    except KtframeError as error:
        return error
    return pytest.fail("it raised nothing")


def test_the_hint_comes_first_and_no_line_is_ours(kt: Context) -> None:
    """After the hint come the fact and the places of the user's own lines, without their text."""
    error = raised(kt)
    hint, gap, fact, *lines = short_traceback(error, fact=error.fact, hint=error.hint)
    assert hint == f"Hint: {error.hint}"
    assert gap == ""
    assert fact == f"ConfigurationError: {error.fact}"
    assert lines
    assert all(line.startswith(f"  {__file__}, line ") for line in lines)
    package = str(Path(ktframe.__file__).parent)
    assert not any(package in line or SECRET in line for line in (hint, fact, *lines))


def test_an_error_without_a_hint_begins_with_the_fact() -> None:
    """No empty hint is shown."""
    shown = short_traceback(KtframeError("nothing helps"), fact="nothing helps", hint=None)
    assert shown == ["KtframeError: nothing helps"]


@pytest.mark.parametrize("mode", ["Context", "Plain", "Minimal"])
def test_other_modes_of_ipython_show_the_same(
    kt: Context, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """A cell is named as the notebook names it."""
    compiler = SimpleNamespace(format_code_name=lambda name: ("Cell", "In[3]") if name == __file__ else None)
    shell = SimpleNamespace(InteractiveTB=SimpleNamespace(mode=mode), compile=compiler)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    error = raised(kt)
    shown = short_traceback(error, fact=error.fact, hint=error.hint)
    assert shown[0].startswith("Hint: ")
    assert all(line.startswith("  Cell In[3], line ") for line in shown[3:])


def test_verbose_shows_every_line_and_no_argument(kt: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own traceback: IPython's would print what each function was given."""
    shell = SimpleNamespace(InteractiveTB=SimpleNamespace(mode="Verbose"))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    error = raised(kt)
    shown = "".join(short_traceback(error, fact=error.fact, hint=error.hint))
    assert str(Path(ktframe.__file__).parent) in shown
    assert error.fact in shown
    assert SECRET not in shown


def test_ipython_shows_it_in_place_of_its_own(kt: Context, shell: InteractiveShell) -> None:
    """A cell that fails: the hint, the error and the cell's line, not a line of the library."""
    shell.push({"kt": kt, "secret": SECRET})
    shown: list[str] = []
    shell._showtraceback = lambda _kind, _error, lines: shown.extend(lines)  # type: ignore[method-assign]
    shell.run_cell(f'password = "{SECRET}"\nkt.table("orders").window(0)')
    text = "\n".join(shown)
    assert text.startswith("Hint: ")
    assert "ConfigurationError: " in text
    assert ", line 2" in text
    assert "ktframe/" not in text
    assert SECRET not in text
    with pytest.raises(ConfigurationError):
        kt.table("orders").window(0)


def test_a_traceback_has_few_lines_of_ours(kt: Context, caplog: pytest.LogCaptureFixture) -> None:
    """Those of the thread that made the call are in the log; what caused the error is still its cause, with its own lines."""
    package = str(Path(ktframe.__file__).parent)
    with caplog.at_level(logging.DEBUG, "ktframe"), pytest.raises(ktframe.UnknownTopicError) as caught:
        kt.table("nothing").to_polars()
    places = list(traceback.extract_tb(caught.value.__traceback__))
    assert places[0].filename == __file__
    assert len([frame for frame in places if frame.filename.startswith(package)]) <= 6
    assert "in _start_one" in caplog.text

    def fail(_: Tell) -> None:
        try:
            {}["deep"]
        except KeyError as error:
            raise KtframeError from error

    with pytest.raises(KtframeError) as caught_ours:
        uninterrupted(fail)
    cause = caught_ours.value.__cause__
    assert isinstance(cause, KeyError)
    assert traceback.extract_tb(cause.__traceback__)[-1].name == "fail"
    with pytest.raises(KeyError) as caught_other:
        uninterrupted(lambda _: {}["a bug"])
    assert traceback.extract_tb(caught_other.value.__traceback__)[-1].filename == __file__
