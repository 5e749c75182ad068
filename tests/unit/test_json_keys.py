"""Keys that are JSON: text, numbers and objects; which are refused, how they are asked for, and how they are written."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from ktframe.errors import SchemaError
from ktframe.explore.sample import guess_key_format
from ktframe.formats.json.scalars import as_objects, as_scalars, is_scalar
from ktframe.testing import FakeBroker


def _broker(*keys: bytes) -> FakeBroker:
    broker = FakeBroker()
    for number, key in enumerate(keys):
        broker.produce("t", key, {"n": number})
    return broker


def _keys(*keys: bytes) -> tuple[dict[Any, int], list[str]]:
    """Return the rows by key, and the reasons of the refused records."""
    with _broker(*keys).connect() as kt:
        table = kt.table("t", key_format="json", on_refused="ignore")
        return {key: row["n"] for key, row in table.items()}, table.errors()["reason"].to_list()


@pytest.mark.parametrize(
    ("keys", "rows", "dtype"),
    [
        ([b'"ann"', b'"bob"', b' "ann"\n', b'"\\u0062ob"'], {"ann": 2, "bob": 3}, pl.String),
        ([b"17", b"-1", b"17"], {17: 2, -1: 1}, pl.Int64),
        ([b"true", b"false"], {True: 0, False: 1}, pl.Boolean),
        ([b'""', b'"\\u0000"'], {"": 0, "\0": 1}, pl.String),
    ],
)
def test_a_key_is_the_value_that_it_is_in_json(keys: list[bytes], rows: dict[Any, int], dtype: Any) -> None:
    """However it is written."""
    assert _keys(*keys) == (rows, [])
    with _broker(*keys).connect() as kt:
        assert kt.table("t", key_format="json").to_polars().schema["key"] == dtype
        shown = kt.stream("t", key_format="json").to_polars(metadata="key")["key"]
        assert shown.dtype == dtype
        assert len(shown) == len(keys)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (b"42", "wanted String, found Int64"),
        (b"1.5", "wanted String, found Float64"),
        (b"true", "wanted String, found Boolean"),
        (b"null", "a JSON null, not an object"),
        (b'["ann"]', "a JSON list, not an object"),
        (b'"ann', "not JSON: "),
        (b'"ann","x":1', "not JSON: "),
        (b'"ann"}{"x":1', "not JSON: "),
        (b"ann", "not JSON: "),
        (b"", "empty value"),
        (b'{"id":1}', "a key with additional fields: id"),
    ],
)
def test_what_is_another_key_is_refused(odd: bytes, reason: str) -> None:
    """With the reason that is true of the bytes that were sent."""
    for keys in ([b'"ann"', odd, b'"bob"'], [odd, b'"ann"', b'"bob"']):
        rows, reasons = _keys(*keys)
        assert set(rows) == {"ann", "bob"}
        assert len(reasons) == 1
        assert reasons[0].startswith(f"key: {reason}")


@pytest.mark.parametrize(
    ("odd", "reason"), [(b"1.5", "a key can't be Float64"), (b"9" * 39, "integer out of the range")]
)
def test_a_number_that_can_be_no_key_is_refused(odd: bytes, reason: str) -> None:
    """Also where it is alone: no float identifies a row, and no integer of more digits than a Decimal has."""
    rows, reasons = _keys(odd)
    assert rows == {}
    assert reason in reasons[0]


JSON_KEYS = st.one_of(
    st.sampled_from(["a", "b", "", "1", 'q"']).map(json.dumps),
    st.integers(-3, 3).map(json.dumps),
    st.sampled_from(["null", "{", "1.5", "[1]"]),
)


@pytest.mark.slow
@examples(1)
@given(st.lists(JSON_KEYS, max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_a_table_of_json_keys_is_a_dictionary(texts: list[str], cuts: list[int]) -> None:
    """The commonest kind, of equally common ones that seen first, decides; it is no matter how records come in batches."""
    kinds = [
        type(value)
        for text in texts
        if text not in ("null", "{", "1.5", "[1]")
        for value in [json.loads(text)]
    ]
    wanted = max(kinds, key=lambda kind: (kinds.count(kind), -kinds.index(kind)), default=str)
    expected: dict[Any, int] = {}
    broker = FakeBroker()
    broker.create_topic("t")
    with broker.connect() as kt:
        table = kt.table("t", key_format="json", on_refused="ignore")
        for number, text in enumerate(texts):
            if number in cuts:
                table.to_polars()
            broker.produce("t", text.encode(), {"n": number})
            if text not in ("null", "{", "1.5", "[1]") and type(json.loads(text)) is wanted:
                expected[json.loads(text)] = number
        assert {key: row["n"] for key, row in table.items()} == expected
        assert table.errors().height == len(texts) - sum(type_is(text, wanted) for text in texts)


def type_is(text: str, kind: type) -> bool:
    """Say whether a key is JSON of that kind."""
    return text not in ("null", "{", "1.5", "[1]") and type(json.loads(text)) is kind


@given(st.lists(st.text() | st.integers() | st.booleans()))
def test_values_become_objects_and_back(values: list[Any]) -> None:
    """The object has the value, and the value is its text."""
    texts = [json.dumps(value).encode() for value in values]
    objects = as_objects(texts)
    assert [json.loads(text) for text in objects] == [{"value": value} for value in values]
    assert as_scalars(objects) == texts
    assert all(map(is_scalar, texts))


@given(st.binary(max_size=8) | st.text(alphabet='{}[]",:1 ntf').map(str.encode))
def test_what_is_no_value_stays_as_it_is(payload: bytes) -> None:
    """Only what is JSON by itself becomes an object of one field."""
    (found,) = as_objects([payload])
    if found is not payload:
        assert json.loads(found) == {"value": json.loads(payload)}


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_key_is_asked_for_as_frames_show_it() -> None:
    """A struct as a dict, whatever its order; a dict of other names is the key of no row."""
    keys = [b'{"id":%d,"r":"EU"}' % number for number in range(3)]
    with _broker(*keys).connect(writable=True) as kt:
        table = kt.table("t", key_format="json")
        for shown in table.to_polars()["key"]:
            assert table[shown]["key"] == shown
            assert shown in table
            assert table[tuple(shown.values())]["key"] == shown
            assert table.window("1d").get(shown).height == 1
        assert table.get({"r": "EU", "id": 1})["n"] == 1
        for other in ({"id": 1}, {"id": 1, "r": "EU", "x": 1}, {}, {"id": "1", "r": "EU"}):
            assert table.get(other) is None
            assert table.window("1d").get(other).height == 0
        table.delete({"id": 1, "r": "EU"})
        assert len(table) == 2


def test_a_struct_of_one_field_and_composite_keys_are_asked_for_in_both_ways() -> None:
    """By the value or a dict; by a tuple or a dict."""
    with _broker(b'{"id":1}').connect() as kt:
        table = kt.table("t", key_format="json")
        assert table.get(1) == table.get({"id": 1}) == {"key": {"id": 1}, "n": 0}
        by_field = kt.table("t", key=["n"])
        assert by_field.get(0) == by_field.get({"n": 0}) == {"n": 0}


# --- inspect and writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([b'"ann"', b'"bob"'], "json"),
        ([b'"ann"', b'"bob"', b"42"], "json"),
        ([b"1", b"2"], "string"),
        ([b"ann", b'"bob"'], "string"),
        ([b'"ann'], "string"),
        ([b'{"id":1}'], "json"),
        ([], None),
    ],
)
def test_json_in_quotes_is_recognised(keys: list[bytes], expected: str | None) -> None:
    """Numbers alone are text as well, which is the default."""
    assert guess_key_format(keys) == expected


def test_the_proposed_call_reads_the_keys() -> None:
    """``inspect`` names the format, with which ``get`` takes the text."""
    with _broker(b'"ann"', b'"bob"').connect() as kt:
        assert kt.inspect("t").suggestion == 'ktframe.table("t", key_format="json")'
        assert kt.table("t", key_format="json")["ann"]["n"] == 0


def test_keys_are_written_as_they_are_read() -> None:
    """As JSON text or numbers, where the topic's keys are such; an object stays one."""
    for first, key, expected in (
        (b'"ann"', "eve", b'"eve"'),
        (b"17", 18, b"18"),
        (b'{"id":1}', {"id": 2}, b'{"id":2}'),
    ):
        with _broker(first).connect(writable=True) as kt:
            table = kt.table("t", key_format="json")
            table.to_polars()
            sent = table.put({"key": key, "n": 5})
            assert sent["key"].to_list() == [expected]
            assert table[key]["n"] == 5


def test_publish_writes_one_column_as_a_value() -> None:
    """A null is no key."""
    with _broker(b'"ann"').connect(writable=True) as kt:
        rows = pl.DataFrame({"id": ["x", "y"], "n": [1, 2]})
        sent = kt.publish("t", rows, key="id", key_format="json", dry_run=True)
        assert sent["key"].to_list() == [b'"x"', b'"y"']
        with pytest.raises(SchemaError, match="a null can't be a key"):
            kt.publish("t", rows.with_columns(id=None), key="id", key_format="json")
