"""Turns a Protobuf schema of a registry, in either form of text and with its references, into message classes.

Each schema has a descriptor pool of its own, so that two versions of one file, or the ``order.proto`` of two topics, do
not clash.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ktframe.errors import SchemaError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.protobuf.imports import google, standard_file
from ktframe.formats.protobuf.proto_parser import parsed_source
from ktframe.formats.protobuf.proto_tokens import SourceError

_MAIN: Final = "ktframe/main.proto"
_BATCH: Final = "ktframe/batch.proto"
_BATCH_MESSAGE: Final = "ktframe.internal.Batch"
_ROWS: Final = 1
_BUILT_IN = ("google/protobuf/",)  # in Google's library; a registry's copies are the same
_MESSAGE, _REPEATED = 11, 3

# Files that Confluent's registry ships. Their types alone: options are skipped in all files.
_CONFLUENT: Final = {
    "confluent/meta.proto": """
        syntax = "proto3";
        package confluent;
        message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; repeated Rule rules = 4; }
        message Rule { string name = 1; string doc = 2; string expr = 3; string sql = 4; }
        """,
    "confluent/type/decimal.proto": """
        syntax = "proto3";
        package confluent.type;
        message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }
        """,
    "confluent/types/decimal.proto": """
        syntax = "proto3";
        import public "confluent/type/decimal.proto";
        """,
    "confluent/type/variant.proto": """
        syntax = "proto3";
        package confluent.type;
        message Variant { bytes metadata = 1; bytes value = 2; }
        """,
}


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """One message of a schema as a class of Google's library, and a list of them as another."""

    name: str
    message: Any
    batch: Any
    """A message whose only field, number 1, is a list of ``message``."""
    pool: Any


def compiled(document: SchemaDocument, indexes: tuple[int, ...]) -> CompiledSchema:
    """Return the message of ``document`` with these message indexes: its place in the file, then in the message around it.

    Raises
    ------
    SchemaError
        When the text is not a Protobuf schema, an import is missing, or there is no such message.
    ConfigurationError
        When Google's library is not installed.
    """
    pool = google("descriptor_pool").DescriptorPool()
    _Files(pool, document).add()
    descriptor = _message_at(pool.FindFileByName(_MAIN), indexes)
    pool.Add(_batch_file(descriptor))
    message_class = google("message_factory").GetMessageClass
    try:
        message = message_class(descriptor)
        batch = message_class(pool.FindMessageTypeByName(_BATCH_MESSAGE))
    except RecursionError:
        reason = f"{descriptor.full_name} has too many levels of messages."
        raise SchemaError(reason) from None
    return CompiledSchema(descriptor.full_name, message, batch, pool)


class _Files:
    """Adds a schema's file to a descriptor pool, after the files that it imports."""

    def __init__(self, pool: Any, document: SchemaDocument) -> None:
        self._pool = pool
        self._document = document
        self._references = dict(_references(document))
        self._added: set[str] = set()
        self._missing: set[str] = set()

    def add(self) -> None:
        self._add(_file(_MAIN, self._document.text))

    def _add(self, file: Any) -> None:
        self._added.add(file.name)
        for name in file.dependency:
            if name not in self._added:
                self._import(name)
        self._drop_missing(file)
        try:
            self._pool.Add(file)
        except TypeError as error:
            where = "" if file.name == _MAIN else f" {file.name!r}"
            missing = ", ".join(map(repr, sorted(self._missing)))
            unknown = f" (not found: {missing})" if missing else ""
            message = f"the Protobuf schema{where} can't be used: {_why(error)}{unknown}."
            raise SchemaError(message) from None

    def _import(self, name: str) -> None:
        standard = standard_file(name)
        if name in self._references and not (standard and name.startswith(_BUILT_IN)):
            self._add(_file(name, self._references[name].text))
        elif standard is not None:
            file = google("descriptor_pb2").FileDescriptorProto()
            standard.CopyToProto(file)
            self._add(file)
        elif name in _CONFLUENT:
            self._add(_file(name, _CONFLUENT[name]))
        else:
            self._missing.add(name)

    def _drop_missing(self, file: Any) -> None:
        # An import may be missing if it only has options. If a type is missing too, the pool says which.
        kept = [name for name in file.dependency if name not in self._missing]
        if len(kept) < len(file.dependency):
            public = [kept.index(name) for name in _public(file) if name in kept]
            file.ClearField("dependency")
            file.ClearField("public_dependency")
            file.ClearField("weak_dependency")
            file.dependency.extend(kept)
            file.public_dependency.extend(public)


def _references(document: SchemaDocument) -> Iterator[tuple[str, SchemaDocument]]:
    # The outermost schema's references come last, because they win where two files have one name.
    for _, reference in document.references:
        yield from _references(reference)
    yield from document.references


def _public(file: Any) -> list[str]:
    return [file.dependency[index] for index in file.public_dependency]


def _file(name: str, text: str) -> Any:
    """Return the ``FileDescriptorProto`` of a text in either form, with the name by which other files import it."""
    try:
        file = _deserialized(text) or parsed_source(text)
    except SourceError as error:
        which = "the schema" if name == _MAIN else repr(name)
        message = f"{which} is not Protobuf: {error}."
        raise SchemaError(message) from None
    file.name = name
    return file


def _deserialized(text: str) -> Any | None:
    """Return the file of a text in the form of ``?format=serialized``, None where the text is ``.proto`` source."""
    if "{" in text or ";" in text or not text.strip():
        return None
    file = google("descriptor_pb2").FileDescriptorProto()
    try:
        file.ParseFromString(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError, google("message").DecodeError):
        return None
    return file


def _message_at(file: Any, indexes: tuple[int, ...]) -> Any:
    descriptor, siblings = None, list(file.message_types_by_name.values())
    for index in indexes:
        if not 0 <= index < len(siblings):
            where = "the schema" if descriptor is None else descriptor.full_name
            message = (
                f"there is no message {index} in {where}: it has {len(siblings)} (message indexes {indexes})."
            )
            raise SchemaError(message)
        descriptor = siblings[index]
        siblings = list(descriptor.nested_types)
    if descriptor is None:
        message = "the list of message indexes is empty."
        raise SchemaError(message)
    return descriptor


def _batch_file(descriptor: Any) -> Any:
    package, _, name = _BATCH_MESSAGE.rpartition(".")
    file = google("descriptor_pb2").FileDescriptorProto(name=_BATCH, package=package, syntax="proto3")
    file.dependency.append(descriptor.file.name)
    rows = file.message_type.add(name=name).field.add(
        name="rows", number=_ROWS, type=_MESSAGE, label=_REPEATED
    )
    rows.type_name = f".{descriptor.full_name}"
    return file


def _why(error: TypeError) -> str:
    return str(error).removeprefix("Couldn't build proto file into descriptor pool: ")
