"""One reader per schema of a topic, their merged columns, and a revision that rises when old rows must be read again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ktframe.errors import SchemaError
from ktframe.formats.avro import AvroReader
from ktframe.formats.bodies import BodyReader, Column, SchemaDocument
from ktframe.formats.encrypted import NONE_ENCRYPTED, EncryptedReader, Paths, marked, marked_columns, note_on
from ktframe.formats.errors import ConflictError, UnusableSchemaError
from ktframe.formats.json.labels import fields_in as json_fields
from ktframe.formats.json.schema import json_columns
from ktframe.formats.protobuf import ProtobufReader
from ktframe.formats.resolution import changes_old_rows, joined
from ktframe.formats.rules import FieldLabels, labels_of
from ktframe.formats.schemas import Schemas, UnknownSchemaError
from ktframe.formats.wire import (
    FIRST_MESSAGE,
    ID_REF_BYTES,
    LARGEST_MAGIC_BYTE,
    describe_ref,
    parse_indexes,
    schema_ref_of,
)

AVRO: Final = "AVRO"
PROTOBUF: Final = "PROTOBUF"
JSON: Final = "JSON"
FORMAT_NAMES: Final = {AVRO: "avro", PROTOBUF: "protobuf", JSON: "json"}

KINDS_OF: Final[Mapping[str, frozenset[str]]] = {
    "auto": frozenset({AVRO, JSON, PROTOBUF}),
    "avro": frozenset({AVRO}),
    "json": frozenset({JSON}),
    "protobuf": frozenset({PROTOBUF}),
}
"""The kinds of schema that payloads of a format may be written under, by the format's name."""


class WriterSchema(NamedTuple):
    """What a payload was written under: a schema and, of a Protobuf schema, one message.

    ``ref`` is the schema reference, empty where a payload has none. ``message`` are the message indexes as sent.
    """

    ref: bytes
    message: bytes = b""
    is_malformed: bool = False
    """Whether the bytes after the reference are no message indexes."""

    @property
    def prefix_length(self) -> int:
        """How many bytes stand before the body."""
        return len(self.ref) + len(self.message)


@dataclass(frozen=True, slots=True)
class JsonColumns:
    """Stands for a reader where the bodies are JSON: the columns that the JSON Schema has.

    ``encrypted`` are the paths of the fields that producers encrypt, by the names that they have in bodies.
    """

    columns: tuple[Column, ...]
    encrypted: Paths = NONE_ENCRYPTED

    @property
    def note(self) -> str | None:
        """Which fields are encrypted."""
        return note_on(self.encrypted)


