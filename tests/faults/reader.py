"""The parent's hold on the program that reads: it starts, kills and freezes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from faults.matching import WrongAnswerError
from faults.reading import READS

PROGRAM: Final = Path(__file__).with_name("reading.py")
ALL: Final = list(READS)


class ReaderFailedError(WrongAnswerError):
    """The program ended by itself: an exception that is none of ktframe's, or a crash."""


class Reader:
    """The reading program with one state directory; it may be started again and again."""

    def __init__(self, bootstrap: str, state_dir: Path, mutant: str | None = None) -> None:
        self._command = [sys.executable, str(PROGRAM), bootstrap, str(state_dir)]
        self._command += [] if mutant is None else [mutant]
        self._errors = state_dir / "stderr.txt"
        self._process: subprocess.Popen[str] | None = None
        self.is_open = self.is_frozen = False

    def open(self, topic: str, keys: list[str]) -> None:
        """Open everything, in a new process unless there is one."""
        if self._process is None:
            with self._errors.open("a") as errors:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                )
        self.ask("open", topic=topic, keys=keys)
        self.is_open = True

    def close(self) -> None:
        """Close everything; the process stays."""
        self.ask("close")
        self.is_open = False

    def ask(self, do: str, **arguments: Any) -> Any:
        """Have something done and return the answer."""
        self.send(do, **arguments)
        return self.answer()

    def send(self, do: str, **arguments: Any) -> None:
        """Have something done, and don't wait for it."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Return the answer to what was sent."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            message = f"the reader ended: {self._errors.read_text()[-4000:]}"
            raise ReaderFailedError(message)
        return json.loads(line)

    def kill(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process = None
        self.is_open = self.is_frozen = False

    def freeze(self) -> None:
        """Stop the process where it is."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)
        self.is_frozen = True

    def thaw(self) -> None:
        """Let a frozen process go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self.is_frozen = False

    def end(self) -> None:
        """Close everything and end the process."""
        if self._process is not None and self.is_open:
            self.close()
        self.kill()
