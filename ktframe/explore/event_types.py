"""Finds event types in a sample of JSON objects, by the field that tells them apart, and deletes in other spellings than null."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ktframe.formats.field_names import field_name

_FEWEST_SHARE: Final = 0.8
"""The share of the records that have a field which tells types apart."""
_MOST_TYPES: Final = 30
_FEWEST_GAIN: Final = 0.1
"""How much less of the cells of a table is null, at the least, in tables of one type each."""
_NAMES: Final = frozenset(
    [
        "type",
        "kind",
        "event",
        "eventtype",
        "event_type",
        "event_name",
        "eventname",
        "name",
        "action",
        "op",
        "category",
        "class",
    ]
)
_FLAG: Final = "__deleted"
"""How Debezium's and other flattening transforms mark a row that was deleted."""


class EventType(NamedTuple):
    """One of several types of records: those whose ``field`` is ``value``, a ``share`` (0 to 1) of the sample."""

    field: str
    value: str
    share: float
    columns: tuple[str, ...]
    """The fields that its records have, in their order."""

    @property
    def where(self) -> dict[str, str]:
        """What ``where=`` takes for these records."""
        return {self.field: self.value}


def event_types(records: Sequence[Mapping[str, Any]]) -> tuple[EventType, ...]:
    """Return the types of records, the commonest first; none where no field has values that go with other fields each."""
    if not records:
        return ()
    whole = _filled([_names(record) for record in records])
    best: tuple[tuple[float, int], str, dict[str, list[Mapping[str, Any]]]] | None = None
    texts = [dict(_texts(record)) for record in records]
    counts = Counter(name for each in texts for name in each)
    # Few are in that many records: to look for each name in all of them would take long where names never settle.
    for name, found in counts.items():
        if found < _FEWEST_SHARE * len(records):
            continue
        groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for record, each in zip(records, texts, strict=True):
            if name in each:
                groups[each[name]].append(record)
        if not 2 <= len(groups) <= min(_MOST_TYPES, found // 2):  # noqa: PLR2004
            continue
        cells = sum(_filled([_names(record) for record in group]) * len(group) for group in groups.values())
        gain = cells / found - whole
        score = (round(gain, 2), name.rpartition(".")[2].lower() in _NAMES)
        if gain >= _FEWEST_GAIN and (best is None or score > best[0]):
            best = score, name, groups
    if best is None:
        return ()
    _, name, groups = best
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(
        EventType(name, value, len(group) / len(records), tuple(_union(group))) for value, group in ordered
    )


def _texts(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields that are text, those of objects too, with their values."""
    for name, value in record.items():
        if isinstance(value, str):
            yield field_name((name,)), value
        elif isinstance(value, Mapping):
            yield from (
                (field_name((name, inner)), text) for inner, text in value.items() if isinstance(text, str)
            )


def _names(record: Mapping[str, Any]) -> list[str]:
    """Return the fields that have a value, of an object those inside of it."""
    names = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            names += [field_name((name, inner)) for inner, each in value.items() if each is not None]
        elif value is not None:
            names.append(name)
    return names


def _union(records: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from dict.fromkeys(
        name for record in records for name, value in record.items() if value is not None
    )


def _filled(names: Sequence[Sequence[str]]) -> float:
    """Return the share of the cells that have a value in a table of records with these fields."""
    every = {name for some in names for name in some}
    return sum(map(len, names)) / (len(every) * len(names)) if every else 1.0


def deletes_in(values: Sequence[bytes], records: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """Return what ``deletes=`` takes for deletes in other spellings than Kafka's."""
    found: list[Any] = []
    if any(not value.strip() for value in values):
        found.append("empty")
    if any(value.strip() == b"null" for value in values):
        found.append("null")
    flags = Counter(type(record[_FLAG]) for record in records if isinstance(record.get(_FLAG), str | bool))
    if flags:
        found.append({_FLAG: "true" if flags.most_common(1)[0][0] is str else True})
    return tuple(found)
