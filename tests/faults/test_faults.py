"""Rounds of faults on a real Kafka: a short seed of those that ``make faults`` runs; see docs/faults.md."""

from pathlib import Path

import pytest
from support.kafka_broker import KafkaBroker

from faults.judge import Tally
from faults.plan import FAULTS, World, faults, worlds
from faults.rounds import Rounds

SHORT = worlds(seed=7, rounds=30)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize("world", SHORT, ids=str)
def test_every_read_equals_the_oracle(broker: KafkaBroker, tmp_path: Path, world: World) -> None:
    """Whatever happens, each read is equal, raises, or warns of exactly what is missing."""
    tally = Tally()
    Rounds(world, broker, tmp_path / "rounds", tally).run()
    assert tally.rounds == len(world.rounds)
    assert tally.outcomes["equal"] + tally.outcomes["warned"] > 0


def test_a_plan_has_every_fault() -> None:
    """The short seed has each fault once at least, the rounds of ``make faults`` twenty times, whatever the seed."""
    assert faults(SHORT).keys() == set(FAULTS)
    for seed in range(20):
        assert min(faults(worlds(seed, 300))[fault] for fault in FAULTS) >= 20
