"""Where reading of a topic begins, as ``start=`` says: looked up once for each opening."""

from __future__ import annotations

from ktframe.config.moments import Start


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

    def look_up(self, now_ms: int) -> None:
        """Turn ``start`` into a time, at the first call."""
        if self.start is not None and self.at_ms is None:
            self.at_ms = self.start.moment(now_ms)

    @property
    def is_moving(self) -> bool:
        """Whether rows of an earlier opening may be from before it.

        Only at the first look: later it stays where it is, though the log may have lost what was there.
        """
        return self.start is not None and self.start.is_relative and not self._is_passed

    def passed(self, *, skips_records: bool) -> None:
        """Record that reading goes on from here, and whether the log has, or had, records before."""
        self._skips_records, self._is_passed = skips_records, True

    @property
    def skipped_before(self) -> int | None:
        """The time (ms since 1970) before which records were left out; None where none were."""
        return self.at_ms if self._skips_records else None
