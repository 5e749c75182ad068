"""Load one topic of JSON orders by ktframe and by its peers, all in one run on one broker, and compare.

Every contender (``contenders.py``) makes the latest row per key in a process of its own, in turn with the others; its
result is verified. Prints a table: seconds, how many times the limit that is, CPU seconds and memory. A full run, all
contenders on a million records or more, writes ``RESULTS.md`` and appends its ratios to ``history.csv``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from contender import Contender
from contenders import BARE, CONTENDERS, KTFRAME
from history import record
from machine import installed, machine
from report import MEMORY, RESULTS, results, section_of, succeeded, text, with_section
from rounds import Score, Topic, interleaved
from support.kafka_broker import KafkaBroker
from support.orders import produce_orders

RECORDS = 1_000_000
PARTITIONS = 4
RUNS = 3


def chosen(names: list[str]) -> list[Contender]:
    """Return the contenders whose names have one of these parts, all if there are none."""
    if not names:
        return list(CONTENDERS)
    return [each for each in CONTENDERS if any(name.lower() in each.name.lower() for name in names)]


def topics_of(contenders: list[Contender], whole: Topic) -> list[tuple[Contender, Topic]]:
    """Return each contender with its topic: one that is slow may have fewer records."""
    pairs = []
    for each in contenders:
        most = each.most_records or whole.records
        smaller = replace(whole, name=f"orders-{most}", records=most)
        pairs.append((each, smaller if most < whole.records else whole))
    return pairs


def compare(pairs: list[tuple[Contender, Topic]], runs: int) -> list[Score]:
    """Fill the topics and have them loaded."""
    topics = sorted({topic for _, topic in pairs}, key=lambda topic: topic.name)
    with KafkaBroker() as broker:
        for topic in topics:
            broker.create_topic(topic.name, topic.partitions)
            produce_orders(broker, topic.name, topic.records, topic.keys)
        # The first to read a topic would pay for the broker's cold code and caches.
        interleaved([(CONTENDERS[0], topic) for topic in topics], broker.bootstrap, 1, lambda _: None)
        scores = interleaved(pairs, broker.bootstrap, runs, lambda line: print(line, flush=True))
    for score in scores:
        score.versions = score.versions or installed(score.contender.packages)
    return scores


def ratios(scores: list[Score]) -> dict[str, float]:
    """Return what the history keeps: ktframe against the limit, and each other contender against ktframe."""
    found = {score.contender.name: score for score in succeeded(scores)}
    if BARE not in found or KTFRAME not in found:
        return {}
    bare, ktframe = found.pop(BARE), found.pop(KTFRAME)
    kept = {
        "rate / bare consume()": 1 / ktframe.times(bare),
        "CPU s of bare consume() / CPU s": bare.median(lambda run: run.cpu_seconds)
        / ktframe.median(lambda run: run.cpu_seconds),
    }
    return kept | {f"{name} / ktframe": score.times(ktframe) for name, score in found.items()}


def main() -> None:
    """Compare, print, and keep a full run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--partitions", type=int, default=PARTITIONS)
    parser.add_argument("--runs", type=int, default=RUNS, choices=range(1, 8))
    parser.add_argument("--only", nargs="+", default=[], metavar="PART_OF_A_NAME")
    given = parser.parse_args()
    whole = Topic("orders", given.records, given.partitions)
    scores = compare(topics_of(chosen(given.only), whole), given.runs)
    print("\n" + text(scores))
    is_full = not given.only and given.records >= RECORDS and given.partitions == PARTITIONS
    if is_full:
        found = results(scores, whole, given.runs, f"{datetime.now(UTC):%Y-%m-%d}", machine())
        RESULTS.write_text(with_section(found, MEMORY, section_of(RESULTS.read_text(), MEMORY)))
        record("load", ratios(scores))


if __name__ == "__main__":
    main()
