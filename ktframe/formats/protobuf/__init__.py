"""Protobuf: messages to columns and back, under a schema that is given as source or as the registry serializes it."""

from __future__ import annotations

from ktframe.formats.protobuf.reader import ProtobufReader
from ktframe.formats.protobuf.writer import ProtobufWriter
from ktframe.formats.wire import pack_indexes, parse_indexes

__all__ = ["ProtobufReader", "ProtobufWriter", "pack_indexes", "parse_indexes"]
