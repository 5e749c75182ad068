"""What a process holds that has tables open: memory, threads and descriptors, while they load and at rest.

Twenty tables of 50,000 orders each in one process, loaded, at rest, and opened again from their stores; and one table of
200,000 rows out of a million records. Each in a process of its own. A full run writes its section of ``RESULTS.md``, and appends
ratios to the goals to ``history.csv``. Linux only: ``/proc`` has the figures.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

TABLES = 20
ROWS = 50_000
LARGE, LARGE_ROWS = 1_000_000, 200_000
PARTITIONS = 4
REST_SECONDS, LONG_REST_SECONDS = 15.0, 75.0
MOST_MB, MOST_THREADS = 350, 60
MOST_FRAMES, MOST_MB_BESIDE = 3, 60


@dataclass(frozen=True)
class Held:
    """What a process holds at one moment; memory in MB."""

    when: str
    resident: float
    anonymous: float
    """Without the files that are mapped: programs, which processes share, and rows that are kept on disk."""
    threads: int
    descriptors: int
    frames: float = 0.0
    """``estimated_size()`` of what was read."""
    names: str = ""


def held(when: str, frames: float = 0.0) -> Held:
    """Return what this process holds now."""
    status = dict(re.findall(r"^(\w+):\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE))
    names = Counter(
        re.sub(r"\d+$", "", comm.read_text().strip()) for comm in Path("/proc/self/task").glob("*/comm")
    )
    return Held(
        when,
        int(status["VmRSS"]) / 1024,
        int(status["RssAnon"]) / 1024,
        int(status["Threads"]),
        sum(1 for _ in Path("/proc/self/fd").iterdir()),
        frames / 2**20,
        ", ".join(f"{count} {name}" for name, count in names.most_common()),
    )


def measured(bootstrap: str, topics: list[str], rows: int, state_dir: str, rest: float) -> Iterator[Held]:
    """Open tables twice, the second time from their stores, and yield what this process holds in between."""
    # All that a load imports: it would count as what the tables hold.
    import pyarrow.json  # noqa: F401, PLC0415
    import rocksdict  # noqa: F401, PLC0415

    import ktframe  # noqa: PLC0415

    yield held("imported")
    for when in ("loaded", "opened again"):
        with ktframe.connect(bootstrap, state_dir=state_dir) as kt:
            size = 0
            for topic in topics:
                frame = kt.table(topic).to_polars()
                if frame.height != rows:
                    sys.exit(f"rows are missing: {frame.height:,} of {rows:,}")
                size += frame.estimated_size()
            # The last frame stays: users keep what they read.
            yield held(when, size)
            time.sleep(rest)
            yield held(f"{when}, at rest", size)


def in_own_process(bootstrap: str, topics: list[str], rows: int, rest: float) -> list[Held]:
    """Return what a new process holds that opens these topics."""
    with tempfile.TemporaryDirectory() as state_dir:
        arguments = ["--of", bootstrap, ",".join(topics), str(rows), state_dir, str(rest)]
        done = subprocess.run(  # noqa: S603 - this file
            [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True
        )
    return [Held(**json.loads(line)) for line in done.stdout.splitlines()]


def table_of(figures: list[Held]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| | resident MB | of these not of files | threads | descriptors |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {each.when} | {each.resident:.0f} | {each.anonymous:.0f} | {each.threads} | {each.descriptors} |"
        for each in figures
    ]
    return "\n".join(lines)


def section(many: list[Held], one: list[Held]) -> str:
    """Return what ``RESULTS.md`` says."""
    frame = one[1].frames
    return f"""
{TABLES} tables of {ROWS:,} orders in one process, each read once ({many[1].frames:.0f} MB of frames); at rest is {REST_SECONDS:g} seconds later.

{table_of(many)}

Threads at rest: {many[2].names}.

One table of {LARGE_ROWS:,} rows out of {LARGE:,} records, the frame of which has {frame:.1f} MB; at rest is {LONG_REST_SECONDS:g} seconds later.

{table_of(one)}
"""


def ratios(many: list[Held], one: list[Held]) -> dict[str, float]:
    """Return the goals, by what was measured."""
    imported, rest = one[0], one[2]
    most = MOST_FRAMES * rest.frames + MOST_MB_BESIDE
    return {
        f"{MOST_MB} MB / resident, {TABLES} tables at rest": MOST_MB / many[2].resident,
        f"{MOST_MB} MB / resident, {TABLES} tables opened again": MOST_MB / many[4].resident,
        f"{MOST_THREADS} threads / threads, {TABLES} tables at rest": MOST_THREADS / many[2].threads,
        "3 frames + 60 MB / not of files, beyond the imports": most / (rest.anonymous - imported.anonymous),
    }


def main() -> None:
    """Fill, measure, print, and keep a full run."""
    if sys.argv[1:2] == ["--of"]:
        bootstrap, topics, rows, state_dir, rest = sys.argv[2:]
        for each in measured(bootstrap, topics.split(","), int(rows), state_dir, float(rest)):
            print(json.dumps(asdict(each)), flush=True)
        return
    # Not above: what is imported there would count in the processes that are measured.
    from history import record  # noqa: PLC0415
    from report import MEMORY, RESULTS, with_section  # noqa: PLC0415
    from support.kafka_broker import KafkaBroker  # noqa: PLC0415
    from support.orders import produce_orders  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=TABLES)
    given = parser.parse_args()
    names = [f"orders-{number}" for number in range(given.tables)]
    with KafkaBroker() as broker:
        for name in names:
            broker.create_topic(name)
            produce_orders(broker, name, ROWS, ROWS)
        broker.create_topic("large", PARTITIONS)
        produce_orders(broker, "large", LARGE, LARGE_ROWS)
        in_own_process(
            broker.bootstrap, names[:1], ROWS, 0.0
        )  # the first to read pays for the broker's cold code
        many = in_own_process(broker.bootstrap, names, ROWS, REST_SECONDS)
        one = in_own_process(broker.bootstrap, ["large"], LARGE_ROWS, LONG_REST_SECONDS)
    print(section(many, one))
    found = ratios(many, one)
    for figure, ratio in found.items():
        print(f"{figure:70}{ratio:8.2f}")
    if given.tables == TABLES:
        RESULTS.write_text(with_section(RESULTS.read_text(), MEMORY, section(many, one)))
        record("memory", found)


if __name__ == "__main__":
    main()
