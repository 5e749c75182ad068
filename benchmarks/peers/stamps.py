"""What a program of the load benchmark says to it: when it begins to read, when the result is there, and what it was.

This file runs in the environments of all contenders, so it imports the standard library alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable

_started = 0.0


def begin() -> None:
    """Say that reading begins: everything is imported, and nothing was asked of Kafka yet."""
    global _started  # noqa: PLW0603 - one load per process
    _print("@begin")
    _wait()
    _started = time.monotonic()


def end() -> None:
    """Say that the result is there."""
    _print(f"@end {time.monotonic() - _started}")
    _wait()


def result(amounts: Iterable[float]) -> None:
    """Say what the result was: one amount for each key that it has."""
    cents = [round(amount * 100) for amount in amounts]
    say(keys=len(cents), cents=sum(cents))


def say(**figures: int) -> None:
    """Say what the result was, in figures."""
    _print(f"@result {json.dumps(figures)}")


def _print(line: str) -> None:
    # Not `sys.stdout`: some frameworks take that for their own log.
    print(line, file=sys.__stdout__, flush=True)


def _wait() -> None:
    # Until the harness has looked up what this process took so far. Not `sys.stdin`, for the same reason.
    if sys.__stdin__ is not None:
        sys.__stdin__.readline()
