"""Records that confluent-kafka's serializers encrypt, under schemas with rules in a registry in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from confluent_kafka.schema_registry import (
    Metadata,
    MetadataTags,
    Rule,
    RuleKind,
    RuleMode,
    RuleParams,
    RuleSet,
    Schema,
    SchemaRegistryClient,
)
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.schema_registry.rule_registry import RuleRegistry
from confluent_kafka.schema_registry.rules.encryption.encrypt_executor import (
    EncryptionExecutor,
    FieldEncryptionExecutor,
)
from confluent_kafka.schema_registry.rules.encryption.localkms.local_driver import LocalKmsDriver
from confluent_kafka.serialization import MessageField, SerializationContext

from ktframe.kafka.registry import RegistryClient

LocalKmsDriver.register()

_PARAMETERS = {
    "encrypt.kek.name": "kek",
    "encrypt.kms.type": "local-kms",
    "encrypt.kms.key.id": "key",
}


def encrypt_rule(*tags: str, kind: str = "ENCRYPT", disabled: bool = False) -> Rule:
    """Return a rule as Confluent's documentation has it; its parameters name a key."""
    return Rule(
        "encryptPII",
        None,
        RuleKind.TRANSFORM,
        RuleMode.WRITEREAD,
        kind,
        list(tags),
        RuleParams(_PARAMETERS),
        None,
        None,
        "ERROR,NONE",
        disabled,
    )


class EncryptingProducer:
    """Registers schemas with rules, and serializes records under them."""

    def __init__(self) -> None:
        self._config = {"url": f"mock://{uuid4()}"}
        self.client = SchemaRegistryClient.new_client(self._config)
        self._executors = RuleRegistry()  # those of the library's own are configured once a process
        for executor in (FieldEncryptionExecutor(), EncryptionExecutor()):
            self._executors.register_executor(executor)

    @property
    def registry(self) -> RegistryClient:
        """The client of ktframe for the same registry."""
        return RegistryClient(self._config, 5.0, client=self.client)

    def register(
        self,
        subject: str,
        text: str,
        kind: str = "AVRO",
        *,
        rules: list[Rule] | None = None,
        encoding_rules: list[Rule] | None = None,
        tags: Mapping[str, list[str]] | None = None,
    ) -> int:
        """Register a schema and return its id."""
        rule_set = None if rules is None and encoding_rules is None else RuleSet(None, rules, encoding_rules)
        metadata = None if tags is None else Metadata(MetadataTags(dict(tags)), None, None)
        return int(self.client.register_schema(subject, Schema(text, kind, [], metadata, rule_set)))

    def serialized(self, topic: str, kind: str, value: Any, *, message: Any = None) -> bytes:
        """Return a record's value under the newest schema of its topic, encrypted as its rules say."""
        config = {"auto.register.schemas": False, "use.latest.version": True}
        executors = {"rule_conf": {"secret": "a secret of the tests"}, "rule_registry": self._executors}
        if kind == "PROTOBUF":
            serializer: Any = ProtobufSerializer(message, self.client, config, **executors)
        else:
            text = self.client.get_latest_version(f"{topic}-value").schema.schema_str
            if kind == "AVRO":
                serializer = AvroSerializer(self.client, text, conf=config, **executors)
            else:
                serializer = JSONSerializer(text, self.client, conf=config, **executors)
        return bytes(serializer(value, SerializationContext(topic, MessageField.VALUE)))


def avro_schema(
    name: str, fields: Mapping[str, Any], tags: Mapping[str, list[str]] | None = None
) -> dict[str, Any]:
    """Return the Avro schema of a record, with tags beside its fields."""
    tagged = {field: {"confluent:tags": names} for field, names in (tags or {}).items()}
    return {
        "type": "record",
        "name": name,
        "namespace": "shop",
        "fields": [{"name": field, "type": kind, **tagged.get(field, {})} for field, kind in fields.items()],
    }


def as_text(schema: Any) -> str:
    """Return a schema as JSON text."""
    return json.dumps(schema)
