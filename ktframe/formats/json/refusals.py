"""Why a payload is not one JSON object: what it is instead, by name, and what in Python reads its bytes."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ktframe.formats.json.packed import BOM, GZIP, why_packed

WHITESPACE: Final = b" \t\r\n"
"""What JSON allows around a value."""

IS_MARKED: Final = "not JSON: starts with a byte order mark"
IS_GZIP: Final = "not JSON: gzip-compressed"
"""Why packed values are refused; ``unpack=`` reads them."""

_SEVERAL: Final = re.compile(r"(a JSON list of [\d,]+ |an empty JSON list|[\d,]+ JSON objects, not one)")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NAMES: Final = {str: "string", bool: "boolean", type(None): "null"}


def why_no_object(value: Any) -> str:
    """Return why a payload is refused that was parsed to something else than an object."""
    if type(value) is list:
        return _why_list(value)
    return f"a JSON {_NAMES.get(type(value), 'number')}, not an object"


def _why_list(value: list[Any]) -> str:
    are_objects = [type(item) is dict for item in value]
    if not value:
        return "an empty JSON list, not an object"
    if all(are_objects):
        return _read_by(f"a JSON list of {len(value):,} objects, not an object", "json.loads(value)")
    if any(are_objects):
        return f"a JSON list of {len(value):,} values, some of them objects, not an object"
    return "a JSON list, not an object"


def holds_objects(reason: str) -> bool:
    """Say whether a value was refused for this ``reason`` because it holds several objects, or none, in a list or in a row."""
    return _SEVERAL.match(reason) is not None


def why_no_json(payload: bytes, error: ValueError) -> str:
    """Return why a payload is refused of which a parser said ``error``."""
    if not payload.strip(WHITESPACE):
        return "blank value"
    if payload.startswith((BOM, GZIP)):
        return _why_packed(payload)
    try:
        text = payload.decode()
    except UnicodeDecodeError as invalid:
        return f"not UTF-8 text: byte {payload[invalid.start]:#04x} at {invalid.start}"
    return _why_several(text) or f"not JSON: {error}"


def _why_packed(payload: bytes) -> str:
    if payload.startswith(BOM + BOM):
        return "not JSON: several byte order marks"
    if payload.startswith(BOM):
        return _read_by(IS_MARKED, "json.loads(value)")
    why = why_packed(payload)
    return _read_by(IS_GZIP, "json.loads(gzip.decompress(value))") if why is None else f"not JSON: {why}"


def _why_several(text: str) -> str | None:
    """Return why a text is refused that is one JSON object after the other; None where it is something else."""
    count = _objects_in(text)
    if count < 2:  # noqa: PLR2004 - several
        return None
    fact = f"{count:,} JSON objects, not one"
    lines = text.splitlines()
    if len(lines) == count == sum(map(_objects_in, lines)):
        return _read_by(fact, "[json.loads(line) for line in value.splitlines()]")
    return fact


def _objects_in(text: str) -> int:
    """Return of how many objects a text consists; 0 where it is anything else."""
    decoder, count, at = json.JSONDecoder(), 0, 0
    try:
        at = _end_of_space(text, 0)
        while at < len(text):
            value, end = decoder.raw_decode(text, at)
            if type(value) is not dict:
                return 0
            count += 1
            at = _end_of_space(text, end)
    except (ValueError, RecursionError):
        return 0
    return count


def _end_of_space(text: str, start: int) -> int:
    space = _SPACE.match(text, start)
    return start if space is None else space.end()


def _read_by(fact: str, call: str) -> str:
    return f"{fact}; {call} reads its bytes"
