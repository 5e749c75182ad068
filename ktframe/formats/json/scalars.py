"""Record keys that are JSON text, numbers or booleans: read as objects with one field, so that there is one way to read keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from operator import is_
from typing import Final

import orjson

from ktframe.formats.base import VALUE_COLUMN, Refusal

_MAY_BE_SCALAR: Final = re.compile(rb'[ \t\r\n]*["\d\-tf]')
_PREFIX: Final = orjson.dumps({VALUE_COLUMN: 0})[:-2]
_FIELD: Final = f"field {VALUE_COLUMN!r}"


def as_objects(payloads: Sequence[bytes]) -> Sequence[bytes]:
    """Return ``payloads`` with text, numbers and booleans as objects whose one field they are; themselves if there are none."""
    objects = [_as_object(payload) if _MAY_BE_SCALAR.match(payload) else payload for payload in payloads]
    return payloads if all(map(is_, objects, payloads)) else objects


def _as_object(payload: bytes) -> bytes:
    try:
        orjson.loads(payload)  # what is no JSON by itself may be some behind a name
    except orjson.JSONDecodeError:
        return payload
    return _PREFIX + payload + b"}"


def is_scalar(payload: bytes) -> bool:
    """Say whether a key is JSON text, a number or a boolean."""
    return _MAY_BE_SCALAR.match(payload) is not None and _as_object(payload) is not payload


def as_scalars(objects: Sequence[bytes]) -> list[bytes]:
    """Return the values of objects with one field, as ``as_objects`` makes them."""
    return [payload[len(_PREFIX) : -1] for payload in objects]


def without_field(refusal: Refusal, payload: bytes) -> Refusal:
    """Return why ``payload`` is refused; a key that is no object has no field."""
    if not is_scalar(payload):
        return refusal
    reason = refusal.reason.replace(f"{_FIELD} is part of the key, which", "a key").replace(f"{_FIELD}: ", "")
    return replace(refusal, reason=reason, fields=())
