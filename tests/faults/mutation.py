"""Runs the rounds with each mutant until one catches it, and writes that into docs/faults.md: ``python -m faults.mutation``."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

from faults import campaign, report
from faults.mutants import MUTANTS
from faults.plan import worlds

SEED: Final = 2026
ROUNDS: Final = 60


def caught(name: str) -> str:
    """Return the round that caught a mutant, and by what; empty if none did."""
    result = campaign.run(worlds(SEED, ROUNDS), mutant=name, stop_at_first=True)
    return result.wrong[0] if result.wrong else ""


def main() -> None:
    """Run all mutants, or those that are named."""
    parser = argparse.ArgumentParser(prog="faults.mutation", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    names = given.names or list(MUTANTS)
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        found = dict(zip(names, pool.map(caught, names), strict=True))
    for name, text in found.items():
        print(f"{name}: {text or 'NOT CAUGHT'}\n")
    if not given.names:
        report.write_mutants(MUTANTS, found)
    sys.exit(not all(found.values()))


if __name__ == "__main__":
    main()
