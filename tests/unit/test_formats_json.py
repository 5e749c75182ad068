"""JsonFormat: declared types, the reasons of refusals, inference, and the corners that random batches seldom reach."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from ktframe.errors import SchemaError
from ktframe.formats import JsonFormat
from ktframe.formats.base import Decoded
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.json import batches
from ktframe.formats.json import format as json_format
from ktframe.formats.json import records as json_records
from ktframe.formats.json.schema import json_columns

pytestmark = pytest.mark.usefixtures("few_as_many")

EMPTY = pl.Schema()


def _decode(*payloads: str | bytes, decoder: JsonFormat | None = None, known: pl.Schema = EMPTY) -> Decoded:
    """Decode, and hold the quick way against the record-by-record one."""
    decoder = decoder or JsonFormat()
    batch = [payload.encode() if isinstance(payload, str) else payload for payload in payloads]
    decoded = decoder.decode(batch, known)
    judged = decoder._decode_records(batch, decoder._with_declared(known))
    assert decoded.schema == judged.schema == decoded.frame.schema
    assert list(decoded.accepted) == judged.accepted
    assert decoded.refused == judged.refused
    assert decoded.frame.equals(judged.frame)
    return decoded


def _reason(payload: str | bytes, **settings: Any) -> str:
    (refusal,) = _decode(payload, **settings).refused
    return refusal.reason


def _declared(dtype: Any, *values: Any) -> tuple[list[Any], list[str]]:
    """Return what a declared field makes of JSON texts: accepted values and reasons."""
    decoded = _decode(*(f'{{"f":{value}}}' for value in values), decoder=JsonFormat(pl.Schema({"f": dtype})))
    assert decoded.schema == {"f": dtype}
    assert all(each.is_conflict for each in decoded.refused)
    return decoded.frame["f"].to_list(), [each.reason for each in decoded.refused]


# ------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty value"),
        (b" \r\n", "blank value"),
        (b"[1]", "a JSON list, not an object"),
        (b"null", "a JSON null, not an object"),
        (b"17", "a JSON number, not an object"),
        (b'{"a":"\xff"}', "not UTF-8 text: byte 0xff at 6"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON: starts with a byte order mark"),
        (b'{"a":-NaN}', "not JSON: "),
        (b'{"a":NaN,}', "not JSON: "),
        (b'{"a":nan}', "not JSON: "),
        (b'{"a":Inf}', "not JSON: "),
        (b'{"a":1Infinity}', "not JSON: "),
        (b'{"a":--Infinity}', "not JSON: "),
        (b'{"a":NaN.5}', "not JSON: "),
        (b'{"a":[NaN,1e400]}', "not JSON: number is infinity"),
        (b"{NaN:1}", "not JSON: "),
        (b"NaN", "a JSON number, not an object"),
        (b'{"a":1e400}', "not JSON: number is infinity"),
        (b'{"a":' + b"9" * 5000 + b"}", "not JSON: number is infinity"),
        (b'{"a":"\\ud800"}', "not JSON: "),
        (b'{"a":7}\n{"a":8}', "2 JSON objects, not one; "),
        (b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", "nested deeper than 64 levels"),
    ],
)
def test_malformed_payloads_say_why(payload: bytes, reason: str) -> None:
    """What is not one JSON object is refused with the reason, and not as a conflict."""
    decoded = _decode(b'{"a":1}', payload, b'{"a":2}')
    (refusal,) = decoded.refused
    assert refusal.index == 1
    assert refusal.reason.startswith(reason)
    assert not refusal.is_conflict
    assert decoded.frame["a"].to_list() == [1, 2]


def test_conflicts_name_path_and_kinds() -> None:
    """A conflict names the path of the field, the kind wanted, the kind found, and what schema= can declare."""
    known = pl.Schema({"a": pl.Struct({"b": pl.List(pl.Int64())})})
    decoded = _decode('{"a":{"b":[1,"x"]}}', known=known)
    assert decoded.refused[0].is_conflict
    reason = "field 'a.b[]': wanted Int64, found String; schema= can declare 'a' as ktframe.Json"
    assert decoded.refused[0].reason == reason


def test_conflicts_name_the_fields_of_the_record() -> None:
    """All that disagree, each by its name in the record, however deep the value is."""
    known = pl.Schema({"a": pl.Struct({"b": pl.List(pl.Int64())}), "a.b": pl.Int64(), "c": pl.Int64()})
    decoded = _decode('{"a":{"b":["x"]},"c":1,"a.b":"y"}', '{"c":"x"}', known=known)
    assert [refusal.fields for refusal in decoded.refused] == [("a", "a.b"), ("c",)]


def test_integers_out_of_range_name_a_type_that_holds_them() -> None:
    """An integer beyond Int64 is never wrapped or rounded; the reason names the type to declare."""
    assert "pl.UInt64" in _reason('{"a":18446744073709551615}', known=pl.Schema({"a": pl.Int64()}))
    assert "pl.Decimal" in _reason('{"a":-9223372036854775809}', known=pl.Schema({"a": pl.Int64()}))
    assert "2**53" in _reason('{"a":9007199254740993}', known=pl.Schema({"a": pl.Float64()}))
    assert "as ktframe.Json" in _reason(f'{{"a":{"9" * 300}}}', known=pl.Schema({"a": pl.Int64()}))


def test_objects_torn_over_payloads_are_not_misread() -> None:
    """Two halves of one object and a payload with two objects have the right number of rows, lines and braces, but
    they are not three objects."""  # noqa: D205, D209
    known = pl.Schema({"a": pl.Struct({"b": pl.Int64()})})
    decoded = _decode('{"a":', '{"b":1}}', '{"a":{"b":2}}{"a":{"b":3}}', known=known)
    assert [each.index for each in decoded.refused] == [0, 1, 2]


# -------------------------------------------------------------------------------------------- inference


def test_one_odd_record_does_not_decide_a_column() -> None:
    """A new field takes its commonest kind, however early the odd record came."""
    decoded = _decode('{"a":"odd"}', '{"a":1}', '{"a":2.5}', '{"a":3}')
    assert decoded.schema == {"a": pl.Float64()}
    assert [each.index for each in decoded.refused] == [0]


def test_a_record_has_one_vote() -> None:
    """A single record with a long list does not outvote two with short ones."""
    decoded = _decode(json.dumps({"a": ["x"] * 50}), '{"a":[1]}', '{"a":[2]}')
    assert decoded.schema == {"a": pl.List(pl.Int64())}


def test_the_kind_seen_first_wins_a_tie() -> None:
    """Of equally common kinds the first one seen decides."""
    assert _decode('{"a":"x"}', '{"a":1}').schema == {"a": pl.String()}
    assert _decode('{"a":1}', '{"a":"x"}').schema == {"a": pl.Int64()}


def test_refused_records_leave_no_trace() -> None:
    """Neither fields nor kinds that only a refused record has reach the schema."""
    known = pl.Schema({"a": pl.Int64(), "b": pl.String()})
    assert _decode('{"a":1.5,"b":7,"new":1}', '{"a":1}', known=known).schema == known


def test_a_column_of_wide_integers_stays_integer() -> None:
    """Floats don't widen an Int64 column in a batch that holds an integer a float would round, in whatever piece."""
    known = pl.Schema({"a": pl.Int64()})
    batch = ['{"a":1}'] * 40 + ['{"a":9007199254740993}'] + ['{"a":2}'] * 40 + ['{"a":0.5}']
    decoded = _decode(*batch, known=known)
    assert decoded.schema == known
    assert [each.index for each in decoded.refused] == [81]
    assert _decode('{"a":1}', '{"a":0.5}', known=known).schema == {"a": pl.Float64()}


