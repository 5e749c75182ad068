"""JSON of any shape: each record is a row with the values that were sent, or refused; however the records were cut."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given
from support.examples import examples

from ktframe.columns import OFFSET, is_field
from ktframe.context.topic_spec import topic_spec
from ktframe.fold import learning
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.learned import Learned
from ktframe.fold.learning import read_again
from ktframe.fold.records import BatchContext, RecordBatch
from ktframe.formats import Forms
from ktframe.formats.json import inference, sightings
from ktframe.formats.json.forms import MAP, TEXT
from ktframe.formats.json.sightings import Path

numbers = st.sampled_from(
    [0, 1, -1, 0.5, 2.0, 2**53 + 1, 2**63, 2**64 - 1, -(2**63) - 1, 10**30, 10**39, 1e300]
)
constants = st.sampled_from([float("nan"), float("inf"), float("-inf")])
names = st.sampled_from("abcdefgh")
values = st.recursive(
    numbers | constants | st.sampled_from(["", "x", "1", "NaN", '"', True, False, None]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(names, inside, max_size=4),
    max_leaves=8,
)
records = st.lists(
    st.one_of(
        *[st.fixed_dictionaries({}, optional={"v": values, "w": values})] * 4,
        st.fixed_dictionaries(
            {"v": st.sampled_from([1, 2, 3]), "w": st.dictionaries(names, numbers, max_size=2)}
        ),
    ),
    max_size=12,
)


def batch_of(payloads: list[bytes], first: int) -> RecordBatch:
    """Return a batch of records of one partition."""
    count = len(payloads)
    return RecordBatch(
        partitions=[0] * count,
        offsets=range(first, first + count),
        timestamps=[0] * count,
        timestamp_types=[1] * count,
        keys=[b"%d" % at for at in range(first, first + count)],
        values=payloads,
    )


def load(payloads: list[bytes], cuts: list[int]) -> tuple[dict[int, Any], pl.Schema, Forms]:
    """Return what a table has of the payloads, by offset, its columns, and their forms; batches end at ``cuts``.

    Where later batches decide otherwise, all are read again, as ``relearn()`` does.
    """
    spec = topic_spec("t")
    decoder: TopicDecoder = spec.decoder(spec.identity())
    learned = Learned()
    for _ in range(20):
        schema, accepted = pl.Schema(), list[int]()
        for start, end in zip([0, *cuts], [*cuts, len(payloads)], strict=True):
            context = BatchContext(learned=learned)
            batch = batch_of(payloads[start:end], start)
            changes = decoder.with_forms(learned.forms).decode(batch, schema, context)
            learned = changes.learned
            if learned.differing:
                break
            schema = changes.schema
            accepted += changes.frame[OFFSET].to_list()
        if not learned.differing:
            # As rows are that come from a store: by all that was learned, in the columns of all.
            stored = batch_of([payloads[at] for at in accepted], 0)
            fields = [name for name in schema if is_field(name)]
            rows = decoder.with_forms(learned.forms).rows_of(stored, schema).select(fields).to_dicts()
            return dict(zip(accepted, rows or [{}] * len(accepted), strict=True)), schema, learned.forms
        learned = read_again(decoder.learner, learned)
    pytest.fail("it does not settle")


def restored(value: Any, path: Path, forms: Forms) -> Any:
    """Return a value of a column as the value that was sent."""
    if value is None:
        return None
    if (path, TEXT) in forms:
        return json.loads(value)
    if (path, MAP) in forms:
        return {entry["key"]: restored(entry["value"], (*path, None, "value"), forms) for entry in value}
    if isinstance(value, list):
        return [restored(item, (*path, None), forms) for item in value]
    if isinstance(value, dict):
        return {name: restored(item, (*path, name), forms) for name, item in value.items()}
    return int(value) if isinstance(value, Decimal) else value


def comparable(value: Any) -> Any:
    """Return a value without nulls in objects, which columns can't tell from absent fields; ``[]`` may be ``{}``."""
    if isinstance(value, dict):
        kept = {name: comparable(item) for name, item in value.items() if item is not None}
        return {name: item for name, item in kept.items() if item is not None} or "empty"
    if isinstance(value, list):
        return [comparable(item) for item in value] or "empty"
    return "not a number" if value != value else value  # noqa: PLR0124


@pytest.mark.slow
@examples(4)
@given(
    sent=records,
    data=st.data(),
    names=st.integers(3, 6),
    share=st.integers(0, 3),
    head=st.sampled_from([0, 2, 100]),
)
def test_each_record_is_a_row_with_its_values_or_refused(
    sent: list[dict[str, Any]], data: st.DataObject, names: int, share: int, head: int
) -> None:
    """The rows are those that a load in one batch gives, and no value is another one than was sent."""
    payloads = [json.dumps(record).encode() for record in sent]
    cuts = (
        sorted(data.draw(st.sets(st.integers(1, max(len(sent) - 1, 1)), max_size=3))) if len(sent) > 1 else []
    )
    with (
        patch.object(sightings, "MOST_NAMES", names),
        patch.object(inference, "_MOST_OF_ANY", share),
        patch.object(inference, "_SPARSE", 1),
        patch.object(learning, "HEAD_RECORDS", head),
    ):
        rows, schema, forms = load(payloads, [])
        cut_rows, cut_schema, cut_forms = load(payloads, cuts)
    assert {at: repr(row) for at, row in cut_rows.items()} == {at: repr(row) for at, row in rows.items()}
    assert list(cut_schema.items()) == list(schema.items())
    known = {path for path, _ in forms | cut_forms}
    assert {form for form in forms if form[0] in known} == {form for form in cut_forms if form[0] in known}
    for at, row in rows.items():
        found = {name: restored(value, (name,), forms) for name, value in row.items()}
        assert comparable(found) == comparable(sent[at])
