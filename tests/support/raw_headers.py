"""Produces headers whose names are no text, as Kafka's client for Python can't: by the library inside of it."""

from __future__ import annotations

import ctypes
from pathlib import Path

import confluent_kafka

_TOPIC, _VALUE, _KEY, _FLAGS, _HEADER = 1, 4, 5, 7, 9
_COPY = 2


class _Sized(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p), ("size", ctypes.c_ssize_t))


class _Content(ctypes.Union):
    _fields_ = (
        ("padding", ctypes.c_char * 64),
        ("text", ctypes.c_char_p),
        ("number", ctypes.c_int),
        ("sized", _Sized),
        ("header", _Header),
    )


class _Part(ctypes.Structure):
    """``rd_kafka_vu_t``: a part of a record."""

    _fields_ = (("kind", ctypes.c_int), ("content", _Content))


def produce_raw(
    bootstrap: str, topic: str, records: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]]
) -> None:
    """Write records (key, value, headers) and wait until the broker has them."""
    (path,) = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka*.so*")
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_produceva"):
        getattr(library, name).restype = ctypes.c_void_p
    error = ctypes.create_string_buffer(256)
    config = ctypes.c_void_p(library.rd_kafka_conf_new())
    library.rd_kafka_conf_set(config, b"bootstrap.servers", bootstrap.encode(), error, 256)
    producer = ctypes.c_void_p(library.rd_kafka_new(0, config, error, 256))
    assert producer.value, error.value
    for key, value, headers in records:
        parts = [
            _Part(_TOPIC, _Content(text=topic.encode())),
            _Part(_KEY, _Content(sized=_Sized(key, len(key)))),
            _Part(_VALUE, _Content(sized=_Sized(value, len(value)))),
            _Part(_FLAGS, _Content(number=_COPY)),
            *(_Part(_HEADER, _Content(header=_Header(name, text, len(text)))) for name, text in headers),
        ]
        refused = library.rd_kafka_produceva(
            producer, (_Part * len(parts))(*parts), ctypes.c_size_t(len(parts))
        )
        assert not refused
    assert library.rd_kafka_flush(producer, 30_000) == 0
    library.rd_kafka_destroy(producer)
