"""Payloads that are not one JSON object are refused by what they are, and what the reason names reads their bytes."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import polars as pl
import pytest
from support.hinted import evaluated

import ktframe
from ktframe.formats import JsonFormat
from ktframe.testing import FakeBroker

OBJECTS = [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("payload", "fact", "read"),
    [
        (b'\xef\xbb\xbf{"a":1}', "not JSON: starts with a byte order mark", OBJECTS[0]),
        (gzip.compress(b'{"a":1}', mtime=0), "not JSON: gzip-compressed", OBJECTS[0]),
        (b'[{"a":1},{"a":2}]', "a JSON list of 2 objects, not an object", OBJECTS),
        (b'{"a":1}\n{"a":2}', "2 JSON objects, not one", OBJECTS),
        (b'{"a":1}\r\n{"a":2}\n', "2 JSON objects, not one", OBJECTS),
    ],
)
def test_a_reason_says_what_a_payload_is_and_what_reads_it(payload: bytes, fact: str, read: Any) -> None:
    """The warning's argument gives the bytes, and the call in the reason reads them."""
    broker = FakeBroker()
    broker.produce("t", "good", b'{"a":0}')
    broker.produce("t", "odd", payload)
    with broker.connect() as context:
        table = context.table("t")
        with pytest.warns(ktframe.KtframeWarning, match=r'Hint: .*value="bytes" keeps any value'):
            assert table.to_polars()["a"].to_list() == [0]
        reason = table.errors()["reason"].item()
        value = context.table("t", value="bytes")["odd"]["value"]
    found = re.fullmatch(r"(.*); (.*) reads its bytes", reason)
    assert found is not None
    assert found[1] == fact
    assert evaluated(found[2], value=value, json=json, gzip=gzip) == read


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"a":1}{"a":2} {"a":3}', "3 JSON objects, not one"),
        (b'{"a":\n1}\n{"a":2}', "2 JSON objects, not one"),
        (b'{"a":1} x', "not JSON: "),
        (b'{"a":1}\n5', "not JSON: "),
        (b'{"a":1},{"a":2}', "not JSON: "),
        (b"[]", "an empty JSON list, not an object"),
        (b'[{"a":1},5]', "a JSON list of 2 values, some of them objects, not an object"),
        (b"[1]", "a JSON list, not an object"),
        (b"{" * 5000, "not JSON: "),
        (b'{"a":1}' + b"[" * 5000, "not JSON: "),
        (b"\x1f\x8b\xff", "not JSON: gzip that is cut or damaged"),
        (gzip.compress(b'{"a":1}', mtime=0)[:-4], "not JSON: gzip that is cut or damaged"),
        (gzip.compress(gzip.compress(b'{"a":1}', mtime=0), mtime=0), "not JSON: gzip inside of gzip"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"a":1}', "not JSON: several byte order marks"),
    ],
)
def test_what_is_none_of_these_has_its_own_reason(payload: bytes, reason: str) -> None:
    """And nothing raises, whatever the bytes are."""
    (refusal,) = JsonFormat().decode([payload], pl.Schema()).refused
    assert refusal.reason.startswith(reason)