def test_floats_are_refused_where_integers_are_to_be_kept() -> None:
    """without_float_widening() keeps an Int64 at any depth, in the fields named and in no other."""
    known = pl.Schema({"a": pl.Struct({"b": pl.List(pl.Int64())}), "c": pl.Int64()})
    payload = '{"a":{"b":[0.5]}}'
    wider = pl.Struct({"b": pl.List(pl.Float64())})
    assert _decode(payload, known=known).schema == {"a": wider, "c": pl.Int64()}
    keeping = JsonFormat().without_float_widening("a")
    decoded = _decode(payload, '{"c":0.5}', known=known, decoder=keeping)
    assert [each.index for each in decoded.refused] == [0]
    assert decoded.schema == {"a": known["a"], "c": pl.Float64()}


@pytest.mark.parametrize(
    "payload",
    [
        r'{"\u0000key":1}',
        r'{"a":1,"b\u0000c":null}',
        r'{"a":1,"n":{"\u0000":1}}',
        r'{"a":1,"n":[[{"x":1},{"x\u0000":null}]]}',
    ],
)
def test_a_name_with_a_nul_is_refused(payload: str) -> None:
    """At any depth, in a first batch as in a later one: Arrow takes no such name."""
    good = r'{"a":1,"s":"\u0000","t":"\\u0000"}'
    first = _decode(good, payload, good)
    later = _decode(good, payload, known=first.schema)
    assert first.schema == later.schema == {"a": pl.Int64(), "s": pl.String(), "t": pl.String()}
    assert [list(first.accepted), list(later.accepted)] == [[0, 2], [0]]
    assert [each.index for each in first.refused] == [1]
    assert _reason(payload).startswith("a field name holds a NUL character")


