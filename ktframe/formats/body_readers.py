"""What the schemas of one topic add up to: a reader for each, the columns of all, and what old rows owe to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ktframe.errors import SchemaError
from ktframe.formats.avro import AvroReader
from ktframe.formats.bodies import BodyReader, Column, SchemaDocument
from ktframe.formats.json.schema import json_columns
from ktframe.formats.protobuf import ProtobufReader
from ktframe.formats.resolution import ConflictError, changes_old_rows, joined
from ktframe.formats.schemas import Schemas, UnknownSchemaError
from ktframe.formats.wire import ID_BYTES, LARGEST_MARK, parse_indexes, schema_name, spelt

AVRO: Final = "AVRO"
PROTOBUF: Final = "PROTOBUF"
JSON: Final = "JSON"
FORMAT_NAMES: Final = {AVRO: "avro", PROTOBUF: "protobuf", JSON: "json"}

FIRST_MESSAGE: Final = b"\0"
"""What names the first message of a Protobuf schema."""

KINDS_OF: Final[Mapping[str, frozenset[str]]] = {
    "auto": frozenset({AVRO, JSON, PROTOBUF}),
    "avro": frozenset({AVRO}),
    "json": frozenset({JSON}),
    "protobuf": frozenset({PROTOBUF}),
}
"""The kinds of schema that payloads of a format may name, by the format's name."""


class UnusableError(Exception):
    """No payload under a schema can be read, for the reason that is the text."""


class Written(NamedTuple):
    """What wrote a payload: what names the schema in it, and (Protobuf) the message, as sent."""

    name: bytes
    message: bytes = b""
    is_malformed: bool = False
    """Whether no message could be made out behind the name."""

    @property
    def length(self) -> int:
        """How many bytes stand before the body."""
        return len(self.name) + len(self.message)


@dataclass(frozen=True, slots=True)
class JsonColumns:
    """In place of a reader: the bodies are JSON, of which the schema tells these columns."""

    columns: tuple[Column, ...]
    note: None = None