class BodyReaders:
    """The readers of the schemas that a topic's payloads refer to, made once each.

    ``argument`` is the one that chooses the format of these payloads, for hints.
    """

    def __init__(self, schemas: Schemas, kinds: frozenset[str], argument: str = "value") -> None:
        self._schemas = schemas
        self._kinds = kinds
        self._argument = argument
        self._readers: dict[WriterSchema, BodyReader | JsonColumns | str] = {}
        """The reader, or the reason why there is none."""
        self._tags: dict[str, dict[str, None]] = {}
        self._columns: tuple[Column, ...] = ()
        self._revision = 0
        self._merged: set[tuple[SchemaDocument, bytes]] = set()
        """The schemas, each with its message, whose columns are in ``_columns``."""

    def group_by_writer_schema(self, payloads: Sequence[bytes]) -> dict[WriterSchema, Sequence[int]]:
        """Return the lines of ``payloads`` by writer schema; those that refer to none come first."""
        groups: dict[WriterSchema, Sequence[int]] = {}
        for ref, lines in _group_by_ref(payloads).items():
            if not ref or not self._is_protobuf(ref):
                groups[WriterSchema(ref)] = lines
                continue
            rests = [payloads[line][len(ref) :] for line in lines]
            for writer_schema, inside in _group_by_message(ref, rests).items():
                groups[writer_schema] = (
                    lines if len(inside) == len(lines) else [lines[index] for index in inside]
                )
        return groups

    def _is_protobuf(self, schema_ref: bytes) -> bool:
        try:
            return self._schemas.document(schema_ref).kind == PROTOBUF
        except UnknownSchemaError:
            return False

    def knows(self, payload: bytes) -> bool:
        """Say whether the schema that ``payload`` refers to can be had; False where it refers to none.

        Raises
        ------
        RegistryError
            When the registry can't be asked now.
        """
        schema_ref = schema_ref_of(payload)
        try:
            return bool(schema_ref) and self._schemas.document(schema_ref) is not None
        except UnknownSchemaError:
            return False

    def reader(self, writer_schema: WriterSchema) -> BodyReader | JsonColumns:
        """Return the reader of the bodies under ``writer_schema``.

        Raises
        ------
        UnknownSchemaError
            When nobody has the schema.
        UnusableSchemaError
            When no reader can be made of it.
        """
        document = self._schemas.document(writer_schema.ref)
        if document.kind not in self._kinds:
            name = FORMAT_NAMES.get(document.kind)
            advice = f": pass {self._argument}={name!r}" if name else ""
            message = f"{describe_ref(writer_schema.ref)} is {document.kind}{advice}"
            raise UnusableSchemaError(message)
        reader = self._reader_or_reason(writer_schema, document)
        if isinstance(reader, str):
            message = f"{describe_ref(writer_schema.ref)}: {reader}"
            raise UnusableSchemaError(message)
        self._schemas.mark_seen(writer_schema.ref, writer_schema.message)
        return reader

    def _reader_or_reason(
        self, writer_schema: WriterSchema, document: SchemaDocument
    ) -> BodyReader | JsonColumns | str:
        if writer_schema not in self._readers:
            try:
                reader = _new_reader(writer_schema, document)
                self._readers[writer_schema] = self._labelled(reader, document)
            except SchemaError as error:
                self._readers[writer_schema] = error.fact
        return self._readers[writer_schema]

    def _labelled(
        self, reader: AvroReader | ProtobufReader | JsonColumns, document: SchemaDocument
    ) -> BodyReader | JsonColumns:
        """Return the reader with what the rules of its schema say; keep the tags of its fields."""
        labels = _labels(reader, document)
        for path, tags in labels.tags.items():
            name = marked(path[0]) if path[:1] in labels.encrypted else path[0]
            inner = ".".join(path[1:])
            self._tags.setdefault(name, {}).update(
                (f"{inner}: {tag}" if inner else tag, None) for tag in tags
            )
        if not labels.encrypted:
            return reader
        if isinstance(reader, JsonColumns):
            return JsonColumns(marked_columns(reader.columns, labels.encrypted), labels.encrypted)
        return EncryptedReader(reader, labels.encrypted)

    @property
    def tags(self) -> Mapping[str, tuple[str, ...]]:
        """The tags of columns, by column; those of a field inside of one begin with its name and a colon."""
        return {name: tuple(tags) for name, tags in self._tags.items()}

    @property
    def merged_columns(self) -> tuple[Column, ...]:
        """The columns of all schemas seen so far, with the defaults and aliases of the newest."""
        self._merge_new()
        return self._columns

    @property
    def revision(self) -> int:
        """How many schemas have changed, by a default or a new name, how rows before them read."""
        self._merge_new()
        return self._revision

    def _merge_new(self) -> None:
        for key, document in self._schemas.seen().items():
            writer_schema = WriterSchema(*key)
            # One schema may be referred to by its id and by its GUID.
            if (document, writer_schema.message) in self._merged:
                continue
            self._merged.add((document, writer_schema.message))
            reader = self._reader_or_reason(writer_schema, document)
            if isinstance(reader, str):
                continue
            try:
                columns = joined(self._columns, reader.columns)
            except ConflictError:
                continue  # its records are refused one by one
            if self._columns and changes_old_rows(self._columns, columns):
                self._revision += 1
            self._columns = columns

    def newest_schema(self) -> tuple[bytes, bytes, SchemaDocument] | None:
        """Return the schema that payloads began to refer to last: its reference, message indexes and document."""
        seen = list(self._schemas.seen().items())
        return (*seen[-1][0], seen[-1][1]) if seen else None

    def forget(self) -> None:
        """Forget all schemas: the topic was recreated, and ids may mean other schemas now."""
        self._schemas.forget()
        self._readers.clear()
        self._tags.clear()
        self._columns, self._merged = (), set()

    def describe(self) -> str | None:
        """Return as text which schemas were seen, and which are read slowly and why; None before the first."""
        kinds: dict[str, dict[str, None]] = defaultdict(dict)
        notes: dict[str, None] = {}
        for key, document in self._schemas.seen().items():
            kinds[document.kind][describe_ref(key[0]).removeprefix("schema ")] = None
            reader = self._reader_or_reason(WriterSchema(*key), document)
            if not isinstance(reader, str) and reader.note is not None:
                notes[reader.note] = None
        texts = [f"{FORMAT_NAMES.get(kind, kind)} ({', '.join(refs)})" for kind, refs in kinds.items()]
        return "; ".join([", ".join(texts), *notes]) if texts else None


