"""What a registry says of a schema's fields beyond their types: tags, and rules by which producers encrypt fields.

These are Confluent's data contracts. A rule of type ``ENCRYPT`` encrypts the text and bytes of the fields that have one of
its tags, or of all fields if it has none; one of type ``ENCRYPT_PAYLOAD`` encrypts the whole body. Tags stand beside a
field in the schema, or in the schema's metadata by a pattern of field names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

_FIELDS, _BODY = "ENCRYPT", "ENCRYPT_PAYLOAD"
_WILDCARDS: Final = re.compile(r"\*\*(?:\.\*)?|\*|\?")
_AS_REGEX: Final = {"?": r"[^.]", "*": r"[^.]*"}


@dataclass(frozen=True, slots=True)
class EncryptionRule:
    """A rule by which producers encrypt: the fields with one of ``tags`` (none: all fields), or the whole body."""

    name: str
    kind: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SchemaRules:
    """The rules of a schema that encrypt, and the tags in its metadata by pattern. Parameters of rules are not kept."""

    encryption: tuple[EncryptionRule, ...] = ()
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def tags_of(self, full_name: str) -> frozenset[str]:
        """Return the tags that the metadata gives to a field."""
        return frozenset(
            tag for pattern, tags in self.tags if _regex(pattern).fullmatch(full_name) for tag in tags
        )

    def encrypts(self, tags: Iterable[str]) -> bool:
        """Say whether producers encrypt the fields with these tags."""
        having = frozenset(tags)
        return any(
            rule.kind == _FIELDS and (not rule.tags or having & {*rule.tags}) for rule in self.encryption
        )

    @property
    def whole_body(self) -> EncryptionRule | None:
        """The rule by which bodies are encrypted as a whole."""
        return next((rule for rule in self.encryption if rule.kind == _BODY), None)

    def as_json(self) -> dict[str, Any]:
        """Return the rules as values that JSON can hold."""
        encryption = [[rule.name, rule.kind, rule.tags] for rule in self.encryption]
        return {"encryption": encryption, "tags": self.tags}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SchemaRules:
        """Return the rules of which ``as_json`` returned ``values``."""
        encryption = tuple(
            EncryptionRule(name, kind, tuple(tags)) for name, kind, tags in values["encryption"]
        )
        return cls(encryption, tuple((pattern, tuple(tags)) for pattern, tags in values["tags"]))


NO_RULES: Final = SchemaRules()


def tags_in(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the tags beside a field in an Avro schema or a JSON Schema."""
    tags = schema.get("confluent:tags")
    return (
        frozenset(filter(lambda tag: isinstance(tag, str), tags)) if isinstance(tags, list) else frozenset()
    )


def rules_of(rule_set: Mapping[str, Any] | None, metadata: Mapping[str, Any] | None) -> SchemaRules:
    """Return what counts of ``ruleSet`` and ``metadata`` as a registry's answer has them.

    A rule counts in whatever mode and environment: what it encrypts was not encrypted by who reads it here. Only one that is
    disabled does not.
    """
    rules = [*((rule_set or {}).get("domainRules") or ()), *((rule_set or {}).get("encodingRules") or ())]
    tags = (metadata or {}).get("tags") or {}
    return SchemaRules(
        tuple(
            EncryptionRule(str(rule.get("name") or ""), rule["type"], tuple(sorted(rule.get("tags") or ())))
            for rule in rules
            if rule.get("type") in (_FIELDS, _BODY) and not rule.get("disabled")
        ),
        tuple((pattern, tuple(sorted(names))) for pattern, names in sorted(tags.items())),
    )


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """A field of a schema.

    ``path`` are the names of the column and of the fields of structs in it; ``full_name`` is what patterns match;
    ``tags`` are those beside the field; ``is_text`` means text or bytes, which are what can be encrypted, also in lists.
    """

    path: tuple[str, ...]
    full_name: str
    tags: frozenset[str]
    is_text: bool


@dataclass(frozen=True, slots=True)
class FieldLabels:
    """What is known of the fields of one schema, by their path: their tags, and which of them are encrypted."""

    tags: Mapping[tuple[str, ...], tuple[str, ...]]
    encrypted: frozenset[tuple[str, ...]]


def labels_of(fields: Iterator[FieldFacts], rules: SchemaRules) -> FieldLabels:
    """Return the labels of ``fields``."""
    tags: dict[tuple[str, ...], dict[str, None]] = {}
    encrypted = set()
    for field in fields:
        having = field.tags | rules.tags_of(field.full_name)
        if having:
            tags.setdefault(field.path, {}).update(dict.fromkeys(sorted(having)))
        if field.is_text and rules.encrypts(having):
            encrypted.add(field.path)
    return FieldLabels({path: tuple(names) for path, names in tags.items()}, frozenset(encrypted))


@lru_cache(maxsize=1_024)
def _regex(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern: ``*`` and ``?`` stay inside a name, ``**`` goes on over dots."""
    parts, at = [], 0
    for match in _WILDCARDS.finditer(pattern):
        parts += [re.escape(pattern[at : match.start()]), _AS_REGEX.get(match.group(), ".*")]
        at = match.end()
    return re.compile("".join([*parts, re.escape(pattern[at:])]), re.DOTALL)
