"""Readers that a test holds back, and that remember where they were told to start."""

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import fields
from threading import Event

from ktframe.config.settings import Settings
from ktframe.fold.records import LastRecord, RecordBatch
from ktframe.kafka.reader import KafkaReader, Reader


class Gate:
    """Stands before the readers of one Context: open, closed, or open up to an offset of partition 0."""

    def __init__(self) -> None:
        self.assigned: list[dict[int, int]] = []
        self.shift = 0
        """Added to the offsets of the next assignment, to send a reader astray."""
        self._opened = Event()
        self._holding = Event()
        self._limit: int | None = None
        self.is_cut = False
        self.open()

    def open(self) -> None:
        """Let everything through."""
        self._limit = None
        self.is_cut = False
        self._opened.set()

    def close(self, at: int | None = None) -> None:
        """Let nothing through from now on; with ``at``, what is before that offset of partition 0."""
        self._limit = at
        self._holding.clear()
        self._opened.clear()

    def cut(self) -> None:
        """Take the readers' connections away until the gate is opened; they learn nothing of what happens meanwhile."""
        self.is_cut = True
        self.close()
        self.wait_until_holding()

    def wait_until_holding(self) -> None:
        """Return when all that came through is applied and nothing more can come; the gate must be closed."""
        assert self._holding.wait(10)

    def reader(self, settings: Settings) -> Callable[[str, bool], Reader]:
        """Return what a Context takes as ``open_reader``."""
        return lambda topic, headers: _GatedReader(
            lambda: KafkaReader(settings, topic, with_headers=headers), self
        )

    def arrive(self) -> None:
        """Note that the reader is asked for more: what it had given before is applied."""
        if not self._opened.is_set():
            self._holding.set()

    def admit(self, batch: RecordBatch) -> tuple[RecordBatch | None, RecordBatch | None]:
        """Return what may pass of a batch, and what is to be kept back."""
        if self._opened.is_set():
            return batch, None
        limit = -1 if self._limit is None else self._limit
        passing = [line for line, offset in enumerate(batch.offsets) if offset < limit]
        if not passing:
            return None, batch
        kept = [line for line in range(len(batch)) if line not in set(passing)]
        return _lines(batch, passing, {0: limit}), _lines(batch, kept, batch.positions)

    def wait(self, seconds: float) -> None:
        """Return when the gate is open, or after some time."""
        self._opened.wait(seconds)


class _GatedReader:
    def __init__(self, connect: Callable[[], Reader], gate: Gate) -> None:
        self._connect = connect
        self._reader = connect()
        self._gate = gate
        self._positions: dict[int, int] = {}
        self._kept: RecordBatch | None = None

    def assign(self, positions: Mapping[int, int]) -> None:
        self._gate.assigned.append(dict(positions))
        shift, self._gate.shift = self._gate.shift, 0
        self._positions = {partition: offset + shift for partition, offset in positions.items()}
        self._reader.assign(self._positions)

    def first_records(
        self, offsets: Mapping[int, int], is_over: Callable[[], bool]
    ) -> Mapping[int, LastRecord | None]:
        return self._reader.first_records(offsets, is_over)

    def poll(self) -> RecordBatch | None:
        if self._gate.is_cut:
            self._reader.close()
            self._gate.arrive()
            self._gate.wait(10)
            self._reader = self._connect()
            self._reader.assign(self._positions)
        self._gate.arrive()
        batch = self._reader.poll() if self._kept is None else self._kept
        if batch is None:
            return None
        passing, self._kept = self._gate.admit(batch)
        if passing is None:
            self._gate.wait(0.05)
        else:
            self._positions |= passing.positions
        return passing

    def close(self) -> None:
        self._reader.close()


def _lines(batch: RecordBatch, lines: list[int], positions: Mapping[int, int]) -> RecordBatch:
    columns = {
        each.name: getattr(batch, each.name)
        for each in fields(batch)
        if each.name not in ("positions", "last")
    }
    picked = {
        name: [column[line] for line in lines] if column else column for name, column in columns.items()
    }
    return RecordBatch(**picked, positions=positions)


class WatchedReader(KafkaReader):
    """A reader that a test watches; the records that are compared when it is opened come by another one, unseen."""

    def __init__(self, settings: Settings, topic: str) -> None:
        super().__init__(settings, topic)
        self._unseen = lambda: KafkaReader(settings, topic)

    def first_records(
        self, offsets: Mapping[int, int], is_over: Callable[[], bool]
    ) -> Mapping[int, LastRecord]:
        """Return the first record from each offset on."""
        with closing(self._unseen()) as reader:
            return reader.first_records(offsets, is_over)
