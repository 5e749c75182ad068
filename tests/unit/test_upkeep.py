"""What is done from time to time while a table is read."""

from __future__ import annotations

import pytest

from ktframe.sync import upkeep
from ktframe.sync.upkeep import Upkeep
from ktframe.testing.clock import ManualClock


class _Rows:
    """What keeps rows, in a second."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.written, self.store, self.at, self.kept = self, self, 0, 0
        self.is_view_kept = True

    def positions(self) -> dict[int, int]:
        return {0: self.at}

    def keep_rows(self) -> None:
        self._clock.advance(1)
        self.kept += 1

    def flush(self) -> None:
        """Do nothing."""


def test_rows_are_kept_seldom_and_only_while_nothing_comes() -> None:
    """A thousandth of the time at the most goes into it, however often it is calm for a while."""
    clock = ManualClock()
    rows, care = _Rows(clock), Upkeep(clock, lambda: 5.0)
    for _ in range(3):
        rows.at += 1
        care._keep_when_due(rows)  # type: ignore[arg-type]
    assert rows.kept == 0
    for _ in range(999):
        care._keep_when_due(rows)  # type: ignore[arg-type]
        clock.advance(1)
    assert rows.kept == 1
    clock.advance(2)
    care._keep_when_due(rows)  # type: ignore[arg-type]
    assert rows.kept == 2


def test_where_no_rows_are_kept_nothing_calm_is_waited_for() -> None:
    """However busy a topic is: after a kill, all of them would have to be decoded."""
    clock = ManualClock()
    rows, care = _Rows(clock), Upkeep(clock, lambda: 5.0)
    rows.is_view_kept = False
    for _ in range(3):
        rows.at += 1
        care._keep_when_due(rows)  # type: ignore[arg-type]
    assert rows.kept == 1


def test_memory_is_given_back_after_a_load_and_later_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second after the last large batch, then ever more seldom; while nothing large comes it is not done again."""
    clock, given = ManualClock(), list[float]()
    monkeypatch.setattr(upkeep, "give_back", lambda: given.append(clock.monotonic() - began))
    began, left = clock.monotonic(), upkeep._Leftovers(clock)
    for second in range(400):
        left.look(50_000 * min(second, 3) + second)
        clock.advance(1)
    assert given == [4.0, 12.0, 76.0]
