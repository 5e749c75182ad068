"""A program that reads a topic by everything that ktframe has, as its parent tells it: it may be killed or frozen at any moment.

Arguments: bootstrap and state directory, and a mutant's name if there is one. Each line that comes is a JSON object with
the command in ``do``; each line that goes is the JSON answer. Answers have the form of ``oracle.py``.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import local
from typing import Any, Final

import polars as pl
from polars import selectors

TESTS = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path[0] = str(TESTS)

from support.readers import Gate  # noqa: E402 - tests are no package; this program finds them by itself

from ktframe import KtframeError, KtframeWarning  # noqa: E402
from ktframe.clock import SystemClock  # noqa: E402
from ktframe.config.sources import resolve_settings  # noqa: E402
from ktframe.context.context import Context  # noqa: E402

SETTINGS: Final = {
    "monitor_interval": 0.2,
    "store_flush_interval": 0.3,
    "request_timeout": 2.0,
    "stall_timeout": 3.0,
    "retry": {"initial_delay": 0.1, "max_delay": 0.5, "jitter": 0.0},
}
METADATA: Final = ["partition", "offset", "timestamp"]
WINDOW: Final = ["window_start", "window_end"]
READY_SECONDS: Final = 20.0
PAUSE_SECONDS: Final = 1.0
"""A process that does not ask the time for so long was frozen: it asks several times a second."""
SAID: Final = local()
"""``texts`` are the warnings of ktframe on this thread."""


class ForwardClock:
    """Sets ktframe's clocks forward; the monotonic one stands still while a computer sleeps."""

    def __init__(self) -> None:
        self.wall = self.monotonic = 0.0
        self.pause: tuple[float, bool] | None = None
        """What passes while this process is frozen the next time, as for ``forward``."""
        self._asked = time.monotonic()
        SystemClock.now = lambda _: datetime.now(UTC) + timedelta(seconds=self._passed().wall)  # type: ignore[method-assign]
        SystemClock.monotonic = lambda _: time.monotonic() + self._passed().monotonic  # type: ignore[method-assign]

    def _passed(self) -> ForwardClock:
        """Return this after a pause, whichever thread is the first one to ask the time."""
        last, self._asked = self._asked, time.monotonic()
        if self.pause is not None and self._asked - last > PAUSE_SECONDS:
            (seconds, is_asleep), self.pause = self.pause, None
            self.forward(seconds, is_asleep=is_asleep)
        return self

    def forward(self, seconds: float, *, is_asleep: bool) -> None:
        """Let time pass; ``is_asleep``: on the wall only."""
        self.wall += seconds
        self.monotonic += 0.0 if is_asleep else seconds


