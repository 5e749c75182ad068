"""A program on a small disk: fills it, frees it again, and prints as JSON what a table said meanwhile.

Argument: a directory on that disk, which holds 20 MB and nothing else.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from ktframe.errors import KtframeError
from ktframe.testing import FakeBroker

ROWS = 1500


def main() -> None:
    """Fill the disk, free it, and go on."""
    disk = Path(sys.argv[1])
    broker = FakeBroker()
    broker.create_topic("t")
    random = Random(1)  # noqa: S311 - no cryptography
    context = broker.connect(disk / "state", stall_timeout=5.0)
    table = context.table("t")

    def load(number: int) -> None:
        for key in range(ROWS):
            broker.produce("t", f"k{key}", {"n": number, "s": random.randbytes(700).hex()})
        table.to_polars()

    load(0)
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65536)):
            pass
    full, number = "", 0
    while not full and number < 20:
        number += 1
        try:
            load(number)
        except KtframeError as error:
            full = error.fact
    filler.unlink()

    failures: list[str] = []

    def note(what: str, action: Callable[[], object]) -> None:
        try:
            action()
        except KtframeError as error:
            failures.append(f"{what}: {error.fact}")

    for _ in range(3):
        note("read", table.to_polars)
    note("close", table.close)
    rows = context.table("t").to_polars()
    assert set(rows["n"]) == {number}
    context.close()
    json.dump({"full": full, "failures": failures}, sys.stdout)


if __name__ == "__main__":
    main()
