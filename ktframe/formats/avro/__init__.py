"""Avro: datums without a header to columns and back."""

from __future__ import annotations

from ktframe.formats.avro.reader import AvroReader
from ktframe.formats.avro.writer import AvroWriter

__all__ = ["AvroReader", "AvroWriter"]
