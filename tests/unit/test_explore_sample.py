"""Guesses from payloads: the common formats are recognised, a few broken records change nothing."""

from __future__ import annotations

import pytest

from ktframe.explore.sample import as_text, guess_format, schema_id, schema_ids

FRAMED = b"\x00\x00\x00\x00\x07\x0aorder"


@pytest.mark.parametrize(
    ("payloads", "guess"),
    [
        ([], None),
        ([b'{"a":1}', b' {"b":[2]}'], "json"),
        ([b"o-1", "Zürich\n".encode(), b""], "string"),
        ([b"[1]", b"17", b"null"], "string"),
        ([b"\x00\x00\x00\x05", b"\xff\xff\xff\xfe"], "int"),
        ([b"\x00\x00\x00\x00\x00\x00\x00\x05", b"\xff" * 8], "long"),
        ([b"\x00\x00\x00\x05", b"abcd"] * 2 + [b"\x00\x00\x00\x01"], "int"),
        ([b"abcd", b"efgh"], "string"),
        ([FRAMED, FRAMED + b"x"], "avro"),
        ([b"\x00\x00\x00\x00\x00\x0aorder"], "bytes"),
        ([b"\x89PNG\r\n\x1a\n...", b"\xff\xd8\xff"], "bytes"),
        ([b"\x00\x00\x00\x05", b"\x00" * 8], "bytes"),
    ],
)
def test_a_format_is_guessed_from_payloads(payloads: list[bytes], guess: str | None) -> None:
    """Text before numbers, numbers before frames, bytes for the rest."""
    assert guess_format(payloads) == guess


def test_a_few_broken_records_change_no_guess() -> None:
    """Four in five decide, three in five don't."""
    good, bad = b'{"a":1}', b"{broken"
    assert guess_format([good] * 4 + [bad]) == "json"
    assert guess_format([good] * 3 + [bad] * 2) == "string"


def test_schema_ids_come_commonest_first() -> None:
    """A zero, four bytes of id, and something behind them."""
    other = b"\x00\x00\x00\x01\x00rest"
    assert schema_ids([FRAMED, other, FRAMED, b"\x00\x00\x00\x00\x07", b"x", b""]) == (7, 256)
    assert schema_id(b"") is None


@pytest.mark.parametrize(
    ("payload", "name", "text"),
    [
        (None, "string", None),
        (b"abc", "string", "abc"),
        (b"a\xff", "json", "a\ufffd"),
        (b"a\xff", "bytes", "61ff"),
        (b"readable", "bytes", "readable"),
        (b"\x00\x00\x00\x05", "int", "5"),
        (b"\xff" * 8, "long", "-1"),
        (b"\xff" * 8, "int", "ff" * 8),
        (b"", None, ""),
    ],
)
def test_payloads_are_shown_as_a_person_reads_them(
    payload: bytes | None, name: str | None, text: str | None
) -> None:
    """Numbers as numbers, text as text, everything else in hex."""
    assert as_text(payload, name) == text
