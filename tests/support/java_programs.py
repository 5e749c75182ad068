"""Fetches Java programs with Maven, once per machine, and finds a Java that runs them."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

MINIMUM_JAVA = 17
MAVEN_SECONDS = 300

# Servers that start fast and share few cores with the tests.
FRUGAL_JVM_FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-Djava.awt.headless=true",
)


class ServerUnavailableError(RuntimeError):
    """The machine cannot run a server of the tests; the message says what to install."""


def pinned_version(pom: Path, program: str) -> str:
    """Return the version of a program that its pom pins."""
    # The file is the project's own, so the parser meets no hostile XML.
    version = ET.parse(pom).findtext(f".//{{*}}properties/{{*}}{program}.version")  # noqa: S314
    if version is None:
        message = f"{pom.name} does not set {program}.version"
        raise ServerUnavailableError(message)
    return version


def fetched(pom: Path, program: str, *, goal: str) -> Path:
    """Return the directory of a program's files, which ``goal`` of ``pom`` fetches on the first call on this machine."""
    version = pinned_version(pom, program)
    files = _cache_root() / f"{program}-{version}"
    if not files.is_dir():
        files.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{files.name}-", dir=files.parent) as scratch:
            directory = Path(scratch) / "files"
            directory.mkdir()
            # Maven writes beside the pom when it runs there, so it gets a copy.
            copy = shutil.copy(pom, scratch)
            command = [_maven(), "-q", "-B", "-f", copy, goal, f"-DoutputDirectory={directory}"]
            run_or_fail(command, timeout=MAVEN_SECONDS, failure=f"Maven could not fetch {program} {version}")
            _publish(directory, files)
    return files


def _cache_root() -> Path:
    """Return the directory that keeps the files of all programs and versions."""
    if chosen := os.environ.get("KTFRAME_TEST_CACHE"):
        return Path(chosen)
    user_cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user_cache) / "ktframe-tests"


def _publish(directory: Path, files: Path) -> None:
    """Give complete files their final name in one step, so no process ever sees half of them."""
    try:
        directory.rename(files)
    except OSError:
        # Another process was quicker: its files are the same ones.
        if not files.is_dir():
            raise


def _maven() -> str:
    maven = shutil.which("mvn")
    if maven is None:
        message = "The integration tests need Maven to fetch their servers: install Maven 3.6 or newer (mvn)."
        raise ServerUnavailableError(message)
    return maven


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
        raise ServerUnavailableError(message)


def java_command() -> str:
    """Return the path of a Java that is new enough for the servers."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    found = _java_version(java) if java else 0
    if java is None or found < MINIMUM_JAVA:
        has = f"this one is {found}" if found else "none was found"
        message = f"The integration tests need Java {MINIMUM_JAVA} or newer ({has}): install a JRE or set JAVA_HOME."
        raise ServerUnavailableError(message)
    return java


def _java_version(java: str) -> int:
    """Return the major version of ``java``, 0 when it does not say."""
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found[1]) if found else 0
