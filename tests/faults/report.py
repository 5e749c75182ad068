"""Writes the figures of a run into docs/faults.md, between the marks that are there; the words around them are written by hand."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from faults.campaign import Result
from faults.plan import FAULTS

REPORT: Final = Path(__file__).parents[2] / "docs" / "faults.md"


def write_rounds(seed: int, result: Result) -> None:
    """Write what the rounds of a seed came to."""
    tally, outcomes = result.tally, result.tally.outcomes
    raised = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.raised.items())) or "none"
    summary = [
        ("seed", f"{seed}"),
        ("rounds", f"{tally.rounds:,}"),
        ("faults", f"{tally.faults.total():,}"),
        ("reads compared", f"{tally.reads:,}"),
        ("objects read: equal to the oracle, nothing refused", f"{outcomes['equal']:,}"),
        ("objects read: equal, with a warning of exactly what was refused", f"{outcomes['warned']:,}"),
        ("objects read: an error instead", f"{outcomes['raised']:,} ({raised})"),
        ("**anything else**", f"**{len(result.wrong)}**"),
        ("time", f"{result.seconds / 60:.0f} minutes, Python {platform.python_version()}"),
    ]
    write("rounds", [*table(("", ""), summary), "", *table(("fault", "times"), _faults(result))])


def _faults(result: Result) -> Iterable[tuple[str, str]]:
    return ((fault, f"{result.tally.faults[fault]:,}") for fault in FAULTS)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines)]


def write(name: str, lines: Sequence[str]) -> None:
    """Put lines between the marks of a name."""
    begin, end = f"<!-- {name}: written by the program -->", f"<!-- end of {name} -->"
    text = "\n".join([begin, *lines, end])
    known = REPORT.read_text()
    assert begin in known, f"{REPORT} has no place for {name}"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    REPORT.write_text(pattern.sub(lambda _: text, known))