def test_a_name_of_an_own_column_is_refused() -> None:
    """In a first batch as in a later one; inside of an object, and as a value, it is like any other."""
    good = r'{"a":{"\u0001key":1},"s":"\u0001key","t\u0001":1}'
    first = _decode(good, r'{"\u0001key":1}', good)
    later = _decode(good, r'{"a":null,"\u0001":null}', known=first.schema)
    assert first.schema == later.schema
    assert first.schema["a"] == pl.Struct({"\x01key": pl.Int64()})
    assert [list(first.accepted), list(later.accepted)] == [[0, 2], [0]]
    assert [(each.index, each.is_conflict) for each in first.refused] == [(1, False)]
    assert first.refused[0].reason.startswith("a field name starts with U+0001")


def test_identity_fields_are_never_floats_lists_or_structs() -> None:
    """A field of an identity is String, Int64 or Boolean: other kinds neither count nor pass."""
    decoder = JsonFormat(exact_fields=frozenset({"id"}))
    decoded = _decode('{"id":1.5}', '{"id":2.0}', '{"id":[1]}', '{"id":{}}', '{"id":3}', decoder=decoder)
    assert decoded.schema == {"id": pl.Int64()}
    assert decoded.accepted == [4]
    assert _decode('{"id":1.5}', decoder=decoder).accepted == []
    assert _decode('{"id":1.5}', decoder=decoder, known=pl.Schema({"id": pl.Int64()})).accepted == []
    for dtype in (pl.Float64(), pl.Float32(), pl.List(pl.Int64()), pl.Struct({"a": pl.Int64()})):
        with pytest.raises(SchemaError, match="'id'"):
            JsonFormat(pl.Schema({"id": dtype}), frozenset({"id"}))


def test_all_fields_of_a_key_are_exact() -> None:
    """A JSON record key takes texts, integers and booleans in every field, and nothing else."""
    decoder = JsonFormat(are_all_exact=True)
    decoded = _decode('{"a":1,"b":"x"}', '{"a":1.0,"b":"x"}', '{"a":2,"c":[1]}', decoder=decoder)
    assert decoded.schema == {"a": pl.Int64(), "b": pl.String()}
    assert decoded.accepted == [0]


