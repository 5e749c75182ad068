"""Fetches Apache Kafka's jars with Maven, once per machine, and finds a Java that runs them."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

POM = Path(__file__).parent / "kafka" / "pom.xml"
MINIMUM_JAVA = 17
MAVEN_SECONDS = 300


class KafkaUnavailableError(RuntimeError):
    """The machine cannot run the test broker; the message says what to install."""


def kafka_version() -> str:
    """Return the version of Apache Kafka that the pom pins."""
    # The file is the project's own, so the parser meets no hostile XML.
    version = ET.parse(POM).findtext(".//{*}properties/{*}kafka.version")  # noqa: S314
    if version is None:
        message = f"{POM.name} does not set kafka.version"
        raise KafkaUnavailableError(message)
    return version


def cache_dir() -> Path:
    """Return the directory that keeps the jars of the pinned version."""
    if chosen := os.environ.get("KTFRAME_TEST_CACHE"):
        root = Path(chosen)
    else:
        user_cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        root = Path(user_cache) / "ktframe-tests"
    return root / f"kafka-{kafka_version()}"


def kafka_jars() -> Path:
    """Return the directory of Kafka's jars, fetching them on the first call on this machine."""
    jars = cache_dir()
    if not jars.is_dir():
        jars.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{jars.name}-", dir=jars.parent) as scratch:
            fetched = Path(scratch) / "jars"
            _fetch(fetched)
            _publish(fetched, jars)
    return jars


def _publish(fetched: Path, jars: Path) -> None:
    """Give complete jars their final name in one step, so no process ever sees half of them."""
    try:
        fetched.rename(jars)
    except OSError:
        # Another process was quicker: its jars are the same ones.
        if not jars.is_dir():
            raise


def _fetch(directory: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        message = "The integration tests need Maven to fetch Apache Kafka: install Maven 3.6 or newer (mvn)."
        raise KafkaUnavailableError(message)
    # Maven writes beside the pom when it runs there, so it gets a copy.
    directory.mkdir()
    pom = shutil.copy(POM, directory.parent / POM.name)
    run_or_fail(
        [maven, "-q", "-B", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={directory}"],
        timeout=MAVEN_SECONDS,
        failure=f"Maven could not fetch Apache Kafka {kafka_version()}",
    )


def run_or_fail(command: Sequence[str | Path], *, timeout: float, failure: str) -> None:
    """Run a program to its end; say ``failure`` and the last of what it printed where it does not succeed."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        message = f"{failure}:\n{done.stdout[-2000:]}"
        raise KafkaUnavailableError(message)


def java_command() -> str:
    """Return the path of a Java that is new enough for Kafka."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    found = _java_version(java) if java else 0
    if java is None or found < MINIMUM_JAVA:
        has = f"this one is {found}" if found else "none was found"
        message = f"The integration tests need Java {MINIMUM_JAVA} or newer ({has}): install a JRE or set JAVA_HOME."
        raise KafkaUnavailableError(message)
    return java


def _java_version(java: str) -> int:
    """Return the major version of ``java``, 0 when it does not say."""
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found[1]) if found else 0
