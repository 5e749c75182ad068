"""The cyclic garbage collector, kept out of the way where many objects are made that hold no cycles.

Ten thousand new objects set it off, and looking through everything a notebook has imported holds the interpreter for
a tenth of a second.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cyclic_gc_paused() -> Iterator[None]:
    """Collect no cycles inside the block; what is freed by its count is freed as ever."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
