"""Runs the rounds with each mutant until one catches it, and writes that into docs/faults.md: ``python -m faults.mutation``."""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Final

from faults import campaign, report
from faults.mutants import MUTANTS
from faults.plan import OUTAGES, worlds

SEED: Final = 2026
ROUNDS: Final = 60


def caught(name: str) -> str:
    """Return the round that caught a mutant, and by what; empty if none did, or if the rounds failed for another reason.

    Without outages of the broker: these take the most time, and none of the mutants needs one. With more of the faults after
    which this one shows.
    """
    result = campaign.run(
        worlds(SEED, ROUNDS, without=OUTAGES, often=MUTANTS[name].needs), mutant=name, stop_at_first=True
    )
    text = result.wrong[0] if result.wrong else ""
    # An error that does not end, or one of the rounds themselves, is no wrong answer.
    is_another = any(sign in text.partition("\n")[2][:20] for sign in ("Traceback", "still raised"))
    return "" if is_another else text


def main() -> None:
    """Run all mutants, or those that are named."""
    parser = argparse.ArgumentParser(prog="faults.mutation", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    names = given.names or list(MUTANTS)
    found = {}
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(caught, name): name for name in names}
        for done in as_completed(running):
            name, text = running[done], done.result()
            found[name] = text
            print(f"MUTANT {name}: {text or 'NOT CAUGHT'}\n", flush=True)
    if not given.names:
        report.write_mutants(MUTANTS, {name: found[name] for name in MUTANTS})
    sys.exit(not all(found.values()))


if __name__ == "__main__":
    main()
