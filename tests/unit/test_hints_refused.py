"""The hint of a read that lacks records, followed: no record is refused any more for that, whatever it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest
from support.hinted import Met, evaluated, met
from support.hints import Hint

import ktframe
from ktframe import Context
from ktframe.clock import SystemClock, now_ms
from ktframe.config.settings import TableDeclaration
from ktframe.testing import FakeBroker, FakeRegistry

FIELD = Hint("fold/remedies.py", "{}schema={{}} keeps values of any kind, as JSON text.")
DECLARED = Hint("fold/remedies.py", "{}{{}} in schema= keeps values of any kind, as JSON text.")
PLAIN = Hint("fold/remedies.py", 'value="bytes" keeps any value, as bytes.')
STREAM = Hint("fold/remedies.py", "{} keeps any value, as bytes.")
KEY = Hint("fold/remedies.py", 'key_format="bytes" keeps any key, as bytes.')
NULL_KEY = Hint(
    "fold/remedies.py", "{} has records without a key; with key= a field of the value is the key."
)
NULL_KEYS = Hint("fold/remedies.py", "{} has records without a key.")
KEY_FIELDS = Hint("fold/remedies.py", "without {} the record key identifies a row; {} has every record.")
TOMBSTONE = Hint("fold/remedies.py", "{} has tombstones without a key too; in a table they delete nothing.")
TIME = Hint(
    "fold/remedies.py",
    "{} the timestamp of the record counts; without windows they are rows.",
)
NO_TIME = Hint(
    "fold/remedies.py", "time= takes the time from a field of the value; without windows they are rows."
)
WINDOWLESS = Hint("fold/remedies.py", "without windows they are rows.")
SKEW = Hint("fold/remedies.py", "max_future_skew=None keeps records of any time.")
UNKNOWN = Hint(
    "fold/remedies.py",
    'connect(..., schema_registry="https://...") with the registry that has the schema reads them; {}',
)
PARTS = (
    Hint("fold/remedies.py", "time={}"),
    Hint("fold/remedies.py", "time={}, time_unit={}"),
    Hint("fold/remedies.py", "key={}"),
    Hint("fold/remedies.py", "ktframe.stream({})"),
    Hint("fold/remedies.py", "schema=..."),
)
"""What some of these are made of."""

SOON = now_ms(SystemClock()) + 5 * 86_400_000
ISO = "2024-01-31T12:00:00"
WINDOW: dict[str, Any] = {}


@dataclass
class Case:
    """Records, some of them refused; how they are asked for; the hint then; and how it is followed."""

    hint: Hint
    records: list[tuple[Any, ...]]
    """Key, value and timestamp of each; a key comes once."""
    follow: Callable[[Context, Met, Case], Any]
    given: dict[str, Any] = field(default_factory=dict)
    kind: str = "table"
    window: dict[str, Any] | None = None


def _asked(context: Context, case: Case, given: dict[str, Any]) -> Any:
    rows: Any = getattr(context, case.kind)("t", **given)
    return rows if case.window is None else rows.window("5m", **case.window)


def _with_arguments(context: Context, found: Met, case: Case) -> Any:
    """Give the arguments of the hint as well; its schema is joined to the one that was given."""
    arguments = {
        name: value
        for name, value in found.arguments.items()
        if name != "time_unit" and f"without {name}=" not in found.text
    }
    if " in schema=" in found.text:
        arguments["schema"] = evaluated("{" + found.text.partition("{")[2].partition(" in schema=")[0])
    if "schema" in arguments:
        arguments["schema"] = {**case.given.get("schema", {}), **arguments["schema"]}
    return _asked(context, case, {**case.given, **arguments})


def _call(context: Context, found: Met, case: Case) -> Any:
    """Make the call of the hint; the schema is that which was given."""
    [call] = [call for call in found.calls if call.startswith("ktframe.")]
    code = call.replace("schema=...", "schema=schema")
    return evaluated(code, ktframe=context, schema=case.given.get("schema"))


def _without(name: str) -> Callable[[Context, Met, Case], Any]:
    def follow(context: Context, found: Met, case: Case) -> Any:
        assert f"without {name}={case.given[name]!r}" in found.text
        also = f"without {name}={case.given[name]!r}, time_unit=" in found.text
        left_out = (name, "time_unit") if also else (name,)
        rest = {other: value for other, value in case.given.items() if other not in left_out}
        return _with_arguments(context, found, Case(**{**vars(case), "given": rest}))

    return follow


def _with(**arguments: Any) -> Callable[[Context, Met, Case], Any]:
    """Give an argument that the hint names without a value."""

    def follow(context: Context, found: Met, case: Case) -> Any:
        assert all(f"{name}=" in found.text for name in arguments)
        return _asked(context, case, {**case.given, **arguments})

    return follow


def _max_skew(context: Context, found: Met, case: Case) -> Any:
    if case.window is None:
        return _with_arguments(context, found, case)
    return _asked(context, Case(**{**vars(case), "window": found.arguments}), case.given)


def _without_windows(context: Context, found: Met, case: Case) -> Any:
    assert "without windows" in found.text
    return _asked(context, Case(**{**vars(case), "window": None}), case.given)


MIXED = [("a", {"v": 1, "id": 1}), ("b", {"v": "x", "id": 2}), ("c", {"v": 2, "id": 3})]
BROKEN = [("a", {"v": 1, "id": 1, "at": ISO}), ("b", b"{broken")]
NESTED = [("a", {"o": {"id": 1, "at": 1, "v": 1}}), ("b", {"o": {"id": 2, "at": 1, "v": "x"}})]
TIMES = [("a", {"at": ISO}), ("b", {"at": 1_706_702_400_000})]
KEYS = [("a", {"id": 1}), (b"\xff\xfe", {"id": 2})]
KEYLESS = [("a", {"id": 1}), (None, {"id": 2})]
NUMBERS = [(b"\0\0\0\1", b"\0\0\0\2"), (None, b"\0\0\0\3")]
UNTIMED = [("a", {"at": ISO}), ("b", {"at": ISO}, None)]
BAD_TIMES = [("a", {"at": ISO}), ("b", {"at": "soon"})]
AHEAD = [("a", {"v": 1}), ("b", {"v": 2}, SOON)]
MANY = [("a", {f"f{n}": 1 for n in range(12)}), ("b", {f"f{n}": "x" for n in range(12)})]

CASES = [
    # A field that disagrees with its column.
    Case(FIELD, MIXED, _with_arguments),
    Case(FIELD, MIXED, _with_arguments, kind="stream"),
    Case(FIELD, MIXED, _with_arguments, window=WINDOW),
    Case(FIELD, MIXED, _with_arguments, given={"key": "id"}),
    Case(FIELD, [("a", {"id": 1}), ("b", {"id": "x"})], _with_arguments, given={"key": "id"}),
    Case(FIELD, [("a", {"it's": 1}), ("b", {"it's": "x"})], _with_arguments),
    Case(FIELD, TIMES, _without("time"), given={"time": "at"}),
    Case(FIELD, TIMES, _without("time"), given={"time": "at"}, kind="stream"),
    Case(FIELD, TIMES, _without("time"), given={"time": "at", "time_unit": "ms"}),
    Case(FIELD, NESTED, _without("key"), given={"key": "o.id"}),
    Case(FIELD, NESTED, _without("time"), given={"time": "o.at"}),
    Case(FIELD, NESTED, _without("time"), given={"time": "o.at", "time_unit": "s"}),
    Case(DECLARED, MIXED, _with_arguments, given={"schema": {"v": pl.Boolean}}),
    Case(DECLARED, MIXED, _with_arguments, given={"schema": {"v": pl.Int64, "id": pl.Int64}, "key": "id"}),
    Case(DECLARED, TIMES, _without("time"), given={"time": "at", "schema": {"at": pl.Int64}}),
    Case(PLAIN, MANY, _with_arguments),
    # A value that can't be read.
    Case(PLAIN, BROKEN, _with_arguments),
    Case(PLAIN, BROKEN, _with_arguments, kind="stream"),
    Case(PLAIN, BROKEN, _with_arguments, window=WINDOW),
    Case(PLAIN, [("a", b"\0\0\0\1"), ("b", b"x")], _with_arguments, given={"value": "int"}),
    Case(PLAIN, [("a", b"x"), ("b", b"\xff")], _with_arguments, given={"value": "string"}),
    Case(STREAM, BROKEN, _call, given={"key": "id"}),
    Case(STREAM, BROKEN, _call, given={"time": "at"}),
    Case(STREAM, BROKEN, _call, given={"schema": {"v": pl.Int64}}),
    Case(
        STREAM,
        [(b"\0\0\0\1", {"v": 1}), (b"\0\0\0\2", b"{")],
        _call,
        given={"schema": {"v": int}, "key_format": "int"},
    ),
    Case(STREAM, MANY, _call, given={"key": "f0"}),
    # The record key.
    Case(KEY, KEYS, _with_arguments),
    Case(KEY, KEYS, _with_arguments, kind="stream"),
    Case(KEY, KEYS, _with_arguments, window=WINDOW),
    Case(KEY, [(b"\0\0\0\1", {"v": 1}), (b"x", {"v": 2})], _with_arguments, given={"key_format": "int"}),
    Case(NULL_KEY, KEYLESS, _call),
    Case(NULL_KEY, KEYLESS, _with(key="id")),
    Case(NULL_KEY, KEYLESS, _call, window=WINDOW),
    Case(NULL_KEY, KEYLESS, _with(key="id"), window=WINDOW),
    Case(NULL_KEY, [("a", {"v": 1}), (None, {"v": "x"})], _call, given={"schema": {"v": ktframe.Json}}),
    Case(NULL_KEYS, NUMBERS, _call, given={"value": "int", "key_format": "int"}),
    Case(KEY_FIELDS, [("a", {"id": 1}), ("b", {"v": 2})], _without("key"), given={"key": "id"}),
    Case(KEY_FIELDS, [("a", {"id": 1}), (None, {"v": 2})], _call, given={"key": "id"}),
    Case(
        KEY_FIELDS, [("a", {"id": 1, "b": 1}), ("b", {"v": 2})], _without("key"), given={"key": ["id", "b"]}
    ),
    Case(TOMBSTONE, [("a", {"id": 1}), (None, None)], _call, given={"key": "id"}),
    Case(TOMBSTONE, [("a", {"id": 1}), (None, None)], _call, given={"key": "id"}, window=WINDOW),
    # The event time.
    Case(NO_TIME, UNTIMED, _with(time="at"), window=WINDOW),
    Case(NO_TIME, UNTIMED, _without_windows, window=WINDOW),
    Case(NO_TIME, UNTIMED, _with(time="at"), window=WINDOW, kind="stream"),
    Case(NO_TIME, UNTIMED, _without_windows, window=WINDOW, kind="stream"),
    Case(
        WINDOWLESS,
        [("a", b"x"), ("b", b"y", None)],
        _without_windows,
        given={"value": "string"},
        window=WINDOW,
    ),
    Case(TIME, BAD_TIMES, _without("time"), given={"time": "at"}, window=WINDOW),
    Case(TIME, BAD_TIMES, _without("time"), given={"time": "at", "time_unit": "s"}, window=WINDOW),
    Case(TIME, BAD_TIMES, _without_windows, given={"time": "at"}, window=WINDOW),
    Case(TIME, BAD_TIMES, _without("time"), given={"time": "at"}, window=WINDOW, kind="stream"),
    Case(SKEW, AHEAD, _max_skew, window=WINDOW),
    Case(SKEW, AHEAD, _max_skew, kind="stream"),
]


def _lacks(rows: Any) -> str:
    """Read, and return the hint of what the read says of refused records."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            rows.to_polars()
        except ktframe.IncompleteError as error:
            return error.hint or ""
    return "".join(str(warning.message).partition("\nHint: ")[2] for warning in caught)


