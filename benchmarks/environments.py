"""Makes an environment for each contender, from its line in ``peers/versions.toml``: a virtual one, and a folder of jars.

They are kept in ``.bench/`` and made once: an environment whose entry has changed is made anew.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
PLACE = ROOT / ".bench"
VERSIONS = PEERS / "versions.toml"
INSTALL_SECONDS = 1_500
SHOWN_CHARACTERS = 200

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ktframe.benchmarks</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
  <build><pluginManagement><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId><version>3.9.0</version>
  </plugin></plugins></pluginManagement></build>
</project>
"""
DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


class EnvironmentUnavailableError(RuntimeError):
    """An environment could not be made; the message is the installer's last word."""


@dataclass(frozen=True)
class Environment:
    """Where a contender finds its interpreter and its jars; the project's own environment has no jars."""

    python: Path = Path(sys.executable)
    jars: Path | None = None
    versions: tuple[str, ...] = ()


def environment(name: str | None) -> Environment:
    """Return an environment, which is made if it is not there; ``None`` stands for the project's own."""
    if name is None:
        return Environment()
    wanted = tomllib.loads(VERSIONS.read_text())[name]
    place, ready = PLACE / name, PLACE / name / "ready.json"
    if not ready.exists() or json.loads(ready.read_text()) != wanted:
        print(f"installing {name}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _install(place, wanted)
        ready.write_text(json.dumps(wanted))
    has_python, has_jars = "python" in wanted, "java" in wanted
    return Environment(
        python=place / "venv" / "bin" / "python" if has_python else Path(sys.executable),
        jars=place / "jars" if has_jars else None,
        versions=(*wanted.get("python", ()), *wanted.get("java", ())),
    )


def _install(place: Path, wanted: dict[str, list[str]]) -> None:
    if packages := wanted.get("python"):
        venv.create(place / "venv", with_pip=True)
        run([place / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", *packages])
    if artifacts := wanted.get("java"):
        lines = "".join(DEPENDENCY.format(*artifact.split(":")) for artifact in artifacts)
        pom = place / "pom.xml"
        pom.write_text(POM.format(dependencies=lines))
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
        run(["mvn", "-q", "-B", "-f", pom, *goal, f"-DoutputDirectory={place / 'jars'}"])


def compiled(source: Path, jars: Path) -> Path:
    """Compile one Java source against jars, and return the directory of its classes."""
    classes = jars.parent / "classes"
    shutil.rmtree(classes, ignore_errors=True)
    # The compiler as a module: Debian's and Ubuntu's JREs have it, though no `javac`.
    compiler = ["java", "-m", "jdk.compiler/com.sun.tools.javac.Main"]
    path = ":".join(map(str, sorted(jars.glob("*.jar"))))
    run([*compiler, "-cp", path, "-d", classes, source])
    return classes


def run(command: Sequence[str | Path]) -> None:
    """Run an installer to its end; what it says last is the error when it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - the benchmark's own commands
            command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentUnavailableError(str(error)) from error
    if done.returncode != 0:
        raise EnvironmentUnavailableError(last_line(done.stdout + done.stderr))


def last_line(text: str) -> str:
    """Return the last line that says something, an error rather than another."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines)[-1][:SHOWN_CHARACTERS]
