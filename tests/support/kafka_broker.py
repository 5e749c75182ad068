"""A real Apache Kafka for the tests: one KRaft node in a child process that dies with its parent."""

import base64
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException

from support.kafka_jars import KafkaUnavailableError, java_command, kafka_jars, run_or_fail
from support.kafka_records import quiet_admin
from support.kafka_settings import HOST, JVM_FLAGS, LOG4J, PORTS, free_ports, server_properties
from support.kafka_topics import KafkaTopics
from support.waiting import wait_until

START_SECONDS = 60.0
STOP_SECONDS = 30.0
SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")

# Runs beside the broker and reads a pipe that nobody writes to. The pipe ends when the test process
# does, however it ends. A death signal of the system instead would be Linux only, and would kill the
# broker as soon as the *thread* that had started it ended.
_WATCHDOG = """\
import os, shutil, signal, sys
sys.stdin.buffer.read()
try:
    os.kill(int(sys.argv[1]), signal.SIGKILL)
except ProcessLookupError:
    pass
shutil.rmtree(sys.argv[2], ignore_errors=True)
"""


class KafkaBroker(KafkaTopics):
    """One Kafka broker on loopback ports, with its data in a directory of its own.

    The plaintext listener (``bootstrap``) allows everything. The SASL listener (``sasl_bootstrap``)
    knows the user ``scram_user``, who may do only what ``grant_read`` granted.
    """

    scram_user = "reader"
    scram_password = "reader-secret"

    def __init__(self) -> None:
        self._java = java_command()
        self._jars = kafka_jars()
        self._dir = Path(tempfile.mkdtemp(prefix="ktframe-kafka-"))
        self._ports = free_ports(start=secrets.randbelow(len(PORTS)))
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self.sasl_bootstrap = f"{HOST}:{self._ports.sasl}"
        super().__init__(f"{HOST}:{self._ports.plaintext}")
        self._write_settings()

    def __enter__(self) -> Self:
        """Start the broker."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the broker and remove its data."""
        self.close()

    @property
    def log(self) -> str:
        """What the broker has written to its log so far."""
        path = self._dir / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int | None:
        """The broker's process id, ``None`` while it is stopped."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the broker and return when it answers."""
        if self._process is not None:
            message = f"The broker runs already, as process {self._process.pid}."
            raise RuntimeError(message)
        if not (self._dir / "data" / "meta.properties").exists():
            self._format_storage()
        self._spawn()
        try:
            wait_until(self._is_ready, "the broker to answer", timeout=START_SECONDS)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Shut the broker down in order, as ``kafka-server-stop`` does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the broker without a chance to flush or say goodbye."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the broker if it runs and start it again, on the same ports with the same data."""
        self.stop()
        self.start()

    def restart_cleaner(self) -> None:
        """Restart the broker so that its cleaner goes over all closed segments once more.

        The cleaner marks a tombstone in its first pass and removes it in a later one, which otherwise
        comes only after new records.
        """
        self.stop()
        (self._dir / "data" / "cleaner-offset-checkpoint").unlink(missing_ok=True)
        self.start()

    def pause(self) -> None:
        """Freeze the broker: connections stay open and nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused broker go on."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the broker and remove its data."""
        # The data goes too, so an orderly shutdown would only cost time.
        self.kill()
        shutil.rmtree(self._dir, ignore_errors=True)

    def scram_settings(
        self, *, password: str | None = None, mechanism: str = "SCRAM-SHA-256"
    ) -> dict[str, str]:
        """Return the client settings with which ``scram_user`` connects."""
        return {
            "bootstrap.servers": self.sasl_bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": mechanism,
            "sasl.username": self.scram_user,
            "sasl.password": self.scram_password if password is None else password,
        }

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            message = "The broker is stopped."
            raise RuntimeError(message)
        return self._process

    def _write_settings(self) -> None:
        (self._dir / "log4j2.properties").write_text(LOG4J)
        (self._dir / "server.properties").write_text(server_properties(self._ports, self._dir / "data"))

    def _java_command(self, main_class: str, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._dir / 'log4j2.properties'}"
        return [self._java, *JVM_FLAGS, log4j, "-cp", f"{self._jars}/*", main_class, *arguments]

    def _format_storage(self) -> None:
        credential = f"name={self.scram_user},password={self.scram_password}"
        arguments = ["format", "--cluster-id", _new_cluster_id()]
        arguments += ["--config", str(self._dir / "server.properties")]
        for mechanism in SCRAM_MECHANISMS:
            arguments += ["--add-scram", f"{mechanism}=[{credential}]"]
        command = self._java_command("kafka.tools.StorageTool", *arguments)
        run_or_fail(command, timeout=START_SECONDS, failure="Kafka could not format its storage")

    def _spawn(self) -> None:
        with (self._dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._java_command("kafka.Kafka", str(self._dir / "server.properties")),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._dir,
                # A keyboard interrupt is for pytest, whose fixtures then end the broker.
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
            message = f"The broker ended with code {code} while starting:\n{self.log[-3000:]}"
            raise KafkaUnavailableError(message)
        try:
            answer = quiet_admin(self.bootstrap).list_topics(timeout=0.5)
        except KafkaException:
            return False
        return bool(answer.brokers)

    def _end(self, kind: signal.Signals) -> None:
        if self._process is None:
            return
        # The watchdog first: once the broker is reaped, its number may belong to another process.
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
            message = f"The broker did not stop within {STOP_SECONDS:g} s:\n{self.log[-3000:]}"
            raise RuntimeError(message) from None
        finally:
            self._process = None


def _new_cluster_id() -> str:
    """Return a random id in Kafka's spelling: 16 bytes, URL-safe base64, no leading dash."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return "A" + text[1:]
