"""Apache Kafka's jars, of the version that the pom beside this file pins."""

from pathlib import Path

from support.java_programs import fetched

POM = Path(__file__).parent / "kafka" / "pom.xml"


def kafka_jars() -> Path:
    """Return the directory of Kafka's jars, fetching them on the first call on this machine."""
    return fetched(POM, "kafka", goal="dependency:copy-dependencies")