def _keeps_all(rows: Any, expected: int) -> bool:
    return _lacks(rows) == "" and rows.errors().height == 0 and rows.to_polars().height == expected


def _broker(records: list[tuple[Any, ...]]) -> FakeBroker:
    broker = FakeBroker()
    for key, value, *timestamp in records:
        broker.produce("t", key, value, timestamp=timestamp[0] if timestamp else 1)
    return broker


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind}-{case.hint.text[:40]}")
@pytest.mark.parametrize("is_first", [False, True])
def test_what_the_hint_says_keeps_every_record(case: Case, *, is_first: bool) -> None:
    """Also where the records that were refused came first, and where they alone are there."""
    with _broker(case.records[::-1] if is_first else case.records).connect() as context:
        found = met(case.hint, _lacks(_asked(context, case, case.given)))
        assert _keeps_all(case.follow(context, found, case), len(case.records))


def test_the_registry_that_has_the_schema_reads_the_records() -> None:
    """With it, and without any as bytes, all are rows."""
    registry = FakeRegistry()
    number = registry.register(
        "t-value", '{"type":"record","name":"R","fields":[{"name":"v","type":"long"}]}'
    )
    broker = _broker([("a", {"v": 1}), ("b", registry.prefix(number) + b"\4")])
    with broker.connect() as context:
        found = met(UNKNOWN, _lacks(context.table("t")))
        assert "connect" in found.calls[0]
        assert _keeps_all(context.table("t", value=found.arguments["value"]), 2)
    with broker.connect(registry=registry) as context:
        assert _keeps_all(context.table("t"), 2)
    with broker.connect() as context:
        found = met(UNKNOWN, _lacks(context.table("t", key="v")))
        call = next(call for call in found.calls if "stream" in call)
        assert _keeps_all(evaluated(call, ktframe=context), 2)


