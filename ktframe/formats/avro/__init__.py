"""Avro: encoded datums (without a file header) to columns, and rows to datums.

``reader`` reads a batch natively through arrow-avro (``batches``, ``arrow``) and, where that is not sure to be right,
datum by datum with a strict decoder of our own (``decode``, ``recursive``). ``writer`` writes row by row (``encode``,
``values``). A body elsewhere in ``formats`` is a datum here.
"""

from __future__ import annotations

from ktframe.formats.avro.reader import AvroReader
from ktframe.formats.avro.writer import AvroWriter

__all__ = ["AvroReader", "AvroWriter"]
