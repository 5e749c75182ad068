"""Values as JSON text without spaces, also integers of any size, which orjson does not write."""

from __future__ import annotations

import json
from typing import Any


def compact_json(value: Any) -> str:
    """Return the JSON text of a value, characters beyond ASCII as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
