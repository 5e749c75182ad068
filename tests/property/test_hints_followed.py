"""What reads say of refused records, followed as often as they say something, ends with no record refused."""

from __future__ import annotations

import ast
import re
import warnings
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.hinted import Met, evaluated

import ktframe
from ktframe.testing import FakeBroker

_ROUNDS = 6

fields = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from([1, 2, "x", 0.5, None]),
        "v": st.sampled_from([1, "x", [1], {"a": 1}, {"a": "x"}, 2**64]),
        "at": st.sampled_from(["2024-01-31T12:00:00", "soon", 1_706_702_400_000, 0.5]),
    },
)
keys = st.sampled_from(["a", "b", None, b"\xff"])
values = fields | st.sampled_from([b"{broken", b"[1]", b"\xff", None])
arguments_given = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from(["id", ["id", "v"]]),
        "time": st.just("at"),
        "schema": st.sampled_from([{"v": int}, {"v": ktframe.Json}, {"at": str}]),
    },
)


def _said(rows: Any) -> str:
    """Read, and return which arguments the read names for its refused records."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            rows.to_polars()
        except ktframe.IncompleteError as error:
            texts = [f"refused\nHint: {error.hint}"]
        else:
            texts = [str(warning.message) for warning in caught]
    hint = next((text.rpartition("\nHint: ")[2] for text in texts if "refused" in text), "")
    return re.split(r" (?:on_refused|errors\(by)", hint)[0]


def _followed(kind: str, arguments: dict[str, Any], said: str) -> tuple[str, dict[str, Any]]:
    """Return what to ask for then: its arguments as well, or the call that has every record, if it names one."""
    found = Met()
    found.text = said
    for name in re.findall(r"without (\w+)=", said):
        arguments = {other: value for other, value in arguments.items() if other != name}
    named = found.arguments
    bytes_of_keys = {"key_format": named["key_format"]} if "key_format" in named else {}
    call = next((call for call in found.calls if call.startswith("ktframe.stream")), None)
    if call is not None:
        parsed = ast.parse(call, mode="eval").body
        assert isinstance(parsed, ast.Call)
        asked = {each.arg: ast.unparse(each.value) for each in parsed.keywords if each.arg}
        schema = {"schema": arguments["schema"]} if asked.pop("schema", None) else {}
        return "stream", {name: evaluated(code) for name, code in asked.items()} | schema | bytes_of_keys
    if "value" in named:  # as bytes, a value has no fields to declare
        return kind, {"value": named["value"], **bytes_of_keys}
    if " in schema=" in said:
        named["schema"] = evaluated("{" + said.partition("{")[2].partition(" in schema=")[0])
    schema = {**arguments.get("schema", {}), **named.get("schema", {})}
    return kind, {**arguments, **bytes_of_keys, **({"schema": schema} if schema else {})}


@examples(1)
@given(
    records=st.lists(st.tuples(keys, values), min_size=1, max_size=8),
    kind=st.sampled_from(["table", "stream"]),
    arguments=arguments_given,
)
def test_following_what_reads_say_ends_with_no_record_refused(
    records: list[tuple[Any, Any]], kind: str, arguments: dict[str, Any]
) -> None:
    """Round by round, whatever was refused and however it was asked for."""
    broker = FakeBroker()
    for key, value in records:
        broker.produce("t", key, value)
    if kind == "stream":
        arguments.pop("key", None)
    with broker.connect() as context:
        for _ in range(_ROUNDS):
            rows = getattr(context, kind)("t", **arguments)
            try:
                said = _said(rows)
            except ktframe.SchemaError as error:
                assert "no record of" in error.message  # noqa: PT017 - key= or time= names no field: another hint
                return
            if not said:
                break
            kind, arguments = _followed(kind, arguments, said)
        assert rows.errors().height == 0, (kind, arguments, said)
