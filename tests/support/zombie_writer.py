"""Sends one batch twice, as a producer does whose acknowledgement was lost, over Kafka's own protocol.

A client library never does that on request, and it is the one way to have the broker close a segment
without writing to the next: it closes the segment first and then finds that it has the batch already.
The cleaner may then remove the very last records of the partition.
"""

import socket
import struct
import time

from support.waiting import wait_until

_API_PRODUCE, _PRODUCE_VERSION = 0, 3
_API_INIT_PRODUCER_ID, _INIT_VERSION = 22, 0
_STILL_LOADING = 14
_ACKS_ALL = -1
_REQUEST_MS = 10_000
_CRC32C_POLYNOMIAL = 0x82F63B78


class ZombieWriter:
    """An idempotent producer that remembers its one batch and repeats it."""

    def __init__(self, bootstrap: str) -> None:
        host, port = bootstrap.split(":")
        self._address = host, int(port)
        self._producer_id, self._epoch = wait_until(self._producer_identity, "a producer id")

    def write(
        self, topic: str, key: bytes, value: bytes | None, *, partition: int = 0, timestamp_ms: int
    ) -> int:
        """Write the batch, or repeat it with a later timestamp, and return its offset."""
        records = _batch(key, value, timestamp_ms, self._producer_id, self._epoch)
        name = topic.encode()
        body = struct.pack(">hhi", -1, _ACKS_ALL, _REQUEST_MS)
        body += struct.pack(">ih", 1, len(name)) + name
        body += struct.pack(">iii", 1, partition, len(records)) + records
        answer = self._ask(_API_PRODUCE, _PRODUCE_VERSION, body)
        error, offset = struct.unpack_from(">hq", answer, 4 + 2 + len(name) + 4 + 4)
        _check(error, "Produce")
        return int(offset)

    def _producer_identity(self) -> tuple[int, int] | None:
        body = struct.pack(">hi", -1, _REQUEST_MS)
        answer = self._ask(_API_INIT_PRODUCER_ID, _INIT_VERSION, body)
        _throttled, error, producer_id, epoch = struct.unpack(">ihqh", answer)
        if error == _STILL_LOADING:
            return None
        _check(error, "InitProducerId")
        return producer_id, epoch

    def _ask(self, api: int, version: int, body: bytes) -> bytes:
        request = struct.pack(">hhih", api, version, 1, -1) + body
        with socket.create_connection(self._address, timeout=_REQUEST_MS / 1000) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            stream = connection.makefile("rb")
            (size,) = struct.unpack(">i", stream.read(4))
            return stream.read(size)[4:]


def later_ms() -> int:
    """Return a timestamp that is later than any that the clock has given, by more than ``segment.ms``."""
    return int(time.time() * 1000) + 1000


def _check(error: int, request: str) -> None:
    if error != 0:
        message = f"{request} failed with Kafka's error code {error}"
        raise AssertionError(message)


def _batch(key: bytes, value: bytes | None, timestamp_ms: int, producer_id: int, epoch: int) -> bytes:
    """Return a record batch (format 2) of one record with sequence number 0."""
    record = b"\x00" + _varint(0) + _varint(0) + _bytes(key) + _bytes(value) + _varint(0)
    record = _varint(len(record)) + record
    checked = struct.pack(">hiqqqhii", 0, 0, timestamp_ms, timestamp_ms, producer_id, epoch, 0, 1) + record
    tail = struct.pack(">ibI", -1, 2, _crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(tail)) + tail


def _bytes(value: bytes | None) -> bytes:
    return _varint(-1) if value is None else _varint(len(value)) + value


def _varint(number: int) -> bytes:
    """Return the zig-zag variable-length form of a number."""
    rest = number * 2 if number >= 0 else -number * 2 - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*out, rest])


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CRC32C_POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
