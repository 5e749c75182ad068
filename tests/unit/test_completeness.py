"""What reads say of records and rows that are missing: warnings in the user's line, errors, and the same words everywhere."""

from __future__ import annotations

import asyncio
import json
import linecache
import random
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import polars as pl
import pyarrow as pa
import pytest

import ktframe
from ktframe import Context, IncompleteError, KTable, KtframeWarning, SchemaError, StaleRowsError
from ktframe.events import BindingState, Reason
from ktframe.formats.json import inference
from ktframe.sync.binding import TopicBinding
from ktframe.sync.monitor import Readiness
from ktframe.testing import FakeBroker

USERS, EVENTS = 80, 3_000


def event(number: int, kind: int) -> bytes:
    """Return an event whose ``value`` is a number, text or an object."""
    value = [str(number), '"text"', json.dumps({"a": number})][kind]
    return b'{"user":"u%d","value":%s}' % (number % USERS, value.encode())


@pytest.fixture(autouse=True)
def _other_kinds_come_late() -> Iterator[None]:
    """Have fields keep their commonest kind, as where the others come only after the records that decide."""
    with patch.object(inference, "_FEWEST_ODD", 10**9):
        yield


@pytest.fixture(scope="module")
def events() -> tuple[FakeBroker, list[tuple[str, int]]]:
    """Return a topic of three event types, and the key and the type of each record; numbers are the commonest."""
    broker, log, chance = FakeBroker(), [], random.Random(7)  # noqa: S311 - not cryptography
    broker.create_topic("events")
    for number in range(EVENTS):
        key, kind = f"u{chance.randrange(USERS)}", chance.choices([0, 1, 2], weights=[4, 3, 3])[0]
        broker.produce("events", key, event(number, kind), timestamp=number)
        log.append((key, kind))
    return broker, log


@pytest.fixture
def kt(events: tuple[FakeBroker, Any]) -> Iterator[Context]:
    """Yield a connection to it."""
    with events[0].connect() as context:
        yield context


def refused(log: list[tuple[str, int]]) -> int:
    """Return how many of the events are no numbers."""
    return sum(kind != 0 for _, kind in log)


def newest(log: list[tuple[str, int]]) -> dict[str, int]:
    """Return the type of each user's newest event."""
    return dict(log)


READS: dict[str, Callable[[Context], object]] = {
    "to_polars": lambda kt: kt.table("events").to_polars(),
    "at once": lambda kt: (kt.table("events").wait_until_ready(), kt.table("events").to_polars(fresh=False)),
    "len": lambda kt: len(kt.table("events")),
    "get": lambda kt: kt.table("events").get("u1"),
    "in": lambda kt: "u1" in kt.table("events"),
    "items": lambda kt: list(kt.table("events").items()),
    "keys": lambda kt: list(kt.table("events")),
    "lazy": lambda kt: kt.table("events").lazy(),
    "arrow": lambda kt: pa.table(kt.table("events")),
    "window": lambda kt: kt.table("events").window("1s").to_polars(),
    "window get": lambda kt: kt.table("events").window("1s").get("u1"),
    "window items": lambda kt: list(kt.table("events").window("1s").items()),
    "agg": lambda kt: kt.table("events").window("1s").agg(n=pl.len()),
    "rolled up": lambda kt: (kt.table("events", windows="1s").window("2s").to_polars(),),
    "stream": lambda kt: kt.stream("events").to_polars(),
    "stream agg": lambda kt: kt.stream("events").window("1s").agg(n=pl.len()),
    "session": lambda kt: kt.stream("events").session("1s").to_polars(),
    "async": lambda kt: asyncio.run(kt.table("events").to_polars_async()),
}


