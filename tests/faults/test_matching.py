"""The histories that fit an answer are those that trying all of them finds."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults.cluster import KEYS
from faults.histories import History
from faults.log import Kind, Record
from faults.matching import WrongAnswerError, matching
from faults.oracle import MINUTE, READS

NAMES = [name for name, read in READS.items() if read.by is not None]
KINDS = [Kind.ROW, Kind.ROW, Kind.ROW, Kind.TOMBSTONE, Kind.TOMBSTONE, Kind.BROKEN]


@st.composite
def logs(draw: st.DrawFn) -> dict[int, tuple[Record, ...]]:
    """Return a few records of a few partitions, which share keys, names and windows."""
    found: dict[int, tuple[Record, ...]] = {}
    for partition in range(draw(st.integers(1, 3))):
        records = []
        for offset in range(draw(st.integers(0, 5))):
            kind = draw(st.sampled_from(KINDS))
            key = draw(st.sampled_from([*KEYS[:2], None]))
            name = draw(st.sampled_from(KEYS[:2])) if kind is Kind.ROW else None
            at = draw(st.integers(0, 9)) * 2 * MINUTE
            records.append(Record(partition * 100 + offset, partition, offset, at, key, kind, name))
        found[partition] = tuple(records)
    return found


@st.composite
def possible(draw: st.DrawFn) -> dict[int, list[History]]:
    """Return possible histories of each partition: some of a log's first records, and what comes after all that is lost."""
    options = {}
    for partition, records in draw(logs()).items():
        kept = draw(st.integers(0, len(records)))
        some = {(*records[:count], *records[max(count, kept) :]) for count in range(kept + 1)}
        options[partition] = [
            History(each, len(records), is_anew=not number)
            for number, each in enumerate(sorted(some, key=len))
        ]
    return options


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_matching_finds_what_trying_all_finds(name: str, data: st.DataObject) -> None:
    """None that fits is left out, since it may be what a store has; none is kept that doesn't."""
    options, read = data.draw(possible()), READS[name]

    def answer(chosen: tuple[History, ...]) -> dict[str, Any]:
        return read.answer({p: each.records for p, each in zip(options, chosen, strict=True)}, KEYS)

    true = tuple(data.draw(st.sampled_from(some)) for some in options.values())
    right = answer(true)
    fitting = [chosen for chosen in product(*options.values()) if answer(chosen) == right]
    found = matching(name, {"answer": right}, {p: frozenset(some) for p, some in options.items()})
    assert found == {p: {chosen[p] for chosen in fitting} for p in options}


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_an_answer_of_no_history_is_wrong(name: str, data: st.DataObject) -> None:
    """A row that is missing is told, whatever is possible."""
    options, read = data.draw(possible()), READS[name]
    right = read.answer({p: some[0].records for p, some in options.items()}, KEYS)
    answers = [
        read.answer({p: each.records for p, each in zip(options, chosen, strict=True)}, KEYS)
        for chosen in product(*options.values())
    ]
    wrong = {**right, "to_polars": right["to_polars"][1:]}
    if wrong not in answers:
        with pytest.raises(WrongAnswerError):
            matching(name, {"answer": wrong}, {p: frozenset(some) for p, some in options.items()})
