"""What ktframe needs of IPython: the shell, short tracebacks, hooks around cells, displays.

IPython is never imported to find out whether it runs: if nobody has imported it, there is no notebook.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from ktframe.call_site import is_of_library


def shell() -> Any:
    """Return IPython's shell, None outside of IPython."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def has_front_end() -> bool:
    """Return whether the code runs in a Jupyter kernel."""
    return hasattr(shell(), "kernel")


def is_inspected() -> bool:
    """Return whether the function that asks is called by what IPython shows of an object at Shift-Tab or ``?``."""
    frame = sys._getframe(2)  # noqa: SLF001 - inspect.stack() reads source files
    return frame.f_globals.get("__name__") == "IPython.core.oinspect"


def short_traceback(error: BaseException, *, fact: str, hint: str | None) -> list[str]:
    """Return the lines that IPython shows for ``error`` in place of a traceback."""
    ipython = shell()
    tracer = getattr(ipython, "InteractiveTB", None)
    if tracer is not None and tracer.mode == "Verbose":
        # Python's own traceback: IPython's verbose one shows arguments, and a password may be among them.
        return traceback.format_exception(error)
    hint_lines = [f"Hint: {hint}", ""] if hint else []
    return [*hint_lines, f"{type(error).__name__}: {fact}", *_user_frames(error, ipython)]


def _user_frames(error: BaseException, ipython: Any) -> list[str]:
    """Return the places of the user's own lines in the traceback, without their text: it may contain a secret."""
    frames = traceback.extract_tb(error.__traceback__)
    own_frames = [frame for frame in frames if not is_of_library(frame.filename)]
    return [f"  {_place(frame.filename, ipython)}, line {frame.lineno}" for frame in own_frames]


def _place(filename: str, ipython: Any) -> str:
    cell = ipython.compile.format_code_name(filename) if hasattr(ipython, "compile") else None
    return filename if cell is None else " ".join(cell)


def cell_id() -> str | None:
    """Return the id of the running cell, None where it is not known."""
    ipython = shell()
    if ipython is None or not hasattr(ipython, "get_parent"):
        return None
    cell: str | None = (ipython.get_parent().get("metadata") or {}).get("cellId")
    return cell


def around_cells(before: Callable[[str | None], object], after: Callable[[], object]) -> None:
    """Call ``before`` with the id of each cell that is about to run, and ``after`` when it has run."""
    ipython = shell()
    if ipython is not None:
        events = ipython.events
        events.register("pre_run_cell", lambda info: before(getattr(info, "cell_id", None) or cell_id()))
        events.register("post_run_cell", lambda _: after())


def show(bundle: Mapping[str, Any], display_id: str) -> None:
    """Display a bundle of MIME types below the running cell."""
    from IPython.display import display  # noqa: PLC0415 - only where a notebook has loaded it already

    display(dict(bundle), raw=True, display_id=display_id)


def replace(bundle: Mapping[str, Any], display_id: str) -> None:
    """Replace what was displayed under ``display_id``; any thread may call it."""
    from IPython.display import update_display  # noqa: PLC0415 - only where a notebook has loaded it already

    update_display(dict(bundle), raw=True, display_id=display_id)
