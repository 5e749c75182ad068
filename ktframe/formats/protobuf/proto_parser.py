"""Parses ``.proto`` source text into Protobuf's own description of a file (``FileDescriptorProto``).

Needed because registries answer with source: Apicurio 3.0 and Redpanda before 25.2 also when they are asked for
``?format=serialized``. protoc can't read that source, because it refuses a missing import of options.

Reads all of proto2, proto3 and the editions that decides how messages are encoded. Other options, extensions and services
are skipped. Names of types are left as they are written: the descriptor pool resolves them, and refuses what is wrong.
Unlike protoc, this parser takes ``option map_entry``, which registries write in schemas that they got serialized.
"""

from __future__ import annotations

from typing import Any, Final

from ktframe.formats.protobuf.imports import google
from ktframe.formats.protobuf.proto_tokens import END, Cursor, SourceError, integer
from ktframe.formats.protobuf.tags import is_field_meta, options_with, tags_in_source

_SCALARS: Final = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "fixed64": 6, "fixed32": 7, "bool": 8, "string": 9,
    "bytes": 12, "uint32": 13, "sfixed32": 15, "sfixed64": 16, "sint32": 17, "sint64": 18,
}  # fmt: skip

_LABELS: Final = {"optional": 1, "required": 2, "repeated": 3}
_OPTIONAL, _REPEATED = 1, 3
_FLOATS, _TRUTH, _STRING, _GROUP, _MESSAGE, _BYTES = (1, 2), 8, 9, 10, 11, 12
_DEEPEST = 100


def parsed_source(source: str) -> Any:
    """Return the ``FileDescriptorProto`` of a ``.proto`` file, without a name.

    Raises
    ------
    SourceError
        When the text is not a ``.proto`` file.
    """
    return _Parser(source).file()


