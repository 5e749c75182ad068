"""Runs a contender in a process of its own and measures it: wall time, CPU time and memory of all its processes.

A contender says on its standard output when it begins to read, when the result is there, and what the result was
(``peers/stamps.py``). The wall time is its own. At the first two it waits for a line on its standard input: until then its
CPU time and memory are looked up. Memory is the sum of the peaks of its processes, pages that they share counted in each.
Linux only: ``/proc`` has the peaks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import NamedTuple

import psutil
from environments import last_line

LOOK_SECONDS = 0.5
BEGIN, END, RESULT = "@begin", "@end", "@result"


class ContenderFailedError(RuntimeError):
    """A contender came to no result; the message is its last word."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load: seconds of wall time (also from the start of the process), CPU seconds, peak MB, and what came out."""

    seconds: float
    seconds_with_start: float
    cpu_seconds: float
    peak_mb: float
    result: dict[str, int]


class Said(NamedTuple):
    """A line of a contender, when it came, and the CPU seconds and the peak MB of its processes until then."""

    line: str
    at: float
    cpu_seconds: float
    peak_mb: float


Lines = SimpleQueue[Said | None]


class Tree:
    """A process and its descendants."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._known: dict[int, psutil.Process] = {}
        self._peaks: dict[int, int] = {}
        # One thread looks from time to time, another one when the contender says something.
        self._lock = Lock()

    def cpu_seconds(self) -> float:
        """Return user and system time of all that live, and of those among their children that they have waited for."""
        found = 0.0
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                found += sum(process.cpu_times()[:4])
        return found

    def look(self) -> float:
        """Note the peaks so far, and return their sum in MB."""
        with self._lock:
            for process in self._processes():
                self._peaks[process.pid] = max(_peak_kb(process.pid), self._peaks.get(process.pid, 0))
            return sum(self._peaks.values()) / 1024

    def kill(self) -> None:
        """End all of them, those that have lost their parent too."""
        self._processes()
        with suppress(ProcessLookupError):
            os.killpg(self._root.pid, signal.SIGKILL)
        for process in list(self._known.values()):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _processes(self) -> list[psutil.Process]:
        try:
            found = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self._known.update({process.pid: process for process in found})
        return found


def measured(command: Sequence[str | Path], place: Path, env: Mapping[str, str], limit: float) -> Run:
    """Run a contender in an empty directory ``place``, for ``limit`` seconds at most, and return what it took."""
    output = place.with_suffix(".log")
    started = time.monotonic()
    with output.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - a program of this benchmark
            command,
            cwd=place,
            env=os.environ | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    tree = Tree(process.pid)
    lines: Lines = SimpleQueue()
    listener = Thread(target=_listen, args=(process, lines, tree, output), daemon=True)
    listener.start()
    try:
        return _followed(lines, tree, started, limit)
    except ContenderFailedError as error:
        said = last_line(output.read_text(errors="replace"))
        message = f"{error}: {said}"
        raise ContenderFailedError(message) from None
    finally:
        tree.kill()
        process.wait()
        listener.join()
        if process.stdin is not None:
            with suppress(BrokenPipeError):
                process.stdin.close()


def _followed(lines: Lines, tree: Tree, started: float, limit: float) -> Run:
    """Return the run of a process, from what it says."""
    begun = ended = Said("", started, 0.0, 0.0)
    seconds = 0.0
    while True:
        left = started + limit - time.monotonic()
        if left <= 0:
            message = f"no result within {limit:g} s"
            raise ContenderFailedError(message)
        try:
            said = lines.get(timeout=min(LOOK_SECONDS, left))
        except Empty:
            tree.look()
            continue
        if said is None:
            message = "it ended without a result"
            raise ContenderFailedError(message)
        word, _, rest = said.line.partition(" ")
        if word == BEGIN:
            begun = said
        elif word == END:
            ended, seconds = said, float(rest)
        else:
            cpu_seconds = ended.cpu_seconds - begun.cpu_seconds
            return Run(seconds, ended.at - started, cpu_seconds, ended.peak_mb, json.loads(rest))


def _listen(process: subprocess.Popen[str], lines: Lines, tree: Tree, output: Path) -> None:
    """Hand on each line that is meant for the harness, with what the process took until then; keep the others."""
    assert process.stdout is not None  # noqa: S101 - both were asked for
    assert process.stdin is not None  # noqa: S101
    with process.stdout, output.open("a") as kept:
        for line in process.stdout:
            if line.startswith((BEGIN, END, RESULT)):
                lines.put(Said(line.strip(), time.monotonic(), tree.cpu_seconds(), tree.look()))
                with suppress(BrokenPipeError):
                    process.stdin.write("\n")
                    process.stdin.flush()
            else:
                kept.write(line)
                kept.flush()
    lines.put(None)


def _peak_kb(pid: int) -> int:
    """Return the greatest resident size that a process has had, 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