class Reading:
    """One process's connection and all that it reads of one topic."""

    def __init__(self, bootstrap: str, state_dir: str) -> None:
        self._gate, self._clock = Gate(), ForwardClock()
        self._settings = resolve_settings(
            bootstrap, environ={}, cwd=Path(state_dir), state_dir=Path(state_dir) / "state", **SETTINGS
        )
        self._context: Context | None = None
        self._objects: dict[str, Any] = {}
        self._keys: list[str] = []

    def open(self, topic: str, keys: list[str]) -> None:
        """Open everything."""
        self._context = context = Context(self._settings, open_reader=self._gate.reader(self._settings))
        self._keys = keys
        table, keyed, stream = context.table(topic), context.table(topic, key="id"), context.stream(topic)
        self._objects = {
            "table": table,
            "table with key=": keyed,
            "windows": table.window(5),
            "windows rolled up": table.window(15),
            "hopping windows": table.window(10, every=5),
            "windows with key=": keyed.window(5),
            "windows with grace": table.window(5, grace="1m", idle_after="365d"),
            "stream": stream,
            "windows of a stream": stream.window(5, grace="1m"),
            "sessions": stream.session(2, by="key"),
            "sessions with grace": stream.session(2, by="key", grace="1m"),
        }

    def close(self) -> None:
        """Close the connection, and with it everything."""
        if self._context is not None:
            self._context.close()
        self._context = None

    def forward(self, seconds: float, *, is_asleep: bool) -> None:
        """Set the clock forward."""
        self._clock.forward(seconds, is_asleep=is_asleep)

    def pause(self, seconds: float, *, is_asleep: bool) -> None:
        """Set the clock forward at the end of the next pause of this process, before anything can be read."""
        SystemClock().monotonic()
        self._clock.pause = (seconds, is_asleep)

    def hold(self) -> None:
        """Let no record through to any reader from now on."""
        self._gate.close()

    def release(self) -> None:
        """Let everything through again."""
        self._gate.open()

    def describe(self) -> dict[str, Any]:
        """Return what each object has gone through, for whoever wants to know why reads do not answer."""
        return {
            name: {
                "status": repr(each.status()),
                "position": repr(each.position()),
                "incidents": [repr(incident) for incident in each.history.incidents()][-8:],
            }
            for name, each in self._objects.items()
        }

    def read(
        self, names: list[str], *, is_fresh: bool = True, release_after: float | None = None
    ) -> dict[str, Any]:
        """Return what each object answers, all at once, as each may have to wait; only its rows where it surely has to."""
        with ThreadPoolExecutor(len(names)) as pool:
            is_all = release_after is None and is_fresh
            answers = {
                name: pool.submit(self._answer, name, is_fresh=is_fresh, is_all=is_all) for name in names
            }
            if release_after is not None:
                time.sleep(release_after)
                self._gate.open()
            return {name: answer.result() for name, answer in answers.items()}

    def _answer(self, name: str, *, is_fresh: bool, is_all: bool) -> dict[str, Any]:
        each, SAID.texts = self._objects[name], []
        try:
            if not is_all:
                rows = READS[name]["to_polars"](each, self._keys, is_fresh)
                return {"answer": {"to_polars": rows}, "said": SAID.texts}
            answer = {what: read(each, self._keys, True) for what, read in READS[name].items()}
            return {"answer": answer, "said": SAID.texts, "status": _status(each)}
        except KtframeError as error:
            return {"error": type(error).__name__, "text": str(error), "said": SAID.texts}


