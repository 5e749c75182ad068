"""Has contenders load a topic in turn, verifies each result, and keeps what each run took."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contender import Contender
from contenders import LIMIT_SECONDS
from environments import EnvironmentUnavailableError
from process_tree import ContenderFailedError, Run, measured

RECORDS_A_KEY = 5


@dataclass(frozen=True)
class Topic:
    """A topic of JSON orders, and what whoever reads it must come to."""

    name: str
    records: int
    partitions: int
    records_a_key: int = RECORDS_A_KEY

    @property
    def keys(self) -> int:
        """The number of keys that are written."""
        return max(self.records // self.records_a_key, 1)

    def expected(self) -> dict[str, int]:
        """Return the number of records and keys, and the sum of the amounts of the latest rows, in cents."""
        # From what was produced, by other code than that of any contender.
        latest: dict[int, int] = {}
        for number in range(self.records):
            latest[number * 7919 % self.keys] = number % 99_991
        return {"records": self.records, "keys": len(latest), "cents": sum(latest.values())}


@dataclass
class Score:
    """What the runs of one contender took, or why it has no result."""

    contender: Contender
    topic: Topic
    runs: list[Run] = field(default_factory=list)
    failure: str | None = None
    versions: tuple[str, ...] = ()

    def median(self, figure: Callable[[Run], float]) -> float:
        """Return the median of one figure over all runs."""
        return statistics.median(figure(run) for run in self.runs)

    @property
    def seconds_a_record(self) -> float:
        """The median wall time for each record of the topic."""
        return self.median(lambda run: run.seconds) / self.topic.records

    def times(self, other: Score) -> float:
        """Return how many times as long as another one it took for each record."""
        return self.seconds_a_record / other.seconds_a_record


def verify(result: Mapping[str, int], expected: Mapping[str, int], *, keeps_rows: bool) -> None:
    """Raise unless a result has every figure that is wanted, as it is expected."""
    wanted = ("keys", "cents") if keeps_rows else ("records",)
    for figure in wanted:
        if result.get(figure) != expected[figure]:
            message = f"wrong result: {figure} {result.get(figure)}, expected {expected[figure]}"
            raise ContenderFailedError(message)


def interleaved(
    contenders: Sequence[tuple[Contender, Topic]], bootstrap: str, runs: int, tell: Callable[[str], None]
) -> list[Score]:
    """Return the score of each contender on its topic; all run once before any runs again."""
    expected = {topic: topic.expected() for topic in {topic for _, topic in contenders}}
    entries = [_entered(contender, topic, tell) for contender, topic in contenders]
    for number in range(1, runs + 1):
        for score, start in entries:
            if score.failure is not None:
                continue
            tell(f"run {number}/{runs} of {score.contender.name}, {score.topic.records:,} records")
            try:
                run = start(bootstrap)
                verify(run.result, expected[score.topic], keeps_rows=score.contender.keeps_rows)
            except ContenderFailedError as error:
                score.failure = str(error)
                tell(f"  failed: {error}")
            else:
                score.runs.append(run)
                tell(f"  {run.seconds:.2f} s, {run.cpu_seconds:.2f} CPU s, {run.peak_mb:,.0f} MB")
    return [score for score, _ in entries]


def _entered(
    contender: Contender, topic: Topic, tell: Callable[[str], None]
) -> tuple[Score, Callable[[str], Run]]:
    """Return an empty score and what runs the contender once; its environment is installed here."""
    score = Score(contender, topic)
    try:
        made = contender.made()
        command, env = contender.command(made), contender.env(made)
    except EnvironmentUnavailableError as error:
        score.failure = f"could not be installed: {error}"
        tell(f"{contender.name}: {score.failure}")
        command, env = [], {}
    else:
        score.versions = made.versions

    def start(bootstrap: str) -> Run:
        place = Path(tempfile.mkdtemp(prefix="ktframe-bench-"))
        arguments = [bootstrap, topic.name, str(topic.records), *filter(None, [contender.how])]
        try:
            return measured([*command, *arguments], place, env, LIMIT_SECONDS)
        finally:
            shutil.rmtree(place, ignore_errors=True)
            place.with_suffix(".log").unlink(missing_ok=True)

    return score, start