@pytest.mark.slow
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_every_read_warns_once_with_the_exact_count(
    events: tuple[FakeBroker, Any], kt: Context, read: Callable[[Context], object]
) -> None:
    """How many of how many records are missing, why, and the argument that keeps them."""
    with pytest.warns(KtframeWarning) as said:
        read(kt)
    (warning,) = said
    text = str(warning.message)
    assert f"{refused(events[1]):,} of {EVENTS:,} records of 'events' were refused" in text
    assert "found String" in text
    assert "found Struct" in text
    assert "schema={'value': ktframe.Json}" in text
    assert warning.filename == __file__


def test_a_second_read_says_nothing_until_the_share_has_grown_tenfold() -> None:
    """A cause is said once, and again when ten times as many of the records are refused for it."""
    broker = FakeBroker()
    for number in range(1_000):
        broker.produce("t", f"k{number}", {"x": number})
    broker.produce("t", "bad", b"{oops")
    with broker.connect() as kt:
        table = kt.table("t")
        with pytest.warns(KtframeWarning, match="1 of 1,001 records of 't' was refused"):
            table.to_polars()
        for number in range(8):
            broker.produce("t", f"bad{number}", b"{oops")
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                table.to_polars()
        for number in range(5):
            broker.produce("t", f"worse{number}", b"{oops")
        with pytest.warns(KtframeWarning, match="14 of 1,014 records"):
            table.to_polars()
        broker.produce("t", None, {"x": 1})
        with pytest.warns(KtframeWarning, match="the record key is null"):
            table.to_polars()


def test_no_user_is_shown_with_an_older_event(events: tuple[FakeBroker, Any], kt: Context) -> None:
    """Users whose newest event was refused are hidden, listed, and shown only on request."""
    latest = newest(events[1])
    have_numbers = {user for user, kind in events[1] if kind == 0}
    fine = {user for user, kind in latest.items() if kind == 0}
    table = kt.table("events")
    assert set(table.to_polars()["key"]) == set(table.keys()) == {key for key, _ in table.items()} == fine
    assert {user for user in latest if user in table} == fine
    assert {user for user in latest if table.get(user)} == fine
    assert set(table.errors(stale=True)["key"]) == have_numbers - fine
    assert len(kt.table("events", stale="show")) == len(have_numbers)
    hidden = min(have_numbers - fine)
    with pytest.raises(KeyError) as caught:
        table[hidden]
    assert "newest record was refused" in caught.value.__notes__[0]
    assert (table.status().stale, table.status().rows) == (len(have_numbers - fine), len(fine))
    with pytest.raises(StaleRowsError, match=f"newest record of {len(have_numbers - fine)} rows"):
        kt.table("events", stale="raise").to_polars()


def test_following_the_warning_loses_nothing(events: tuple[FakeBroker, Any], kt: Context) -> None:
    """With the argument that the warning names, every user's newest event is there, as it was sent."""
    with pytest.warns(KtframeWarning) as said:
        kt.table("events").to_polars()
    text = str(said[0].message)
    argument = text[text.index("schema={") :].split("}", maxsplit=1)[0] + "}"
    schema = eval(argument.removeprefix("schema="), {"ktframe": ktframe})  # noqa: S307 - as a user pastes it
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = kt.table("events", schema=schema).to_polars()
        assert kt.stream("events", schema=schema).to_polars().height == EVENTS
    assert set(frame["key"]) == set(newest(events[1]))
    kinds = {str: 1, int: 0, dict: 2}
    found = {key: kinds[type(json.loads(value))] for key, value in frame.select("key", "value").iter_rows()}
    assert found == newest(events[1])


def test_warnings_as_errors_raise_and_the_table_goes_on(kt: Context) -> None:
    """Under ``-W error`` each such read raises, also the awaited one; nothing else of the table fails."""
    table = kt.table("events")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with pytest.raises(KtframeWarning):
                table.to_polars()
        with pytest.raises(KtframeWarning):
            asyncio.run(table.to_polars_async())
        assert kt.table("events", on_refused="ignore").to_polars().height > 0
    assert table.readiness().is_ready


