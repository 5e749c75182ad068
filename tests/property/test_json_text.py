"""Columns of JSON text against payloads that were put together from the text of each field."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given
from support.examples import examples

from ktframe.formats.base import Decoded
from ktframe.formats.json.format import JsonFormat

pytestmark = pytest.mark.usefixtures("few_as_many")

EMPTY = pl.Schema()
JSON_TEXT = JsonFormat(pl.Schema({"v": pl.String()}), json_fields=frozenset({"v"}))
TEXT = JsonFormat(pl.Schema({"v": pl.String()}))

numbers = st.sampled_from(
    [
        *("0", "-0", "1", "1.10", "1.0E+2", "-2.5e-3", "1e400", "18446744073709551616", "9" * 400),
        *("0.1000000000000000055511151231257827", "9007199254740993.0"),
    ]
)
strings = st.sampled_from(
    ['""', '"x"', '"12"', '"null"', '"{}"', '"a\\"b\\\\"', '"\\u00e9\\/"', '"é☃"', '"\\n"', '"\\ud83d\\ude00"', '"\\u0000"']
)  # fmt: skip
spaces = st.sampled_from(["", "", " ", "\n", "\t ", "\r\n"])
names = st.sampled_from(['"a"', '"\\u0061b"', '"é"', '""', '"v"'])


@st.composite
def _lists(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    inside = [f"{draw(spaces)}{item}{draw(spaces)}" for item in draw(st.lists(items, max_size=3))]
    return f"[{','.join(inside)}]"


@st.composite
def _objects(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    pairs = draw(st.lists(st.tuples(names, items), max_size=3))
    return (
        "{"
        + draw(spaces)
        + ",".join(f"{name}{draw(spaces)}:{draw(spaces)}{item}" for name, item in pairs)
        + "}"
    )


texts = st.recursive(
    numbers | strings | st.sampled_from(["true", "false", "null"]),
    lambda items: _lists(items) | _objects(items),
    max_leaves=6,
)
others = st.sampled_from(["1", "2", "0.5", '"x"', "null", '{"n":1}', '[{"n":null}]', "9007199254740993"])


@st.composite
def records(draw: st.DrawFn) -> tuple[str | None, bytes, bytes]:
    """Return the text of a field (None: it is absent), a payload with that field, and the payload without it."""
    text = draw(st.none() | texts)
    pairs = [(name, draw(others)) for name in draw(st.lists(st.sampled_from(["a", "b", "w"]), unique=True))]
    name = draw(st.sampled_from(["v", "\\u0076"]))
    at = draw(st.integers(0, len(pairs)))
    with_field = pairs if text is None else [*pairs[:at], (name, text), *pairs[at:]]
    return text, draw(_payload(with_field)), draw(_payload(pairs))


@st.composite
def _payload(draw: st.DrawFn, pairs: list[tuple[str, str]]) -> bytes:
    inside = [
        f'{draw(spaces)}"{name}"{draw(spaces)}:{draw(spaces)}{text}{draw(spaces)}' for name, text in pairs
    ]
    return f"{draw(spaces)}{{{','.join(inside)}}}{draw(spaces)}".encode()


def _assert_same(one: Decoded, other: Decoded) -> None:
    assert one.schema == other.schema
    assert list(one.accepted) == list(other.accepted)
    assert one.refused == other.refused
    assert one.frame.equals(other.frame)


def _shown(text: str | None) -> str | None:
    return None if text == "null" else text


@pytest.mark.slow
@examples(5)
@given(st.lists(records(), max_size=8))
def test_a_json_column_holds_the_text_that_was_sent(batch: list[tuple[str | None, bytes, bytes]]) -> None:
    """Each record has exactly the text of its field, and all else is as it is without the field."""
    payloads = [payload for _, payload, _ in batch]
    decoded = JSON_TEXT.decode(payloads, EMPTY)
    without = JsonFormat().decode([payload for _, _, payload in batch], EMPTY)
    assert list(decoded.accepted) == list(without.accepted)
    assert decoded.refused == without.refused
    assert decoded.frame["v"].to_list() == [_shown(batch[at][0]) for at in decoded.accepted]
    assert decoded.frame.drop("v").equals(without.frame)
    assert decoded.schema == {"v": pl.String(), **without.schema}
    _assert_same(decoded, JSON_TEXT._decode_records(payloads, JSON_TEXT._with_declared(EMPTY)))


@pytest.mark.slow
@examples(5)
@given(st.lists(records(), max_size=8))
def test_a_declared_string_takes_text_and_the_json_text_of_all_else(
    batch: list[tuple[str | None, bytes, bytes]],
) -> None:
    """A string is what it means, a value of another kind its JSON text; no record is refused for that field."""
    payloads = [payload for _, payload, _ in batch]
    decoded = TEXT.decode(payloads, EMPTY)
    without = JsonFormat().decode([payload for _, _, payload in batch], EMPTY)
    assert list(decoded.accepted) == list(without.accepted)
    wanted = [
        json.loads(text) if text is not None and text.startswith('"') else _shown(text)
        for text, _, _ in batch
    ]
    assert decoded.frame["v"].to_list() == [wanted[at] for at in decoded.accepted]
    assert decoded.frame.drop("v").equals(without.frame)
    _assert_same(decoded, TEXT._decode_records(payloads, TEXT._with_declared(EMPTY)))


@examples(3)
@given(st.lists(st.tuples(texts, st.lists(texts, max_size=3)), max_size=5))
def test_strings_inside_of_declared_types_take_all_kinds(batch: list[tuple[str, list[str]]]) -> None:
    """In structs, lists and lists of structs, strings are what they mean, and all else is its JSON text."""

    def shown(text: str) -> str | None:
        return json.loads(text) if text.startswith('"') else _shown(text)

    declared = pl.Schema(
        {
            "s": pl.Struct({"t": pl.String(), "n": pl.Int64()}),
            "l": pl.List(pl.String()),
            "ls": pl.List(pl.Struct({"t": pl.String()})),
        }
    )
    payloads = [
        f'{{"s":{{"t":{one},"n":1}},"l":[{", ".join(more)}],"ls":[{", ".join(f"""{{"t": {t}}}""" for t in more)}]}}'
        for one, more in batch
    ]
    format_ = JsonFormat(declared)
    decoded = format_.decode([payload.encode() for payload in payloads], EMPTY)
    assert not decoded.refused
    assert decoded.frame.to_dicts() == [
        {
            "s": {"t": shown(one), "n": 1},
            "l": [shown(text) for text in more],
            "ls": [{"t": shown(text)} for text in more],
        }
        for one, more in batch
    ]
