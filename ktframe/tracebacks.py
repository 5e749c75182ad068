"""Errors as a notebook shows them: the hint first, then the fact and the user's own lines, none of ours.

A notebook shows every line of every library between the cell and the error. An analyst needs none of them: what helps
is in the error's text. After ``%xmode Verbose`` there is the whole traceback.
"""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from typing import Any, Final

from ktframe.interactive import shell

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
