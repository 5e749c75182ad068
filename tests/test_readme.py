"""The README's examples: what it shows can be typed."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from support.waiting import wait_until

import ktframe
from ktframe._connect import default_context
from ktframe.config.sources import resolve_settings
from ktframe.current import CURRENT

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
def test_the_first_example_gives_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines that a newcomer copies work as they stand."""
    monkeypatch.setattr(CURRENT, "connection", None)
    names: dict[str, object] = {}
    try:
        exec(BLOCKS[0], names)  # noqa: S102 - our own text
        orders = names["orders"]
        assert isinstance(orders, ktframe.KTable)
        wait_until(lambda: len(orders) > 5_000, "rows")
    finally:
        default_context().close()


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_call_what_exists(block: str) -> None:
    """Every ``orders.x`` and ``ktframe.x`` of the examples is there."""
    tree = ast.parse(block.replace("await ", ""))
    used = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    owners = {"orders": ktframe.KTable, "ktframe": ktframe, "kt": ktframe.Context}
    assert [use for use in used if use[0] in owners and not hasattr(owners[use[0]], use[1])] == []


def test_the_configuration_example_is_understood(tmp_path: Path) -> None:
    """The TOML of the README gives the settings it describes."""
    (text,) = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    assert tomllib.loads(text)["default_profile"] == "dev"
    (tmp_path / "ktframe.toml").write_text(text)
    prod = resolve_settings(profile="prod", environ={}, cwd=tmp_path)
    assert (prod.bootstrap, prod.librdkafka["sasl.username"]) == ("kafka.example.com:9093", "ada")
    assert prod.tables["orders"].key == "order_id"


def test_the_documented_defaults_are_those_of_the_code() -> None:
    """table() has the parameters that the README names."""
    parameters = inspect.signature(ktframe.Context.table).parameters
    assert {"key", "key_format", "key_name", "value", "schema", "time", "store"} <= parameters.keys()
