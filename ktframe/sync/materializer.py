"""One store and its view, kept equal: loads the view, applies batches, drops rows.

Owned by the binding's thread; any thread may read the view and the store.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

import polars as pl

from ktframe.clock import Clock, now_ms
from ktframe.columns import IDENTITY, OFFSET, PARTITION, STORED, is_field
from ktframe.fold.combined import newest_times
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.key_tombstones import resolve_tombstones
from ktframe.fold.learned import Learned
from ktframe.fold.records import BatchContext, Changes, Position, RecordBatch
from ktframe.fold.stale import without_outdated
from ktframe.fold.view import View
from ktframe.fold.written import WrittenRows
from ktframe.store.protocol import CHUNK_ROWS, Horizon, Rebuild, StateStore, stream_times, written_positions
from ktframe.store.replacement import Replacement
from ktframe.sync import cuts
from ktframe.sync.ages import Ages
from ktframe.sync.exchange import Exchange, Switched
from ktframe.sync.filling import Filling
from ktframe.sync.log_check import LeaderEpochs
from ktframe.sync.piece import Piece, log_refused
from ktframe.sync.presence import Presence
from ktframe.windows.retention import Loaded

logger = logging.getLogger("ktframe.sync")
_NONE: Mapping[int, int] = MappingProxyType({})


class Materializer:
    """Applies batches to a store, then to its view, so that the view is never ahead of the store."""

    def __init__(
        self,
        name: str,
        decoder: TopicDecoder,
        store: StateStore,
        clock: Clock,
        replacement: Replacement | None = None,
    ) -> None:
        self.name = name
        self._decoder = decoder
        self.store = store
        self.replacement = replacement
        """Which stores of other format versions the store replaces; None for one that can't."""
        self.learned = Learned.from_parts(store.learned())
        """What decides the types of inferred fields."""
        self.schema = self._initial_schema()
        self.written = WrittenRows(self._new_view)
        self.view = self.written.shown
        """The rows that reads find."""
        self.presence = Presence(clock)
        """When the rows of each partition were last known to be as the log is; every write carries it."""
        self.epochs = LeaderEpochs()
        self.ages = Ages()
        self.stream_times: dict[int, int] = {}
        """The stream time (ms) of each partition, as of the rows in the view."""
        self._clock = clock
        # Where no row is replaced nothing is won; retention looks at the rows after each batch.
        is_pointless = decoder.identity.keeps_history or decoder.identity.retention is not None
        self.piece = Piece(clock, takes_none=is_pointless)
        """What was decoded and is not applied yet."""
        self.applied = 0  # records, since this was made
        self._mark: object = None
        """The retention mark at the last drop: while it is the same, there is nothing to drop."""
        self._revision = 0
        """The decoder's revision with which the view's rows were decoded."""
        self.exchange = Exchange()
        self.sees_deletes = True
        """False once a row had no record key: no tombstone can delete it."""
        self.key_deletes = 0  # how many tombstones came that delete by record key, where fields are the key
        self.is_cut_short = False
        """Whether retention has dropped rows that it keeps as it is now: no more are dropped until these are read again."""
        self._are_equal = False
        """Whether store and view have the same rows; False from the start of a change of both to its end."""

    @property
    def decoder(self) -> TopicDecoder:
        """Makes rows of records, as the fields of those so far were learned to be."""
        return self._decoder.with_forms(self.learned.forms)

    def _new_view(self) -> View:
        identity = self.decoder.identity
        return View(
            identity.columns,
            self.decoder.frame_schema(self.schema),
            user_key=identity.user_key_columns,
            keeps_markers=self.decoder.keeps_markers,
            spill=self.store.spill,
        )

    def _initial_schema(self) -> pl.Schema:
        return self.store.schema() or self.decoder.value_format.initial_schema

    @property
    def is_schema_open(self) -> bool:
        """Whether no column is known yet."""
        return not any(map(is_field, self.schema))

    def reconcile(self) -> None:
        """Fill the view from the store, unless they have the same rows and these were decoded by this revision.

        They differ when the store was just opened, and when an error came in the middle of a change of both.

        Raises
        ------
        StoreCorruptError
            When a row can't be read.
        """
        self.is_cut_short = cuts.begin(self.store, self.decoder.identity.retention)
        positions = {partition: position.offset for partition, position in self.positions().items()}
        is_outdated = self.written.positions() != positions or self._revision != self.decoder.revision
        if is_outdated or not self._are_equal:
            self._are_equal = False
            self._refill(positions)
            self._are_equal = True

    def positions(self) -> dict[int, Position]:
        """Return how far each partition is written: one that is being rebuilt as far as it was read again."""
        return written_positions(self.store)

    def recover(self) -> dict[int, str]:
        """Open the store again if its disk has refused a write or lost it, and fill the view from what it has then.

        Returns the partitions of which it has nothing any more, with the reason.

        Raises
        ------
        StoreError
            When the disk still refuses.
        """
        if not self.store.has_failed:
            return {}
        # First: a read that began before must not take rows from a store that has lost some.
        self.exchange.lose_rows()
        self._are_equal = False
        self.store.reopen()
        known, left = self.written.positions(), self.positions()
        self.presence.go_back()
        self.reconcile()
        return {partition: "the disk has lost its rows" for partition in known if partition not in left}

    @contextmanager
    def _in_both(self, *, loses_rows: bool = False) -> Iterator[None]:
        """Change the store, then the view: after an error in between, ``reconcile`` fills the view from the store."""
        if loses_rows:
            self.exchange.lose_rows()
            self._mark = None
        were_equal, self._are_equal = self._are_equal, False
        yield
        self._are_equal = were_equal

    def _refill(self, positions: Mapping[int, int]) -> None:
        """Fill the view from the store, whose positions are ``positions``."""
        self.exchange.lose_rows()
        self._mark = None
        self._revision = self.decoder.revision
        self.schema, self.learned = self._initial_schema(), Learned.from_parts(self.store.learned())
        rebuilt = self.store.rebuilds()
        self.ages.opened({p: at for p, at in self.store.positions().items() if p not in rebuilt})
        again = {p: at for p, at in positions.items() if p in rebuilt}
        sees_deletes = [self._filling.fill_again(self.written.again, again), self._filling.fill(self.view)]
        self.sees_deletes &= all(sees_deletes)
        self.stream_times = self._shown_times()
        self._retain()
        # Last, as in apply(): after an error before it, the store is read again.
        self.written.apply(pl.DataFrame(), self.view.schema, positions)

    @property
    def _filling(self) -> Filling:
        return Filling(self.name, self.store, self.decoder, self.schema)

    def keep_rows(self) -> None:
        """Keep the decoded rows for the next open, if the view has just what the store holds."""
        positions = {partition: position.offset for partition, position in self.positions().items()}
        is_whole = self._are_equal and not self.store.rebuilds() and self.written.positions() == positions
        if is_whole and self._revision == self.decoder.revision:
            self._filling.keep(self.view, sees_deletes=self.sees_deletes)

    def decode(self, batch: RecordBatch) -> Changes:
        """Return what ``batch`` changes; nothing is applied yet."""
        context = self._context()
        changes = self.decoder.decode(batch, self.schema, context)
        inexact = self.written.inexact(changes.schema)
        if inexact:
            # Existing rows hold integers that no float can represent: the records with floats are refused instead.
            changes = self.decoder.without_float_widening(*inexact).decode(batch, self.schema, context)
        return changes

    def collect(self, batch: RecordBatch, changes: Changes) -> None:
        """Have ``changes``, what ``decode`` made of ``batch``, applied by the next ``apply``."""
        # At once: what was learned of more records than were applied does no harm, what was forgotten of some would.
        self._learn(changes.learned)
        self.piece.add(changes, batch.positions)
        log_refused(self.name, changes)

    def apply(self) -> Changes:
        """Apply what was collected to the store, then to the view; after an error it has to be read again."""
        positions, changes = self.piece.positions, self.piece.take()
        with self._in_both():
            return self._apply(changes, positions)

    def _apply(self, changes: Changes, positions: Mapping[int, int]) -> Changes:
        self.key_deletes += len(changes.tombstones) + changes.field_deletes
        changes = resolve_tombstones(changes, self.store, self.decoder.identity.columns)
        stale = without_outdated(changes.stale, changes.lines)
        changes = replace(changes, stale=stale, present=self.presence.known())
        if self.written.has_outdated(changes.schema):
            self.switch()  # they can't be shown any longer
        self.store.apply(changes, positions)
        self.schema = changes.schema
        if changes.is_keyless:
            self.sees_deletes = False
        schema = self.decoder.frame_schema(self.schema)
        if self._revision == self.decoder.revision:
            self.written.apply(changes.frame, schema, {}, changes.stale)
        else:
            logger.info("%s: rows are decoded again, by the schemas that came since", self.name)
            self._refill(self.written.positions())
        self.stream_times = self._shown_times()
        self.applied += sum(changes.records.values())
        self._retain()
        # Positions last: whoever waits for them finds stream time and retention already applied.
        self.written.apply(pl.DataFrame(), schema, positions)
        return changes

    def _shown_times(self) -> dict[int, int]:
        return stream_times(self.store.positions())

    def _context(self) -> BatchContext:
        positions = self.positions()
        return BatchContext(
            stream_times=newest_times((stream_times(positions), self.piece.stream_times)),
            horizons={p: at.horizon for p, at in positions.items() if at.horizon is not None},
            now_ms=now_ms(self._clock),
            learned=self.learned,
        )

    def _learn(self, learned: Learned) -> None:
        if learned is not self.learned:
            are_new = learned.forms != self.learned.forms
            self.store.learn(learned.changes_since(self.learned), changes_rows=are_new)
            self.learned = learned

    def _retain(self) -> None:
        """Drop the rows that retention no longer keeps."""
        retention = self.decoder.identity.retention
        if retention is None or self.is_cut_short:
            return
        loaded = Loaded(self._context().stream_times, self.applied, lambda: self.written.lines()[0])
        if (mark := retention.mark(loaded)) != self._mark:
            self.drop(retention.column, retention.horizons(loaded))
            self._mark = mark

    def drop(self, column: str, horizons: Mapping[int, int], *, is_retention: bool = True) -> int:
        """Drop the rows below ``horizons`` from the store and the view, where these are above the horizons so far.

        Returns how many rows were dropped. Positions remember only what ``is_retention``.
        """
        known, bound = self._context().horizons, self.decoder.identity.lower_bound
        further = {p: at for p, at in horizons.items() if at > known.get(p, at - 1)}
        if not further:
            return 0
        dropped = self.written.below(column, further)
        # The store first: whoever sees that rows are missing must also see the horizon that explains it.
        with self._in_both():
            counted = {p: dropped.get(p, (0, None)) if is_retention else (0, None) for p in further}
            self.store.drop({p: Horizon(at, bound(p, at), *counted[p]) for p, at in further.items()})
            self.written.drop(column, further)
        total = sum(count for count, _ in dropped.values())
        if total:
            logger.info("%s: %s rows were dropped, below %s", self.name, f"{total:,}", further)
        return total

    def remove_before(self, offsets: Mapping[int, int]) -> int:
        """Remove the rows whose record is before ``offsets``: what is left is the fold of the records from there on.

        Returns how many rows were removed.
        """
        first = pl.col(PARTITION).replace_strict(dict(offsets), default=None, return_dtype=pl.Int64)
        lines = [
            part.filter((pl.col(OFFSET) < first).fill_null(value=False)) for part in self.written.lines()
        ]
        if not any(part.height for part in lines):
            return 0
        with self._in_both(loses_rows=True):
            for part in lines:
                self._remove_from_store(part)
            self.written.drop(OFFSET, offsets)
        return lines[0].height

    def forget_deletes(self, before: Mapping[int, int]) -> None:
        """Forget the tombstones before these offsets that hide no row of another partition, and the log may have lost."""
        if self.decoder.is_windowed:
            return  # larger windows are made with their markers; retention drops them
        markers = self.written.idle_markers(before)
        for chunk in markers.iter_slices(CHUNK_ROWS):
            with self._in_both():
                self._remove_from_store(chunk)
                self.view.forget_markers(chunk)

    def _remove_from_store(self, lines: pl.DataFrame) -> None:
        """Remove rows or markers, given as lines of the view."""
        nothing = pl.Series(STORED, [None] * lines.height, dtype=pl.Binary)
        removals = lines.hstack([self.decoder.identity.encode(lines).alias(IDENTITY), nothing])
        changes = Changes(removals, schema=self.schema)
        self.store.apply(changes, {p: position.offset for p, position in self.positions().items()})

    def advance(self, positions: Mapping[int, int], *, lost: Mapping[int, int] = _NONE) -> None:
        """Advance past offsets without records to apply: transaction markers, compacted records, what ``start=`` skips.

        ``lost`` counts the offsets before them that the log lost before they were read.
        """
        known = self.written.positions()
        if any(known.get(partition) != offset for partition, offset in positions.items()):
            empty = replace(self._nothing(), lost=lost)
            with self._in_both():
                self.store.apply(empty, positions)
                self.written.apply(empty.frame, self.decoder.frame_schema(self.schema), positions)

    def _nothing(self) -> Changes:
        return Changes(pl.DataFrame(), present=self.presence.known(), schema=self.schema)

    def keep_presence(self) -> None:
        """Write when each partition was last at its end, though no record came."""
        stored, known = self.positions(), self.presence.known()
        if any(at.present != known.get(partition, at.present) for partition, at in stored.items()):
            self.store.apply(self._nothing(), {partition: at.offset for partition, at in stored.items()})

    def extended(self) -> None:
        """Drop by the present retention from now on: the rows that are to be read again are gone."""
        if self.is_cut_short:
            cuts.end(self.store, self.decoder.identity.retention)
            self.is_cut_short = False

    def start_again(self, learned: Learned) -> None:
        """Drop all rows and positions, for the topic to be read again by what was ``learned``."""
        with self._in_both(loses_rows=True):
            self.store.clear(list(self.positions()), keeps_schema=False)
            # Last: after a crash before it only the rows are gone, and are read again.
            self._learn(learned)
            self.schema = self._initial_schema()
            self.written.clear(None, self.decoder.frame_schema(self.schema))
            self.stream_times = {}

    def forget(self, partitions: list[int] | None, *, topic_id: str | None = None) -> None:
        """Drop the rows of ``partitions`` (None: of all), in the store and in the view."""
        with self._in_both(loses_rows=True):
            if partitions is None:
                # First: once the store has the topic's id, nothing tells any more that its schemas are to be forgotten.
                self.decoder.forget_schemas()
            self.store.clear(partitions, topic_id=topic_id)
            if partitions is None:
                self.schema, self.learned = self._initial_schema(), Learned()
            elif partitions:
                self._learn(self.learned.without(partitions))
            self.written.clear(partitions, self.decoder.frame_schema(self.schema))
            self.stream_times = self._shown_times()

    def rebuild(self, partitions: Mapping[int, Rebuild]) -> None:
        """Begin to read partitions again; reads find the rows that are there until ``switch``."""
        with self._in_both(loses_rows=True):
            self.store.rebuild(partitions)
            self._learn(self.learned.without(partitions))
            self.ages.forget(partitions)
            starts = {p: rebuild.position.offset for p, rebuild in partitions.items()}
            self.written.rebuild(starts, self.decoder.frame_schema(self.schema))

    def switch(self, ends: Mapping[int, int] = _NONE) -> None:
        """Show what was read again, once it goes up to ``ends`` in all partitions that are being rebuilt."""
        rebuilds = self.store.rebuilds()
        if not rebuilds or any(at.position.offset < ends.get(p, 0) for p, at in rebuilds.items()):
            return
        switched = Switched({p: at.why for p, at in rebuilds.items()}, self.written.exchanged())
        with self.exchange.exchanging(switched), self._in_both(loses_rows=True):
            self.store.switch()
            self.ages.forget(rebuilds)
            schema = self.decoder.frame_schema(self.schema)
            positions = self.written.switch(schema)
            self.stream_times = self._shown_times()
            self.written.apply(pl.DataFrame(), schema, positions)  # last, as in apply()

    def switched(self) -> Switched | None:
        """Return, once, what was shown that was read again."""
        return self.exchange.untold(self.store.rebuilds())
