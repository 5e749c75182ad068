"""A contender of the load benchmark: its program, its environment, and how it is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from environments import PEERS, ROOT, Environment, compiled, environment


@dataclass(frozen=True)
class Contender:
    """One way to get the latest row per key; ``does`` says what its time buys, ``lacks`` what it leaves out.

    ``packages`` are those of the project's environment whose versions matter, where it has none of its own.
    """

    name: str
    program: str
    does: str
    lacks: str
    environment: str | None = None
    how: str = ""
    packages: tuple[str, ...] = ()
    most_records: int | None = None
    keeps_rows: bool = True
    flags: tuple[str, ...] = ()

    def made(self) -> Environment:
        """Return its environment, installed if need be."""
        return environment(self.environment)

    def command(self, made: Environment) -> list[str | Path]:
        """Return what starts it, without the arguments that all have."""
        source = PEERS / self.program
        if source.suffix == ".java":
            assert made.jars is not None  # noqa: S101 - `java` is in its entry
            classes = compiled(source, made.jars)
            return ["java", *self.flags, "-cp", f"{classes}:{made.jars}/*", source.stem]
        return [made.python, source]

    def env(self, made: Environment) -> dict[str, str]:
        """Return the variables it needs: the checkout for the project's own, the jars for others."""
        if self.environment is None:
            return {"PYTHONPATH": str(ROOT)}
        return {} if made.jars is None else {"BENCH_JARS": str(made.jars)}