def test_an_awaited_read_warns_in_the_line_that_asked(kt: Context) -> None:
    """Also where a task awaits it, the line is that of the call."""

    async def main() -> None:
        task = asyncio.create_task(kt.table("events").to_polars_async())
        await asyncio.gather(task)

    with pytest.warns(KtframeWarning) as said:
        asyncio.run(main())
    assert said[0].filename == __file__
    assert "create_task" in linecache.getline(__file__, said[0].lineno)


SCRIPT = """
import ktframe
from ktframe.testing import FakeBroker

broker = FakeBroker()
for number in range(30):
    broker.produce("t", f"k{number}", b'{"x":%d}' % number if number % 3 else b'{"x":"text"}')
with broker.connect() as kt:
    frame = kt.table("t", schema={"x": "Int64"}).to_polars()
"""


def test_a_script_shows_the_warning_without_any_set_up() -> None:
    """Python itself prints it, with the user's line."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True)
    assert done.stderr.startswith("<string>:9: KtframeWarning: 10 of 30 records of 't' were refused")


def test_on_refused_raises_or_ignores(events: tuple[FakeBroker, Any], kt: Context) -> None:
    """``"raise"`` raises at each read, ``"ignore"`` says nothing; another choice is refused at once."""
    with pytest.raises(IncompleteError, match=f"{refused(events[1]):,} of {EVENTS:,} records"):
        kt.table("events", on_refused="raise").to_polars()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kt.table("events", on_refused="ignore").to_polars().height > 0
    for argument in ("on_refused", "stale"):
        with pytest.raises(ktframe.ConfigurationError, match="choose one of"):
            kt.table("events", **{argument: "perhaps"})  # type: ignore[arg-type]


def test_tables_that_differ_in_what_reads_say_share_a_reader(
    events: tuple[FakeBroker, Any], kt: Context
) -> None:
    """One consumer and one store for both; either may be closed, and the other goes on."""
    one, other = kt.table("events"), kt.table("events", stale="show", on_refused="ignore")
    assert one is kt.table("events")
    assert one is not other
    assert one._reader is other._reader
    assert len(other) > len(one)
    one.close()
    assert len(other) == len({user for user, kind in events[1] if kind == 0})
    other.close()


def test_settings_say_what_reads_do() -> None:
    """The connection's settings hold where the call says nothing."""
    broker = FakeBroker()
    for value in ({"x": 1}, {"x": "text"}):
        broker.produce("t", "k", value)
    with broker.connect(on_refused="ignore", stale="show") as kt, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kt.table("t", schema={"x": pl.Int64}).to_polars()["x"].to_list() == [1]
        with pytest.raises(IncompleteError):
            kt.table("t", schema={"x": pl.Int64}, on_refused="raise").to_polars()