def test_nothing_but_null_and_empty_objects_have_columns() -> None:
    """Fields that were only null, empty lists and empty objects have columns, which take the first real kind."""
    decoded = _decode('{"n":null,"l":[],"o":{},"lo":[{}]}', "{}")
    assert decoded.schema == {
        "n": pl.Null(),
        "l": pl.List(pl.Null()),
        "o": pl.Struct([]),
        "lo": pl.List(pl.Struct([])),
    }
    assert decoded.frame.to_dicts() == [
        {"n": None, "l": [], "o": {}, "lo": [{}]},
        {"n": None, "l": None, "o": None, "lo": None},
    ]
    later = _decode('{"n":"x","l":[1],"o":{"p":true},"lo":[{"q":0.5}]}', known=decoded.schema)
    assert later.schema == {
        "n": pl.String(),
        "l": pl.List(pl.Int64()),
        "o": pl.Struct({"p": pl.Boolean()}),
        "lo": pl.List(pl.Struct({"q": pl.Float64()})),
    }


def test_records_without_fields_are_rows() -> None:
    """Objects without any field are rows of a frame without columns, in every path."""
    decoded = _decode("{}", "{}", "[]", *["{}"] * 3000)
    assert decoded.frame.shape == (3002, 0)


def test_any_string_is_a_field_name() -> None:
    """Empty, dotted and unicode names, and names like Arrow's own, are columns, at every level."""
    record = {"": 1, "column_0": 2, "0": 3, "a.b": 4, "é\n": 5, "s": {"": 6, "a.b": [{"": 7}]}}
    decoded = _decode(json.dumps(record), json.dumps(record))
    assert decoded.frame.to_dicts() == [record, record]
    assert _decode(json.dumps(record), known=decoded.schema).frame.to_dicts() == [record]


def test_an_empty_batch_has_the_known_schema() -> None:
    """No payloads make an empty frame of the known columns, the declared ones among them."""
    decoder = JsonFormat(pl.Schema({"d": pl.Date()}))
    assert _decode(decoder=decoder, known=pl.Schema({"a": pl.Int64()})).frame.schema == {
        "d": pl.Date(),
        "a": pl.Int64(),
    }
    assert decoder.initial_schema == {"d": pl.Date()}
    assert JsonFormat().initial_schema == {}


def test_a_formats_settings_are_hashable() -> None:
    """Formats can be compared and be part of a cache's key."""
    left, right = (JsonFormat(pl.Schema({"a": pl.Int64()}), frozenset({"b"})) for _ in range(2))
    assert left == right
    assert hash(left) == hash(right)


# --------------------------------------------------------------------------------------- declared types


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        (pl.Int8(), -128, 127),
        (pl.Int16(), -(2**15), 2**15 - 1),
        (pl.Int32(), -(2**31), 2**31 - 1),
        (pl.Int64(), -(2**63), 2**63 - 1),
        (pl.UInt8(), 0, 255),
        (pl.UInt16(), 0, 2**16 - 1),
        (pl.UInt32(), 0, 2**32 - 1),
        (pl.UInt64(), 0, 2**64 - 1),
    ],
)
def test_declared_integers_have_their_range(dtype: pl.DataType, low: int, high: int) -> None:
    """Both ends are accepted, the next integers refused, and 1.0 is no integer."""
    values, reasons = _declared(dtype, low, high, low - 1, high + 1, "1.0", "true", "null")
    assert values == [low, high, None]
    assert len(reasons) == 4


def test_declared_floats() -> None:
    """A Float64 is exact; a Float32 is the nearest one and no infinity; integers beyond 2**53 are in neither."""
    assert _declared(pl.Float64(), "0.1", 2**53, 2**53 + 1, '"0.1"')[0] == [0.1, 2.0**53]
    values, reasons = _declared(pl.Float32(), "0.5", "0.1", "3.4028235e38", "3.5e38", 2**53 + 1)
    assert values == [0.5, pytest.approx(0.1, rel=1e-7), pytest.approx(3.4028235e38)]
    assert len(reasons) == 2
    assert (
        len(_declared(pl.Float32(), "3.4028235677973366e38", "-3.4028236e38", "3.4028235677973362e38")[0])
        == 1
    )


