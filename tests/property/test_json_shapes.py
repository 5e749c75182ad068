"""JSON of any shape: each record is a row with the values that were sent, or refused for a true reason; however it was cut."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given
from support.examples import examples

from ktframe.columns import OFFSET, PARTITION, is_field
from ktframe.context.topic_spec import topic_spec
from ktframe.errors import SchemaError
from ktframe.fold import learning
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.learned import Learned
from ktframe.fold.learning import read_again
from ktframe.fold.records import BatchContext, RecordBatch, RefusedRecord
from ktframe.formats import Forms
from ktframe.formats.base import Fault
from ktframe.formats.dtypes import as_instance, short_name, struct_fields
from ktframe.formats.json import inference, sightings
from ktframe.formats.json.forms import MAP, TEXT, dtype_at
from ktframe.formats.json.records import DEEPEST
from ktframe.formats.json.sightings import Path
from ktframe.sync import relearning
from ktframe.tables.table import KTable
from ktframe.testing import FakeBroker

Place = tuple[int, int]
"""Partition and offset."""

# --- records of any shape ---------------------------------------------------------------------------------------------

NUMBERS = st.sampled_from(
    [0, 1, -1, 0.5, 2.0, 2**53 + 1, 2**63, 2**64 - 1, -(2**63) - 1, 10**30, 10**39, -(10**39), 1e300]
)
CONSTANTS = st.sampled_from([float("nan"), float("inf"), float("-inf")])
NAMES = st.sampled_from("abcdefgh")
TEXTS = st.sampled_from(["", "x", "1", "NaN", '"', "é\u2028", "2026-01-01T00:00:00Z"])
VALUES = st.recursive(
    NUMBERS | CONSTANTS | TEXTS | st.sampled_from([True, False, None]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(NAMES, inside, max_size=4),
    max_leaves=12,
)
IDS = st.sampled_from([1, 2, 3, 1, 2, 3, None, "x", 0.5, 2**63, True, [], {}])


@st.composite
def deep(draw: st.DrawFn) -> Any:
    """Draw a value inside of lists and objects, about as many as a record may have."""
    value = draw(NUMBERS | TEXTS)
    kinds = draw(st.sampled_from(["{", "[", "{{[", "[{"]))
    for depth in range(draw(st.integers(1, 6) | st.integers(DEEPEST - 4, DEEPEST + 2))):
        value = {"a": value} if kinds[depth % len(kinds)] == "{" else [value]
    return value


def holders(key: str, inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return objects that mostly have something under ``key``, among names of all kinds."""
    others = st.dictionaries(NAMES, VALUES, max_size=3)
    return st.tuples(others, inside).map(lambda pair: {**pair[0], key: pair[1]})


RECORDS = st.one_of(
    *[st.fixed_dictionaries({}, optional={"v": VALUES, "w": VALUES})] * 4,
    st.fixed_dictionaries({"v": holders("a", IDS | holders("b", IDS))}, optional={"w": IDS}),
    st.fixed_dictionaries({"v": holders("a", IDS), "w": st.dictionaries(NAMES, NUMBERS, max_size=2)}),
    st.fixed_dictionaries(
        {"v": st.sampled_from([1, 2, 3]), "w": st.dictionaries(NAMES, NUMBERS, max_size=2)}
    ),
    st.fixed_dictionaries({"v": deep()}, optional={"w": VALUES}),
    st.dictionaries(NAMES | st.sampled_from("vw"), IDS | VALUES, max_size=6),
)
LOGS = st.lists(st.tuples(st.integers(0, 2), RECORDS), max_size=14)
"""Partitions and records."""
ASKED = st.sampled_from(
    [{}, {}, {"key": "v.a"}, {"key": "v.a.b"}, {"key": "w"}, {"key": ["v.a", "w"]}]
).flatmap(lambda asked: st.sampled_from([asked, {**asked, "time": "w"}, {**asked, "time": "v.b"}]))


@contextmanager
def few_names(names: int, share: int, head: int) -> Iterator[None]:
    """Have objects of few names be maps, and the first ``head`` records of a partition looked at one by one."""
    with (
        patch.object(sightings, "MOST_NAMES", names),
        patch.object(inference, "MOST_NAMES", names),
        patch.object(inference, "_MOST_OF_ANY", share),
        patch.object(inference, "_SPARSE", 1),
        patch.object(inference, "MOST_NEW", share),
        patch.object(learning, "HEAD_RECORDS", head),
    ):
        yield


# --- what a table has of them -----------------------------------------------------------------------------------------


