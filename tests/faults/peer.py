"""Runs ktables, the nearest peer in Python, through the rounds that it can take: ``python -m faults.peer``.

It has tables by record key in memory, and ``barrier()``. So its stores are gone with the process, keys stay in their
partitions (its contract wants that), and a value that can't be read leaves the row before it (as it documents). After a wrong
answer it is opened again, so that one fault is counted once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice, product
from pathlib import Path
from random import Random
from typing import Any, Final

from support.kafka_broker import KafkaBroker

from faults import report
from faults.campaign import side_by_side
from faults.judge import Expectation, Judge, Tally
from faults.log import Kind, Logs
from faults.matching import MOST, WrongAnswerError
from faults.oracle import Fold
from faults.plan import World, worlds
from faults.reader import Reader
from faults.rounds import FAULTS, Rounds

VERSION: Final = "2.0.0"
PLACE: Final = Path(__file__).parents[2] / ".cache" / "ktables"
PROGRAM: Final = Path(__file__).with_name("peer_reading.py")
ANSWER_SECONDS: Final = 30.0


@dataclass(slots=True)
class Score:
    """How the rounds came out: what was answered at their ends, and which faults the wrong ones had."""

    rounds: Counter[str] = field(default_factory=Counter)
    of_fault: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, outcome: str, faults: set[str]) -> None:
        """Count a round."""
        self.rounds[outcome] += 1
        for fault in faults:
            self.of_fault.setdefault(fault, Counter())[outcome] += 1


def fold(logs: Logs) -> dict[str, Any]:
    """Return the rows that ktables promises: the last value of each key that can be read, unless a tombstone is later."""
    found = Fold()
    for _, records in sorted(logs.items()):
        for record in records:
            if record.key is not None and record.kind is not Kind.BROKEN:
                found.take(record.key, record)
    rows, _ = found.rows()
    return {"rows": sorted([key, row.name, row.number] for key, row in rows.items())}


class PeerReader(Reader):
    """The program that reads by ktables. It can't hold records back, so it is frozen for that; its clock is the system's."""

    def __init__(self, bootstrap: str, place: Path, how: str) -> None:
        super().__init__(bootstrap, place)
        self._command = [str(PLACE / "bin" / "python"), str(PROGRAM), bootstrap, how]

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have something done and return the answer."""
        if do == "hold":
            self.freeze()
        elif do == "release":
            self.thaw()
        elif do == "read" and self.is_frozen and "release_after" not in arguments:
            return {}  # who is frozen answers nothing
        elif do == "read" and self.is_frozen:
            time.sleep(arguments["release_after"])
            self.thaw()
        if do in ("hold", "release", "forward"):
            return None
        return super().ask(do, **arguments)


class PeerJudge(Judge):
    """Judges the one table."""

    def opened(self) -> None:
        """Forget what a process before this one had: nothing of it is left."""
        for store in self.stores.values():
            store.possible.clear()

    def judge(self, answers: dict[str, Any], expected: Expectation) -> list[str]:
        """Compare the rows; return the names of what raised."""
        given = answers["table"]
        if "error" in given:
            return ["table"]
        options = expected.options["table"]
        matches = [
            each
            for each in islice(product(*options.values()), MOST)
            if fold({p: history.records for p, history in zip(options, each, strict=True)}) == given["answer"]
        ]
        if not matches:
            message = f"the table answers what it must not: {given['answer']}"
            raise WrongAnswerError(message)
        found = zip(options, map(frozenset, zip(*matches, strict=True)), strict=True)
        self.stores["table"].are(dict(found))
        return []

    def judge_meanwhile(self, answers: dict[str, Any], expected: Expectation) -> None:
        """Compare what was answered during an outage."""
        if not answers:
            return
        before = {name: dict(store.possible) for name, store in self.stores.items()}
        self.judge(answers, expected)
        for name, store in self.stores.items():
            store.possible = before[name]


class PeerRounds(Rounds):
    """The rounds of one world for ktables."""

    def __init__(self, world: World, broker: KafkaBroker, place: Path, how: str, score: Score) -> None:
        super().__init__(world, broker, place, Tally())
        self._how = how
        self._score = score
        self._reader = PeerReader(broker.bootstrap, place, how)
        self._judge = PeerJudge(self._cluster, self._tally)
        self._cluster.moves_keys = False
        self._is_answered = True

    def run_all(self) -> None:
        """Run all rounds, whatever comes out."""
        random = Random(self.world.seed)
        self._cluster.create(self.world.partitions)
        self._produce(random)
        for each in self.world.rounds:
            outcome = "equal"
            for step in each.steps:
                outcome = self._done(lambda step=step: FAULTS[step.fault](self, Random(step.seed)), outcome)
            outcome = self._done(self._check, outcome)
            self._score.add(outcome, {step.fault for step in each.steps})
            print(f"{self._how} {outcome}: {each}", flush=True)
        self._reader.kill()
        self._cluster.delete()

    def _done(self, task: Any, outcome: str) -> str:
        """Return the worst outcome so far; after a wrong answer everything is opened again."""
        self._is_answered = True
        try:
            task()
        except WrongAnswerError as error:
            print(str(error)[:300], flush=True)
            if self._broker.pid is None:
                self._broker.start()
            self._broker.resume()
            self._reader.kill()
            self._is_synced = False
            self._cluster.look("put back")
            return "wrong"
        if not self._is_answered and outcome == "equal":
            return "never answered"
        return outcome

    def _check(self) -> None:
        if self._is_synced:
            return
        self._open()
        deadline = time.monotonic() + ANSWER_SECONDS
        has_reopened = False
        while True:
            self._cluster.look()
            losses, expected = self._losses(), self._judge.expect()
            answers = self._reader.ask("read")
            self._cluster.look()
            if losses != self._losses():
                continue
            if not self._judge.judge(answers, expected):
                break
            if time.monotonic() > deadline:
                self._is_answered = False
                self._reader.kill()
                return
            if time.monotonic() > deadline - ANSWER_SECONDS / 2 and not has_reopened:
                self._reader.kill()
                self._open()
                has_reopened = True
        self._is_synced = True


def install() -> None:
    """Install ktables into an environment of its own, unless it is there."""
    if not (PLACE / "bin" / "python").exists():
        venv.create(PLACE, with_pip=True)
        command = [str(PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", f"ktables=={VERSION}"]
        subprocess.run(command, check=True)


def run(how: str, plan: list[World]) -> Score:
    """Run worlds by ktables with its ``defaults``, or ``tuned``."""
    score = Score()
    with KafkaBroker() as broker, tempfile.TemporaryDirectory() as place:
        for world in plan:
            PeerRounds(world, broker, Path(place) / str(world.number), how, score).run_all()
    return score


def main() -> None:
    """Run both, one after the other, then ktframe."""
    parser = argparse.ArgumentParser(prog="faults.peer")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--rounds", type=int, default=100)
    given = parser.parse_args()
    install()
    plan = worlds(given.seed, given.rounds)
    scores = {how: run(how, plan) for how in ("defaults", "tuned")}
    for how, score in scores.items():
        print(how, score)
    report.write_peer(VERSION, given.seed, scores, side_by_side(plan, workers=2))


if __name__ == "__main__":
    sys.exit(main())
