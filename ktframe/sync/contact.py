"""Asking Kafka how far a topic goes, and what follows when it does not answer, and when it answers again.

The monitor asks from time to time, and every fresh read does. Both go through here, so that none of them knows less.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ktframe.clock import Clock
from ktframe.errors import ContextClosedError, UnknownTopicError
from ktframe.kafka.protocol import Cluster, Look, TopicFacts
from ktframe.sync.health import explain
from ktframe.sync.materializer import Materializer
from ktframe.sync.monitor import ReadyMonitor

_PATIENCE_SECONDS: Final = 3.0
"""How long a reader may have nothing though there is more to read; twice as long after each time it was opened for that."""
_COMMIT_SECONDS: Final = 0.1


class Contact:
    """The contact of one binding with Kafka: its thread tells what the open reader hears, any thread may ask.

    ``attached`` returns the topic that the view shows. ``try_again`` is called when Kafka answers again, ``reopen`` when
    the reader may be dead besides, ``read_again`` when what the view shows may not be what the topic holds.
    """

    def __init__(
        self,
        topic: str,
        cluster: Cluster,
        monitor: ReadyMonitor,
        clock: Clock,
        *,
        attached: Callable[[], TopicFacts | None],
        try_again: Callable[[], None],
        reopen: Callable[[], None],
        read_again: Callable[[], None],
    ) -> None:
        self.held_back = 0
        """How many offsets were after the start of an open transaction at the last look: these are not waited for."""
        self._topic = topic
        self._cluster = cluster
        self._monitor = monitor
        self._clock = clock
        self._attached = attached
        self._try_again = try_again
        self._reopen = reopen
        self._read_again = read_again
        self._has_heard = False
        self._quiet_since: float | None = None
        self._waits_since: float | None = None
        self._patience = _PATIENCE_SECONDS

    @property
    def is_doubtful(self) -> bool:
        """Whether the reader is quiet though there is more to read: it may be dead, or about to get it."""
        return self._waits_since is not None

    def closed(self) -> None:
        """Record that the reader was closed; the next one has heard nothing yet."""
        self._has_heard, self._quiet_since, self._waits_since = False, None, None

    def heard(self) -> None:
        """Record that the reader got something, be it only the end of a partition."""
        self._has_heard, self._quiet_since, self._waits_since = True, None, None

    def quiet(self) -> None:
        """Record that the reader has waited, and got nothing."""
        if self._quiet_since is None:
            self._quiet_since = self._clock.monotonic()

    def ask(self, rows: Materializer, *, is_check: bool = False) -> tuple[TopicFacts, dict[int, int]]:
        """Ask how far the topic of ``rows`` goes; record and return the answer: its facts, and the ends of what is committed.

        ``is_check`` publishes the lag; a read, which does not, waits a moment for a commit that is about to be visible.

        Raises
        ------
        BrokerError
            When the topic is unknown, or Kafka does not answer.
        """
        with self.asking() as asked:
            looked = rows.presence.now()
            look = self._look()
            # commit_transaction() may return some milliseconds before its records are visible as committed.
            ends = self._committed_ends(look, patience=0 if is_check else _COMMIT_SECONDS)
        facts, written = look.facts, look.written
        self.follow_leaders(rows)
        self.held_back = sum(max(0, written[partition] - end) for partition, end in ends.items())
        rows.presence.look(looked, ends, rows.written.positions())
        self._answered(ends, asked, is_check=is_check)
        return facts, ends

    def _look(self) -> Look:
        """Return how far the topic goes; have it opened again if it is another one than the view shows."""
        attached = self._attached()
        look = None if attached is None else self._cluster.look(self._topic, attached.partitions)
        if look is not None and look.facts == attached:
            return look
        facts = self.look_again()
        partitions = range(facts.partitions)
        # In this order: what is written between the two requests is not taken for held back.
        written = self._cluster.end_offsets(self._topic, partitions, committed=False)
        return Look(facts, written, self._cluster.end_offsets(self._topic, partitions))

    def _committed_ends(self, look: Look, *, patience: float) -> dict[int, int]:
        ends = look.ends
        deadline = self._clock.monotonic() + patience
        while any(end < look.written[p] for p, end in ends.items()) and self._clock.monotonic() < deadline:
            time.sleep(_COMMIT_SECONDS / 10)
            ends = self._cluster.end_offsets(self._topic, ends)
        return ends

    def look_again(self) -> TopicFacts:
        """Return the topic's partitions and id; have it opened again if it has new partitions or was recreated."""
        try:
            facts = self._cluster.topic(self._topic)
        except UnknownTopicError:
            self._reopen()
            raise
        if self._attached() not in (None, facts):
            # Kafka would let us go on at the old offset in a recreated topic: only the id tells the two apart.
            self._read_again()
        return facts

    def follow_leaders(self, rows: Materializer) -> None:
        """Have the log compared again, before another read is answered, if the ends just asked for came from new leaders."""
        if self._attached() is None:
            return
        if rows.epochs.are_newer(self._cluster.leader_epochs(self._topic)):
            self._read_again()

    @contextmanager
    def asking(self) -> Iterator[float]:
        """Yield the monotonic time at which Kafka is asked; an error in here makes the lag unknown."""
        asked = self._clock.monotonic()
        try:
            yield asked
        except ContextClosedError:
            raise
        except Exception as error:
            self._monitor.lose_sight(explain(error), asked)
            raise

    def _answered(self, ends: Mapping[int, int], asked: float, *, is_check: bool) -> None:
        """Record the ends that were ``asked`` for; if Kafka was out of sight, go on at once."""
        lost_at = self._monitor.lost_at
        if is_check:
            self._monitor.check(ends, asked)
        else:
            self._monitor.see(ends, asked)
        if lost_at is not None:
            self._try_again()
        if self._is_dead(lost_at):
            self._reopen()

    def _is_dead(self, lost_at: float | None) -> bool:
        """Say whether the reader's connection may be dead without its knowing: the client would wait for a minute."""
        quiet, now = self._quiet_since, self._clock.monotonic()
        if not self._monitor.lagging():
            self._waits_since, self._patience = None, _PATIENCE_SECONDS
        elif quiet is not None and self._waits_since is None:
            self._waits_since = now
        if quiet is None:
            return False
        # One that had nothing since it was opened is left alone, or on a slow network it would be opened again and again.
        if lost_at is not None and quiet < lost_at and self._has_heard:
            return True
        if self._waits_since is None or now - self._waits_since < self._patience:
            return False
        self._waits_since, self._patience = None, 2 * self._patience
        return True
