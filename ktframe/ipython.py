"""IPython around us, where there is any. It is never imported for this: where nobody has, there is no notebook."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final


def shell() -> Any:
    """Return IPython's shell, None outside of IPython."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def has_front_end() -> bool:
    """Whether the code runs in a kernel, which has a notebook or the like before it."""
    return hasattr(shell(), "kernel")


_OURS: Final = str(Path(__file__).parent)

_LIBRARIES: Final = tuple(
    {_OURS, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))}
)


def short_traceback(error: BaseException, *, fact: str, hint: str | None) -> list[str]:
    """Return what to show of ``error`` in place of a traceback, in the form that IPython asks for."""
    ipython = shell()
    tracer = getattr(ipython, "InteractiveTB", None)
    if tracer is not None and tracer.mode == "Verbose":
        # Python's own: IPython's would show the arguments of each call, and a password may be among them.
        return traceback.format_exception(error)
    said = [f"Hint: {hint}", ""] if hint else []
    return [*said, f"{type(error).__name__}: {fact}", *_users_lines(error, ipython)]


def _users_lines(error: BaseException, ipython: Any) -> list[str]:
    """Return where the lines are that are neither ours nor of an installed library; not what is in them: a secret may be."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith((*_LIBRARIES, "<frozen"))]
    return [f"  {_place(frame.filename, ipython)}, line {frame.lineno}" for frame in theirs]


def _place(filename: str, ipython: Any) -> str:
    found = ipython.compile.format_code_name(filename) if hasattr(ipython, "compile") else None
    return filename if found is None else " ".join(found)


def cell_id() -> str | None:
    """Return which cell runs; None where that is not known."""
    found = shell()
    if found is None or not hasattr(found, "get_parent"):
        return None
    cell: str | None = (found.get_parent().get("metadata") or {}).get("cellId")
    return cell


def around_cells(before: Callable[[str | None], object], after: Callable[[], object]) -> None:
    """Call ``before`` with the id of each cell that is about to run, and ``after`` when it has run."""
    found = shell()
    if found is not None:
        events = found.events
        events.register("pre_run_cell", lambda info: before(getattr(info, "cell_id", None) or cell_id()))
        events.register("post_run_cell", lambda _: after())


def show(bundle: Mapping[str, Any], display_id: str) -> None:
    """Put a bundle of MIME types below the running cell."""
    from IPython.display import display  # noqa: PLC0415 - only where a notebook has loaded it already

    display(dict(bundle), raw=True, display_id=display_id)


def replace(bundle: Mapping[str, Any], display_id: str) -> None:
    """Put a bundle in the place of what was shown under ``display_id``; any thread may."""
    from IPython.display import update_display  # noqa: PLC0415 - only where a notebook has loaded it already

    update_display(dict(bundle), raw=True, display_id=display_id)
