"""Topics as they really are: many kinds of records, and how many rows or events there must be of each."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import fastavro

from ktframe.formats.wire import FIRST_MESSAGE, varint_bytes
from ktframe.testing import FakeBroker, FakeRegistry

NOW_S: Final = 1_767_225_600
"""2026-01-01 in UTC, in seconds since 1970."""
_COUNT: Final = 40
BOM: Final = b"\xef\xbb\xbf"

TIMES: Final = 'times="auto"'
UNNEST: Final = 'unnest={"data": "data_"}'

Records = list[tuple[Any, Any]]
"""Keys and values."""


@dataclass(frozen=True)
class Kind:
    """A kind of topics: its records, and what must come out."""

    name: str
    records: Records
    rows: int | None = None
    """How many rows each proposed table has, of one more type or one less; None: a row for each record."""
    events: int | None = None
    """How many events the last proposed stream has; None: one for each record."""
    headers: Callable[[int], list[tuple[str, bytes]]] = lambda number: []  # noqa: ARG005 - none, whatever the number
    """The headers of a record, by its number."""
    additions: tuple[str, ...] = ()
    """The arguments that are proposed besides the call."""

    @property
    def wanted(self) -> int:
        """How many rows the proposed table has."""
        return len(self.records) if self.rows is None else self.rows

    @property
    def wanted_events(self) -> int:
        """How many events the stream has that refuses nothing."""
        return len(self.records) if self.events is None else self.events


def _each(make: Callable[[int], Any], key: Callable[[int], Any] = lambda n: f"k{n}") -> Records:
    return [(key(number), make(number)) for number in range(_COUNT)]


def _of_types(number: int) -> dict[str, Any]:
    return (
        {"type": "order", "amount": number, "sku": "s"},
        {"type": "user", "email": "a@b", "name": "n"},
        {"type": "click", "url": "/", "ms": 5},
    )[number % 3]


def _cloud_event(number: int) -> dict[str, Any]:
    outer = {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/s",
        "type": "t",
        "time": "2026-01-01T00:00:00Z",
    }
    return {**outer, "data": {"id": number, "n": 1}}


def _change(number: int) -> dict[str, Any]:
    row = {"id": number, "n": number}
    return {
        "before": None if number % 2 else row,
        "after": row,
        "op": "cu"[number % 2],
        "ts_ms": NOW_S * 1_000,
    }


def kinds() -> Iterator[Kind]:
    """Yield the kinds that need no registry."""
    yield Kind("clean JSON", _each(lambda n: {"id": n, "name": "x"}))
    yield Kind("event types", _each(_of_types), rows=14)
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6)):
        yield Kind(f"epoch {unit}", _each(lambda n, scale=scale: {"id": n, "ts": (NOW_S + n) * scale}))  # type: ignore[misc]
    iso = _each(lambda n: {"id": n, "at": f"2026-01-01T00:00:{n:02}Z"})
    yield Kind("ISO times", iso, additions=(TIMES,))
    inside = _each(lambda n: {"o": {"list": [f"2026-01-01T00:00:{n:02}.5+01:00"]}})
    yield Kind("ISO times inside", inside, additions=(TIMES,))
    yield Kind("times and other text", [*iso[1:], ("k0", {"id": 0, "at": "never"})])
    yield Kind("times without an offset", _each(lambda n: {"at": f"2026-01-01T00:00:{n:02}"}))
    yield Kind("objects as maps", _each(lambda n: {"stock": {f"sku-{n * 7 + i}": i for i in range(5)}}))
    yield from _of_ever_new_names()
    yield Kind("kinds that compete", _each(lambda n: {"v": n if n % 2 else f"text {n}"}))
    yield Kind("an odd kind", _each(lambda n: {"v": n or "n/a"}))
    yield Kind("an odd kind inside", _each(lambda n: {"o": {"v": n or "n/a"}}))
    yield Kind("nested keys", _each(lambda n: {"order": {"id": n}}, key=lambda _: None))
    yield Kind("empty deletes", [*_each(lambda n: {"id": n}), ("k0", b""), ("k1", b" ")], rows=_COUNT - 2)
    yield Kind("null deletes", [*_each(lambda n: {"id": n}), ("k0", b"null")], rows=_COUNT - 1)
    flagged = [("k0", {"id": 0, "__deleted": "true"})]
    yield Kind(
        "flagged deletes", [*_each(lambda n: {"id": n, "__deleted": "false"}), *flagged], rows=_COUNT - 1
    )
    yield Kind("big integers", _each(lambda n: {"v": 2**63 + n, "w": -(10**30) if n % 2 else 10**30}))
    yield Kind("NaN", _each(lambda n: b'{"v": NaN}' if n % 3 else b'{"v": 0.5}'))
    yield Kind("JSON text keys", _each(lambda n: {"id": n}, key=lambda n: f'"k{n}"'.encode()))
    yield Kind("JSON object keys", _each(lambda n: {"v": n}, key=lambda n: {"id": n, "region": "eu"}))
    yield Kind("JSON keys of lists", _each(lambda n: {"v": n}, key=lambda n: {"ids": [n]}))
    mixed = [*_each(lambda n: {"id": n}, key=lambda n: f'"k{n}"'.encode()), (b"42", {"id": 1})]
    yield Kind("JSON keys and an odd one", mixed, rows=_COUNT)
    yield Kind("byte order mark", _each(lambda n: BOM + json.dumps({"id": n}).encode()))
    yield Kind("gzip", _each(lambda n: gzip.compress(json.dumps({"id": n}).encode())))
    packed = _each(lambda n: gzip.compress(b'{"id": 1}') if n % 2 else b'{"id": 2}')
    yield Kind("some in gzip", packed)
    yield from _of_several_objects()
    yield Kind("CloudEvents", _each(_cloud_event), additions=(TIMES, UNNEST))
    texts = _each(lambda n: {**_cloud_event(n), "data": f"text {n}"})
    yield Kind("CloudEvents of text", texts, additions=(TIMES,))
    yield Kind("data of something else", _each(lambda n: {"id": n, "data": {"id": n}}))
    yield from _kinds_of_headers()
    yield Kind("text", _each(lambda n: f"line {n}".encode()))
    yield Kind("bytes", _each(lambda n: b"\xff\xfe\x00" + bytes([n])))
    yield Kind("int keys", _each(lambda n: {"id": n}, key=lambda n: n.to_bytes(4, "big")))
    yield Kind(
        "long keys and values", _each(lambda n: n.to_bytes(8, "big"), key=lambda n: n.to_bytes(8, "big"))
    )
    yield Kind("Debezium", _each(_change, key=lambda n: {"id": n}), rows=_COUNT // 2)
    enveloped = _each(
        lambda n: {"schema": None, "payload": _change(n)},
        key=lambda n: {"schema": None, "payload": {"id": n}},
    )
    yield Kind("Debezium's envelope", enveloped, rows=_COUNT // 2)
    yield Kind("tombstones", [*_each(lambda n: {"id": n}), ("k0", None), ("k1", None)], rows=_COUNT - 2)
    yield Kind("JSON scalars", _each(lambda n: json.dumps(n if n % 2 else f"t{n}").encode()))
    yield Kind("some broken", [*_each(lambda n: {"id": n}), ("broken", b'{"id": 4')], rows=_COUNT)
    yield Kind("keys of two encodings", [*_each(lambda n: {"id": n}), (b"\xff\xfe", {"id": 1})])
    yield Kind("some without a key", [*_each(lambda n: {"id": n}), (None, {"id": 1})], rows=_COUNT)


def _of_ever_new_names() -> Iterator[Kind]:
    """Yield kinds whose records have names that never settle: each value is kept whole."""
    names = _each(lambda n: {"id": n, **{f"n{n * 60 + i}": i for i in range(60)}})
    yield Kind("names that never settle", names)
    packed = [(key, gzip.compress(json.dumps(value).encode())) for key, value in names]
    yield Kind("names that never settle in gzip", packed)


def _of_several_objects() -> Iterator[Kind]:
    """Yield kinds whose values hold several objects: each of them is an event."""
    twice = {"rows": 2 * _COUNT, "events": 2 * _COUNT}
    lists = _each(lambda n: json.dumps([{"id": n}, {"id": -n}]).encode())
    yield Kind("lists of objects", lists, **twice)
    yield Kind("lists without keys", [(None, value) for _, value in lists], **twice)
    yield Kind("lines of objects", _each(lambda n: f'{{"id": {n}}}\n{{"id": {-n}}}\n'.encode()), **twice)
    yield Kind("objects in a row", _each(lambda n: f'{{"id": {n}}}{{"id": {-n}}}'.encode()), **twice)
    yield Kind("lists in gzip", [(key, gzip.compress(value)) for key, value in lists], **twice)
    yield Kind("lists behind a mark", [(key, BOM + value) for key, value in lists], **twice)
    single = [(key, {"id": n} if n % 2 else value) for n, (key, value) in enumerate(lists)]
    yield Kind("lists and single objects", single, rows=3 * _COUNT // 2, events=3 * _COUNT // 2)
    empty = [(key, b"[]" if n % 4 else value) for n, (key, value) in enumerate(lists)]
    yield Kind("lists, most of them empty", empty, rows=_COUNT // 2, events=_COUNT // 2)
    yield Kind(
        "a list among objects",
        [*_each(lambda n: {"id": n}), ("list", lists[0][1])],
        rows=_COUNT,
        events=_COUNT + 2,
    )
    odd = [*lists, ("odd", b'[{"id": 1}, 5]')]
    yield Kind("lists and an odd item", odd, rows=2 * _COUNT + 1)
    kinds = _each(lambda n: json.dumps([_of_types(n), _of_types(n + 1), _of_types(n + 2)]).encode())
    yield Kind("lists of event types", kinds, rows=_COUNT, events=3 * _COUNT)
    competing = _each(lambda n: json.dumps([{"v": n}, {"v": f"text {n}"}]).encode())
    yield Kind("lists whose kinds compete", competing, **twice)
    yield Kind("lists of numbers", _each(lambda n: f"[{n}, 1]".encode()))


def _kinds_of_headers() -> Iterator[Kind]:
    several = ("event-type", "region")
    yield Kind(
        "headers",
        _each(lambda n: {"id": n}),
        headers=lambda n: [
            *((name, b"%d" % (n % 3)) for name in several),
            ("traceparent", b"00-%d" % n),
            ("content-type", b"application/json"),
            ("id", b"%d" % (n % 2)),
            ("request", b"%d" % n),
            ("twice", b"%d" % (n % 2)),
            ("twice", b"x"),
            ("raw", b"\xff%d" % (n % 2)),
        ],
        additions=('headers={"event-type": str, "region": str}',),
    )
    yield Kind(
        "headers of some",
        _each(lambda n: {"id": n}),
        headers=lambda n: [("event-type", b"%d" % (n % 3))] if n % 4 else [],
    )
    yield Kind(
        "headers of text",
        _each(lambda n: f"line {n}".encode()),
        headers=lambda n: [("kind", b"%d" % (n % 4))],
        additions=('headers={"kind": str}',),
    )


def broker_of(kind: Kind) -> FakeBroker:
    """Return a broker that has the kind's records in the topic ``t``."""
    broker = FakeBroker()
    broker.create_topic("t", 2)
    for number, (key, value) in enumerate(kind.records):
        # A key stays in its partition.
        partition = number % _COUNT % 2
        headers = kind.headers(number)
        broker.produce("t", key, value, partition=partition, timestamp=NOW_S * 1_000, headers=headers)
    return broker


