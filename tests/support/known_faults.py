"""Faults that are known and not yet mended: each has a test that says what is right and is expected to fail."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class KnownFaultError(Exception):
    """A fault is there as it was described: an answer differs from the right one."""


def known_fault(subject: str) -> pytest.MarkDecorator:
    """Mark a test that fails by a known fault of ``subject``, and by nothing else.

    The test fails when it passes, so that whoever mends the fault removes this mark and ``the_right_answer``; and when
    anything but ``the_right_answer`` fails in it, such as an import or a wait.
    """
    return pytest.mark.xfail(strict=True, raises=KnownFaultError, reason=subject)


@contextmanager
def the_right_answer() -> Iterator[None]:
    """Tell the assertions on the right answer, of which one fails by the fault, from all others of a test."""
    try:
        yield
    except AssertionError as error:
        raise KnownFaultError(str(error)) from error
