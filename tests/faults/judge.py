"""Compares what a reader answers with the oracle: equal, an error, or a warning of exactly what is missing; nothing else."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, Self

from faults.cluster import Cluster
from faults.histories import History, StoreHistories
from faults.log import Kind
from faults.matching import Options, WrongAnswerError, difference, matching
from faults.oracle import READS, STORES

_COUNT: Final = re.compile(r"(?:all )?(the only|[\d,]+)(?: of [\d,]+)? records? of '")
NOTHING_READ: Final = ("IncompleteError", "SchemaError")
"""What reads raise where not one value could be read."""


@dataclass(slots=True)
class Tally:
    """What was compared so far, and how it came out."""

    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    raised: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Tally) -> Self:
        """Add another tally to this one."""
        self.rounds += other.rounds
        self.reads += other.reads
        self.faults += other.faults
        self.outcomes += other.outcomes
        self.raised += other.raised
        return self


@dataclass(slots=True)
class Expectation:
    """What must be answered now: the possible histories, and where Kafka's logs end."""

    options: dict[str, Options]
    ends: dict[int, int]
    held_back: int


class Judge:
    """Judges one reader, whose stores have these histories."""

    def __init__(self, cluster: Cluster, tally: Tally) -> None:
        self.stores = {name: StoreHistories(keeps_history=keeps) for name, keeps in STORES.items()}
        self._cluster = cluster
        self._tally = tally
        self._warned: set[str] = set()

    def opened(self) -> None:
        """Note that all objects are new: each has to say what is missing."""
        self._warned.clear()

    def expect(self) -> Expectation:
        """Return what must be answered to a read that begins now; the cluster must answer."""
        ends, starts = self._cluster.ends(), self._cluster.starts()
        written = self._cluster.broker.end_offsets(self._cluster.topic)
        options = {
            name: store.after_reading(self._cluster.logs, ends, starts) for name, store in self.stores.items()
        }
        return Expectation(options, ends, sum(written.values()) - sum(ends.values()))

    def judge(self, answers: dict[str, Any], expected: Expectation) -> list[str]:
        """Compare complete answers; return the names of the objects that raised. What is possible is narrowed down."""
        found, raised = dict(expected.options), list[str]()
        for name, given in answers.items():
            self._warned |= {name} if given["said"] else set()
            if "error" in given:
                if not self._may_raise(given, name, expected):
                    raised.append(name)
                self._tally.outcomes["raised"] += 1
                self._tally.raised[given["error"]] += 1
                continue
            store = READS[name].store
            matches = found[store] = self._matches(name, given, found[store])
            self._check_status(name, given, expected)
            self._check_warnings(name, given)
            self._check_rebuilt(name, given, matches)
            is_said = given["status"]["refused"] or given["status"]["stale"]
            self._tally.outcomes["warned" if is_said else "equal"] += 1
            self._tally.reads += len(given["answer"])
        if not raised:
            for store, histories in self.stores.items():
                histories.are(found[store])
        return raised

    def judge_meanwhile(self, answers: dict[str, Any], expected: Expectation) -> None:
        """Compare what was answered during an outage: an error, or all that had been there."""
        for name, given in answers.items():
            self._warned |= {name} if given["said"] else set()
            if "error" in given:
                self._tally.outcomes["raised"] += 1
                self._tally.raised[given["error"]] += 1
            else:
                self._matches(name, given, expected.options[READS[name].store])
                self._tally.outcomes["equal"] += 1
                self._tally.reads += 1

    def _matches(self, name: str, given: dict[str, Any], options: Options) -> Options:
        """Return the histories under which an answer, and what a stream says that it has lost, are right."""
        found = matching(name, given, options)
        if READS[name].store == "stream" and "status" in given:
            found = {
                p: frozenset(each for each in some if _says_what_is_lost(given, p, each))
                for p, some in found.items()
            }
            if not all(found.values()):
                message = (
                    f"{name} says another number of lost offsets: {given['status']['notices']}, {options}"
                )
                raise WrongAnswerError(message)
        return found

    def _may_raise(self, given: dict[str, Any], name: str, expected: Expectation) -> bool:
        """Say whether there is nothing but records that can't be read: that is an error, and stays one."""
        if given["error"] not in NOTHING_READ:
            return False
        return all(
            any(all(record.kind is not Kind.ROW for record in each.records) for each in some)
            for some in expected.options[READS[name].store].values()
        )

    def _check_status(self, name: str, given: dict[str, Any], expected: Expectation) -> None:
        status, answer = given["status"], given["answer"]
        right = {
            "is_ready": True,
            "lag": 0,
            "rows": len(answer["to_polars"]),
            "refused": answer["refused"],
            "stale": answer["stale"],
            "offsets": {str(p): end for p, end in expected.ends.items()},
            "held_back": expected.held_back,
        }
        if (seen := {what: status[what] for what in right}) != right:
            message = f"{name} says of itself what is not so:\n{difference(seen, right, given)}"
            raise WrongAnswerError(message)

    def _check_warnings(self, name: str, given: dict[str, Any]) -> None:
        """Check that what is missing was said when it was first read, and that each number is right."""
        status = given["status"]
        for text in given["said"]:
            numbers = _COUNT.match(text)
            if numbers and int(numbers[1].replace(",", "").replace("the only", "1")) != status["refused"]:
                message = f"{name} warns of another number than {status['refused']}:\n{text}"
                raise WrongAnswerError(message)
        if (status["refused"] or status["stale"]) and name not in self._warned:
            message = f"{name} does not warn that records are missing: {status}"
            raise WrongAnswerError(message)

    def _check_rebuilt(self, name: str, given: dict[str, Any], matches: Options) -> None:
        """Check that reading a partition anew was said, where nothing else explains the rows."""
        store = self.stores[READS[name].store]
        for partition, some in matches.items():
            before = store.possible.get(partition, ())
            had_rows = bool(before) and all(each.records for each in before)
            is_anew = all(each.is_anew for each in some)
            if had_rows and is_anew and not given["status"]["rebuilt"]:
                message = f"{name} was read anew in partition {partition}, and does not say so"
                raise WrongAnswerError(message)


def _says_what_is_lost(given: dict[str, Any], partition: int, history: History) -> bool:
    """Say whether a stream tells of the offsets that it missed for good, and of no others."""
    about = f" offsets of partition {partition} were lost before"
    said = [each.split(about)[0] for each in given["status"]["notices"] if about in each]
    return history.lost is None or said == ([f"{history.lost:,}"] if history.lost else [])