@dataclass
class Loaded:
    """What a table has of a log: the fields of its rows and why others were refused, by place; its columns and their forms."""

    rows: dict[Place, Any] = field(default_factory=dict)
    refused: dict[Place, RefusedRecord] = field(default_factory=dict)
    schema: pl.Schema = field(default_factory=pl.Schema)
    decided: pl.Schema = field(default_factory=pl.Schema)
    """The types that all records decide; of a field that no row has only these are known."""
    forms: Forms = frozenset()
    by_arrival: str = ""
    """A field of which the samples show nothing: then it matters which record came first."""


Log = list[tuple[Place, bytes]]


def placed(log: Sequence[tuple[int, Any]]) -> Log:
    """Return the records with their offsets, written as JSON."""
    ends = [0, 0, 0]
    found: Log = []
    for partition, record in log:
        found.append(((partition, ends[partition]), json.dumps(record).encode()))
        ends[partition] += 1
    return found


def batch_of(log: Log) -> RecordBatch:
    """Return a batch of records."""
    return RecordBatch(
        partitions=[partition for (partition, _), _ in log],
        offsets=[offset for (_, offset), _ in log],
        timestamps=[0] * len(log),
        timestamp_types=[1] * len(log),
        keys=[b"%d-%d" % place for place, _ in log],
        values=[payload for _, payload in log],
    )


def load(batches: list[Log], asked: dict[str, Any]) -> Loaded:
    """Return what a table has of the batches.

    Where later batches decide otherwise, all are read again, as ``relearn()`` does.
    """
    spec = topic_spec("t", **asked)
    decoder: TopicDecoder = spec.decoder(spec.identity())
    learned = Learned()
    payloads = dict(record for batch in batches for record in batch)
    for _ in range(20):
        found, schema = Loaded(), pl.Schema()
        for batch in batches:
            context = BatchContext(learned=learned)
            changes = decoder.with_forms(learned.forms).decode(batch_of(batch), schema, context)
            learned = Learned.from_parts(changes.learned.changes_since(Learned()))  # as it comes from a store
            if learned.differing:
                break
            schema = changes.schema
            places = changes.frame.select(PARTITION, OFFSET).rows() if changes.frame.height else []
            found.rows |= dict.fromkeys(places)
            found.refused |= {(each.partition, each.offset): each for each in changes.refused}
        if not learned.differing:
            decision = decoder.learner.decision(learned)
            found.decided = pl.Schema() if decision is None else decision.schema
            found.by_arrival = learned.by_arrival
            return with_rows(found, decoder, payloads, schema, learned.forms)
        learned = read_again(decoder.learner, learned)
    pytest.fail("it does not settle")


def with_rows(
    found: Loaded, decoder: TopicDecoder, payloads: dict[Place, bytes], schema: pl.Schema, forms: Forms
) -> Loaded:
    """Return what was found with the rows as they come from a store: by all that was learned, in the columns of all."""
    stored = batch_of([(place, payloads[place]) for place in found.rows])
    found.schema, found.forms = pl.Schema({n: t for n, t in schema.items() if is_field(n)}), forms
    rows = decoder.with_forms(forms).rows_of(stored, schema).select(*found.schema).to_dicts()
    found.rows = dict(zip(found.rows, rows or [{}] * len(found.rows), strict=True))
    return found


# --- the oracle: what was sent, and what columns can hold -------------------------------------------------------------


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
    if isinstance(value, bool):
        return "a flag", value  # which Python takes for a number
    return "not a number" if value != value else value  # noqa: PLR0124


def fits(value: Any, path: Path, found: Loaded) -> bool:  # noqa: PLR0911 - one rule a line
    """Say whether what stands at a path holds a value exactly."""
    dtype = dtype_at(found.schema, path)
    if (path, TEXT) in found.forms:
        return True
    if dtype is None:
        return False  # also of a null, of which an object that has too many names knows nothing
    if value is None:
        return True
    if (path, MAP) in found.forms:
        return value == [] or (
            isinstance(value, dict)
            and all(fits(item, (*path, None, "value"), found) for item in value.values())
        )
    if isinstance(dtype, pl.Struct):
        return value == [] or (
            isinstance(value, dict) and all(fits(item, (*path, name), found) for name, item in value.items())
        )
    if isinstance(dtype, pl.List):
        return isinstance(value, list) and all(fits(item, (*path, None), found) for item in value)
    if isinstance(dtype, pl.String | pl.Boolean):
        return type(value) is {pl.String: str, pl.Boolean: bool}[type(dtype)]
    if isinstance(dtype, pl.Float64):
        return type(value) is float or (type(value) is int and abs(value) <= 2**53)
    bounds = {
        pl.Int64: (-(2**63), 2**63 - 1),
        pl.UInt64: (0, 2**64 - 1),
        pl.Decimal: (1 - 10**38, 10**38 - 1),
    }
    low, high = bounds.get(type(dtype), (1, 0))
    return type(value) is int and low <= value <= high


