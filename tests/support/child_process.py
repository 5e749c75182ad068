"""A server of the tests: a child process with a directory of its own, both gone when the parent is."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from support.java_programs import ServerUnavailableError
from support.waiting import wait_until

START_SECONDS = 120.0
STOP_SECONDS = 60.0

# Runs beside the server and reads a pipe that nobody writes to. The pipe ends when the test process
# does, however it ends. A death signal of the system instead would be Linux only, and would kill the
# server as soon as the *thread* that had started it ended.
_WATCHDOG = """\
import os, shutil, signal, sys
sys.stdin.buffer.read()
try:
    os.kill(int(sys.argv[1]), signal.SIGKILL)
except ProcessLookupError:
    pass
shutil.rmtree(sys.argv[2], ignore_errors=True)
"""


class ChildProcess(ABC):
    """A server called ``name`` that may be stopped, killed or paused, and keeps its ports and data over a restart."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._dir = Path(tempfile.mkdtemp(prefix=f"ktframe-{name}-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server and remove its data."""
        self.close()

    @property
    def log(self) -> str:
        """What the server has written to its log so far."""
        path = self._dir / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int | None:
        """The server's process id, ``None`` while it is stopped."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the server and return when it answers."""
        if self._process is not None:
            message = f"The {self._name} runs already, as process {self._process.pid}."
            raise RuntimeError(message)
        self._prepare()
        self._spawn()
        try:
            wait_until(self._is_ready, f"the {self._name} to answer", timeout=START_SECONDS)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut the server down in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server without a chance to flush or say goodbye."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server if it runs and start it again, on the same ports with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        # Until the last of its threads has stopped, one may still answer.
        os.waitpid(process.pid, os.WUNTRACED)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove its data."""
        # The data goes too, so an orderly shutdown would only cost time.
        self.kill()
        shutil.rmtree(self._dir, ignore_errors=True)

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def _answers(self) -> bool:
        """Ask the server something, and return whether it answered."""

    def _prepare(self) -> None:  # noqa: B027 - few servers need it
        """Do what must come before a start."""

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            message = f"The {self._name} is stopped."
            raise RuntimeError(message)
        return self._process

    def _spawn(self) -> None:
        with (self._dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._dir,
                # A keyboard interrupt is for pytest, whose fixtures then end the server.
                start_new_session=True,
            )
        # -S and -I: without site packages it is there within milliseconds.
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCHDOG, str(self._process.pid), str(self._dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _is_ready(self) -> bool:
        code = self._running().poll()
        if code is not None:
            message = f"The {self._name} ended with code {code} while starting:\n{self.log[-3000:]}"
            raise ServerUnavailableError(message)
        return self._answers()

    def _end(self, kind: signal.Signals) -> None:
        if self._process is None:
            return
        # The watchdog first: once the server is reaped, its number may belong to another process.
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        self._process.send_signal(kind)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            message = f"The {self._name} did not stop within {STOP_SECONDS:g} s:\n{self.log[-3000:]}"
            raise RuntimeError(message) from None
        finally:
            self._process = None