def test_declared_decimals_are_exact() -> None:
    """Numbers and strings become decimals without a float between, or are refused."""
    texts = [
        "0.1",
        "12345678901234567890.12",
        '"-1.50"',
        "1e2",
        "7",
        "0.125",
        "1e36",
        "5e36",
        '"x"',
        '" 1"',
        '"NaN"',
        "true",
    ]
    values, reasons = _declared(pl.Decimal(38, 2), *texts)
    assert values == [Decimal(text) for text in ("0.1", "12345678901234567890.12", "-1.5", "100", "7")]
    assert len(reasons) == 7
    assert _declared(pl.Decimal(5, 2), "999.99", "1000", "-0", "0.000")[0] == [Decimal("999.99"), 0, 0]


@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9)
    )
)
def test_decimals_round_trip(values: list[Decimal]) -> None:
    """Every decimal that fits comes back from its number and from its string, nested ones too."""
    decoder = JsonFormat(
        pl.Schema({"n": pl.Decimal(14, 4), "s": pl.List(pl.Decimal(14, 4)), "f": pl.Float64()})
    )
    decoded = _decode(*(f'{{"n":{value},"s":["{value}"],"f":{value}}}' for value in values), decoder=decoder)
    rows = [{"n": value, "s": [value], "f": float(value)} for value in values]
    assert decoded.frame.to_dicts() == rows


def test_declared_dates_and_times_of_day() -> None:
    """ISO dates and times of day are taken as they are; days that don't exist and other forms are not."""
    values, reasons = _declared(pl.Date(), '"2024-02-29"', '"2023-02-29"', '"0000-01-01"', '"20240101"')
    assert values == [date(2024, 2, 29)]
    assert len(reasons) == 3
    values, reasons = _declared(
        pl.Time(), '"12:34"', '"12:34:56.789"', '"24:00:00"', '"12"', '"12:34:56Z"', 3_600
    )
    assert values == [time(12, 34), time(12, 34, 56, 789000)]
    assert len(reasons) == 4


EDGES = [
    *(0, 1, -1, 19_813, -719_162, -719_163, 2_932_896, 2_932_897, 2**31, -(2**31) - 1),
    *(
        10**10,
        1_711_848_600_123,
        253_402_300_799_999,
        253_402_300_800_000,
        2**53 + 1,
        2**63 - 1,
        -(2**63),
        2**64,
    ),
]


