"""Which table a callback waits for, on the thread of another one or its own: none may wait for itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

_HERE = local()
_WAITS: dict[object, object] = {}
"""Of each binding on whose thread a callback waits, the binding that it waits for."""


def runs(binding: object) -> None:
    """Note that this is the thread of ``binding``, from now on."""
    _HERE.binding = binding


@contextmanager
def waiting_for(binding: object) -> Iterator[bool]:
    """Note what is waited for in the block; yield whether that waits, itself or by others, for the thread that this is."""
    mine = getattr(_HERE, "binding", None)
    if mine is None:
        yield False
        return
    _WAITS[mine] = binding
    try:
        yield _waits_for_itself(mine)
    finally:
        del _WAITS[mine]


def _waits_for_itself(mine: object) -> bool:
    passed, each = {mine}, _WAITS.get(mine)
    while each is not None and each not in passed:
        passed.add(each)
        each = _WAITS.get(each)
    return each is mine
