"""A program that is interrupted at random moments of first reads, and prints as JSON what went wrong afterwards."""

import json
import os
import signal
import sys
from random import Random

from ktframe.testing import FakeBroker

TRIES = 1_000


def main() -> None:
    """Interrupt reads until a table is not read or not closed any more."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    context = broker.connect(stall_timeout=0.3)
    random = Random(1)  # noqa: S311 - no cryptography
    faults: list[str] = []
    for _ in range(TRIES):
        table = context.table("t")
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-5, 1.5e-3))
            try:
                table.to_polars()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            faults.append(f"{type(error).__name__}: {error}")
        for action in (context.table("t").to_polars, table.close):
            try:
                action()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                faults.append(f"{type(error).__name__}: {error}")
        if faults:
            break
    json.dump(faults, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # what was interrupted may keep an interpreter from ending


if __name__ == "__main__":
    main()