class BodyReaders:
    """The readers of the schemas that payloads have named; each made once, and kept."""

    def __init__(self, schemas: Schemas, kinds: frozenset[str]) -> None:
        self._schemas = schemas
        self._kinds = kinds
        self._made: dict[Written, BodyReader | JsonColumns | str] = {}
        """What reads the bodies, or why nothing does."""
        self._catalog: tuple[Column, ...] = ()
        self._revision = 0
        self._counted: set[tuple[SchemaDocument, bytes]] = set()
        """What ``_catalog`` is made of."""

    def by_writer(self, payloads: Sequence[bytes]) -> dict[Written, Sequence[int]]:
        """Return the lines of ``payloads`` by what wrote them; nothing names the schema of the first ones, if any."""
        found: dict[Written, Sequence[int]] = {}
        for name, lines in _by_name(payloads).items():
            if not name or not self._is_protobuf(name):
                found[Written(name)] = lines
                continue
            for written, inside in _by_message(name, [payloads[line][len(name) :] for line in lines]).items():
                found[written] = lines if len(inside) == len(lines) else [lines[index] for index in inside]
        return found

    def _is_protobuf(self, name: bytes) -> bool:
        try:
            return self._schemas.document(name).kind == PROTOBUF
        except UnknownSchemaError:
            return False

    def knows(self, payload: bytes) -> bool:
        """Say whether the schema that ``payload`` names is known; False where it names none.

        Raises
        ------
        RegistryError
            When it can't be asked for now.
        """
        name = schema_name(payload)
        try:
            return bool(name) and self._schemas.document(name) is not None
        except UnknownSchemaError:
            return False

    def reader(self, written: Written) -> BodyReader | JsonColumns:
        """Return what reads the bodies of ``written``.

        Raises
        ------
        UnknownSchemaError, UnusableError
            When nothing does.
        """
        document = self._schemas.document(written.name)
        if document.kind not in self._kinds:
            told = FORMAT_NAMES.get(document.kind)
            message = f"{spelt(written.name)} is {document.kind}" + (f": pass value={told!r}" if told else "")
            raise UnusableError(message)
        made = self._reader_or_reason(written, document)
        if isinstance(made, str):
            message = f"{spelt(written.name)}: {made}"
            raise UnusableError(message)
        self._schemas.meet(written.name, written.message)
        return made

    def _reader_or_reason(self, written: Written, document: SchemaDocument) -> BodyReader | JsonColumns | str:
        if written not in self._made:
            try:
                self._made[written] = _made(document, written)
            except SchemaError as error:
                self._made[written] = error.fact
        return self._made[written]

    @property
    def catalog(self) -> tuple[Column, ...]:
        """The columns that all schemas met so far add up to: their defaults and their names."""
        self._catch_up()
        return self._catalog

    @property
    def revision(self) -> int:
        """How often a schema came by which rows that were there read otherwise: by a default, or by a new name."""
        self._catch_up()
        return self._revision

    def _catch_up(self) -> None:
        for key, document in self._schemas.met().items():
            written = Written(*key)
            # By id and by GUID it is the same schema: it has come before.
            if (document, written.message) in self._counted:
                continue
            self._counted.add((document, written.message))
            reader = self._reader_or_reason(written, document)
            if isinstance(reader, str):
                continue
            try:
                after = joined(self._catalog, reader.columns)
            except ConflictError:
                continue  # its records are refused where they come
            if self._catalog and changes_old_rows(self._catalog, after):
                self._revision += 1
            self._catalog = after

    def last_written(self) -> tuple[bytes, bytes, SchemaDocument] | None:
        """Return the newest schema that payloads have named: its name, the message of it, its document."""
        met = list(self._schemas.met().items())
        return (*met[-1][0], met[-1][1]) if met else None

    def forget(self) -> None:
        """Start again: the topic is another one, and ids may mean other schemas."""
        self._schemas.forget()
        self._made.clear()
        self._catalog, self._counted = (), set()

    def describe(self) -> str | None:
        """Say which schemas payloads have named, and how they are read; None before the first."""
        kinds: dict[str, dict[str, None]] = defaultdict(dict)
        notes: dict[str, None] = {}
        for key, document in self._schemas.met().items():
            kinds[document.kind][spelt(key[0]).removeprefix("schema ")] = None
            reader = self._reader_or_reason(Written(*key), document)
            if not isinstance(reader, str) and reader.note is not None:
                notes[reader.note] = None
        found = [f"{FORMAT_NAMES.get(kind, kind)} ({', '.join(names)})" for kind, names in kinds.items()]
        return "; ".join([", ".join(found), *notes]) if found else None


def _made(document: SchemaDocument, written: Written) -> BodyReader | JsonColumns | str:
    if written.is_malformed:
        return "what names the message of it is malformed"
    if document.kind == JSON:
        return JsonColumns(json_columns(document))
    if document.kind == PROTOBUF:
        return ProtobufReader(document, parse_indexes(written.message)[0])
    return AvroReader(document)


def _by_name(payloads: Sequence[bytes]) -> dict[bytes, Sequence[int]]:
    """Return the lines of ``payloads`` by what names their schema; by no bytes where nothing does."""
    # By as few bytes as an id takes first: that is all that most topics need.
    starts = [payload[:ID_BYTES] if payload and payload[0] <= LARGEST_MARK else b"" for payload in payloads]
    found: dict[bytes, list[int]] = defaultdict(list)
    if len(distinct := dict.fromkeys(starts)) == 1 and starts[0][:1] != b"\1":
        return {schema_name(starts[0]): range(len(payloads))}
    names = {start: schema_name(start) for start in distinct}
    for line, start in enumerate(starts):
        name = names[start] if start[:1] != b"\1" else schema_name(payloads[line])
        found[name].append(line)
    return dict(found)


def _by_message(name: bytes, rests: Sequence[bytes]) -> dict[Written, Sequence[int]]:
    """Return the indices of ``rests`` (what stands behind ``name``) by the message that they name."""
    if all(rest[:1] == FIRST_MESSAGE for rest in rests):
        return {Written(name, FIRST_MESSAGE): range(len(rests))}
    found: dict[Written, list[int]] = defaultdict(list)
    for index, rest in enumerate(rests):
        try:
            body = parse_indexes(rest)[1]
        except ValueError:
            found[Written(name, is_malformed=True)].append(index)
        else:
            found[Written(name, rest[: len(rest) - len(body)])].append(index)
    return dict(found)
