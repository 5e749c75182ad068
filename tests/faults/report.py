"""Writes the figures of a run into docs/faults.md, between the marks that are there; the words around them are written by hand."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

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


def write_mutants(mutants: Mapping[str, Any], found: Mapping[str, str]) -> None:
    """Write which round caught each mutant, and by which read."""
    lines = (
        (mutants[name].room, mutants[name].what, _round_of(text), f"`{_read_of(text)}`" if text else "")
        for name, text in found.items()
    )
    write("mutants", table(("room", "what was wrong in ktframe", "caught in", "first said of"), lines))


def write_peer(version: str, seed: int, scores: Mapping[str, Any], own: Result) -> None:
    """Write how the rounds of a seed came out for ktables, and for ktframe with all that it has."""
    outcomes = ("equal", "never answered", "wrong")
    wrong = len(own.wrong)
    lines = [
        (f"ktables {version}, {how}", *(str(score.rounds[each]) for each in outcomes))
        for how, score in scores.items()
    ]
    faults = [
        (
            fault,
            *(
                f"{score.of_fault[fault]['wrong']} of {score.of_fault[fault].total()}"
                for score in scores.values()
            ),
        )
        for fault in FAULTS
        if any(fault in score.of_fault for score in scores.values())
    ]
    lines.append(("ktframe, all that it reads", str(own.tally.rounds), "0", str(wrong)))
    rounds = table((f"rounds of seed {seed}", *outcomes), lines)
    write("peer", [*rounds, "", *table(("wrong rounds with", *scores), faults)])


def _round_of(text: str) -> str:
    number = re.search(r"round (\d+)", text)
    return f"round {number[1]}" if number else "no round"


def _read_of(text: str) -> str:
    return text.splitlines()[1].rstrip(":")[:90]


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
