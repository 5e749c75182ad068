"""Guesses from payloads: the common formats are recognised, a few broken records change nothing, and large ones are few."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pytest

from ktframe.explore import topics
from ktframe.explore.sample import as_text, guess_format, schema_id, schema_ids
from ktframe.explore.topics import inspect_topic
from ktframe.kafka.sampler import OffsetRange, RangesByTopic, Sample
from ktframe.testing import FakeBroker
from ktframe.testing.clients import FakeSampler

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


@pytest.mark.parametrize("is_packed", [False, True])
def test_what_is_looked_at_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch, *, is_packed: bool) -> None:
    """The newest of each partition, as large as they are unpacked; what else was read is said."""
    broker = FakeBroker()
    broker.create_topic("t", 2)
    for number in range(40):
        payload = json.dumps({"id": number, "text": "x" * 1_000}).encode()
        payload = gzip.compress(payload) if is_packed else payload
        broker.produce("t", f"k{number}", payload, partition=int(number % 4 == 0), timestamp=number)
    with broker.connect() as kt:
        whole = kt.inspect("t")
        assert (whole.left_out, whole.samples.height) == (0, 40)
        assert "not looked at" not in repr(whole)
        monkeypatch.setattr(topics, "_MOST_BYTES", 6_500)
        seen = kt.inspect("t")
        assert sorted(seen.samples["key"]) == ["k28", "k32", "k36", "k37", "k38", "k39"]
        assert seen.left_out == 34
        assert "34 more of the newest records were not looked at: together they are too large" in repr(seen)
        assert seen.summary["records"].item() == 40
        assert seen.suggestion == whole.suggestion
        monkeypatch.setattr(topics, "_MOST_BYTES", 1)
        assert kt.inspect("t").samples.height == 1


def test_what_was_not_read_for_its_bytes_is_said() -> None:
    """A sampler stops reading when it has many bytes, before it comes to the newest records."""

    class Cut(FakeSampler):
        """A sampler that stops early."""

        def read(self, ranges_by_topic: RangesByTopic, seconds: float) -> dict[str, Sample]:
            """Return three records of each partition."""
            few = {
                topic: {
                    partition: OffsetRange(at.start, min(at.count, 3)) for partition, at in ranges.items()
                }
                for topic, ranges in ranges_by_topic.items()
            }
            return {
                topic: replace(found, is_large=True) for topic, found in super().read(few, seconds).items()
            }

    broker = FakeBroker()
    for number in range(10):
        broker.produce("t", f"k{number}", {"id": number}, partition=0)
    seen = inspect_topic(broker, lambda: Cut(broker), "t")
    assert (seen.samples.height, seen.left_out) == (3, 7)