@given(
    st.lists(st.sampled_from(EDGES) | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False), min_size=1),
    st.sampled_from(["ms", "us", "ns"]),
)
def test_numbers_are_units_of_their_column(numbers: list[float], unit: Any) -> None:
    """Whole numbers are units since 1970, days of a date, within the years 1 to 9999; both paths read the same."""
    per_second = {"ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    first, end = -62_135_596_800, 253_402_300_800
    whole = [int(n) for n in numbers if n % 1 == 0 and (isinstance(n, int) or abs(n) < 2**53)]
    for dtype in (pl.Datetime(unit, "UTC"), pl.Datetime(unit)):
        held = [n for n in whole if first * per_second <= n < end * per_second and -(2**63) < n < 2**63]
        decoder = JsonFormat(pl.Schema({"v": dtype}))
        decoded = _decode(*(f'{{"v":{json.dumps(n)}}}' for n in numbers), decoder=decoder)
        assert decoded.frame["v"].to_physical().to_list() == held
    days = [n for n in whole if first <= n * 86_400 < end]
    decoder = JsonFormat(pl.Schema({"v": pl.Date(), "l": pl.List(pl.Struct({"v": pl.Date()}))}))
    payloads = [f'{{"v":{json.dumps(n)},"l":[{{"v":{json.dumps(n)}}}]}}' for n in numbers]
    frame = _decode(*payloads, decoder=decoder).frame
    assert frame["v"].to_physical().to_list() == days
    assert frame["l"].list.first().struct.field("v").to_physical().to_list() == days


def test_times_as_text_and_as_numbers_are_one_column() -> None:
    """A column has both, and other columns are text meanwhile."""
    decoder = JsonFormat(pl.Schema({"a": pl.Datetime("ms", "UTC"), "b": pl.Date()}))
    payloads = [
        '{"a":1704067200000,"b":"2024-01-01"}',
        '{"a":"2024-01-01T00:00:00Z","b":19723}',
        '{"a":null,"b":19723.0}',
        '{"a":1704067200000.5}',
    ]
    decoded = _decode(*payloads, decoder=decoder)
    at = datetime(2024, 1, 1, tzinfo=UTC)
    assert decoded.frame["a"].to_list() == [at, at, None]
    assert decoded.frame["b"].to_list() == [at.date()] * 3
    assert "finer than its column" in decoded.refused[0].reason


@pytest.mark.parametrize("text", ['"2024-01-01T00:00:00Z"', "1704067200000"])
def test_times_are_read_by_arrow(text: str) -> None:
    """Text and numbers alike are read in whole batches."""
    schema = pl.Schema({"at": pl.Datetime("ms", "UTC"), "n": pl.Int64()})
    payloads = [f'{{"at":{text},"n":{n}}}'.encode() for n in range(100)]
    frame = batches.read_batch(payloads, schema, frozenset(schema))
    assert frame is not None
    assert set(frame["at"].to_list()) == {datetime(2024, 1, 1, tzinfo=UTC)}


def test_an_offset_is_never_guessed() -> None:
    """A zoned column needs an offset and converts by it; a naive one refuses it; the reasons say what to declare."""
    naive, zoned = '"2024-01-02T03:04:05"', '"2024-01-02T03:04:05+02:00"'
    instant = datetime(2024, 1, 2, 1, 4, 5, tzinfo=UTC)
    values, reasons = _declared(pl.Datetime("us", "UTC"), zoned, naive)
    assert values == [instant]
    assert "without a time zone" in reasons[0]
    assert _declared(pl.Datetime("ms", "Asia/Tokyo"), zoned)[0] == [instant]
    values, reasons = _declared(pl.Datetime("us"), naive, zoned, '"2024-01-02"')
    assert values == [datetime(2024, 1, 2, 3, 4, 5), datetime(2024, 1, 2)]  # noqa: DTZ001
    assert "with a time zone" in reasons[0]


def test_fractions_are_not_cut() -> None:
    """A fraction finer than the column's unit is refused unless the rest is zeros."""
    values, reasons = _declared(
        pl.Datetime("ms", "UTC"), '"2024-01-01T00:00:00.123000Z"', '"2024-01-01T00:00:00.1234Z"'
    )
    assert values == [datetime(2024, 1, 1, microsecond=123000, tzinfo=UTC)]
    assert "finer than ms" in reasons[0]


def test_times_beyond_the_column_are_refused() -> None:
    """Nanoseconds end in 1677 and 2262, years at 1 and 9999, also where only the offset carries a time across."""
    texts = [
        '"1677-09-21T00:12:43.145224193+14:00"',
        '"2262-04-11T23:47:16.9-01:00"',
        '"2262-04-11T00:00:00Z"',
    ]
    assert len(_declared(pl.Datetime("ns", "UTC"), *texts)[0]) == 1
    assert len(_declared(pl.Datetime("ns"), '"1600-01-01"', '"2300-01-01"')[0]) == 0
    texts = [
        '"0000-01-01T00:00:00Z"',
        '"0001-01-01T00:00:00+14:00"',
        '"9999-12-31T23:59:59-01:00"',
        '"9999-12-31T23:59:59Z"',
    ]
    assert len(_declared(pl.Datetime("us", "UTC"), *texts)[0]) == 1


@given(
    st.lists(st.datetimes(timezones=st.sampled_from([UTC, None]))),
    st.sampled_from(["T", " "]),
    st.sampled_from([0, 90, -330]),
)
def test_times_round_trip(values: list[datetime], separator: str, offset: int) -> None:
    """Every Python time comes back from its ISO text, nested ones too, or is refused for its offset alone."""
    decoder = JsonFormat(
        pl.Schema({"t": pl.Datetime("us", "UTC"), "l": pl.List(pl.Struct({"t": pl.Datetime("us")}))})
    )
    rows = []
    payloads = []
    for value in values:
        naive = value.replace(tzinfo=None)
        if not datetime(2, 1, 1) < naive < datetime(9998, 1, 1):  # noqa: DTZ001
            continue
        aware = naive.replace(tzinfo=UTC) - timedelta(minutes=offset)
        sign, minutes = "-" if offset < 0 else "+", abs(offset)
        zone = f"{sign}{minutes // 60:02}:{minutes % 60:02}" if offset else "Z"
        payloads.append(
            json.dumps(
                {"t": naive.isoformat(separator) + zone, "l": [{"t": naive.isoformat(separator)}, None]}
            )
        )
        rows.append({"t": aware, "l": [{"t": naive}, None]})
    assert _decode(*payloads, decoder=decoder).frame.to_dicts() == rows


ISO = st.from_regex(
    r"\A(0000|0001|1677|2024|9999)-(0[0-9]|1[0-3])-(0[0-9]|3[01])([T t](0[0-9]|2[34])(:?[0-6][09](:?[0-6][09](\.[0-9]{0,10})?)?)?"
    r" ?(Z|z|[+-](0[0-9]|1[49]|2[34])(:?[06]0)?)?)?\Z"
)


@given(st.lists(ISO, min_size=1, max_size=4), st.sampled_from(["ms", "us", "ns"]))
def test_texts_near_iso_are_read_alike_by_both_paths(texts: list[str], unit: Any) -> None:
    """Where Arrow reads a text as a time, the record reader has the same one; where it refuses, so does Arrow."""
    for dtype in (pl.Datetime(unit, "UTC"), pl.Datetime(unit), pl.Date(), pl.Time()):
        _declared(dtype, *(json.dumps(text) for text in texts))


def test_declared_categories() -> None:
    """An Enum takes its categories alone, a Categorical any text, nested ones too."""
    suit = pl.Enum(["red", "black"])
    values, reasons = _declared(suit, '"red"', '"blue"', "1")
    assert values == ["red"]
    assert "categories" in reasons[0]
    assert _declared(pl.List(suit), '["red",null]', '["blue"]')[0] == [["red", None]]
    assert _declared(pl.Categorical(), '"x"', "1")[0] == ["x"]


def test_declared_structs_are_fixed_and_other_fields_are_kept() -> None:
    """An undeclared top-level field becomes an inferred column; one inside a declared struct is a conflict."""
    dtype = pl.Struct({"day": pl.Date(), "n": pl.List(pl.Int16())})
    decoder = JsonFormat(pl.Schema({"s": dtype, "absent": pl.String()}))
    decoded = _decode(
        '{"s":{"day":"2024-01-01","n":[1]},"more":1}', '{"s":{"x":1}}', '{"s":null}', decoder=decoder
    )
    assert decoded.schema == {"s": dtype, "absent": pl.String(), "more": pl.Int64()}
    assert decoded.frame.to_dicts()[0] == {
        "s": {"day": date(2024, 1, 1), "n": [1]},
        "absent": None,
        "more": 1,
    }
    reason = "field 's.x' is not in the schema; schema= can declare it, or for all values 's' as ktframe.Json"
    assert decoded.refused[0].reason == reason


def test_a_declared_field_never_widens() -> None:
    """A declared Int64 refuses floats for good."""
    decoder = JsonFormat(pl.Schema({"a": pl.Int64()}))
    assert _decode('{"a":0.5}', '{"a":1.0}', decoder=decoder).accepted == []


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Duration("us"),
        pl.Binary(),
        pl.Object(),
        pl.Int128(),
        pl.Array(pl.Int64(), 2),
        pl.List(pl.Binary()),
        pl.Struct({"a": pl.Duration("ms")}),
    ],
)
def test_types_without_a_form_in_json_are_refused_at_once(dtype: pl.DataType) -> None:
    """An unsupported declaration is a SchemaError that names the field, with a hint."""
    with pytest.raises(SchemaError, match="'f") as caught:
        JsonFormat(pl.Schema({"f": dtype}))
    assert caught.value.hint


