"""The test registry keeps its promises, and Confluent's client finds in it what ktframe assumes of a registry."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from support.schema_registry import SchemaRegistry
from support.waiting import wait_until

TESTS = Path(__file__).parents[1]

Client = Callable[..., SchemaRegistryClient]

MONEY = 'syntax = "proto3";\npackage shop;\n\nmessage Money {\n  int64 cents = 1;\n}\n'
ORDER = (
    'syntax = "proto3";\npackage shop;\n\nimport "money.proto";\nimport "google/protobuf/timestamp.proto";\n\n'
    "message Order {\n  Money total = 1;\n  google.protobuf.Timestamp at = 2;\n}\n"
)


def record(name: str, **types: object) -> str:
    """Return the Avro schema of a record."""
    fields = [{"name": field, "type": type_} for field, type_ in types.items()]
    return json.dumps({"type": "record", "name": name, "namespace": "shop", "fields": fields})


def error_of(call: Callable[[], object]) -> tuple[int, int]:
    """Return the HTTP status and the registry's own code of the error that a call raises."""
    with pytest.raises(SchemaRegistryError) as raised:
        call()
    return raised.value.http_status_code, raised.value.error_code


@pytest.fixture
def client() -> Iterator[Client]:
    """Return a function that makes clients, which have cached nothing yet and are closed when the test is over."""
    made: list[SchemaRegistryClient] = []

    def make(registry: SchemaRegistry, user: str | None = None, **choice: str) -> SchemaRegistryClient:
        made.append(SchemaRegistryClient({**registry.settings(user, **choice), "timeout": 10}))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def guarded() -> Iterator[SchemaRegistry]:
    """Yield a registry that asks for users and passwords."""
    with SchemaRegistry(guarded=True) as registry:
        yield registry


def test_an_id_belongs_to_a_text(registry: SchemaRegistry, client: Client, topic: Callable[..., str]) -> None:
    """One text has one id, in every subject and however often it is registered; another text has another."""
    one, two = f"{topic()}-value", f"{topic()}-value"
    text, other = record("Id", a="int"), record("Id", a="long")

    first = client(registry).register_schema(one, Schema(text, "AVRO"))

    assert client(registry).register_schema(one, Schema(text, "AVRO")) == first
    assert client(registry).register_schema(two, Schema(text, "AVRO")) == first
    assert client(registry).register_schema(one, Schema(other, "AVRO")) != first
    assert client(registry).get_schema(first).schema_str == text


def test_versions_and_the_latest(registry: SchemaRegistry, client: Client, topic: Callable[..., str]) -> None:
    """Versions count from one per subject, the latest is the last, and a text is found in its version."""
    subject = f"{topic()}-value"
    texts = [record("Versions", a="int"), record("Versions", a="long")]
    ids = [client(registry).register_schema(subject, Schema(text, "AVRO")) for text in texts]

    latest = client(registry).get_latest_version(subject)
    found = client(registry).lookup_schema(subject, Schema(texts[0], "AVRO"))

    assert client(registry).get_versions(subject) == [1, 2]
    assert (latest.version, latest.schema_id, latest.schema.schema_str) == (2, ids[1], texts[1])
    assert (found.version, found.schema_id, found.subject) == (1, ids[0], subject)
    assert subject in client(registry).get_subjects()


@pytest.mark.parametrize(
    ("kind", "part", "whole", "name"),
    [
        ("AVRO", record("Part", a="int"), record("Whole", part="shop.Part"), "shop.Part"),
        ("PROTOBUF", MONEY, ORDER, "money.proto"),
        (
            "JSON",
            '{"$id": "http://shop/part.json", "type": "object", "properties": {"a": {"type": "integer"}}}',
            '{"type": "object", "properties": {"part": {"$ref": "http://shop/part.json"}}}',
            "http://shop/part.json",
        ),
    ],
    ids=["avro", "protobuf", "json"],
)
def test_references(
    registry: SchemaRegistry,
    client: Client,
    topic: Callable[..., str],
    kind: str,
    part: str,
    whole: str,
    name: str,
) -> None:
    """Of each kind, a schema comes back by its id as it was written, with references that can be followed."""
    part_subject, subject = topic("part"), f"{topic()}-value"
    client(registry).register_schema(part_subject, Schema(part, kind))
    reference = SchemaReference(name, part_subject, 1)
    written = client(registry).register_schema(subject, Schema(whole, kind, [reference]))

    read = client(registry).get_schema(written)
    (followed,) = read.references

    assert (read.schema_type, read.schema_str) == (kind, whole)
    assert (followed.name, followed.subject, followed.version) == (name, part_subject, 1)
    assert client(registry).get_version(followed.subject, followed.version).schema.schema_str == part
    assert client(registry).get_latest_version(subject).schema.references == read.references


