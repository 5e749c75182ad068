"""How much memory a process may still take."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

_MACHINE: Final = Path("/proc/meminfo")
_GROUP: Final = Path("/sys/fs/cgroup")
"""Of a container: its limit, and what it takes."""


def available_bytes() -> int | None:
    """Return how many bytes are free, or would be if the system dropped what it can read again; None where that is unknown."""
    found = [bytes_ for bytes_ in (_of_machine(), _of_group()) if bytes_ is not None]
    return min(found, default=None)


def _of_machine() -> int | None:
    with suppress(OSError):
        match = re.search(r"^MemAvailable: +(\d+) kB$", _MACHINE.read_text(), re.MULTILINE)
        if match is not None:
            return int(match[1]) * 1024
    return None


def _of_group() -> int | None:
    with suppress(OSError, ValueError):  # there is none, or no limit: "max"
        limit = int((_GROUP / "memory.max").read_text())
        taken = int((_GROUP / "memory.current").read_text())
        files = re.search(r"^inactive_file (\d+)$", (_GROUP / "memory.stat").read_text(), re.MULTILINE)
        return limit - taken + (0 if files is None else int(files[1]))
    return None
