"""``unpack=True``: JSON in gzip, and behind a byte order mark."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from support.hinted import hinted, met
from support.hints import Hint

from ktframe.context.topic_spec import topic_spec
from ktframe.errors import ConfigurationError
from ktframe.fold import begun
from ktframe.fold.records import Changes, RecordBatch
from ktframe.formats.json import packed
from ktframe.sync.materializer import Materializer
from ktframe.testing import FakeBroker

BOM = b"\xef\xbb\xbf"
ROWS = [{"id": 1, "type": "a"}, {"id": 2, "type": "b"}, {"id": 3, "type": "a"}, {"id": 4, "type": "a"}]


def packed_rows() -> list[bytes]:
    """Return the rows as they are sent: in gzip of one and of several members, behind a mark, both, and as they are."""
    texts = [json.dumps(row).encode() for row in ROWS]
    return [
        gzip.compress(texts[0][:5]) + gzip.compress(texts[0][5:]),
        BOM + texts[1],
        gzip.compress(BOM + texts[2]),
        texts[3],
    ]


def broker_of(*values: bytes) -> FakeBroker:
    """Return a broker whose topic ``t`` has these values."""
    broker = FakeBroker()
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", value)
    return broker


def test_values_are_read_by_what_is_inside(tmp_path: Path) -> None:
    """In tables, by a key of theirs, by a condition, and in streams; also when they are opened again."""
    for _ in range(2):
        with broker_of(*packed_rows()).connect(state_dir=tmp_path) as kt:
            assert kt.table("t", unpack=True).to_polars().sort("key").drop("key").to_dicts() == ROWS
            assert kt.table("t", "id", unpack=True)[3]["type"] == "a"
            assert len(kt.table("t", where={"type": "a"}, unpack=True)) == 3
            assert kt.stream("t", unpack=True).to_polars()["id"].to_list() == [1, 2, 3, 4]
            plain = kt.table("t", on_refused="ignore")
            assert plain.to_polars().height == 1
            assert plain.status().refused == 3


def test_what_is_unpacked_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small payloads with much inside are decoded in several batches; a large one alone; the rows are the same."""
    payloads = [gzip.compress(b'{"id": %d}' % number + b" " * 1_000 * (number % 4)) for number in range(30)]
    payloads[7:7] = [gzip.compress(b'{"id": 30}' + b" " * 20_000)]
    found: list[list[int]] = []
    decode = Materializer.decode

    def note(materializer: Materializer, batch: RecordBatch) -> Changes:
        found.append([len(gzip.decompress(value or b"")) for value in batch.values])
        return decode(materializer, batch)

    monkeypatch.setattr(Materializer, "decode", note)
    monkeypatch.setattr(begun, "MOST_BYTES", 10_000)
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    for number, value in enumerate(payloads):
        broker.produce("t", f"k{number}", value, partition=number % 2)
    with broker.connect() as kt:
        table = kt.table("t", unpack=True)
        assert sorted(table.to_polars()["id"]) == [*range(31)]
        broker.produce("t", "later", payloads[0])
        assert table.to_polars().height == 32
        assert table.position().offsets == {0: 17, 1: 15}
    # The first ones are read as one until the bound is passed, since they decide the columns.
    assert all(sum(sizes) <= 20_000 or len(sizes) == 1 for sizes in found)
    assert len(found) > 3
    with broker.connect() as kt:
        found.clear()
        assert kt.table("t", on_refused="ignore", value="bytes").to_polars().height == 32
        assert len(found) == 1


@pytest.mark.parametrize(
    "end",
    [b"", b"\0" * 3, gzip.compress(b"", mtime=0), gzip.compress(b" ", mtime=0) + b"\0" * 4],
    ids=["nothing", "zeros", "an empty member", "a member and zeros"],
)
def test_what_is_inside_of_several_members_is_bounded(end: bytes) -> None:
    """By what they hold together, not by what the last four bytes say."""
    content = b'{"id": 1}' + b" " * 5_000_000
    parts = [gzip.compress(content[start : start + 1_000_000]) for start in range(0, len(content), 1_000_000)]
    payload = b"\0".join(parts) + end
    size = len(content) + (len(gzip.decompress(end)) if end.startswith(packed.GZIP) else 0)
    assert packed.unpacked_bytes(payload) == len(*packed.unpacked([payload])) == size
    with patch.object(packed, "LARGEST_BYTES", len(content) - 1):
        assert packed.unpacked_bytes(payload) == len(content) - 1
        assert packed.unpacked([payload]) == [payload]
    decoder = topic_spec("t", unpack=True)
    batch = broker_of(*[payload] * 9)._read("t", {0: 0})
    assert batch is not None
    with patch.object(begun, "MOST_BYTES", 2 * size):
        assert [len(part) for part in begun.cut(batch, decoder.decoder(decoder.identity()))] == [
            2,
            2,
            2,
            2,
            1,
        ]


