"""Tags in the options of a Protobuf field: Confluent's ``(confluent.field_meta).tags``, encoded and in source text.

Options are read and written as bytes, because a schema may be without the file that defines this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import takewhile
from typing import Any, Final

from ktframe.formats.protobuf.imports import google
from ktframe.formats.protobuf.proto_tokens import unquoted

_PACKAGE: Final = "ktframe.internal"
_META, _TAGS = 1088, 3
"""The numbers of ``field_meta`` among the options of a field, and of the tags in it."""
_STRING, _MESSAGE, _OPTIONAL, _REPEATED = 9, 11, 1, 3
_IN_LIST: Final = frozenset({":", "[", ","})


@cache
def _options() -> Any:
    """Return the class of the options of a field, of which only the tags are known."""
    file = google("descriptor_pb2").FileDescriptorProto(
        name="ktframe/options.proto", package=_PACKAGE, syntax="proto2"
    )
    meta, options = (file.message_type.add(name=name) for name in ("Meta", "Options"))
    meta.field.add(name="tags", number=_TAGS, type=_STRING, label=_REPEATED)
    field = options.field.add(name="meta", number=_META, type=_MESSAGE, label=_OPTIONAL)
    field.type_name = f".{_PACKAGE}.Meta"
    pool = google("descriptor_pool").DescriptorPool()
    pool.Add(file)
    return google("message_factory").GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Options"))


def tags_in_options(options: bytes) -> frozenset[str]:
    """Return the tags in the encoded options of a field."""
    return frozenset(_options().FromString(options).meta.tags) if options else frozenset()


def options_with(tags: Iterable[str]) -> bytes:
    """Return encoded options that have these tags."""
    options = _options()()
    options.meta.tags.extend(tags)
    return bytes(options.SerializeToString())


def is_field_meta(option: str) -> bool:
    """Say whether the name of an option, without spaces, is that of ``field_meta`` or of the tags in it."""
    return option.replace("(.", "(") in {"(confluent.field_meta)", "(confluent.field_meta).tags"}


def tags_in_source(option: str, value: Sequence[str]) -> list[str]:
    """Return the tags in the tokens of the value of an option for which ``is_field_meta`` holds."""
    words = value if option.endswith(".tags") else list(_after_tags(value[1:-1]))
    return [unquoted(word).decode(errors="replace") for word in words if word[:1] in {"'", '"'}]


def _after_tags(words: Sequence[str]) -> Iterator[str]:
    """Yield the tokens of the values of ``tags``, at the top of an aggregate without its braces."""
    depth = 0
    for at, word in enumerate(words):
        depth += (word in {"{", "<", "["}) - (word in {"}", ">", "]"})
        if word == "tags" and depth == 0:
            yield from takewhile(lambda word: word in _IN_LIST or word[:1] in {"'", '"'}, words[at + 1 :])
