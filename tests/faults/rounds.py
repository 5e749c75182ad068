"""Drives the rounds of one world: does what the plan says, and has every read compared after each round."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from support.kafka_broker import KafkaBroker

from faults.cluster import KEYS, MOST_PARTITIONS, Cluster
from faults.histories import FLUSHED_SECONDS
from faults.judge import Expectation, Judge, Tally
from faults.log import Kind
from faults.matching import WrongAnswerError
from faults.plan import Round, World
from faults.reader import ALL, Reader

ROWS: Final = [Kind.ROW] * 16 + [Kind.TOMBSTONE] * 3 + [Kind.BROKEN]
TOMBSTONES: Final = [Kind.TOMBSTONE, Kind.TOMBSTONE, Kind.ROW]
MOST_TO_GROW: Final = 25
FETCH_SECONDS: Final = 0.2
"""By then a broker has answered every request that waits for records."""
HEALED_SECONDS: Final = 60.0
"""So many seconds after the last fault every read must answer."""


class Rounds:
    """The rounds of one world, on one topic with one state directory."""

    def __init__(
        self, world: World, broker: KafkaBroker, place: Path, tally: Tally, mutant: str | None = None
    ) -> None:
        self.world = world
        self._broker = broker
        self._place = place
        self._tally = tally
        self._mutant = mutant
        topic = f"faults-{world.seed}"
        self._cluster = Cluster(broker, topic, world.is_compacted)
        place.mkdir(parents=True)
        self._reader = Reader(broker.bootstrap, place, mutant)
        self._judge = Judge(self._cluster, tally)
        self._is_synced = False
        """Whether the reader has everything, and nothing has happened since."""

    def run(self, on_round: Callable[[Round], object] = lambda _: None) -> None:
        """Run all rounds; raise ``WrongAnswerError`` at the first answer that is not right."""
        random = Random(self.world.seed)
        self._cluster.create(self.world.partitions)
        self._produce(random)
        current = None
        try:
            for current in self.world.rounds:
                for step in current.steps:
                    self._tally.faults[step.fault] += 1
                    FAULTS[step.fault](self, Random(step.seed))
                self._check()
                self._tally.rounds += 1
                on_round(current)
            self._check_from_nothing()
        except WrongAnswerError as error:
            error.add_note(f"{self.world}, {current}")
            raise
        finally:
            self._reader.kill()
            if self._broker.pid is None:
                self._broker.start()
        self._cluster.delete()

    # --- reading --------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if not self._reader.is_open:
            self._reader.open(self._cluster.topic, KEYS)
            self._judge.opened()

    def _check(self) -> None:
        """Read everything until nothing raises any more, and compare it."""
        if self._is_synced:
            return
        self._open()
        deadline = time.monotonic() + HEALED_SECONDS
        names, answers = ALL, dict[str, Any]()
        while True:
            self._cluster.look()
            losses, expected = self._losses(), self._judge.expect()
            answers = self._reader.ask("read", names=ALL)
            self._cluster.look()
            if losses != self._losses():
                continue  # compaction went on meanwhile
            names = self._judge.judge(answers, expected)
            if not names:
                break
            if time.monotonic() > deadline:
                raised = "\n".join(f"{each}: {answers[each]}" for each in names)
                there = f"the log: {self._cluster.starts()} to {self._cluster.ends()}"
                about = "\n".join(f"{each}: {what}" for each, what in self._reader.ask("describe").items())
                message = f"still raised after {HEALED_SECONDS:g} s:\n{raised}\n{there}\n{about}"
                raise WrongAnswerError(message)
        self._is_synced = True

    def _check_from_nothing(self) -> None:
        """Compare what a reader answers that has no store yet."""
        self._reader.end()
        (self._place / "anew").mkdir()
        self._reader = Reader(self._broker.bootstrap, self._place / "anew", self._mutant)
        self._judge = Judge(self._cluster, self._tally)
        self._is_synced = False
        self._check()

    def _read_meanwhile(self, expected: Expectation, **how: Any) -> None:
        """Compare what is answered while something is away."""
        self._judge.judge_meanwhile(self._reader.ask("read", names=ALL, **how), expected)

    def _losses(self) -> int:
        return sum(len(log.losses) for log in self._cluster.logs.values())

    def _changes(self, random: Random | None = None) -> None:
        """Note that the log is about to change: a reader that runs has maybe not read all. Half of the time it is waited for."""
        if self._reader.is_open and not self._is_synced and random is not None and random.random() < 0.5:
            self._check()
        self._clear_up()
        self._may_have_read()
        self._is_synced = False

    def _clear_up(self) -> None:
        """Read everything if too much is possible by now, unless the reader can't be asked."""
        if not self._reader.is_frozen and any(store.is_vague for store in self._judge.stores.values()):
            self._check()

    def _may_have_read(self) -> None:
        """Note that a reader that runs may have read any part of what is new."""
        if self._reader.is_open and not self._is_synced:
            for store in self._judge.stores.values():
                store.read_on(self._cluster.logs)

    # --- records --------------------------------------------------------------------------------------------------

    def _produce(self, random: Random, kinds: list[Kind] = ROWS, **how: Any) -> None:
        self._is_synced = False
        self._cluster.produce(self._cluster.drawn(random, random.randint(3, 12), kinds), **how)

    def produce(self, random: Random) -> None:
        """Write some records."""
        self._produce(random)

    def tombstone(self, random: Random) -> None:
        """Write some records, most of them tombstones."""
        self._produce(random, TOMBSTONES)

    def commit(self, random: Random) -> None:
        """Write records in a transaction, with others between, and commit it."""
        transaction = self._begin(random)
        self._produce(random)
        self._cluster.end(transaction, is_commit=True)

    def abort(self, random: Random) -> None:
        """Write records in a transaction, with others between, and abort it."""
        transaction = self._begin(random)
        self._produce(random)
        self._cluster.end(transaction, is_commit=False)

    def leave_open(self, random: Random) -> None:
        """Write records in a transaction that stays open; end one that was left open before."""
        if self._cluster.open and random.random() < 0.6:
            self._is_synced = False
            self._cluster.end(self._cluster.open[0], is_commit=random.random() < 0.5)
        self._begin(random)
        self._produce(random)

    def _begin(self, random: Random) -> Any:
        self._is_synced = False
        return self._cluster.begin(self._cluster.drawn(random, random.randint(1, 5), ROWS))

    # --- the broker -----------------------------------------------------------------------------------------------

    def kill_broker(self, random: Random) -> None:
        """Kill the broker, while records are under way or while it is read, and start it again."""
        self._clear_up()
        self._may_have_read()  # what was deleted may come back
        if random.random() < 0.5:
            self._produce(random, while_sending=lambda: (self._broker.kill(), self._broker.start()))
            return
        self._outage(random, self._broker.kill)
        self._broker.start()

    def stop_broker(self, random: Random) -> None:
        """Stop the broker and start it again; meanwhile its disk is copied."""
        if random.random() < 0.7:
            self._cluster.end_transactions(random)
            self._is_synced = False
        self._outage(random, self._cluster.stop)
        if not self._cluster.open:
            self._cluster.take_copy()
        self._broker.start()

    def freeze_broker(self, random: Random) -> None:
        """Freeze the broker, read, and let it go on."""
        self._outage(random, self._broker.pause, is_read=True)
        self._broker.resume()
        self._cluster.thawed()

    def _outage(self, random: Random, take_away: Callable[[], None], *, is_read: bool | None = None) -> None:
        """Take the broker away; compare what reads answer then, also those that do not wait."""
        if random.random() < 0.5:
            self._check()
        if not self._reader.is_open:
            take_away()
            return
        was_synced, expected = self._is_synced, self._judge.expect()
        take_away()
        if was_synced:
            self._read_meanwhile(expected, is_fresh=False)
        if is_read or random.random() < 0.5:
            self._read_meanwhile(expected)

    # --- readers --------------------------------------------------------------------------------------------------

    def kill_reader(self, random: Random) -> None:
        """Kill the reader, often in the middle of loading or reading."""
        self._clear_up()
        if random.random() < 0.7:
            self._produce(random)
        if not self._reader.is_open and random.random() < 0.8:
            self._open()
        if not self._reader.is_open:
            return
        if not self._is_synced:
            self._reader.send("read", names=ALL)
            time.sleep(random.random() * 0.4)
        self._may_have_read()
        if random.random() < 0.5:
            time.sleep(FLUSHED_SECONDS)
        self._reader.kill()
        for store in self._judge.stores.values():
            store.fall_back()
        self._is_synced = False
        if random.random() < 0.5:
            self._produce(random)

    def restart_reader(self, random: Random) -> None:
        """Close everything, write something, and open it again on the same stores, maybe in another process."""
        if random.random() < 0.5:
            self._check()
        if self._reader.is_open:
            self._changes()
            self._reader.close()
        if random.random() < 0.3:
            self._reader.end()
        self._is_synced = False
        if random.random() < 0.7:
            self._produce(random)
        if random.random() < 0.5:
            self._open()

    def slow_reader(self, random: Random) -> None:
        """Hold the records back from all readers for a while, in which reads wait or give up."""
        self._while_held(lambda: self._produce(random))
        self._cluster.look()
        expected = self._judge.expect()
        self._read_meanwhile(expected, release_after=random.choice([0.2, 0.5, 5.0]))

    def _while_held(self, change: Callable[[], object]) -> None:
        """Hold the readers, change something, and compare reads that do not wait: they have the rows of before."""
        self._check()
        before = self._judge.expect()
        self._reader.ask("hold")
        change()
        self._read_meanwhile(before, is_fresh=False)

    def set_clock(self, random: Random) -> None:
        """Set ktframe's clock forward, as time passes or as after a sleep."""
        self._open()
        seconds = random.choice([20.0, 600.0, 3_600.0, 2 * 86_400.0])
        self._reader.ask("forward", seconds=seconds, is_asleep=random.random() < 0.5)
        self._is_synced = False
        if random.random() < 0.5:
            self._produce(random)

    # --- the log --------------------------------------------------------------------------------------------------

    def make_anew(self, random: Random) -> None:
        """Delete the topic and make it again, maybe longer than it was."""
        self._send_away(random)
        before = self._cluster.ends()
        self._cluster.make_anew(random.randint(1, 3))
        self._is_synced = False
        self._cluster.produce(self._cluster.drawn(random, random.choice([1, 5, 20]), [Kind.ROW]))
        if random.random() < 0.5:
            self._grow(random, before)
        self._bring_back()

    def add_partition(self, random: Random) -> None:
        """Add a partition: keys move."""
        if len(self._cluster.logs) < MOST_PARTITIONS:
            self._is_synced = False
            self._cluster.add_partition()
        self._produce(random)

    def delete_records(self, random: Random) -> None:
        """Delete the first records of a partition, maybe all, maybe some that the reader has not seen."""
        self._send_away(random)
        self._produce(random)
        self._changes()
        partition = random.choice([*self._cluster.logs])
        start, end = self._cluster.starts()[partition], self._cluster.ends()[partition]
        self._cluster.delete_records(partition, random.choice([end, random.randint(start, end)]))
        self._bring_back()

    def compact(self, random: Random) -> None:
        """Have the topic compacted, tombstones and all."""
        self._cluster.end_transactions(random)
        self._is_synced = False
        self._produce(random, TOMBSTONES)
        # For as long as a cleaner needs whose pauses are not shortened for tests.
        pause = {"seconds": 60.0, "is_asleep": random.random() < 0.5}
        is_held = False
        if self._reader.is_open:
            self._check()  # a reader that follows sees every tombstone
            how = random.choice(["there", "held", "closed", "frozen"])
            is_held = how == "held"  # librdkafka has the tombstones in its queue
            if how == "closed":
                self._reader.close()
            elif is_held:
                self._reader.ask("hold")
            elif how == "frozen":  # nobody has seen them
                self._reader.ask("pause", **pause)
                self._reader.freeze()
                time.sleep(FETCH_SECONDS)
            if how != "there":
                self._produce(random, TOMBSTONES)
            if is_held:  # nothing can be asked now
                self._may_have_read()
        self._cluster.compact()
        self._is_synced = False
        if is_held:
            self._reader.ask("forward", **pause)
            self._reader.ask("release")
        self._bring_back()

    def put_back(self, random: Random) -> None:
        """Put the log back to a copy; often it grows again before it is read."""
        self._cluster.end_transactions(random)
        if self._cluster.copy is None:
            self._is_synced = False
            self._cluster.stop()
            self._cluster.take_copy()
            self._broker.start()
            self._produce(random)
        self._send_away(random)
        self._changes()
        before = self._cluster.ends()
        random.choice([self._cluster.stop, self._broker.kill])()
        self._cluster.put_copy_back()
        self._broker.start()
        self._cluster.came_back()
        if random.random() < 0.7:
            self._grow(random, before)
        self._bring_back()

    def _send_away(self, random: Random) -> None:
        """Close or freeze the reader, once it has everything, or let it follow what comes."""
        how = random.choice(["there", "closed", "frozen"]) if self._reader.is_open else "closed"
        if how == "there" or not self._reader.is_open:
            return
        self._check()
        if how == "closed":
            self._reader.close()
        else:
            self._reader.freeze()

    def _bring_back(self) -> None:
        """Let a frozen reader go on."""
        if self._reader.is_frozen:
            self._reader.thaw()

    def _grow(self, random: Random, before: dict[int, int]) -> None:
        """Write until the log is longer than it was, or a good deal of that."""
        for _ in range(MOST_TO_GROW):
            self._produce(random)
            ends = self._cluster.ends()
            if all(ends[partition] > end for partition, end in before.items() if partition in ends):
                return


FAULTS: Final[dict[str, Callable[[Rounds, Random], None]]] = {
    "produce": Rounds.produce,
    "tombstone": Rounds.tombstone,
    "transaction committed": Rounds.commit,
    "transaction aborted": Rounds.abort,
    "transaction left open": Rounds.leave_open,
    "broker killed": Rounds.kill_broker,
    "broker stopped": Rounds.stop_broker,
    "broker frozen": Rounds.freeze_broker,
    "reader killed": Rounds.kill_reader,
    "reader restarted": Rounds.restart_reader,
    "topic made anew": Rounds.make_anew,
    "partitions added": Rounds.add_partition,
    "records deleted": Rounds.delete_records,
    "compaction": Rounds.compact,
    "log put back": Rounds.put_back,
    "clock set forward": Rounds.set_clock,
    "slow consumer": Rounds.slow_reader,
}
