"""What happens in each round, out of a seed: the same seed gives the same worlds, rounds and faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

ROUNDS_PER_WORLD: Final = 10

PLAIN: Final = {
    "produce": 7,
    "tombstone": 4,
    "transaction committed": 3,
    "transaction aborted": 3,
    "transaction left open": 3,
    "broker killed": 1,
    "broker stopped": 1,
    "broker frozen": 1,
    "reader killed": 1,
    "reader restarted": 3,
    "topic made anew": 1,
    "partitions added": 2,
    "records deleted": 2,
    "log put back": 1,
    "clock set forward": 1,
    "slow consumer": 1,
}
"""How often each fault comes in a topic that is not compacted, relative to the others."""

COMPACTED: Final = {name: weight for name, weight in PLAIN.items() if name != "records deleted"} | {
    "compaction": 2
}
"""In a compacted topic Kafka deletes no records on request."""

_MORE_OFTEN: Final = 6

_WEIGHTS: Final = {True: COMPACTED, False: PLAIN}
FAULTS: Final = tuple(sorted(PLAIN.keys() | COMPACTED.keys()))

OUTAGES: Final = frozenset({"broker killed", "broker stopped", "broker frozen"})


@dataclass(frozen=True, slots=True)
class Step:
    """One fault; its details are drawn from ``seed`` when it comes, as they depend on what is there then."""

    fault: str
    seed: int


@dataclass(frozen=True, slots=True)
class Round:
    """A few steps, after which everything is read and compared."""

    number: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"round {self.number}: " + ", ".join(f"{step.fault} ({step.seed})" for step in self.steps)


@dataclass(frozen=True, slots=True)
class World:
    """Rounds on one topic, of which each begins where the last one ended."""

    number: int
    seed: int
    is_compacted: bool
    partitions: int
    rounds: tuple[Round, ...]

    def __str__(self) -> str:
        return f"world {self.number} (seed {self.seed})"


def worlds(
    seed: int, rounds: int, *, without: frozenset[str] = frozenset(), often: frozenset[str] = frozenset()
) -> list[World]:
    """Return the worlds of a seed, with so many rounds in all, ``without`` some faults and some more ``often``."""
    random = Random(seed)
    made: list[World] = []
    decks = {
        is_compacted: _deck(
            random,
            {
                fault: weight * (_MORE_OFTEN if fault in often else 1)
                for fault, weight in weights.items()
                if fault not in without
            },
        )
        for is_compacted, weights in _WEIGHTS.items()
    }
    for number, first in enumerate(range(0, rounds, ROUNDS_PER_WORLD)):
        is_compacted = number % 2 == 1
        partitions = random.choice([1, 1, 2, 3])
        numbers = range(first + 1, min(first + ROUNDS_PER_WORLD, rounds) + 1)
        made.append(
            World(
                number,
                random.randrange(2**31),
                is_compacted,
                partitions,
                tuple(_round(random, each, decks[is_compacted]) for each in numbers),
            )
        )
    return made


def faults(plan: list[World]) -> Counter[str]:
    """Return how often each fault comes."""
    return Counter(step.fault for world in plan for each in world.rounds for step in each.steps)


def _round(random: Random, number: int, deck: Iterator[str]) -> Round:
    count = random.choice([2, 3, 3, 4])
    return Round(number, tuple(Step(next(deck), random.randrange(2**31)) for _ in range(count)))


def _deck(random: Random, weights: dict[str, int]) -> Iterator[str]:
    """Yield faults for ever: each as often as its weight says in every run through the deck."""
    while True:
        cards = [fault for fault, weight in weights.items() for _ in range(weight)]
        random.shuffle(cards)
        yield from cards
