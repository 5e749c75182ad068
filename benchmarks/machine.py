"""Says what a run was measured on: processor, cores, memory, and the versions of what took part."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from confluent_kafka import libversion
from support.java_programs import pinned_version
from support.kafka_jars import POM


def machine() -> dict[str, str]:
    """Return what a reader must know to judge times: the processor, its cores, memory, and the system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}, one machine for broker and contender",
        "broker": f"Apache Kafka {pinned_version(POM, 'kafka')}, one node, heap of 512 MB",
        "Java": _java(),
        "Python": platform.python_version(),
        "librdkafka": f"{libversion()[0]} (of the project's confluent-kafka)",
    }


def installed(packages: Iterable[str]) -> tuple[str, ...]:
    """Return packages of this environment with their versions, as pip writes them."""
    return tuple(f"{package}=={version(package)}" for package in packages)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _java() -> str:
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)  # noqa: S607
    return answer.stderr.partition('"')[2].partition('"')[0] or "unknown"
