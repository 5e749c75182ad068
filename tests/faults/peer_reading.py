"""A program that reads a topic by ktables, as its parent tells it; it runs in a virtual environment that has ktables.

Arguments: bootstrap, and ``defaults`` or ``tuned``. Lines go and come as in ``reading.py``. An answer is the table's rows
once ``barrier()`` has said that they are up to date, an error when it or ``status`` says that they may not be.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from ktables import KafkaConnectionConfig, KafkaTable

BARRIER_SECONDS = 5.0


def connection(bootstrap: str, how: str) -> KafkaConnectionConfig:
    """Return the settings: ktables' own, or the best that we found for what the rounds do."""
    if how == "defaults":
        return KafkaConnectionConfig(bootstrap_servers=bootstrap)
    return KafkaConnectionConfig(
        bootstrap_servers=bootstrap,
        common_opts={"metadata_max_age_ms": 1_000, "request_timeout_ms": 5_000},
        consumer_opts={"isolation_level": "read_committed", "check_crcs": True},
    )


class Reading:
    """One table."""

    def __init__(self, bootstrap: str, how: str) -> None:
        self._options: dict[str, Any] = {
            "connection": connection(bootstrap, how),
            "value_decoder": json.loads,
        }
        if how == "tuned":
            self._options |= {"fetch_max_wait_ms": 10, "poll_timeout_ms": 20, "catchup_timeout": 60.0}
        self._table: KafkaTable[Any] | None = None

    async def open(self, topic: str, **_: Any) -> None:
        """Open the table; it is read again from the start of the topic."""
        self._table = KafkaTable(topic=topic, ensure_topic=False, **self._options)
        try:
            await self._table.start()
        except Exception as error:  # noqa: BLE001 - said by the next read
            self._failure = error

    async def close(self) -> None:
        """Close the table."""
        if self._table is not None:
            await self._table.stop()
        self._table = None

    async def read(self, **_: Any) -> dict[str, Any]:
        """Return the rows, or what ktables says against them."""
        assert self._table is not None
        try:
            is_fresh = await self._table.barrier(timeout=BARRIER_SECONDS)
            status = self._table.status
            rows = [[key, row["id"], row["n"]] for key, row in sorted(self._table.snapshot().items())]
        except Exception as error:  # noqa: BLE001
            return {"table": {"error": type(error).__name__, "text": str(error), "said": []}}
        if not is_fresh or status != "caught_up":
            return {"table": {"error": f"barrier {is_fresh}, {status}", "text": "", "said": []}}
        return {"table": {"answer": {"rows": rows}, "said": []}}


async def main() -> None:
    """Do what each line says until there is none."""
    reading = Reading(*sys.argv[1:])
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        answer = await getattr(reading, command.pop("do"))(**command)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
