"""Where reading of a topic begins, as ``start=`` says: looked up once for each opening; and where stored rows begin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from ktframe.config.moments import Start
from ktframe.store.protocol import StateStore

_BEGINS: Final = "begins"


class Beginning:
    """The beginning of one binding; None as ``start`` means that of the log."""

    def __init__(self, start: Start | None) -> None:
        self.start = start
        self.at_ms: int | None = None
        """The time (ms since 1970) from which the topic is read; None means from its start.

        A relative ``start`` is looked up once: rows that are shown don't go because the connection did.
        """
        self._skips_records = start is not None
        self._is_passed = False

    @property
    def is_relative(self) -> bool:
        """Whether it moves with the clock, from one opening to the next."""
        return self.start is not None and self.start.is_relative

    def look_up(self, now_ms: int) -> None:
        """Turn ``start`` into a time, at the first call."""
        if self.start is not None and self.at_ms is None:
            self.at_ms = self.start.moment(now_ms)

    @property
    def is_moving(self) -> bool:
        """Whether rows of an earlier opening may be from before it.

        Only at the first look: later it stays where it is, though the log may have lost what was there.
        """
        return self.is_relative and not self._is_passed

    def passed(self, *, skips_records: bool) -> None:
        """Record that reading goes on from here, and whether the log has, or had, records before."""
        self._skips_records, self._is_passed = skips_records, True

    @property
    def skipped_before(self) -> int | None:
        """The time (ms since 1970) before which records were left out; None where none were."""
        return self.at_ms if self._skips_records else None


def begins(store: StateStore) -> dict[int, int]:
    """Return from which offset on each partition was read that a relative start moves, where that is known."""
    return {int(partition): at for partition, at in json.loads(store.note(_BEGINS) or "{}").items()}


def keep_begins(store: StateStore, offsets: Mapping[int, int]) -> None:
    """Keep from which offset on each partition was read.

    Before rows are dropped, and after it has begun to read again: a crash in between leaves offsets that are too great, and
    what is before them is read again.
    """
    if offsets != begins(store):
        store.keep_note(_BEGINS, json.dumps(dict(offsets)))
