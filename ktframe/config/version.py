"""The version of ktframe, for modules that may not import the package itself."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
