"""Keeps the ratios of every ``make bench`` in ``history.csv``, one line per figure, and says where one got worse.

Ratios only: times depend on the machine, a ratio within one run hardly does. A run that is kept is committed.
"""

from __future__ import annotations

import csv
import statistics
import subprocess
from datetime import UTC, datetime
from pathlib import Path

HISTORY = Path(__file__).parent / "history.csv"
COLUMNS = ("date", "commit", "benchmark", "figure", "ratio")
WORSE = 0.8
RECENT = 5


def record(benchmark: str, ratios: dict[str, float]) -> None:
    """Append the ratios of one benchmark (higher is better), and print those that fell by a fifth or more."""
    earlier = _earlier(benchmark)
    is_new = not HISTORY.exists()
    stamp = (datetime.now(UTC).date().isoformat(), _commit())
    with HISTORY.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        writer.writerows((*stamp, benchmark, figure, f"{ratio:.3g}") for figure, ratio in ratios.items())
    for figure, ratio in ratios.items():
        usual = statistics.median(earlier.get(figure, [ratio]))
        if ratio < usual * WORSE:
            print(f"worse than before: {benchmark}, {figure}: {ratio:.3g}, usually {usual:.3g}")


def _earlier(benchmark: str) -> dict[str, list[float]]:
    """Return the last few ratios of each figure."""
    earlier: dict[str, list[float]] = {}
    if HISTORY.exists():
        with HISTORY.open(newline="") as file:
            for line in csv.DictReader(file):
                if line["benchmark"] == benchmark:
                    earlier.setdefault(line["figure"], []).append(float(line["ratio"]))
    return {figure: ratios[-RECENT:] for figure, ratios in earlier.items()}


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HISTORY.parent)  # noqa: S603
    return answer.stdout.strip() or "unknown"
