"""Known faults of connecting: what an error says of a cluster or a registry that is not as expected."""

import io
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fastavro
import pytest
from support import kafka_broker
from support.kafka_broker import KafkaBroker
from support.kafka_settings import BrokerPorts, Membership
from support.known_faults import known_fault, the_right_answer
from support.ports import HOST, free_ports

from ktframe.context.context import Context
from ktframe.errors import KtframeError
from ktframe.formats.base import Headers
from ktframe.testing import FakeBroker, FakeRegistry

Connect = Callable[..., Context]


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the address of a broker that answers there and names another, unknown host for everything else."""
    (port,) = free_ports(1)
    usual = kafka_broker.server_properties
    added = {
        "listeners": f",DOCKER://{HOST}:{port}",
        "advertised.listeners": ",DOCKER://kafka-1.invalid:29092",
        "listener.security.protocol.map": ",DOCKER:PLAINTEXT",
    }

    def properties(ports: BrokerPorts, log_dir: Path, member: Membership) -> str:
        lines = usual(ports, log_dir, member).splitlines()
        return "".join(f"{line}{added.get(line.partition('=')[0], '')}\n" for line in lines)

    monkeypatch.setattr(kafka_broker, "server_properties", properties)
    with KafkaBroker() as broker:
        broker.produce(broker.create_topic("orders"), [(b"a", b'{"x":1}')])
        yield f"{HOST}:{port}"


@pytest.mark.kafka
@known_fault("connections: an advertised address that can't be reached is not named by the error")
def test_an_advertised_address_that_is_unknown_is_named(docker: str, connect: Connect) -> None:
    """Where the bootstrap address answers and the one that the broker advertises does not, the error says which."""
    # Either question may be the one that goes to the address that can't be reached.
    with pytest.raises(KtframeError) as caught:
        connect("state", docker, request_timeout=3).table("orders").to_polars()
    with the_right_answer():
        assert "kafka-1.invalid" in str(caught.value) or "advertised" in str(caught.value)


SCHEMA = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": "id", "type": "int"}, {"name": "region", "type": "string"}],
}


def avro_body() -> bytes:
    """Return an order in Avro, without any framing."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(SCHEMA), {"id": 7, "region": "eu-central"})
    return buffer.getvalue()


@known_fault("connections: Avro framed for other registries than Confluent's is not recognized")
@pytest.mark.parametrize(
    ("before", "headers", "name"),
    [
        (b"\x03\x00" + uuid.UUID(int=5).bytes, None, "glue"),
        (b"\x00" + (1).to_bytes(8, "big"), None, "apicurio"),
        (b"", [("apicurio.value.globalId", (1).to_bytes(8, "big"))], "apicurio"),
        (b"", [("content-type", b"avro/binary+1234567890abcdef1234567890abcdef")], "azure"),
    ],
    ids=["Glue", "Apicurio, ids of 8 bytes", "Apicurio, headers", "Azure"],
)
def test_the_framing_of_another_registry_is_named(before: bytes, headers: Headers, name: str) -> None:
    """Records are read, or a reason names the registry that they were framed for."""
    broker = FakeBroker()
    for number in range(30):
        broker.produce("t", str(number), before + avro_body(), headers=headers)
    registry = FakeRegistry()
    registry.register("t-value", json.dumps(SCHEMA))
    with broker.connect(registry=registry) as context:
        tables = [
            context.table("t", on_refused="ignore"),
            context.table("t", value="avro", on_refused="ignore"),
        ]
        rows = max(table.to_polars().height for table in tables)
        # Not the list of headers, where the name of a header may be that of a registry.
        seen = [line for line in str(context.inspect("t")).splitlines() if not line.startswith("headers: ")]
        told = [*seen, *(str(table.errors()["reason"].to_list()) for table in tables)]
    with the_right_answer():
        assert rows == 30 or name in " ".join(told).lower()
