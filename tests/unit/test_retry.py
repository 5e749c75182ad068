"""Retry: how long it waits between sessions, which failures count together, and which end it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ktframe.config.settings import RetryPolicy
from ktframe.errors import BrokerError, StoreCorruptError
from ktframe.sync.retry import Retry
from ktframe.testing import ManualClock

FAULT = BrokerError("fake", "away for a moment")
POLICY = RetryPolicy(attempts=6, initial_delay=1.0, max_delay=5.0, jitter=0.5, healthy_after=60.0)


class RecordedWaits:
    """An Event that is waited for in no time, and notes how long it would have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def wait(self, seconds: float) -> None:
        """Note the pause."""
        self.seconds.append(seconds)

    def clear(self) -> None:
        """Do nothing: it was never set."""


class Sessions:
    """Sessions of which each lasts some seconds and fails, while there are any left; then one succeeds."""

    def __init__(self, clock: ManualClock, *durations: float, error: Exception = FAULT) -> None:
        self.clock = clock
        self.durations = list(durations)
        self.error = error

    def __call__(self) -> None:
        """Fail after the next duration."""
        if self.durations:
            self.clock.advance(self.durations.pop(0))
            raise self.error


def new_retry(
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    on_failure: Callable[[BaseException], object] = id,
    policy: RetryPolicy = POLICY,
) -> tuple[Retry, list[float]]:
    """Return a Retry that does not sleep, and the pauses that it would have made."""
    retry, waits = Retry(policy, clock, on_failure=on_failure), RecordedWaits()
    monkeypatch.setattr(retry, "_wake", waits)
    return retry, waits.seconds


def test_pauses_double_up_to_the_longest_and_have_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five failures in a row are waited for 1, 2, 4, 5 and 5 seconds, each with up to half a second more."""
    clock, reported = ManualClock(), list[BaseException]()
    retry, pauses = new_retry(clock, monkeypatch, reported.append)
    retry.run(Sessions(clock, 0, 0, 0, 0, 0))

    assert [int(seconds) for seconds in pauses] == [1, 2, 4, 5, 5]
    assert all(seconds % 1 <= POLICY.jitter for seconds in pauses)
    assert len({seconds % 1 for seconds in pauses}) > 1
    assert (retry.failures, retry.failure, retry.sessions, reported) == (5, FAULT, 6, [FAULT] * 5)


def test_one_failure_too_many_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sixth of six attempts ends it, is not waited for and not reported as one that is tried again."""
    clock, reported = ManualClock(), list[BaseException]()
    retry, pauses = new_retry(clock, monkeypatch, reported.append)
    with pytest.raises(BrokerError, match="away for a moment"):
        retry.run(Sessions(clock, *[0.0] * 6))
    assert (len(pauses), len(reported), retry.failures, retry.failure) == (5, 5, 6, FAULT)


def test_an_outage_is_survived_however_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default Kafka is tried again for ever, every few seconds."""
    retry, pauses = new_retry(clock := ManualClock(), monkeypatch, policy=RetryPolicy())
    retry.run(Sessions(clock, *[0.0] * 1_000))
    assert (retry.failures, retry.sessions) == (1_000, 1_001)
    assert max(pauses) <= 4


def test_an_error_that_no_outage_explains_is_raised_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is neither Kafka's nor the registry's is tried five times, and not for ever."""
    retry, pauses = new_retry(clock := ManualClock(), monkeypatch, policy=RetryPolicy())
    with pytest.raises(RuntimeError, match="odd"):
        retry.run(Sessions(clock, *[0.0] * 1_000, error=RuntimeError("odd")))
    assert len(pauses) == 4


def test_an_odd_error_after_an_outage_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures of Kafka don't count among the five that an error of another kind has."""
    retry, _ = new_retry(clock := ManualClock(), monkeypatch, policy=RetryPolicy())
    errors: list[Exception] = [FAULT] * 9 + [RuntimeError("odd")] * 4 + [FAULT] + [RuntimeError("odd")] * 4

    def session() -> None:
        clock.advance(1)
        if errors:
            raise errors.pop()

    retry.run(session)
    assert retry.sessions == 19


def test_a_healthy_spell_starts_the_count_and_the_pauses_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures behind a session of a minute count from one; any number of them is survived."""
    clock = ManualClock()
    retry, pauses = new_retry(clock, monkeypatch)
    retry.run(Sessions(clock, 0, 0, 60, 0, *[60] * 10))
    assert [int(seconds) for seconds in pauses] == [1, 2, 1, 2, *[1] * 10]
    assert retry.failures == 1


def test_what_time_does_not_heal_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken store is not opened again and again."""
    clock = ManualClock()
    retry, pauses = new_retry(clock, monkeypatch)
    with pytest.raises(StoreCorruptError):
        retry.run(Sessions(clock, 0, error=StoreCorruptError("/store", "broken")))
    assert (pauses, retry.sessions) == ([], 1)


def test_a_failure_is_known_until_a_session_is_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """``clear_failure`` forgets the error but not how many sessions failed."""
    clock = ManualClock()
    retry, _ = new_retry(clock, monkeypatch)
    retry.run(Sessions(clock, 0, 0))
    assert retry.failure is FAULT
    retry.clear_failure()
    assert (retry.failure, retry.failures) == (None, 2)


def test_wake_ends_the_pause() -> None:
    """Who knows that the cluster answers again need not wait for the back-off."""
    clock = ManualClock()
    patient = RetryPolicy(attempts=3, initial_delay=600.0, max_delay=600.0)
    retry = Retry(patient, clock, on_failure=lambda _: retry.wake())
    retry.run(Sessions(clock, 0, 0))
    assert retry.sessions == 3