def test_unknown_things_have_codes(
    registry: SchemaRegistry, client: Client, topic: Callable[..., str]
) -> None:
    """An unknown subject, version, id or text is a 404, each with its own code."""
    subject, unknown = f"{topic()}-value", f"{topic()}-value"
    reader = client(registry)
    reader.register_schema(subject, Schema(record("Known", a="int"), "AVRO"))

    assert error_of(lambda: reader.get_latest_version(unknown)) == (404, 40401)
    assert error_of(lambda: reader.get_version(subject, 7)) == (404, 40402)
    assert error_of(lambda: reader.get_schema(1_000_000)) == (404, 40403)
    assert error_of(lambda: reader.lookup_schema(subject, Schema('"int"', "AVRO"))) == (404, 40403)
    assert error_of(lambda: reader.register_schema(subject, Schema('{"type": "no"}', "AVRO"))) == (422, 42201)


def test_guids_are_unknown_to_this_registry(
    registry: SchemaRegistry, client: Client, topic: Callable[..., str]
) -> None:
    """Unlike Confluent's registry of 2025 and later, this one gives no guid and finds none."""
    subject = f"{topic()}-value"
    client(registry).register_schema(subject, Schema(record("Guid", a="int"), "AVRO"))

    assert client(registry).get_latest_version(subject).guid is None
    guid = "6f1b7f1e-0000-4000-8000-000000000000"
    assert error_of(lambda: client(registry).get_schema_by_guid(guid)) == (404, -1)


def test_an_incompatible_schema_is_refused(
    registry: SchemaRegistry, client: Client, topic: Callable[..., str]
) -> None:
    """A subject with a compatibility refuses what breaks it, and says so beforehand."""
    subject = f"{topic()}-value"
    writer = client(registry)
    writer.register_schema(subject, Schema(record("Strict", a="int"), "AVRO"))
    writer.set_compatibility(subject, "BACKWARD")
    breaking = Schema(record("Strict", a="int", b="string"), "AVRO")

    assert not writer.test_compatibility(subject, breaking)
    assert error_of(lambda: writer.register_schema(subject, breaking)) == (409, 409)


def test_schemas_and_ids_survive_a_restart_and_a_kill(
    registry: SchemaRegistry, client: Client, topic: Callable[..., str]
) -> None:
    """What was acknowledged is there after the next start, under the same address and the same id."""
    subject = f"{topic()}-value"
    url, pid = registry.url, registry.pid
    ids = [client(registry).register_schema(subject, Schema(record("Kept", a="int"), "AVRO"))]
    registry.restart()
    ids.append(client(registry).register_schema(subject, Schema(record("Kept", a="long"), "AVRO")))
    registry.kill()
    registry.start()

    read = [json.loads(client(registry).get_schema(id_).schema_str) for id_ in ids]

    assert [schema["fields"][0]["type"] for schema in read] == ["int", "long"]
    assert client(registry).get_versions(subject) == [1, 2]
    assert registry.url == url
    assert registry.pid != pid


def test_registry_dies_with_its_parent() -> None:
    """A test process that is killed leaves neither a registry nor its data behind."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from support.schema_registry import SchemaRegistry\n"
        "registry = SchemaRegistry(); registry.start()\n"
        "print(registry.pid, registry._dir, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(TESTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        assert psutil.pid_exists(int(pid))
        os.kill(parent.pid, signal.SIGKILL)

    wait_until(lambda: not psutil.pid_exists(int(pid)), "the orphaned registry to end")
    wait_until(lambda: not Path(directory).exists(), "the orphaned data to be removed")


def test_a_guarded_registry_asks_who_it_is(
    guarded: SchemaRegistry, client: Client, topic: Callable[..., str]
) -> None:
    """Nobody and a wrong password get a 401, the reader reads and gets a 403 for writing, the writer writes."""
    subject, schema = f"{topic()}-value", Schema(record("Guarded", a="int"), "AVRO")
    nobody = client(guarded)
    wrong = client(guarded, "reader", password="wrong")
    reader = client(guarded, "reader")
    writer = client(guarded, "writer")

    written = writer.register_schema(subject, schema)

    assert error_of(nobody.get_subjects) == (401, -1)
    assert error_of(lambda: wrong.get_schema(written)) == (401, -1)
    assert error_of(lambda: reader.register_schema(topic(), schema)) == (403, -1)
    assert reader.get_schema(written).schema_str == schema.schema_str
    assert reader.get_latest_version(subject).schema_id == written
