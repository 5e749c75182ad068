"""Writes what a comparison came to: as lines on a terminal, and as ``RESULTS.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from contenders import BARE
from rounds import Score, Topic

HEAD = "# Loading a topic: ktframe beside others\n\nWritten by `make bench`.\n"
METHOD = """\
## How it was measured

One topic of {records:,} JSON orders of about 113 bytes ({keys:,} keys, {partitions} partitions, lz4) on one real broker on the
same machine. Every contender makes of it "the latest row per key", in a process of its own and an empty directory, one
after the other; there were {runs} rounds with each of them once. Figures are medians of its runs.

* **seconds**: from the start of reading (libraries imported, the JVM or engine started, nothing asked of Kafka yet) to the
  result being there, by the contender's own clock; what is imported or compiled on first use counts. **with start**: from
  the start of its process.
* **x bare**: seconds for a record, over those of `consume()` that is tuned and keeps nothing: the limit for whoever reads by
  librdkafka. Java's client is another one and may be quicker.
* **CPU s**: user and system time of all its processes over the same time; not that of the broker.
* **peak MB**: sum of the peaks of resident memory of all its processes; pages that they share count in each.
* Each result is verified after the time was taken: number of keys, and the sum of the amounts of the latest rows, from what
  was produced. A wrong result is a failure. Bare `consume()` has no result, its number of records is verified.
"""
RESULTS = Path(__file__).parent / "RESULTS.md"
MEMORY = "# Memory, threads and descriptors"
"""The heading of what ``memory.py`` writes, the last section of the file."""
FIGURES = ("seconds", "x bare", "CPU s", "peak MB", "with start")


def ranked(scores: Sequence[Score]) -> list[tuple[Score, tuple[str, ...]]]:
    """Return the scores that have a result and their figures, the quickest first."""
    bare = next((score for score in scores if score.contender.name == BARE and score.failure is None), None)
    done = sorted(succeeded(scores), key=lambda score: score.seconds_a_record)
    return [(score, _figures(score, bare)) for score in done]


def succeeded(scores: Sequence[Score]) -> list[Score]:
    """Return those that came to the right result in every run."""
    return [score for score in scores if score.failure is None]


def failed(scores: Sequence[Score]) -> list[Score]:
    """Return those that did not."""
    return [score for score in scores if score.failure is not None]


def text(scores: Sequence[Score]) -> str:
    """Return the table for a terminal."""
    lines = [f"{'':42}" + "".join(f"{figure:>12}" for figure in FIGURES)]
    lines += [
        f"{_name(score):42}" + "".join(f"{figure:>12}" for figure in figures)
        for score, figures in ranked(scores)
    ]
    lines += [f"{_name(score):42}  failed: {score.failure}" for score in failed(scores)]
    return "\n".join(lines)


def results(scores: Sequence[Score], topic: Topic, runs: int, date: str, machine: Mapping[str, str]) -> str:
    """Return the text of ``RESULTS.md``."""
    table = ["| contender | " + " | ".join(FIGURES) + " |", "|---" + "|--:" * len(FIGURES) + "|"]
    table += [f"| {_name(score)} | " + " | ".join(figures) + " |" for score, figures in ranked(scores)]
    facts = "\n".join(f"* {name}: {value}" for name, value in {"date": date, **machine}.items())
    parts = [HEAD, facts + "\n", "\n".join(table) + "\n"]
    if failures := failed(scores):
        parts.append(
            "Without a result:\n\n"
            + "".join(f"* {_name(score)}: {_plain(score.failure or '')}\n" for score in failures)
        )
    figures = {"records": topic.records, "keys": topic.keys, "partitions": topic.partitions, "runs": runs}
    parts.append(METHOD.format(**figures))
    does = [
        f"| {_name(score)} | {score.contender.does} | {score.contender.lacks} | {', '.join(score.versions)} |"
        for score in scores
    ]
    parts.append(
        "## What each does\n\n"
        + "\n".join(["| contender | does | does not | versions |", "|---|---|---|---|", *does])
        + "\n"
    )
    return "\n".join(parts)


def with_section(text: str, heading: str, section: str) -> str:
    """Return ``text`` with a section as its last one, in the place of what it has by this heading."""
    return f"{text.partition(heading)[0].rstrip()}\n\n{heading}\n{section}"


def section_of(text: str, heading: str) -> str:
    """Return the last section of ``text`` by its heading, empty where there is none."""
    return text.partition(f"{heading}\n")[2]


def _name(score: Score) -> str:
    most = score.contender.most_records
    is_smaller = most is not None and score.topic.records <= most
    return score.contender.name + (f" ({score.topic.records:,} records)" if is_smaller else "")


def _plain(failure: str) -> str:
    """Return a message that Markdown shows as it is."""
    return "`" + failure.replace("`", "'") + "`"


def _figures(score: Score, bare: Score | None) -> tuple[str, ...]:
    return (
        f"{score.median(lambda run: run.seconds):.2f}",
        "-" if bare is None else f"{score.times(bare):.2f}",
        f"{score.median(lambda run: run.cpu_seconds):.2f}",
        f"{score.median(lambda run: run.peak_mb):,.0f}",
        f"{score.median(lambda run: run.seconds_with_start):.1f}",
    )
