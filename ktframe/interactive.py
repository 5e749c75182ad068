"""IPython around us, where there is any. It is never imported for this: where nobody has, there is no notebook."""

from __future__ import annotations

import sys
from typing import Any


def shell() -> Any:
    """Return IPython's shell, None outside of IPython."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def has_front_end() -> bool:
    """Whether the code runs in a kernel, which has a notebook or the like before it."""
    return hasattr(shell(), "kernel")