def test_records_of_schemas_that_disagree_are_kept_as_the_hint_says() -> None:
    """As bytes all are rows."""
    registry = FakeRegistry()
    bodies = {"long": b"\2", "string": b"\2x"}
    records = []
    for kind, body in bodies.items():
        text = f'{{"type":"record","name":"R","fields":[{{"name":"v","type":"{kind}"}}]}}'
        records.append((kind, registry.prefix(registry.register("t-value", text)) + body))
    for given in ({}, {"key": "v"}, {"schema": {"v": ktframe.Json}}):
        with _broker(records).connect(registry=registry) as context:
            rows = context.table("t", **given)
            follow = _call if given else _with_arguments
            case = Case(STREAM if given else PLAIN, records, follow)
            assert _keeps_all(case.follow(context, met(case.hint, _lacks(rows)), case), 2)


@pytest.mark.parametrize("declared", [{"schema": {"v": int}}, {"time": "at"}, {"key": "id"}])
def test_the_hint_of_a_declared_table_keeps_every_record(declared: dict[str, Any]) -> None:
    """What configuration declares of fields does not count for the format that the hint names."""
    tables = {"t": TableDeclaration("t", **declared)}
    with _broker(BROKEN).connect(tables=tables) as context:
        case = Case(STREAM, BROKEN, _call)
        assert _keeps_all(_call(context, met(STREAM, _lacks(context.table("t"))), case), 2)
        assert _keeps_all(context.table("t", value="bytes"), 2)


def test_hints_of_several_faults_go_together() -> None:
    """Each argument keeps its part, all of them together keep every record."""
    records = [*MIXED, (b"\xff", {"v": 1, "id": 4})]
    with _broker(records).connect() as context:
        found = met(FIELD, hint := _lacks(context.table("t")))
        arguments = {**found.arguments, **met(KEY, hint).arguments}
        assert _keeps_all(context.table("t", **arguments), len(records))
    records = [*MIXED, ("d", b"{broken")]
    with _broker(records).connect() as context:
        found = met(FIELD, hint := _lacks(context.table("t")))
        table = context.table("t", **found.arguments)
        assert table.to_polars().height == len(MIXED)
        assert _keeps_all(context.table("t", **met(PLAIN, hint).arguments), len(records))


def test_the_parts_of_hints_stand_in_those_that_are_followed() -> None:
    """No case is missing that would meet them."""
    hints = ""
    for case in (case for case in CASES if case.given):
        with _broker(case.records).connect() as context:
            hints += _lacks(_asked(context, case, case.given))
    for part in PARTS:
        met(part, hints)
