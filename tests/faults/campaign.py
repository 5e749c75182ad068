"""Runs the worlds of a seed side by side, each worker with a Kafka of its own, and adds up what came out."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from support.kafka_broker import KafkaBroker

from faults.judge import Tally
from faults.matching import WrongAnswerError
from faults.plan import World
from faults.rounds import Rounds


@dataclass(slots=True)
class Result:
    """What came out of worlds: the counts, and each wrong answer with its seed, round and difference."""

    tally: Tally = field(default_factory=Tally)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(worlds: list[World], *, mutant: str | None = None, stop_at_first: bool = False) -> Result:
    """Run worlds one after the other, on one Kafka."""
    result, began = Result(), time.monotonic()

    def say(each: object) -> None:
        print(f"{time.monotonic() - began:7.0f} s  {each}", flush=True)

    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        broker = stack.enter_context(KafkaBroker())
        for world in worlds:
            try:
                Rounds(world, broker, Path(place) / str(world.number), result.tally, mutant).run(say)
            except WrongAnswerError as error:
                result.wrong.append("\n".join([*error.__notes__, str(error)]))
            except Exception:  # noqa: BLE001 - it is told below; the other worlds have a Kafka of their own
                result.wrong.append(f"{world} failed:\n{traceback.format_exc()}\n{broker.log[-3000:]}")
                broker = stack.enter_context(KafkaBroker())
            else:
                continue
            say(result.wrong[-1])
            if stop_at_first:
                break
    result.seconds = time.monotonic() - began
    return result


def side_by_side(worlds: list[World], workers: int, task: Callable[[list[World]], Result] = run) -> Result:
    """Run every so many-th world in a process of its own."""
    total, began = Result(), time.monotonic()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for result in pool.map(task, [worlds[first::workers] for first in range(min(workers, len(worlds)))]):
            total.tally += result.tally
            total.wrong += result.wrong
    total.seconds = time.monotonic() - began
    return total