# ---------------------------------------------------------------------------------------------- faults


def test_a_failing_native_reader_leaves_the_decision_to_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """If Arrow or Polars raises, even a panic, the batch is judged record by record."""

    def panic(*_: Any, **__: Any) -> None:
        raise pl.exceptions.PanicException

    monkeypatch.setattr(batches.pj, "read_json", panic)
    assert _decode('{"a":1}', known=pl.Schema({"a": pl.Int64()})).frame["a"].to_list() == [1]


def test_a_record_that_can_not_be_held_is_refused_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the builder fails for one row, only that one is refused."""
    build = json_records.frame_of_records

    def fragile(rows: Any, schema: pl.Schema) -> pl.DataFrame:
        if any(row.get("a") == 2 for row in rows):
            raise pl.exceptions.PanicException
        return build(rows, schema)

    monkeypatch.setattr(json_records, "frame_of_records", fragile)
    monkeypatch.setattr(json_format, "read_batch", lambda *_: None)
    decoded = _decode('{"a":1}', '{"a":2}', '{"a":3}')
    assert decoded.frame["a"].to_list() == [1, 3]
    assert decoded.refused[0].reason == "its values can't be held in a column"


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a batch ends the call."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(batches.pj, "read_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        JsonFormat().decode([b'{"a":1}'], pl.Schema({"a": pl.Int64()}))


def test_few_payloads_wait_for_no_thread_of_arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few payloads are decoded one by one, whole or not; one more than these, or a long one, are a batch for Arrow."""
    monkeypatch.setattr(json_format, "MOST_ONE_BY_ONE", 2)
    monkeypatch.setattr(json_format, "read_batch", lambda *_: pytest.fail("read by Arrow"))
    known = pl.Schema({"a": pl.Int64()})
    assert JsonFormat().decode([b'{"a":1}', b'{"a":2}'], known).frame["a"].to_list() == [1, 2]
    assert [each.index for each in JsonFormat().decode([b'{"a":1}', b"{"], known).refused] == [1]
    for many in ([b'{"a":1}'] * 3, [b'{"a":1' + b" " * 20_000 + b"}"]):
        with pytest.raises(pytest.fail.Exception, match="read by Arrow"):
            JsonFormat().decode(many, known)


