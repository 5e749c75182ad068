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
    print("@begin", flush=True)
    _started = time.monotonic()


def end() -> None:
    """Say that the result is there."""
    print("@end", time.monotonic() - _started, flush=True)


def result(amounts: Iterable[float]) -> None:
    """Say what the result was: one amount for each key that it has."""
    cents = [round(amount * 100) for amount in amounts]
    say(keys=len(cents), cents=sum(cents))


def say(**figures: int) -> None:
    """Say what the result was, in figures."""
    print("@result", json.dumps(figures), flush=True)
    # The harness ends what is still running, which for some takes longer than the load.
    sys.stdout.flush()