def _status(each: Any) -> dict[str, Any]:
    """Return what an object says of itself, once it says that it is ready."""
    deadline = time.monotonic() + READY_SECONDS
    while not (each.readiness().is_ready and each.readiness().total_lag == 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    status, position = each.status(), each.position()
    return {
        "is_ready": each.readiness().is_ready,
        "lag": each.readiness().total_lag,
        "rows": status.rows,
        "refused": status.refused,
        "stale": status.stale,
        "offsets": {str(p): offset for p, offset in position.offsets.items()},
        "held_back": position.held_back,
        "notices": list(position.notices),
        "rebuilt": [each.detail for each in each.history.incidents() if each.kind == "rebuilt"],
    }


def _lines(frame: pl.DataFrame, names: list[str]) -> list[list[Any]]:
    """Return the named columns, times as milliseconds; those that a topic has not shown yet are null."""
    frame = frame.with_columns(selectors.datetime().dt.epoch("ms"))
    missing = [pl.lit(None).alias(name) for name in names if name not in frame.columns]
    columns = frame.with_columns(missing)
    return [list(row) for row in zip(*(columns[name] for name in names), strict=True)]


def _rows(*names: str, **given: Any) -> Callable[[Any, list[str], bool], Any]:
    """Return the read of all rows, sorted."""
    return lambda each, _, fresh: sorted(
        _lines(each.to_polars(fresh=fresh, metadata=True, **given), list(names))
    )


def _refused(each: Any, _keys: list[str], _is_fresh: bool) -> int:  # noqa: FBT001 - one form for all reads
    assert each.errors().height == each.status().refused
    return int(each.status().refused)


def _stale(each: Any, _keys: list[str], _is_fresh: bool) -> int:  # noqa: FBT001
    assert each.errors(stale=True).height == each.status().stale
    return int(each.status().stale)


def _looked_up(each: Any, keys: list[str], _is_fresh: bool) -> list[Any]:  # noqa: FBT001
    found = each.get_many(keys)
    assert [key in each for key in keys[:2]] == [row is not None for row in found[:2]]
    assert each.get(keys[0]) == found[0]
    return [None if row is None else [row["id"], row["n"]] for row in found]


def _table(key: str) -> dict[str, Any]:
    return {
        "to_polars": _rows(key, "id", "n", *METADATA),
        "get_many": _looked_up,
        "keys": lambda each, *_: sorted(each.keys()),
        "items": lambda each, *_: [[name, row["id"], row["n"]] for name, row in each.items()],
        "len": lambda each, *_: len(each),
        "refused": _refused,
        "stale": _stale,
    }


def _sums(*by: str) -> Callable[..., Any]:
    def read(each: Any, *_: Any) -> Any:
        if "n" not in each.schema:
            return []
        frame = each.agg(count=pl.len(), total=pl.col("n").sum())
        return sorted(_lines(frame, [*WINDOW, *by, "count", "total"]))

    return read


def _of_first_key(each: Any, keys: list[str], _is_fresh: bool) -> list[Any]:  # noqa: FBT001
    return sorted(_lines(each.get(keys[0]), ["window_start", "n"]))


def _late(*names: str) -> Callable[..., Any]:
    return lambda each, *_: sorted(_lines(each.late(), list(names)))


def _windows(key: str) -> dict[str, Any]:
    return {
        "to_polars": _rows(*WINDOW, key, "id", "n", *METADATA),
        "get": _of_first_key,
        "agg": _sums(),
        "late": _late("partition", "offset", "window_start"),
        "refused": _refused,
        "stale": _stale,
    }


def _final(each: Any, _keys: list[str], _is_fresh: bool) -> list[Any]:  # noqa: FBT001
    return sorted(_lines(each.final().to_polars(), ["window_start", "key"]))


def _in_order(each: Any, _keys: list[str], is_fresh: bool) -> list[Any]:  # noqa: FBT001
    frame = each.to_polars(fresh=is_fresh, metadata=True).sort("partition", maintain_order=True)
    return _lines(frame, ["key", "is_tombstone", "id", "n", *METADATA])


def _events(*by: str) -> dict[str, Any]:
    return {
        "to_polars": _rows(*WINDOW, "partition", "offset"),
        "agg": _sums(*by),
        "late": _late("partition", "offset", *WINDOW),
        "refused": _refused,
        "stale": _stale,
    }


READS: Final = {
    "table": _table("key"),
    "table with key=": _table("id"),
    "windows": _windows("key"),
    "windows rolled up": _windows("key"),
    "hopping windows": _windows("key"),
    "windows with key=": _windows("id"),
    "windows with grace": _windows("key") | {"final": _final},
    "stream": {
        "to_polars": _in_order,
        "len": lambda each, *_: len(each),
        "refused": _refused,
        "stale": _stale,
    },
    "windows of a stream": _events(),
    "sessions": _events("key"),
    "sessions with grace": _events("key"),
}


def _note_warning(message: Warning | str, *_: Any) -> None:
    if isinstance(message, KtframeWarning):
        SAID.texts.append(str(message))


def main() -> None:
    """Do what each line says until there is none."""
    faulthandler.enable()  # a crash of a library says what all threads were at
    bootstrap, state_dir, *mutant = sys.argv[1:]
    if mutant:
        from faults.mutants import MUTANTS  # noqa: PLC0415 - not part of an ordinary run

        MUTANTS[mutant[0]].apply()
    warnings.simplefilter("always")
    warnings.showwarning = _note_warning  # type: ignore[assignment]
    reading = Reading(bootstrap, state_dir)
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(reading, command.pop("do"))(**command)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    reading.close()


if __name__ == "__main__":
    main()
