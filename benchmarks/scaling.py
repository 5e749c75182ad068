"""Does a load grow with the topic, its keys and its partitions? Five times the records and keys, sixteen times the partitions.

ktframe and tuned bare ``consume()`` load four topics in turn, as ``load.py`` has them: a million orders in 4 partitions, five
million in 4, of as many keys and of five times as many, and a million in 64. Prints what each record takes, wall and CPU time
and memory, and the ratios to the first topic.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from contenders import BARE, CONTENDERS, KTFRAME
from history import record
from load import PARTITIONS, RECORDS, RUNS, compare
from rounds import RECORDS_A_KEY, Score, Topic

LARGER = 5
MANY_PARTITIONS = 64


def line(score: Score, first: Score) -> str:
    """Return a line of the table: microseconds a record, CPU microseconds a record, peak, and the ratio to the first topic."""
    records = score.topic.records
    figures = (
        f"{score.seconds_a_record * 1e6:10.2f}",
        f"{cpu_a_record(score) * 1e6:10.2f}",
        f"{score.median(lambda run: run.peak_mb):10,.0f}",
        f"{score.times(first):10.2f}",
        f"{cpu_a_record(score) / cpu_a_record(first):10.2f}",
    )
    topic = f"{records:>12,}{score.topic.keys:>12,}{score.topic.partitions:>6}"
    return f"{score.contender.name:24}{topic}" + "".join(figures)


def cpu_a_record(score: Score) -> float:
    """Return the median CPU seconds for each record."""
    return score.median(lambda run: run.cpu_seconds) / score.topic.records


def main() -> None:
    """Compare, print, and keep a full run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args()
    topics = (
        Topic("orders", given.records, PARTITIONS),
        Topic("more-orders", given.records * LARGER, PARTITIONS, RECORDS_A_KEY * LARGER),
        Topic("orders-of-more-keys", given.records * LARGER, PARTITIONS),
        Topic("orders-in-more-partitions", given.records, MANY_PARTITIONS),
    )
    pair = [each for each in CONTENDERS if each.name in {BARE, KTFRAME}]
    scores = compare([(each, topic) for topic in topics for each in pair], given.runs)
    if failures := [score.failure for score in scores if score.failure]:
        sys.exit(f"no result: {failures}")
    found = {(score.contender.name, score.topic): score for score in scores}
    print(
        f"\n{'':24}{'records':>12}{'keys':>12}{'parts':>6}{'us wall':>10}{'us CPU':>10}{'peak MB':>10}{'wall x':>10}{'CPU x':>10}"
    )
    for score in scores:
        print(line(score, found[score.contender.name, topics[0]]))
    first, more, keys, many = (found[KTFRAME, topic] for topic in topics)
    if given.records >= RECORDS:
        ratios = {
            "time a record, 1 M / 5 M": 1 / more.times(first),
            "time a record, 1 M of 200,000 keys / 5 M of 1 M": 1 / keys.times(first),
            "time a record, 4 / 64 partitions": 1 / many.times(first),
        }
        record("scaling", ratios)


if __name__ == "__main__":
    main()