@pytest.mark.parametrize(
    ("value", "arguments", "reason"),
    [
        (b'{"id":%d}' % (2**64 - 1), {"schema": {"id": pl.Int64}}, "out of the range of Int64"),
        (b"oops", {}, "not JSON"),
        (b'{"id":1}', {"value": "avro"}, "names no schema, but 'avro' needs"),
        (b'{"id":1}', {"schema": {"id": pl.Boolean}}, "wanted Boolean, found Int64"),
    ],
)
def test_where_all_is_refused_for_one_cause_a_read_raises(
    value: bytes, arguments: dict[str, Any], reason: str
) -> None:
    """An empty frame would say that the topic is empty; ``ignore`` gives it all the same."""
    broker = FakeBroker()
    for number in range(5):
        broker.produce("t", f"k{number}", value)
    broker.produce("t", "k1", None)
    with broker.connect() as kt:
        with pytest.raises(IncompleteError, match=f"(?s)all 5 records of 't' were refused.*{reason}"):
            kt.table("t", **arguments).to_polars()
        assert kt.table("t", on_refused="ignore", **arguments).to_polars().height == 0
        table = kt.table("t", **arguments)
        assert table.readiness().condition == "incomplete"
        assert "5 of 6 records refused" in repr(table)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"key": "usr_id"}, "did you mean 'user_id'"),
        ({"time": "created"}, "did you mean 'created_at'"),
        ({"key": ["user_id", "crated_at"]}, "did you mean 'created_at'"),
        ({"key": "zzz"}, "the fields are 'user_id', 'created_at', 'data'"),
        ({"key": "id"}, "did you mean 'data.id'"),
        ({"time": "data.at"}, "did you mean 'data.id'"),
    ],
)
def test_a_misspelt_key_or_time_is_an_error(arguments: dict[str, Any], hint: str) -> None:
    """The error names the field that is meant, of a table, its windows and a stream."""
    broker = FakeBroker()
    for number in range(3):
        broker.produce("t", f"k{number}", {"user_id": f"u{number}", "created_at": number, "data": {"id": 1}})
    with broker.connect() as kt:
        reads: list[Callable[[], object]] = [
            lambda: kt.table("t", **arguments).to_polars(),
            lambda: kt.table("t", **arguments).window("1s").to_polars(),
        ]
        if "time" in arguments:
            reads.append(lambda: kt.stream("t", **arguments).to_polars())
        for read in reads:
            with pytest.raises(SchemaError, match=hint):
                read()
        table = kt.table("t", **arguments)
        assert (table.readiness().condition, table.readiness().is_complete) == ("incomplete", False)
        assert "no record of 't' has a field of that name" in repr(table)


def test_a_declared_field_that_no_record_has_is_a_warning() -> None:
    """It names the field that may be meant; one that is there with null is none of these."""
    broker = FakeBroker()
    broker.produce("t", "k", {"amount": 1, "note": None})
    with broker.connect() as kt:
        with pytest.warns(
            KtframeWarning, match="(?s)field 'amout': it is null everywhere.*did you mean 'amount'"
        ):
            kt.table("t", schema={"amout": pl.Int64}).to_polars()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kt.table("t", schema={"amount": pl.Int64, "note": pl.String}).to_polars()


def test_events_without_a_time_are_missing_from_windows() -> None:
    """They are rows of the stream, but in none of its windows."""
    broker = FakeBroker()
    for time in (1, None, 3):
        broker.produce("t", "k", {"x": 1}, timestamp=time)
    with broker.connect() as kt:
        stream = kt.stream("t")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert stream.to_polars().height == 3
        with pytest.warns(KtframeWarning, match="(?s)1 of 3 records of 't' was refused.*no timestamp"):
            assert stream.window("1s").agg(n=pl.len())["n"].to_list() == [2]


@pytest.mark.parametrize("values", [[(1, None), (None, None)], [(1, {"x": 1}), (2, None), (None, None)]])
def test_tombstones_of_a_stream_are_events_as_others_are(values: list[tuple[int | None, Any]]) -> None:
    """One without a time is missing from windows; one with a time is not, so that not all are refused."""
    broker = FakeBroker()
    for time, value in values:
        broker.produce("t", "k", value, timestamp=time)
    with broker.connect() as kt:
        stream = kt.stream("t", schema={"x": pl.Int64})
        with pytest.warns(KtframeWarning, match=f"1 of {len(values)} records of 't' was refused"):
            assert stream.window("1s").agg(n=pl.len())["n"].to_list() == [len(values) - 1]


