"""Protobuf: messages to columns, and rows to messages.

``schemas`` turns a registry's schema (``.proto`` text, or a serialized descriptor) into descriptors. ``reader`` reads
batches through Google's library and ptars (``batches``) and, where that is not sure to be right, message by message with
Google's library alone (``messages``). ``writer`` writes row by row. A body elsewhere in ``formats`` is a message here.
"""

from __future__ import annotations

from ktframe.formats.protobuf.reader import ProtobufReader
from ktframe.formats.protobuf.writer import ProtobufWriter

__all__ = ["ProtobufReader", "ProtobufWriter"]
