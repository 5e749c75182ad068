"""Waiting for another process: poll until a fact holds, never longer than a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.02


def wait_until(fact: Callable[[], T], what: str, *, timeout: float = 60.0) -> T:
    """Return the first true value of ``fact()``; fail with ``what`` when ``timeout`` seconds are over."""
    deadline = time.monotonic() + timeout
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"Still waiting after {timeout:g} s for: {what} (last answer: {value!r})"
            raise AssertionError(message)
        time.sleep(POLL_SECONDS)