class _Parser(Cursor):
    """A recursive descent parser of one file."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._depth = 0
        self._descriptors = google("descriptor_pb2")
        self._is_proto3 = False

    # ------------------------------------------------------------------------------------------- files

    def file(self) -> Any:
        file = self._descriptors.FileDescriptorProto()
        while self.next != END:
            if self.took("syntax", "edition"):
                self._syntax(file)
            elif self.took("import"):
                self._import(file)
            elif self.took("package"):
                file.package = self.path()
                self.expect(";")
            elif self.took("service"):
                self.skip_statement()
            else:
                self._definition(file, file.message_type, file.enum_type)
        return file

    def _syntax(self, file: Any) -> None:
        self.expect("=")
        text = self.text().decode(errors="replace")
        self.expect(";")
        self._is_proto3 = text == "proto3"
        editions = self._descriptors.Edition
        if f"EDITION_{text}" in editions.keys():  # noqa: SIM118 - no mapping
            file.syntax, file.edition = "editions", editions.Value(f"EDITION_{text}")
        elif text in {"proto2", "proto3"}:
            file.syntax = text
        else:
            message = f"syntax {text!r} is not known"
            raise SourceError(message)

    def _import(self, file: Any) -> None:
        if self.took("option"):  # edition 2024: an import of options alone
            self.skip_statement()
            return
        if self.took("public"):
            file.public_dependency.append(len(file.dependency))
        else:
            self.took("weak")
        file.dependency.append(self.text().decode(errors="replace"))
        self.expect(";")

    def _definition(self, owner: Any, messages: Any, enums: Any) -> bool:
        """Read a definition that a file and a message may have; return False where a message has something else."""
        if self.took(";"):
            return True
        if self.next in {"export", "local"} and self.ahead(1) in {"message", "enum"}:
            self.take()
        if self.next == "message" and self.ahead(2) == "{":
            self.take()
            self._message(messages.add(name=self.of_kind("word")))
        elif self.next == "enum" and self.ahead(2) == "{":
            self.take()
            self._enum(enums.add(name=self.of_kind("word")))
        elif self.next == "extend":
            self._extend(messages)
        elif self.took("option"):
            name = self._option_name()
            self.expect("=")
            self._set_option(owner.options, name, self._constant())
            self.expect(";")
        elif hasattr(owner, "dependency"):
            self.fail("a definition")
        else:
            return False
        return True

    def _extend(self, messages: Any) -> None:
        """Read extensions and keep only the messages that groups among them define."""
        self.take()
        self.path()
        self.expect("{")
        extensions = self._descriptors.DescriptorProto()
        while not self.took("}"):
            if not self.took(";"):
                self._field(extensions, None)
        messages.extend(extensions.nested_type)

    # ---------------------------------------------------------------------------------------- messages

    def _message(self, message: Any) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            reason = f"messages inside of messages, deeper than {_DEEPEST} levels"
            raise SourceError(reason)
        self.expect("{")
        while not self.took("}"):
            if (self.next in {"reserved", "extensions"} and self.kind_ahead(1) != "word") or (
                self.next == "reserved" and self.ahead(2) in {",", ";"}
            ):
                self.skip_statement()
            elif self.next == "oneof" and self.ahead(2) == "{":
                self._oneof(message)
            elif not self._definition(message, message.nested_type, message.enum_type):
                self._field(message, None)
        self._synthetic_oneofs(message)
        self._depth -= 1

    def _oneof(self, message: Any) -> None:
        self.take()
        index = len(message.oneof_decl)
        message.oneof_decl.add(name=self.of_kind("word"))
        self.expect("{")
        while not self.took("}"):
            if self.next == "option":
                self.skip_statement()
            elif not self.took(";"):
                self._field(message, index)

    def _field(self, message: Any, oneof: int | None) -> None:
        field = message.field.add(label=_OPTIONAL)
        if self.next in _LABELS:
            field.label = _LABELS[self.take().text]
            field.proto3_optional = self._is_proto3 and field.label == _OPTIONAL
        if not field.proto3_optional:
            field.ClearField("proto3_optional")
        if oneof is not None:
            field.oneof_index = oneof
        entry = None
        if self.next == "map" and self.ahead(1) == "<":
            entry = self._map_types(message)
            field.label = _REPEATED
        is_group = entry is None and self.next == "group" and self.ahead(2) == "="
        if is_group:
            self.take()
        elif entry is None:
            self._set_type(field)
        field.name = self.of_kind("word")
        if entry is not None:
            entry.name = _entry_name(field.name)
            field.type, field.type_name = _MESSAGE, entry.name
        self.expect("=")
        field.number = self.integer()
        if self.took("["):
            self._field_options(field)
        if is_group:
            field.type, field.type_name = _GROUP, field.name
            self._message(message.nested_type.add(name=field.name))
            field.name = field.name.lower()
        else:
            self.expect(";")

    def _set_type(self, field: Any) -> None:
        name = self.path()
        if name in _SCALARS:
            field.type = _SCALARS[name]
        else:
            field.type_name = name

    def _map_types(self, message: Any) -> Any:
        self.take()
        entry = message.nested_type.add()
        entry.options.map_entry = True
        self.expect("<")
        self._set_type(entry.field.add(name="key", number=1, label=_OPTIONAL))
        self.expect(",")
        self._set_type(entry.field.add(name="value", number=2, label=_OPTIONAL))
        self.expect(">")
        return entry

    def _synthetic_oneofs(self, message: Any) -> None:
        """Give each ``optional`` field of proto3 a oneof of its own, as protoc does: that gives it presence."""
        taken = {field.name for field in message.field} | {oneof.name for oneof in message.oneof_decl}
        for field in message.field:
            if field.proto3_optional:
                name = f"_{field.name}"
                while name in taken:
                    name = f"X{name}"
                taken.add(name)
                field.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=name)

    def _enum(self, enum: Any) -> None:
        self.expect("{")
        while not self.took("}"):
            if self.took(";"):
                continue
            if self.next == "reserved" and self.ahead(1) != "=":
                self.skip_statement()
            elif self.next == "option" and self.ahead(1) != "=":
                self._definition(enum, None, None)
            else:
                value = enum.value.add(name=self.of_kind("word"))
                self.expect("=")
                value.number = self.integer()
                if self.next == "[":
                    self.skip_brackets()
                self.expect(";")

    # ----------------------------------------------------------------------------------------- options

    def _field_options(self, field: Any) -> None:
        while not self.took("]"):
            name = self._option_name()
            self.expect("=")
            if is_field_meta(name):
                field.options.MergeFromString(options_with(tags_in_source(name, self.skip_brackets())))
                self.took(",")
                continue
            value = self._constant()
            if name == "default":
                field.default_value = self._default(field, value)
            elif name == "json_name":
                field.json_name = value.decode(errors="replace") if isinstance(value, bytes) else ""
            else:
                self._set_option(field.options, name, value)
            self.took(",")

    def _option_name(self) -> str:
        parts = []
        while self.next not in {"=", END}:
            parts.append(self.take().text)
        return "".join(parts)

    def _constant(self) -> Any:
        """Read the value of an option: text as bytes, numbers and words as str, ``{...}`` as a dict, a list as None."""
        if self.kind == "string":
            return self.text()
        if self.next == "{":
            return self._aggregate()
        if self.next == "[":
            self.skip_brackets()
            return None
        sign = "-" if self.took("-") else ""
        self.took("+")
        return sign + (self.path() if self.kind == "word" else self.of_kind("number"))

    def _aggregate(self) -> dict[str, Any]:
        words = [text for text in self.skip_brackets()[1:-1] if text not in {",", ";"}]
        # Only pairs of a name and a word: features need no more.
        return {words[at]: words[at + 2] for at in range(0, len(words) - 2, 3) if words[at + 1] == ":"}

    def _set_option(self, options: Any, name: str, value: Any) -> None:
        if name == "features" and isinstance(value, dict):
            for inner, feature_value in value.items():
                self._set_option(options, f"features.{inner}", feature_value)
        elif name.startswith("features."):
            feature = self._descriptors.FeatureSet.DESCRIPTOR.fields_by_name.get(
                name.removeprefix("features.")
            )
            known = {} if feature is None or feature.enum_type is None else feature.enum_type.values_by_name
            if isinstance(value, str) and value in known:
                setattr(options.features, feature.name, known[value].number)
        elif name in {"packed", "map_entry", "allow_alias", "message_set_wire_format"} and hasattr(
            options, name
        ):
            setattr(options, name, value == "true")

    def _default(self, field: Any, value: Any) -> str:
        if isinstance(value, bytes):
            is_bytes = field.type == _BYTES
            return str(
                google("text_encoding").CEscape(value, False) if is_bytes else value.decode(errors="replace")
            )
        text = str(value)
        if field.type in {0, _STRING, _TRUTH} or text.lstrip("-") in {"inf", "nan"}:
            return text
        try:
            sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
            return sign + (str(_number(digits)) if field.type in _FLOATS else str(integer(digits)))
        except ValueError:
            return text  # the name of an enum's value, or an error that the pool finds


def _number(text: str) -> float:
    return float(integer(text)) if text[:2] in {"0x", "0X"} else float(text.rstrip("fF"))


def _entry_name(field: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in field.split("_")) + "Entry"