def avro_kind(registry: FakeRegistry) -> Kind:
    """Return records in Avro, whose schema ``registry`` has from now on."""
    line = {
        "type": "record",
        "name": "Line",
        "fields": [{"name": "sku", "type": "string"}, {"name": "count", "type": "long"}],
    }
    fields = [
        {"name": "id", "type": "int"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "line", "type": ["null", line]},
    ]
    schema = {"type": "record", "name": "R", "fields": fields}
    prefix = registry.prefix(registry.register("t-value", json.dumps(schema)))

    def make(number: int) -> bytes:
        out = io.BytesIO()
        inner = {"sku": f"s{number}", "count": number} if number % 4 else None
        record = {"id": number, "at": NOW_S * 1_000, "line": inner}
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
        return prefix + out.getvalue()

    return Kind("Avro", _each(make))


PROTO: Final = """syntax = "proto3";
package shop;
message R {
  message Line {
    string sku = 1;
    int64 count = 2;
  }
  int32 id = 1;
  int64 at = 2;
  optional Line line = 3;
}
"""


def protobuf_kind(registry: FakeRegistry) -> Kind:
    """Return records in Protobuf, whose schema ``registry`` has from now on: those of ``avro_kind``."""
    prefix = registry.prefix(registry.register("t-value", PROTO, "PROTOBUF")) + FIRST_MESSAGE

    def make(number: int) -> bytes:
        body = _varint_field(1, number) + _varint_field(2, NOW_S * 1_000)
        if number % 4:
            sku = f"s{number}".encode()
            inner = b"\x0a" + varint_bytes(len(sku)) + sku + _varint_field(2, number)
            body += b"\x1a" + varint_bytes(len(inner)) + inner
        return prefix + body

    return Kind("Protobuf", _each(make))


def _varint_field(number: int, value: int) -> bytes:
    return varint_bytes(number << 3) + varint_bytes(value)
