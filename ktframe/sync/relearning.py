"""Drops the rows of a table, for its topic to be read again, where their columns would have other types by now.

That is done without being asked while a table is not ready, and when it is opened; while it is ready only if few records
are to be read again. Rows whose records the topic no longer has are given up only for ``relearn()``.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from ktframe.fold.learned import Learned
from ktframe.fold.learning import read_again
from ktframe.kafka.protocol import Cluster
from ktframe.sync.materializer import Materializer

logger = logging.getLogger("ktframe.sync")
MOST_RECORDS = 100_000
"""So many records are read again while a table is ready: about a second."""


class _Order(NamedTuple):
    """What is known when the topic is read again, and why it is."""

    learned: Learned
    reason: str


class Relearning:
    """Decides for one binding whether its topic is read again. The binding's thread calls it; any may call ``ask``."""

    def __init__(self, topic: str, cluster: Cluster) -> None:
        self._topic = topic
        self._cluster = cluster
        self._order: _Order | None = None
        self._known = (False, -1)
        """How much was known when the topic was last read again; without more than that it is not read again."""

    @property
    def is_due(self) -> bool:
        """Whether ``begin`` has something to do."""
        return self._order is not None

    def ask(self) -> None:
        """Have the topic read again, by nothing that was learned so far."""
        self._order, self._known = _Order(Learned(), "relearn() was called"), (False, -1)

    def ask_for(self, materializer: Materializer, learned: Learned, *, is_ready: bool) -> bool:
        """Have the topic read again by what was ``learned``, if it still has all records; return whether that is so."""
        facts, store = self._cluster.topic(self._topic), materializer.store
        records = sum(position.records for position in materializer.positions().values())
        known = (learned.is_exact, sum(sample.records for sample in learned.samples.values()))
        if store.topic_id != facts.topic_id or known == self._known or (is_ready and records > MOST_RECORDS):
            return False
        starts = self._cluster.start_offsets(self._topic, range(facts.partitions))
        if any(starts.get(partition, 0) > at.first for partition, at in learned.samples.items()):
            return False
        reason = f"more records than those that were read first decide the type of {learned.differing}"
        self._order = _Order(read_again(materializer.decoder.learner, learned), reason)
        self._known = known
        return True

    def ask_if_outdated(self, materializer: Materializer, learned: Learned, *, is_ready: bool) -> bool:
        """Have the topic read again if the rows so far would be others by what was ``learned``, and can be made anew."""
        is_news = bool(learned.differing) and not materializer.learned.differing
        return is_news and self.ask_for(materializer, learned, is_ready=is_ready)

    def begin(self, materializer: Materializer) -> dict[int, str]:
        """Drop the rows if that is due; return their partitions, each with the reason."""
        order, self._order = self._order, None
        if order is None:
            return {}
        try:
            self._cluster.topic(self._topic)  # not while it can't be read again
            partitions = dict.fromkeys(materializer.positions(), order.reason)
            materializer.start_again(order.learned)
        except BaseException:
            if not self.is_due:  # not asked again meanwhile
                self._order = order
            raise
        logger.info("%s is read again: %s", materializer.name, order.reason)
        return partitions
