"""NaN and the infinities, which are not JSON, as Python's ``json`` and some JavaScript writers write them: in place of a number.

Parsers that don't know them get something else in their place; ``orjson`` and ``msgspec`` judge the rest of a payload.
"""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = (b"NaN", b"Infinity")
# Strings are matched to be passed over. A constant is no part of a longer word or number, which must stay malformed.
_TOKEN: Final = re.compile(
    rb'"[^"\\]*(?:\\.[^"\\]*)*"|(?<![\w.+-])(?:NaN|-?Infinity)(?![\w.+-])', re.DOTALL | re.ASCII
)
_DIGITS: Final = {b"NaN": b"1", b"Infinity": b"2", b"-Infinity": b"3"}


def may_have_constants(payload: bytes) -> bool:
    """Say whether a payload has the name of a constant, which may be part of a string."""
    return any(name in payload for name in _NAMES)


def without_constants(payload: bytes) -> bytes:
    """Return a payload with 0 in the place of each constant."""
    return _TOKEN.sub(lambda token: token[0] if token[0] not in _DIGITS else b"0", payload)


def hidden_constants(payload: bytes) -> tuple[bytes, bytes]:
    """Return a payload with a number in the place of each constant, and what these begin with; see ``shown_constants``."""
    mark = b"0e-77"
    while mark in payload:
        mark += b"7"
    hidden = _TOKEN.sub(
        lambda token: token[0] if token[0] not in _DIGITS else mark + _DIGITS[token[0]], payload
    )
    return hidden, mark


def shown_constants(payload: bytes, mark: bytes) -> bytes:
    """Return a payload, or a part of it, with the constants that ``hidden_constants`` has hidden."""
    for name, digit in _DIGITS.items():
        payload = payload.replace(mark + digit, name)
    return payload
