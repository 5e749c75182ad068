"""Runs the rounds of a seed on real Kafka and writes the figures into docs/faults.md: ``python -m faults``."""

from __future__ import annotations

import argparse
import sys

from faults.campaign import side_by_side
from faults.plan import worlds
from faults.report import write_rounds

SEED, ROUNDS, WORKERS = 2026, 320, 2


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument(
        "--world", type=int, nargs="*", help="only these worlds of the seed; writes no report"
    )
    given = parser.parse_args()
    plan = worlds(given.seed, given.rounds)
    chosen = [world for world in plan if given.world is None or world.number in given.world]
    result = side_by_side(chosen, given.workers)
    if given.world is None:
        write_rounds(given.seed, result)
    print(result.tally, f"{result.seconds:.0f} s", *result.wrong, sep="\n")
    sys.exit(bool(result.wrong))


if __name__ == "__main__":
    main()