def test_the_first_records_say_what_the_batch_is_read_as() -> None:
    """A batch without surprises is inferred from its first records and read whole, with the outcome of judging all."""
    payloads = [f'{{"a":{number},"b":["x"],"c":{{"d":{number}.5}}}}' for number in range(1000)]
    assert _decode(*payloads).frame.height == 1000
    surprises = [*payloads, '{"a":1.5}', '{"e":null}', "{", '{"b":7}']
    assert len(_decode(*surprises).refused) == 2


def test_bad_records_cost_only_their_neighbours() -> None:
    """Batches with a few bad records among thousands have the outcome of judging every record."""
    payloads = [f'{{"a":{number}}}' for number in range(3000)]
    for at in (0, 17, 1500, 1501, 2999):
        payloads[at] = "nonsense"
    decoded = _decode(*payloads, known=pl.Schema({"a": pl.Int64()}))
    assert [each.index for each in decoded.refused] == [0, 17, 1500, 1501, 2999]


@pytest.mark.parametrize("padding", ["\n", "\r\n", "  "])
def test_white_space_around_does_not_cost_the_quick_way(
    padding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payloads that end in a newline are read as whole batches, without looking at the records."""
    monkeypatch.setattr("ktframe.formats.json.format.decode_records", None)
    decoded = JsonFormat().decode([f'{{"a":1}}{padding}'.encode()] * 3, pl.Schema({"a": pl.Int64()}))
    assert decoded.frame["a"].to_list() == [1, 1, 1]


def test_a_json_schema_tells_of_no_column_that_records_can_not_have() -> None:
    """Names with a NUL or of own columns are passed over; the records that have them are refused."""
    text = r'{"properties":{"\u0000a":{"type":"string"},"\u0001key":{"type":"string"},"b":{"type":"string"}}}'
    (column,) = json_columns(SchemaDocument("JSON", text))
    assert (column.name, column.dtype) == ("b", pl.String())
