"""Pauses the cyclic garbage collector while many objects without cycles are made.

Ten thousand new objects trigger a collection, which walks through everything a notebook has imported and holds the
interpreter for a tenth of a second.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cyclic_gc_paused() -> Iterator[None]:
    """Collect no cycles inside the block; reference counting frees objects as always."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