def test_errors_by_reason_are_counted_exactly(events: tuple[FakeBroker, Any], kt: Context) -> None:
    """Reason in full, records, share, first and last place, and a value as text; numbers do not make reasons differ."""
    frame = kt.table("events").errors(by="reason")
    counts = Counter(kind for _, kind in events[1])
    assert frame.schema == pl.Schema(
        {
            "reason": pl.String(),
            "records": pl.Int64(),
            "share": pl.Float64(),
            "first": pl.Struct({"partition": pl.Int32(), "offset": pl.Int64()}),
            "last": pl.Struct({"partition": pl.Int32(), "offset": pl.Int64()}),
            "example": pl.String(),
        }
    )
    by_kind = {"String": 1, "Struct": 2}
    for row in frame.to_dicts():
        kind = next(kind for name, kind in by_kind.items() if f"found {name}" in row["reason"])
        places = [offset for offset, (_, each) in enumerate(events[1]) if each == kind]
        assert (row["records"], row["share"]) == (counts[kind], counts[kind] / EVENTS)
        assert (row["first"]["offset"], row["last"]["offset"]) == (places[0], places[-1])
        assert row["example"].startswith('{"user":')
    with pytest.raises(ktframe.ConfigurationError, match="reason"):
        kt.table("events").errors(by="cause")  # type: ignore[arg-type]


def test_reasons_that_differ_in_numbers_are_one() -> None:
    """Positions and sizes in a reason do not make a cause of their own; counts go on beyond what is kept."""
    broker = FakeBroker()
    broker.produce("t", "good", {"x": 1})
    for number in range(300):
        broker.produce("t", f"k{number}", b'{"x":' + b" " * number)
    broker.produce("t", "k", b"\xff\xfe")
    with broker.connect() as kt:
        frame = kt.table("t").errors(by="reason")
        assert frame["records"].to_list() == [300, 1]
        errors = kt.table("t").errors()
        assert errors.filter(pl.col("key") == b"k").select("key_text", "value_text").row(0) == ("k", None)
        assert errors["value_text"][0] == '{"x":'


def state_of(table: KTable) -> dict[str, str]:
    """Return the condition of a table as each place says it."""
    readiness, preview = table._reader.binding.readiness(), table._preview(0)
    words = [
        *("not started", "restoring", "ready", "incomplete", "behind", "recovering", "failed", "closed"),
    ]

    def word(text: str) -> str:
        return next(each for each in words if each in text)

    from ktframe.widgets import markup  # noqa: PLC0415 - ipywidgets is slow to import

    return {
        "readiness": readiness.condition,
        "repr": word(repr(table)),
        "status": word(str(preview.status)),
        "badge": word(markup.badge(preview.status.readiness)),
    }


@pytest.mark.parametrize(
    ("good", "bad", "tombstones", "condition", "reason"),
    [
        (0, [], 0, "ready", Reason.READY),
        (300, [], 5, "ready", Reason.READY),
        (300, [b"{oops"] * 2, 0, "ready", Reason.READY),
        (300, [b"{oops"] * 5, 0, "incomplete", Reason.REFUSED),
        (300, [b'{"x":"text"}'] * 5, 0, "incomplete", Reason.SCHEMA_CONFLICT),
        (0, [b"{oops"], 0, "incomplete", Reason.REFUSED),
        (0, [b"{oops"], 5, "incomplete", Reason.REFUSED),
    ],
)
def test_every_place_has_the_same_word_for_what_is_there(
    good: int, bad: list[bytes], tombstones: int, condition: str, reason: Reason
) -> None:
    """Nothing is ready alone where more than one record in a hundred, or all, were refused."""
    broker = FakeBroker()
    broker.create_topic("t")
    for number in range(good):
        broker.produce("t", f"k{number}", {"x": number})
    for number, value in enumerate(bad):
        broker.produce("t", f"bad{number}", value)
    for number in range(tombstones):
        broker.produce("t", f"k{number}", None)
    with broker.connect() as kt:
        table = kt.table("t")
        assert set(state_of(table).values()) == {"not started"}
        table.wait_until_ready()
        assert set(state_of(table).values()) == {condition}
        assert table.readiness().reason is reason
    assert set(state_of(table).values()) == {"closed"}


