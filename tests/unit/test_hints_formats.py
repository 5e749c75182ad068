"""Hints about formats and their schemas, and in the reasons of refused records, each followed: the records are rows."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.hinted import evaluated, hinted, met
from support.hints import Hint

import ktframe
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.json.validation import validator_of
from ktframe.formats.protobuf.imports import google
from ktframe.kafka.registry import RegistryClient
from ktframe.testing import FakeBroker, FakeRegistry

AVRO = '{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}'
PROTO = 'syntax="proto3"; message M { int64 n = 1; }'


def _broker(*records: tuple[Any, Any]) -> FakeBroker:
    broker = FakeBroker()
    for key, value in records:
        broker.produce("t", key, value)
    return broker


def _reasons(broker: FakeBroker, registry: Any = None, **given: Any) -> str:
    """Return the reasons of the records that a stream refuses."""
    with broker.connect(registry=registry) as context:
        return "\n".join(context.stream("t", on_refused="ignore", **given).errors()["reason"])


def _rows(broker: FakeBroker, registry: FakeRegistry | None = None, **given: Any) -> pl.DataFrame:
    with broker.connect(registry=registry) as context:
        return context.stream("t", on_refused="raise", **given).to_polars()


# --- declared schemas ---------------------------------------------------------------------------------------------


def test_a_schema_of_the_registry_needs_no_declaration() -> None:
    """Without it there are rows, and their columns can be cast."""
    registry = FakeRegistry()
    number = registry.register("t-value", AVRO)
    broker = _broker(("a", registry.prefix(number) + b"\2"))
    with hinted(Hint("formats/__init__.py", "leave schema= out, and cast columns of the frame.")):
        _rows(broker, registry, value="avro", schema={"n": pl.Int32})
    assert _rows(broker, registry, value="avro").cast({"n": pl.Int32})["n"].to_list() == [1]


@pytest.mark.parametrize("wrong", [pl.Decimal(40, 2), pl.Datetime("ms", "Nowhere")])
def test_a_type_that_no_column_has_is_read_as_text(wrong: pl.DataType) -> None:
    """The type of the hint takes the values, and the column can be cast."""
    broker = _broker(("a", b'{"v":1.25}'), ("b", b'{"v":"1.50"}'))
    hint = Hint("formats/json/format.py", "pl.String takes any value; cast the column of the frame.")
    with hinted(hint) as found:
        _rows(broker, schema={"v": wrong})
    rows = _rows(broker, schema={"v": evaluated(found.text.split()[0])})
    assert rows["v"].cast(pl.Float64).to_list() == [1.25, 1.5]


@pytest.mark.parametrize("wrong", [pl.Duration, pl.Binary])
def test_a_type_that_json_has_not_is_declared_as_the_one_it_has(wrong: Any) -> None:
    """Each type of the hint reads the values, and the column can be cast."""
    hint = Hint(
        "formats/json/values.py",
        "declare the type that is in the JSON, such as pl.String or pl.Int64, and cast later.",
    )
    broker = _broker(("a", b'{"v":5}'))
    with hinted(hint) as found:
        _rows(broker, schema={"v": wrong})
    for code in re.findall(r"pl\.\w+", found.text):
        rows = _rows(broker, schema={"v": evaluated(code)})
        assert rows["v"].cast(pl.Int64).cast(pl.Duration("ms")).null_count() == 0


def test_a_part_of_the_key_is_declared_as_the_hint_says() -> None:
    """Each type of the hint can be a key."""
    hint = Hint(
        "formats/json/format.py", "a key needs values that are exactly equal: String, Int64, Decimal..."
    )
    broker = _broker(("a", b'{"v":5}'))
    with broker.connect() as context:
        with hinted(hint) as found:
            context.table("t", key="v", schema={"v": pl.Float64}).to_polars()
        for name in re.findall(r"[A-Z]\w+", found.text):
            assert len(context.table("t", key="v", schema={"v": getattr(pl, name)})) == 1


# --- reasons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payloads", "wrong"),
    [
        (['{"v":18446744073709551615}'], pl.Int64),
        (['{"v":99999999999999999999}'], pl.Int64),
        (['{"v":' + "9" * 39 + "}"], None),
        (['{"v":1}', '{"v":"x"}'], None),
        (['{"v":0.125}'], pl.Decimal(12, 2)),
        (['{"v":{"a":1}}', '{"v":{"a":"x"}}'], None),
    ],
)
def test_a_field_is_declared_as_the_reason_says(payloads: list[str], wrong: Any) -> None:
    """The type that it names keeps the record, and so does ktframe.Json, all of them."""
    broker = _broker(*((str(number), payload.encode()) for number, payload in enumerate(payloads)))
    given = {} if wrong is None else {"schema": {"v": wrong}}
    found = met(Hint("formats/json/values.py", "; schema= can declare {}"), _reasons(broker, **given))
    special, _, general = found.parts[0].rpartition(", or for all values ")
    name, _, kind = general.partition(" as ")
    assert _rows(broker, schema={evaluated(name): evaluated(kind)}).height == len(payloads)
    if special:
        assert _rows(broker, schema={"v": evaluated(special)}).height == len(payloads)


@pytest.mark.parametrize(
    ("hint", "text", "wrong"),
    [
        (
            Hint(
                "formats/json/times.py",
                "a time with an offset: declare the field with a time zone, such as 'UTC'",
            ),
            "2024-01-31T12:00:00Z",
            None,
        ),
        (
            Hint("formats/json/times.py", "a time without an offset: declare the field without a time zone"),
            "2024-01-31T12:00:00",
            "UTC",
        ),
    ],
)
def test_a_time_is_declared_as_the_reason_says(hint: Hint, text: str, wrong: str | None) -> None:
    """With the time zone of the reason, or without one, the time is read."""
    broker = _broker(("a", {"v": text}))
    found = met(hint, _reasons(broker, schema={"v": pl.Datetime("ms", wrong)}))
    zone = found.quoted[0] if found.quoted else None
    assert _rows(broker, schema={"v": pl.Datetime("ms", zone)})["v"].null_count() == 0


@pytest.mark.parametrize("argument", ["value", "key_format"])
@pytest.mark.parametrize(
    ("hint", "payload", "wrong"),
    [
        (Hint("formats/plain.py", "{}; {} may be the right format"), b"\0\0\0\1", "long"),
        (Hint("formats/plain.py", "{}; {} may be the right format"), b"\0\0\0\0\0\0\0\1", "int"),
        (
            Hint("formats/plain.py", "{} that {} not UTF-8 text; {} may be the right format"),
            b"\xff",
            "string",
        ),
        (
            Hint("formats/plain.py", "{} that {} not UTF-8 text; {} may be the right format"),
            b"\0\0\0\xff",
            "string",
        ),
    ],
)
def test_a_format_that_may_be_right_reads_the_payload(
    argument: str, hint: Hint, payload: bytes, wrong: str
) -> None:
    """Each format of the reason does, of a value and of a key."""
    broker = _broker((payload, payload))
    others = {"value": "bytes", "key_format": "bytes"}
    found = met(hint, _reasons(broker, **{**others, argument: wrong}))
    names = re.findall(r"'(\w+)'", found.text.partition("; ")[2])
    assert names
    for name in names:
        assert _rows(broker, **{**others, argument: name}).height == 1


def _registered(role: str, *, rules: Any = None) -> tuple[FakeRegistry, FakeBroker]:
    """Return a registry and a broker with a record whose key or value is Protobuf."""
    registry = FakeRegistry()
    number = registry.register(f"t-{role}", PROTO, "PROTOBUF", rule_set=rules)
    payload = registry.prefix(number) + b"\0\x08\x05"
    return registry, _broker(("a", payload) if role == "value" else (payload, {"n": 1}))


@pytest.mark.parametrize(("role", "argument"), [("value", "value"), ("key", "key_format")])
def test_the_format_of_the_schema_is_passed_as_the_reason_says(role: str, argument: str) -> None:
    """The argument that it names reads keys, or values."""
    registry, broker = _registered(role)
    found = met(
        Hint("formats/body_readers.py", ": pass {}={}"), _reasons(broker, registry, **{argument: "avro"})
    )
    assert list(found.arguments) == [argument]
    assert _rows(broker, registry, **found.arguments).height == 1


@pytest.mark.parametrize("role", ["value", "key"])
def test_payloads_that_are_encrypted_as_a_whole_are_there_as_bytes(role: str) -> None:
    """The arguments of the reason give them as they were sent."""
    rule = {"name": "whole", "kind": "TRANSFORM", "type": "ENCRYPT_PAYLOAD", "mode": "WRITEREAD"}
    registry, broker = _registered(role, rules={"encodingRules": [rule]})
    hint = Hint(
        "formats/body_readers.py",
        "its payloads are encrypted as a whole, by the rule {}: value='bytes' (key_format='bytes' for a key) has them "
        "as they were sent",
    )
    found = met(hint, _reasons(broker, registry))
    argument = "value" if role == "value" else "key_format"
    assert _rows(broker, registry, **{argument: found.arguments[argument]}).height == 1


def test_the_registry_looks_a_schema_up() -> None:
    """With the argument of the reason the record is a row."""
    registry = FakeRegistry()
    number = registry.register("t-value", AVRO)
    broker = _broker(("a", registry.prefix(number) + b"\2"))
    hint = Hint(
        "formats/schemas.py",
        'names {}: connect(..., schema_registry="https://...") tells where to look it up',
    )
    found = met(hint, _reasons(broker))
    assert "schema_registry=" in found.calls[0]
    assert _rows(broker, registry).height == 1


def test_a_column_is_cast_to_be_written_as_a_float() -> None:
    """As the type of the reason it is written."""
    registry = FakeRegistry()
    registry.register("t-value", PROTO.replace("int64", "float"), "PROTOBUF")
    broker = _broker()
    broker.create_topic("t")
    rows = pl.DataFrame({"n": [0.1]})
    hint = Hint(
        "formats/protobuf/values.py", "{} has more digits than a float: cast the column to pl.Float32"
    )
    with broker.connect(registry=registry, writable=True) as context:
        with pytest.raises(ktframe.SchemaError) as raised:
            context.publish("t", rows)
        found = met(hint, str(raised.value))
        context.publish("t", rows.cast({"n": evaluated(found.text.split()[-1])}))
        assert context.stream("t").to_polars().height == 1


# --- packages that are not installed ------------------------------------------------------------------------------


def _avro() -> Any:
    registry = FakeRegistry()
    number = registry.register("t-value", AVRO)
    return _rows(_broker(("a", registry.prefix(number) + b"\2")), registry)


@pytest.mark.parametrize(
    ("hint", "package", "use"),
    [
        (Hint("formats/avro/batches.py", "pip install 'ktframe[avro]'"), "polars_avro", _avro),
        (
            Hint("formats/protobuf/imports.py", "pip install 'ktframe[protobuf]'"),
            "google.protobuf",
            lambda: google("message"),
        ),
        (
            Hint("formats/json/validation.py", "pip install 'ktframe[registry]'"),
            "jsonschema",
            lambda: validator_of(SchemaDocument("JSON", "{}")),
        ),
        (
            Hint("kafka/registry.py", "pip install 'ktframe[registry]'"),
            "confluent_kafka.schema_registry",
            lambda: RegistryClient({"url": "http://127.0.0.1:9"}, 0.1).latest("t-value"),
        ),
    ],
)
def test_the_extra_of_the_hint_has_the_package(
    monkeypatch: pytest.MonkeyPatch, hint: Hint, package: str, use: Callable[[], Any]
) -> None:
    """It is among those of the project, and brings the package that was missing."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, package, None)
        with hinted(hint) as found:
            use()
    [extra] = re.findall(r"ktframe\[(\w+)\]", found.text)
    required = " ".join(project["optional-dependencies"][extra])
    root = package.rsplit(".", maxsplit=1)[-1].replace("_", "")
    assert root in re.sub("[-_]", "", required)
