"""Apicurio Registry's jars, of the version that the pom beside this file pins."""

from pathlib import Path

from support.java_programs import fetched, pinned_version

POM = Path(__file__).parent / "registry" / "pom.xml"


def registry_jar() -> Path:
    """Return the jar that starts the registry, fetching it and its libraries on the first call on this machine."""
    version = pinned_version(POM, "apicurio-registry")
    return (
        fetched(POM, "apicurio-registry", goal="dependency:unpack")
        / f"apicurio-registry-app-{version}-runner.jar"
    )
