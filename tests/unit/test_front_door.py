"""The functions of the package: what they take is spelt out, equal to the Context's, and misspelt names are told."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import ktframe
from ktframe.config.options import ConnectOptions
from ktframe.config.settings import RetryPolicy, Settings, StoreOptions, TableDeclaration
from ktframe.config.sources import resolve_settings
from ktframe.context.context import Context

FUNCTIONS = ("inspect", "publish", "stream", "table", "topics")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_what_the_method_of_the_context_takes(name: str) -> None:
    """The face and the Context can't drift apart: names, kinds, defaults and types are equal."""
    face = inspect.signature(getattr(ktframe, name))
    method = inspect.signature(getattr(Context, name))
    parameters = [each for each in method.parameters.values() if each.name != "self"]
    assert list(face.parameters.values()) == parameters
    assert face.return_annotation == method.return_annotation


@pytest.mark.parametrize("name", [*FUNCTIONS, "connect", "demo"])
def test_a_function_describes_every_parameter_it_has(name: str) -> None:
    """``ktframe.table?`` shows what each argument is for, what comes back and what is raised."""
    function = getattr(ktframe, name)
    text = inspect.getdoc(function) or ""
    parameters = inspect.signature(function).parameters
    assert not {each.kind for each in parameters.values()} & {inspect.Parameter.VAR_POSITIONAL}
    described = text.partition("Returns\n---")[0]
    assert [each for each in parameters if each not in described] == []
    assert all(f"{part}\n---" in text for part in ("Returns", "Raises"))


def test_connect_spells_out_every_setting() -> None:
    """What editors offer for ``connect`` is what it knows at run time."""
    settings = {each.name for each in fields(Settings)}
    flat = {f"store_{each.name}" for each in fields(StoreOptions)}
    flat |= {f"retry_{each.name}" for each in fields(RetryPolicy)}
    missing = {*settings, *flat, "config"} - set(ConnectOptions.__annotations__)
    assert missing == set()


VALUES: dict[str, Any] = {
    "tables": {"orders": TableDeclaration("orders")},
    "store": StoreOptions(),
    "bootstrap": "host:9092",
    "store_backend": "memory",
    "store_compression": "none",
    "retry": RetryPolicy(),
    "retry_initial_delay": 1,
    "retry_max_delay": 60,
    "schema_registry": "http://registry",
    "schema_registry_url": "http://registry",
    "writable": True,
    "log_level": "INFO",
    "config": {"client.id": "x"},
    "librdkafka": {"client.id": "x"},
    "oauth_cb": print,
    "on_refused": "raise",
    "stale": "show",
    "state_dir": "stores",
    "enable_ssl_certificate_verification": False,
}


@pytest.mark.parametrize("name", sorted(set(ConnectOptions.__annotations__) - {"profile"}))
def test_every_option_of_connect_is_known_at_run_time(name: str, tmp_path: Path) -> None:
    """No name that editors offer is refused."""
    number = "interval" in name or "timeout" in name or name.startswith(("store_", "retry_"))
    options = {name: VALUES.get(name, 5 if number else "text")}
    if name.startswith("schema_registry_"):
        options["schema_registry"] = "http://registry"
    address = None if name == "bootstrap" else "host:9092"
    assert resolve_settings(address, environ={}, cwd=tmp_path, **options).bootstrap == "host:9092"


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: ktframe.table("orders", kye="order_id"), "did you mean 'key'"),
        (lambda: ktframe.stream("orders", strat="-2h"), "did you mean 'start'"),
        (lambda: ktframe.publish("orders", [], keys="id"), "did you mean 'key'"),
        (lambda: ktframe.inspect("orders", samples=5), "did you mean 'sample'"),
        (lambda: ktframe.demo(rat=5), "did you mean 'rate'"),
        (lambda: ktframe.connect("h:9092", monitr_interval=3), "did you mean 'monitor_interval'"),
        (lambda: ktframe.connect("h:9092", flush_interval=3), "did you mean 'store_flush_interval'"),
        (lambda: Context.table(None, "orders", kye="order_id"), "did you mean 'key'"),
        (lambda: ktframe.KTable.window(None, 5, evry=1), "did you mean 'every'"),
        (lambda: ktframe.KStream.session(None, 5, gracee=1), "did you mean 'grace'"),
        (lambda: ktframe.entity(topic="orders", keys="id"), "did you mean 'key'"),
    ],
)
def test_a_misspelt_argument_is_told(call: Callable[[], object], hint: str) -> None:
    """The error names the argument that was meant."""
    with pytest.raises(ktframe.ConfigurationError, match=hint):
        call()


def test_types_of_the_face_can_be_resolved() -> None:
    """Annotations are real names: tools that evaluate them get types."""
    for name in FUNCTIONS:
        assert typing.get_type_hints(getattr(ktframe, name))