def test_a_stale_row_is_enough_to_be_incomplete() -> None:
    """One row whose newest record was refused, of thousands: said everywhere; the next good record ends it."""
    broker = FakeBroker()
    for number in range(2_000):
        broker.produce("t", f"k{number}", {"x": number})
    broker.produce("t", "k7", {"x": "text"})
    with broker.connect() as kt:
        table = kt.table("t")
        table.wait_until_ready()
        assert set(state_of(table).values()) == {"incomplete"}
        assert table.readiness().reason is Reason.STALE_ROWS
        assert "1 stale row" in repr(table)
        broker.produce("t", "k7", {"x": 8})
        assert table["k7"]["x"] == 8
        assert set(state_of(table).values()) == {"ready"}


def test_reads_at_the_same_time_warn_once(kt: Context) -> None:
    """Of reads that an event loop gathers only the first one says what all of them found."""

    async def main(table: KTable) -> None:
        await asyncio.gather(*(table.to_polars_async() for _ in range(4)))

    with pytest.warns(KtframeWarning) as said:
        asyncio.run(main(kt.table("events")))
    assert len(said) == 1


CONDITIONS = [
    (BindingState.CREATED, False, Reason.NOT_STARTED, "not started"),
    (BindingState.RESTORING, False, Reason.RESTORING, "restoring"),
    (BindingState.READY, True, Reason.READY, "ready"),
    (BindingState.READY, True, Reason.STALE_ROWS, "incomplete"),
    (BindingState.READY, True, Reason.REFUSED, "incomplete"),
    (BindingState.READY, True, Reason.SCHEMA_CONFLICT, "incomplete"),
    (BindingState.READY, False, Reason.LAGGING, "behind"),
    (BindingState.LAGGING, False, Reason.LAGGING, "behind"),
    (BindingState.RESTORING, False, Reason.BROKER_UNREACHABLE, "recovering"),
    (BindingState.READY, False, Reason.BROKER_UNREACHABLE, "recovering"),
    (BindingState.LAGGING, False, Reason.BROKER_UNREACHABLE, "recovering"),
    (BindingState.BACKING_OFF, False, Reason.BROKER_UNREACHABLE, "recovering"),
    (BindingState.FAILED, False, Reason.AUTHENTICATION, "failed"),
    (BindingState.STOPPED, False, Reason.STOPPED, "closed"),
]


def test_every_state_has_a_condition() -> None:
    """The table below leaves none out."""
    assert {state for state, *_ in CONDITIONS} == set(BindingState)


@pytest.mark.parametrize(("state", "is_ready", "reason", "condition"), CONDITIONS)
def test_every_place_has_the_same_word_for_each_state(
    monkeypatch: pytest.MonkeyPatch, *, state: BindingState, is_ready: bool, reason: Reason, condition: str
) -> None:
    """Repr, HTML, status, panel and dashboard of tables, windows and streams; only what is complete is green."""
    from ktframe.widgets.dashboard import DashboardPicture  # noqa: PLC0415 - ipywidgets is slow to import
    from ktframe.widgets.status_panel import StatusPicture  # noqa: PLC0415

    broker = FakeBroker()
    broker.produce("t", "k", {"x": 1}, timestamp=1)
    with broker.connect() as kt:
        everything = [kt.table("t"), kt.table("t").window("1s"), kt.stream("t"), kt.stream("t").window("1s")]
        for rows in everything:
            rows.wait_until_ready()
        real = TopicBinding.readiness

        def pretended(binding: TopicBinding, missing: Any = None) -> Readiness:
            return replace(real(binding, missing), state=state, is_ready=is_ready, reason=reason)

        monkeypatch.setattr(TopicBinding, "readiness", pretended)
        texts = [DashboardPicture(kt).frame().html]
        for rows in everything:
            texts += [repr(rows), rows._repr_html_(), str(rows.status()), StatusPicture(rows).frame().html]
            assert rows.readiness().condition == condition
        words = {each for *_, each in CONDITIONS}
        for text in texts:
            assert {word for word in words if re.search(rf"\b{word}\b", text)} == {condition}
            assert ("#00735c" in text) <= (condition == "ready")
        monkeypatch.undo()