def _new_reader(
    writer_schema: WriterSchema, document: SchemaDocument
) -> AvroReader | ProtobufReader | JsonColumns:
    if writer_schema.is_malformed:
        message = "its message indexes are malformed"
        raise SchemaError(message)
    rule = document.rules.whole_body
    if rule is not None:
        message = (
            f"its payloads are encrypted as a whole, by the rule {rule.name!r}: value='bytes' (key_format='bytes' for a "
            "key) has them as they were sent"
        )
        raise SchemaError(message)
    if document.kind == JSON:
        return JsonColumns(json_columns(document))
    if document.kind == PROTOBUF:
        return ProtobufReader(document, parse_indexes(writer_schema.message)[0])
    return AvroReader(document)


def _labels(reader: AvroReader | ProtobufReader | JsonColumns, document: SchemaDocument) -> FieldLabels:
    if isinstance(reader, JsonColumns):
        return labels_of(json_fields(document), document.rules)
    return labels_of(reader.fields(), document.rules)


def _group_by_ref(payloads: Sequence[bytes]) -> dict[bytes, Sequence[int]]:
    """Return the lines of ``payloads`` by schema reference, by no bytes where there is none."""
    # By the first five bytes first: an id needs no more, and most topics have nothing else.
    starts = [
        payload[:ID_REF_BYTES] if payload and payload[0] <= LARGEST_MAGIC_BYTE else b""
        for payload in payloads
    ]
    groups: dict[bytes, list[int]] = defaultdict(list)
    if len(distinct := dict.fromkeys(starts)) == 1 and starts[0][:1] != b"\1":
        return {schema_ref_of(starts[0]): range(len(payloads))}
    refs = {start: schema_ref_of(start) for start in distinct}
    for line, start in enumerate(starts):
        ref = refs[start] if start[:1] != b"\1" else schema_ref_of(payloads[line])
        groups[ref].append(line)
    return dict(groups)


def _group_by_message(schema_ref: bytes, rests: Sequence[bytes]) -> dict[WriterSchema, Sequence[int]]:
    """Return the indices of ``rests`` (payloads without their reference) by the message indexes they begin with."""
    if all(rest[:1] == FIRST_MESSAGE for rest in rests):
        return {WriterSchema(schema_ref, FIRST_MESSAGE): range(len(rests))}
    groups: dict[WriterSchema, list[int]] = defaultdict(list)
    for index, rest in enumerate(rests):
        try:
            body = parse_indexes(rest)[1]
        except ValueError:
            groups[WriterSchema(schema_ref, is_malformed=True)].append(index)
        else:
            groups[WriterSchema(schema_ref, rest[: len(rest) - len(body)])].append(index)
    return dict(groups)