def depth_of(value: Any) -> int:
    """Return how many lists and objects a value is inside of one another."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def key_of(record: Any, names: Sequence[str]) -> list[Any]:
    """Return the fields of the key."""
    found = []
    for name in names:
        value = record
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        found.append(value)
    return found


def check_reason(refused: RefusedRecord, record: dict[str, Any], found: Loaded, key: Sequence[str]) -> None:
    """Check that a record was refused for what is so."""
    misfits = {name for name, value in record.items() if not fits(value, (name,), found)}
    if refused.fault is Fault.KEY_FIELDS:
        assert not misfits
        assert key_of(record, key) == [None] * len(key)
        return
    if refused.fault is Fault.VALUE:
        assert refused.reason == f"nested deeper than {DEEPEST} levels"
        # The entries of a map are a level deeper than its object.
        maps = sum(form == MAP for _, form in found.forms)
        assert depth_of(record) + maps > DEEPEST
        return
    assert refused.fault is Fault.FIELD
    assert {*refused.fields} <= misfits
    assert refused.fields
    name = re.match(r"field '([a-z]+)", refused.reason)
    assert name
    assert name[1] == refused.fields[0]
    conflict = re.search(r"wanted (\w+), found (\w+)", refused.reason)
    if conflict:
        dtypes = [known.get(name[1], pl.Null()) for known in (found.schema, found.decided)]
        wanted = {short_name(inner) for dtype in dtypes for inner in dtypes_in(dtype)}
        # Where no other record shows a type it disagrees with itself.
        wanted |= {kind_of(value) for value in values_in(record[name[1]])}
        assert conflict[1] in wanted
        assert conflict[2] in {*map(kind_of, values_in(record[name[1]]))}


def dtypes_in(dtype: pl.DataType) -> Iterator[pl.DataType]:
    """Yield a type and those inside, of a struct also that without its fields: reasons name it so."""
    yield dtype
    if isinstance(dtype, pl.Struct):
        yield pl.Struct([])
        for inner in struct_fields(dtype).values():
            yield from dtypes_in(inner)
    elif isinstance(dtype, pl.List):
        yield from dtypes_in(as_instance(dtype.inner))


def values_in(value: Any) -> Iterator[Any]:
    """Yield a value and those inside."""
    yield value
    if isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from values_in(inner)


def kind_of(value: Any) -> str:
    """Return what a reason calls a value."""
    kinds = {bool: "Boolean", int: "Int64", float: "Float64", str: "String", list: "List"}
    return kinds.get(type(value), "Struct")


def is_unfit(record: dict[str, Any], found: Loaded, key: Sequence[str]) -> bool:
    """Say whether anything about a record keeps it from being a row."""
    maps = sum(form == MAP for _, form in found.forms)
    is_keyless = bool(key) and key_of(record, key) == [None] * len(key)
    fields = record.items()
    is_odd = not all(fits(value, (name,), found) for name, value in fields)
    return is_odd or is_keyless or depth_of(record) + maps > DEEPEST


def check(found: Loaded, log: Log, asked: dict[str, Any], *, is_whole: bool) -> None:
    """Check that each record is a row with its values, or refused for a reason that is true.

    Where the log ``is_whole``, one batch, that is so by all records; else a reason is that of when the record came.
    """
    key = asked.get("key", ())
    key = (key,) if isinstance(key, str) else key
    assert found.rows.keys() | found.refused.keys() == {place for place, _ in log}
    assert not found.rows.keys() & found.refused.keys()
    for place, payload in log:
        record = json.loads(payload)
        if place in found.refused:
            assert is_unfit(record, found, key)
            if is_whole:
                check_reason(found.refused[place], record, found, key)
            continue
        row = {name: restored(value, (name,), found.forms) for name, value in found.rows[place].items()}
        assert comparable(row) == comparable(record)
        assert not key or key_of(record, key) != [None] * len(key)


# --- properties -------------------------------------------------------------------------------------------------------


def delivered(log: Log, order: Sequence[int], cuts: Sequence[int]) -> list[Log]:
    """Return the log in batches: partitions take turns as ``order`` says, and batches end at ``cuts``."""
    left = {partition: [each for each in log if each[0][0] == partition] for partition in range(3)}
    whole: Log = []
    for partition in order:
        whole += [left[partition].pop(0)] if left[partition] else []
    whole += [each for some in left.values() for each in some]
    ends = [*sorted(cut for cut in cuts if 0 < cut < len(whole)), len(whole)]
    return [whole[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True) if start < end]


@pytest.mark.slow
@examples(4)
@given(
    log=LOGS,
    asked=ASKED,
    order=st.lists(st.integers(0, 2), max_size=14),
    cuts=st.sets(st.integers(1, 13), max_size=3),
    names=st.integers(3, 6),
    share=st.integers(0, 3),
    head=st.sampled_from([0, 2, 100]),
)
def test_each_record_is_a_row_with_its_values_or_refused(
    log: list[tuple[int, Any]],
    asked: dict[str, Any],
    order: list[int],
    cuts: set[int],
    names: int,
    share: int,
    head: int,
) -> None:
    """No value is another than was sent, no reason untrue; and rows and refused are those of a load in one batch."""
    sent = placed(log)
    with few_names(names, share, head):
        found = load(delivered(sent, (), ()), asked)
        cut = load(delivered(sent, order, [*cuts]), asked)
    check(found, sent, asked, is_whole=True)
    check(cut, sent, asked, is_whole=False)
    if not (found.by_arrival or cut.by_arrival):
        check_same(found, cut)


def check_same(found: Loaded, cut: Loaded) -> None:
    """Check that a log gives the same however its records were cut into batches."""
    shown = [{at: repr(row) for at, row in each.rows.items()} for each in (found, cut)]
    assert shown[0] == shown[1]
    assert cut.refused.keys() == found.refused.keys()
    assert list(cut.schema.items()) == list(found.schema.items())
    assert cut.forms == found.forms


@st.composite
def growing(draw: st.DrawFn) -> list[Any]:
    """Draw records with an object that has other names each time, more than sixty-four in all, somewhere inside."""
    kinds = draw(st.lists(st.sampled_from([NUMBERS, TEXTS, VALUES]), min_size=1, max_size=2))
    each, step = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    nest = draw(st.sampled_from(["object", "list", "both", "map of maps"]))
    records = []
    for number in range(draw(st.sampled_from([5, 90, 150]))):
        names = [f"n{number * step + at}" for at in range(each)]
        found: Any = {name: draw(kinds[number % len(kinds)]) for name in names}
        if nest == "list":
            found = [found]
        elif nest == "both":
            found = {"a": number % 5 or None, "m": found}
        elif nest == "map of maps":
            found = {f"o{number}": found}
        records.append({"v": found, "w": number})
    odd = draw(st.lists(st.tuples(st.integers(0, 150), VALUES), max_size=2))
    for at, value in odd:
        records.insert(at, {"v": value})
    return records


@pytest.mark.slow
@examples(0.3)
@given(
    sent=growing(),
    parts=st.integers(1, 3),
    cuts=st.sets(st.integers(1, 150), max_size=3),
    asked=st.sampled_from([{}, {"key": "w"}, {"key": "v.a"}]),
)
def test_objects_whose_names_grow_keep_their_values(
    sent: list[Any], parts: int, cuts: set[int], asked: dict[str, Any]
) -> None:
    """With the limits as they are: more than sixty-four names make a map, unless it holds the key."""
    log = placed([(number % parts, record) for number, record in enumerate(sent)])
    found, cut = load(delivered(log, (), ()), asked), load(delivered(log, [0, 1, 2] * 50, [*cuts]), asked)
    if not (found.by_arrival or cut.by_arrival):
        check_same(found, cut)
    check(found, log, asked, is_whole=True)
    check(cut, log, asked, is_whole=False)


@pytest.mark.slow
@examples(0.5)
@given(
    log=LOGS,
    asked=ASKED,
    reads=st.sets(st.integers(1, 13), max_size=3),
    names=st.integers(3, 6),
    share=st.integers(0, 3),
)
def test_a_live_table_has_the_rows_of_a_load_after_relearning(
    log: list[tuple[int, Any]], asked: dict[str, Any], reads: set[int], names: int, share: int
) -> None:
    """Read while records came, and told to learn again, a table has the columns, rows and refused records of a new one."""
    broker = FakeBroker()
    broker.create_topic("t", 3)
    with few_names(names, share, 100), patch.object(relearning, "MOST_RECORDS", 0), broker.connect() as kt:
        table = kt.table("t", **asked, on_refused="ignore")
        for number, (partition, record) in enumerate(log):
            if number in reads:
                shown(table)
            payload = json.dumps(record).encode()
            broker.produce("t", f"k{number}", payload, partition=partition, timestamp=0)
        shown(table)
        table.relearn()
        live = shown(table)
        if any("read first" in notice for notice in table.position().notices):
            return
        with broker.connect() as other:
            assert live == shown(other.table("t", **asked, on_refused="ignore"))


def shown(table: KTable) -> tuple[Any, ...]:
    """Return columns, rows and refused records, or that none has the field of the key or the time."""
    try:
        frame = table.to_polars(metadata=True)
    except SchemaError as error:
        return (str(error),)
    refused = sorted(table.errors().select("partition", "offset").rows())
    return list(frame.schema.items()), sorted(map(repr, frame.rows())), refused
