"""The result of ``ktframe.inspect()``: frames, a few lines of text about them, and the call that loads the topic."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from ktframe.config.durations import describe_duration
from ktframe.explore.event_types import EventType
from ktframe.explore.readings import AVRO, NOTHING_READ, Reading, Readings
from ktframe.explore.time_fields import TimeField
from ktframe.formats import VALUE_COLUMN
from ktframe.formats.compact_json import compact_json

# Formats that a table detects by itself, so that the suggested call does not name them. A schema decides between Avro
# and Protobuf.
_DEFAULT_VALUES, _DEFAULT_KEYS = ("json", AVRO), ("string",)

_BYTE_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_KEYLESS_SHARE = 0.5
_NAMED_COLUMNS = 8
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Inspection:
    """A topic as it was at one moment: its contents, how long it takes to load, and the call that loads it.

    All numbers but the offsets are estimates from the newest records; a format is a guess.
    """

    topic: str
    taken_at: datetime
    """When the topic was inspected."""
    summary: pl.DataFrame
    """One row: ``topic`` (String), ``partitions`` (Int32), ``records`` (Int64, an upper bound: offsets of compacted
    records and transaction markers count), ``bytes`` (Int64, uncompressed), ``cleanup_policy`` (String),
    ``first_timestamp`` and ``last_timestamp`` (``Datetime("ms", "UTC")``), ``key_format`` and ``value_format``
    (String), ``tombstones`` and ``null_keys`` (Float64, shares from 0 to 1), ``load_seconds`` (Float64). A value is null
    where it is not known, or there is none."""
    samples: pl.DataFrame
    """The newest records, newest first: ``partition`` (Int32), ``offset`` (Int64), ``timestamp``
    (``Datetime("ms", "UTC")``), ``key`` and ``value`` (String: text or a number; hex where they are neither),
    ``size_bytes`` (Int64, key and value), ``headers`` (List of Struct of ``key`` and ``value``, String: text, or hex)."""
    columns: pl.DataFrame
    """The columns that a table would have besides its key, as far as the sample shows: ``column`` and ``dtype`` (String),
    ``nulls`` (Float64, a share from 0 to 1), ``tags`` (List(String): those that the schemas in the registry give to it, to a
    field inside of it as ``"field: tag"``). Empty where ktframe does not read the format, and where the schema of the
    values can't be looked up."""
    partitions: pl.DataFrame
    """``partition`` (Int32), ``start``, ``end`` (exclusive) and ``records`` (Int64), per partition."""
    schema_ids: tuple[int, ...] = ()
    """The Confluent schema ids that values of the sample begin with, the commonest first."""
    headers: tuple[str, ...] = ()
    """The names of the headers of the sample's records, the commonest first."""
    times: tuple[TimeField, ...] = ()
    """The fields that hold times: ``name``, and in which ``unit`` of ``time_unit=`` their numbers are."""
    types: tuple[EventType, ...] = ()
    """The types of records, where the values of a field (``field``) go with different fields: ``value``, the ``share`` of the
    sample (0 to 1), its ``columns``, and what ``where=`` takes for it (``where``)."""
    deletes: tuple[Any, ...] = ()
    """What ``deletes=`` takes for deletes in other spellings than Kafka's null value."""
    additions: tuple[str, ...] = ()
    """Arguments that one may add to the calls, as code: times of text that is a time in all records (``times="auto"``), the
    fields of CloudEvents' ``data`` as columns (``unnest=``), headers that tell kinds of records apart (``headers=``)."""
    left_out: int = 0
    """How many of the newest records were not looked at because they are too large together."""
    readings: Readings = NOTHING_READ
    """How keys and values are read: the arguments of the calls."""

    @property
    def suggestion(self) -> str:
        """The call that loads the topic, with the arguments that its sample asks for.

        It is a stream where most records have no key, or hold several objects.
        """
        return self._call() if self._is_stream else self._table()

    @property
    def suggestions(self) -> list[str]:
        """Calls to paste: one for each type of records, the commonest first, or ``suggestion`` where there are no types.

        The last one is the stream that has every record of the sample as an event, or every object in them: with it none of
        them is refused.
        """
        call = self._call if self.readings.values.explode else self._table
        types = [call(f"where={_literal(each.where)}") for each in self.types]
        return [*dict.fromkeys([*(types or [self.suggestion]), self._whole])]

    @property
    def _is_stream(self) -> bool:
        return self._is_keyless or self.readings.values.explode

    def _call(self, *more: str) -> str:
        return self._stream(self.readings.keys, self.readings.values, *more)

    @property
    def _whole(self) -> str:
        return self._stream(self.readings.all_keys, self.readings.all_values)

    @property
    def _is_keyless(self) -> bool:
        null_keys = self._facts()["null_keys"]
        return null_keys is not None and null_keys > _KEYLESS_SHARE

    def _table(self, *more: str) -> str:
        arguments = self._arguments(self.readings.keys, self.readings.values)
        if self._is_keyless:
            arguments.insert(0, 'key="<field>"')
        if self.deletes:
            several = self.deletes[0] if len(self.deletes) == 1 else [*self.deletes]
            arguments.append(f"deletes={_literal(several)}")
        return f"ktframe.table({', '.join([_quoted(self.topic), *arguments, *more])})"

    def _stream(self, keys: Reading, values: Reading, *more: str) -> str:
        arguments = self._arguments(keys, values)
        newest = self._facts()["last_timestamp"]
        if newest is not None and newest > self.taken_at.timestamp() * 1_000 + _DAY_MS:
            arguments.append("max_future_skew=None")
        return f"ktframe.stream({', '.join([_quoted(self.topic), *arguments, *more])})"

    def _arguments(self, keys: Reading, values: Reading) -> list[str]:
        arguments = []
        if values.format not in (None, *_DEFAULT_VALUES):
            arguments.append(f"value={_quoted(values.format)}")
        if keys.format not in (None, *_DEFAULT_KEYS):
            arguments.append(f"key_format={_quoted(keys.format)}")
        if values.unpack:
            arguments.append("unpack=True")
        if values.explode:
            arguments.append("explode=True")
        if values.json_fields:
            fields = ", ".join(f"{_literal(name)}: ktframe.Json" for name in values.json_fields)
            arguments.append(f"schema={{{fields}}}")
        return arguments

    def _facts(self) -> dict[str, Any]:
        # Times as numbers: Python has no datetime beyond the year 9999.
        return self.summary.with_columns(pl.col("first_timestamp", "last_timestamp").dt.epoch("ms")).row(
            0, named=True
        )

    def _comment(self, facts: dict[str, Any]) -> str:
        if not facts["records"]:
            return "no records yet"
        value, key = facts["value_format"], facts["key_format"]
        parts = ["only tombstones" if value is None else f"{value} values", f"{key or 'no'} keys"]
        parts.append(f"about {facts['records']:,} records")
        if facts["load_seconds"] is not None:
            parts.append(describe_duration(facts["load_seconds"]))
        return (
            ", ".join(parts)
            if value or key
            else f"about {facts['records']:,} records; none could be read in time"
        )

    def _size(self, facts: dict[str, Any]) -> str:
        text = f"{facts['partitions']} partition{'' if facts['partitions'] == 1 else 's'}"
        if facts["bytes"]:
            text += f", about {_bytes(facts['bytes'])}"
        if facts["last_timestamp"] is not None:
            text += f", newest record {self._age(facts['last_timestamp'])}"
        for name, what in (("tombstones", "tombstones"), ("null_keys", "without a key")):
            if facts[name]:
                text += f", {_percent(facts[name])} {what}"
        return text

    def _completeness(self, facts: dict[str, Any]) -> str:
        policy = facts["cleanup_policy"]
        oldest = facts["first_timestamp"]
        since = "" if oldest is None else f"; oldest record {self._age(oldest)}"
        if policy is None:
            return f"cleanup policy unknown{since}"
        if "delete" in policy:
            return f"cleanup policy {policy}: older records are removed, so a table may be partial{since}"
        return f"cleanup policy {policy}: the last record of each key stays, older ones may be gone{since}"

    def _notes(self, facts: dict[str, Any]) -> list[str]:
        notes = []
        if self.left_out:
            more = "more of the newest records were not looked at: together they are too large"
            notes.append(f"{self.left_out:,} {more}")
        if (names := self.columns["column"].to_list()) and names != [VALUE_COLUMN]:
            more = f", ... ({len(names)} in all)" if len(names) > _NAMED_COLUMNS else ""
            notes.append(f"columns: {', '.join(names[:_NAMED_COLUMNS])}{more}")
        if self.headers:
            more = f", ... ({len(self.headers)} in all)" if len(self.headers) > _NAMED_COLUMNS else ""
            notes.append(f"headers: {', '.join(self.headers[:_NAMED_COLUMNS])}{more}")
        if self.times:
            more = f", ... ({len(self.times)} in all)" if len(self.times) > _NAMED_COLUMNS else ""
            notes.append(f"fields for time=: {', '.join(map(str, self.times[:_NAMED_COLUMNS]))}{more}")
        notes += self._notes_on_types()
        notes += self._notes_on_calls()
        tagged = [
            f"{name} ({', '.join(tags)})"
            for name, tags in self.columns.select("column", "tags").rows()
            if tags
        ]
        if tagged:
            more = f", ... ({len(tagged)} in all)" if len(tagged) > _NAMED_COLUMNS else ""
            notes.append(f"tags: {', '.join(tagged[:_NAMED_COLUMNS])}{more}")
        if self.schema_ids and facts["value_format"] in (AVRO, "bytes"):
            ids = ", ".join(map(str, self.schema_ids[:3])) + (", ..." if len(self.schema_ids) > 3 else "")  # noqa: PLR2004
            where = "" if names else ": connect(..., schema_registry=...) tells where to look it up"
            notes.append(f"values name schema id {ids} of a registry{where}")
        if self._is_keyless and not self.readings.values.explode:
            notes.append(
                f"most records have no key: {self._table()} has the latest row of each, by the fields that identify it"
            )
        return notes

    def _notes_on_types(self) -> list[str]:
        if not self.types:
            return []
        shown = zip(self.types[:_NAMED_COLUMNS], self.suggestions, strict=False)
        return [
            f"{len(self.types)} types of records by {self.types[0].field!r}, with different fields:",
            *(f"  {call}  # {_percent(each.share)}" for each, call in shown),
            *([f"  ... ({len(self.types)} in all)"] if len(self.types) > _NAMED_COLUMNS else []),
        ]

    def _notes_on_calls(self) -> list[str]:
        notes = [f"you may add: {', '.join(self.additions)}"] if self.additions else []
        found = self.readings
        if self._facts()["value_format"] == "json" and found.values.format not in (None, "json"):
            way = f"value={_quoted(found.values.format)}"
            notes.append(f"names in the values never settle: {way} keeps each of them whole")
        if found.values.explode:
            notes.append("values hold several objects, in a list or in a row: each of them is an event")
        if (found.keys, found.values) != (found.all_keys, found.all_values):
            what = "object" if found.all_values.explode else "record"
            notes.append(f"every {what} as an event, whatever it holds: {self._whole}")
        if self.deletes:
            notes.append("some values delete a row by other means than Kafka's null")
        return notes

    def _age(self, at_ms: int) -> str:
        seconds = self.taken_at.timestamp() - at_ms / 1_000
        return (
            f"{describe_duration(seconds)} ago"
            if seconds >= 0
            else f"{describe_duration(-seconds)} in the future"
        )

    def _lines(self) -> list[str]:
        facts = self._facts()
        call = f"{self.suggestion}  # {self._comment(facts)}"
        return [call, self._size(facts), self._completeness(facts), *self._notes(facts)]

    def __repr__(self) -> str:
        return "\n".join([*self._lines(), "more: .columns .samples .partitions .summary"])

    def _repr_html_(self) -> str:
        call, *rest = (html.escape(line) for line in self._lines())
        frames = "".join(
            f"<details{' open' if is_open else ''}><summary>{name}</summary>{_table(frame)}</details>"
            for name, frame, is_open in (
                ("columns", self.columns, True),
                ("samples", self.samples, True),
                ("partitions", self.partitions, False),
                ("summary", self.summary, False),
            )
        )
        return f"<code>{call}</code><br>{'<br>'.join(rest)}{frames}"


def _table(frame: pl.DataFrame) -> str:
    with pl.Config(tbl_hide_dataframe_shape=True, tbl_rows=10, tbl_cols=-1, fmt_str_lengths=120):
        return frame._repr_html_()


def _quoted(text: str) -> str:
    return compact_json(text)  # its escapes are Python's, too


def _literal(value: Any) -> str:
    """Return a value as code, in the quotes of the other arguments."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(inner)}" for name, inner in value.items()) + "}"
    return f"[{', '.join(map(_literal, value))}]" if isinstance(value, list) else repr(value)


def _percent(share: float) -> str:
    return "under 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")  # noqa: PLR2004


def _bytes(count: int) -> str:
    for size, unit in _BYTE_UNITS:
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
