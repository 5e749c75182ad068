"""Values that hold several objects, one, or none, and what Python's ``json`` finds in them: nothing of ktframe."""

from __future__ import annotations

import gzip
import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

_SPACE = " \t\r\n"


class Found(NamedTuple):
    """What a value holds: its parts in order, each an object or something else; None: it is to be refused as a whole."""

    parts: list[Any] | None


def found_in(value: bytes) -> Found:
    """Return what a value holds."""
    if value.startswith(b"\x1f\x8b"):
        value = gzip.decompress(value)
    text = value.decode().strip(_SPACE)
    if text.startswith("["):
        try:
            return Found(json.loads(text))
        except ValueError:
            return Found(None)
    parts, decoder = [], json.JSONDecoder()
    while text:
        try:
            part, end = decoder.raw_decode(text)
        except ValueError:
            return Found(None)
        parts.append(part)
        text = text[end:].lstrip(_SPACE)
    # What does not begin with an object is no row of objects.
    return Found(parts if parts and isinstance(parts[0], dict) else None)


def values_of(objects: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes | None]:
    """Return values that hold such objects in all the ways there are, and what is no object among them; also broken ones."""
    odd = st.sampled_from([5, "} {", None, True, [], [{"value": 1}], {}])
    items = st.lists(st.one_of(objects, objects, objects, objects, odd), max_size=5)
    indent = st.sampled_from([None, None, 1])
    lists = st.builds(lambda parts, indent: json.dumps(parts, indent=indent), items, indent)
    rows = st.builds(
        lambda first, parts, between, indent: between.join(
            json.dumps(part, indent=indent) for part in (first, *parts)
        ),
        objects,
        items,
        # A number needs a blank before what follows it.
        st.sampled_from(["\n", "\r\n", " ", "\n\n"]),
        indent,
    )
    close = st.builds(
        lambda parts: "".join(map(json.dumps, parts)), st.lists(objects, min_size=1, max_size=4)
    )
    single = objects.map(json.dumps)
    whole = st.one_of(single, lists, lists, rows, close)
    around = st.sampled_from(["{}", "{}", " {}", "\r\n{} \n"])
    spaced = st.builds(lambda text, around: around.replace("{}", text), whole, around)
    broken = st.builds(lambda text, at: text[: -1 - at % len(text)], whole, st.integers(0, 20))
    text = st.one_of(
        *[spaced] * 8, broken, st.sampled_from(["", " ", "[]", "[ ]", "null", "{", "x", '{"a": 1} x'])
    )
    plain = text.map(str.encode)
    packed = plain.map(lambda value: gzip.compress(value, 1, mtime=0))
    return st.one_of(*[plain] * 6, packed, st.none())
