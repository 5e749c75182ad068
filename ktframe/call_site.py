"""Where in a user's own code a call of ours was made, so that a warning can name that line."""

from __future__ import annotations

import os
import sys
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

_OURS: Final = str(Path(__file__).parent) + os.sep  # not a user's ktframe_report.py beside it
_LIBRARIES: Final = (
    *{
        _OURS,
        *(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    },
    "<frozen",
)


@dataclass(frozen=True, slots=True)
class CallSite:
    """A line of a file."""

    filename: str
    line: int
    module: str

    def warn(self, warning: Warning) -> None:
        """Issue ``warning`` for this line; raises it where the user's filters say so."""
        # Without a registry: Python would show a text only once a line, also of another table.
        warnings.warn_explicit(warning, type(warning), self.filename, self.line, module=self.module)


def is_of_library(filename: str) -> bool:
    """Say whether a file is ours, Python's or an installed library's, and not the user's own."""
    return filename.startswith(_LIBRARIES)


def call_site() -> CallSite:
    """Return the innermost line that is neither ours nor a library's; in their absence the innermost one not ours."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads source files
    outer: FrameType | None = None
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(_OURS):
            outer = outer or frame
            if not is_of_library(filename):
                outer = frame
                break
        frame = frame.f_back
    if outer is None:
        return CallSite("<unknown>", 0, "<unknown>")
    return CallSite(outer.f_code.co_filename, outer.f_lineno, outer.f_globals.get("__name__", "<unknown>"))