@pytest.mark.parametrize("cut", range(1, 60))
def test_members_are_read_as_gzip_reads_them(cut: int) -> None:
    """Whole, cut off anywhere, or with something else behind."""
    payload = gzip.compress(b'{"id":') + gzip.compress(b" 1}")
    for odd in (payload[:-cut], payload[: cut + 1], payload + payload[:cut], payload + b"\0" * cut):
        try:
            inside = gzip.decompress(odd)
        except (OSError, EOFError):
            inside = odd
        assert packed.unpacked([odd]) == [inside]


def test_a_batch_that_is_cut_is_whole_again() -> None:
    """Each part ends with its last records, and the last one with what the whole batch ends with."""
    broker = broker_of(b"a", b"b", b"c")
    whole = broker._read("t", {0: 0})
    assert whole is not None
    first, second, third = whole.cut([1, 2])
    assert [first.positions, second.positions, third.positions] == [{0: 1}, {0: 2}, {0: 3}]
    assert [each.last[0].offset for each in (first, second, third)] == [0, 1, 2]
    assert [*first.values, *second.values, *third.values] == [*whole.values]
    assert third.last == whole.last


def test_what_can_not_be_unpacked_is_refused() -> None:
    """Damaged, cut off, of another kind inside, and larger than memory should hold."""
    whole = gzip.compress(b'{"id": 1}')
    values = [
        whole,
        whole[:-4],
        whole[:-8] + b"\0" * 8,
        gzip.compress(b"[1]"),
        gzip.compress(whole),
        b"\x1f\x8b",
    ]
    values.append(gzip.compress(b'{"id": 1}' + b" " * 100))
    with patch.object(packed, "LARGEST_BYTES", 100), broker_of(*values).connect() as kt:
        table = kt.table("t", unpack=True, on_refused="ignore")
        assert table.to_polars()["id"].to_list() == [1]
        assert table.status().refused == 6
        reasons = table.errors()["reason"].str.split(";").list.first().to_list()
        assert reasons.count("not JSON: gzip that is cut or damaged") == 3
        assert reasons.count("not JSON: gzip inside of gzip") == 1
        assert reasons.count("not JSON: gzip-compressed, with more than 0 MiB inside") == 1  # 100 bytes here
        assert "unpack=True" not in str(table.status())


@pytest.mark.parametrize("value", [BOM + b'{"id": 1}', gzip.compress(b'{"id": 1}')], ids=["mark", "gzip"])
def test_the_hint_of_a_refusal_reads_it(value: bytes) -> None:
    """Where most are read, and where none is."""
    with broker_of(b'{"id": 0}', value).connect() as kt:
        table = kt.table("t", on_refused="ignore")
        table.to_polars()
        found = met(
            Hint("fold/remedies.py", "unpack=True reads JSON in gzip, and behind a byte order mark."),
            str(table.status()),
        )
        assert kt.table("t", **found.arguments).to_polars().height == 2


def test_inspect_proposes_it() -> None:
    """With the columns of what is inside, also beside values that are not packed; samples show it."""
    with broker_of(*packed_rows()).connect() as kt:
        seen = kt.inspect("t")
        assert seen.suggestion == 'ktframe.table("t", unpack=True)'
        assert seen.columns["column"].to_list() == ["id", "type"]
        assert all(text.startswith("{") for text in seen.samples["value"])


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"unpack": "gzip"}, Hint("context/topic_spec.py", "give {}=True or leave it out.")),
        ({"unpack": True, "value": "bytes"}, Hint("context/topic_spec.py", "leave {}= out.")),
    ],
)
def test_what_it_can_not_be(wrong: Any, hint: Hint) -> None:
    """It is about JSON, and either said or not."""
    with hinted(hint) as found:
        topic_spec("t", **wrong)
    assert isinstance(found.error, ConfigurationError)
    plain = topic_spec("t").settings()
    assert topic_spec("t", unpack=True).settings() == {**plain, "unpack": "True"}
    assert topic_spec("t", unpack=False).settings() == plain


def test_times_and_structs_of_what_is_inside() -> None:
    """Together with the other arguments about shapes."""
    value = gzip.compress(b'{"data": {"at": "2026-01-01T00:00:00Z"}}')
    with broker_of(value).connect() as kt:
        frame = kt.table("t", unpack=True, unnest="data", times="auto").to_polars()
        assert frame.schema["at"] == pl.Datetime("us", "UTC")
