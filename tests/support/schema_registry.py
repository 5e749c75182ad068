"""A real schema registry for the tests: Apicurio Registry, which speaks Confluent's API, in a child process."""

import base64
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import ClassVar

from support.child_process import ChildProcess
from support.java_programs import FRUGAL_JVM_FLAGS, java_command
from support.ports import HOST, free_ports
from support.registry_jars import registry_jar

CONFLUENT_API = "/apis/ccompat/v7"
JVM_FLAGS = ("-Xms64m", "-Xmx256m", *FRUGAL_JVM_FLAGS)


class SchemaRegistry(ChildProcess):
    """One registry on a loopback port, with its schemas in a directory of its own.

    It accepts every schema until a compatibility is set, and everybody. A ``guarded`` one knows two users
    by their passwords: ``reader``, who may only read, and ``writer``.
    """

    passwords: ClassVar = {"reader": "reader-secret", "writer": "writer-secret"}

    def __init__(self, *, guarded: bool = False) -> None:
        self._java = java_command()
        self._jar = registry_jar()
        self._guarded = guarded
        (self._port,) = free_ports(1)
        super().__init__("registry")
        self._write_settings()

    @property
    def url(self) -> str:
        """Where a client of Confluent's registry connects."""
        return f"http://{HOST}:{self._port}{CONFLUENT_API}"

    def settings(self, user: str | None = None, *, password: str | None = None) -> dict[str, str]:
        """Return the client settings with which nobody, or ``user`` of a guarded registry, connects."""
        if user is None:
            return {"url": self.url}
        secret = self.passwords[user] if password is None else password
        return {"url": self.url, "basic.auth.user.info": f"{user}:{secret}"}

    def _write_settings(self) -> None:
        config = self._dir / "config"
        config.mkdir()
        (self._dir / "scratch").mkdir()
        settings = server_settings(self._port, self._dir)
        if self._guarded:
            settings |= guard_settings(self.passwords)
        # Quarkus looks here, below the directory it runs in.
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        (config / "application.properties").write_text("".join(lines))

    def _command(self) -> list[str]:
        scratch = f"-Djava.io.tmpdir={self._dir / 'scratch'}"
        return [self._java, *JVM_FLAGS, scratch, "-jar", str(self._jar)]

    def _answers(self) -> bool:
        connection = HTTPConnection(HOST, self._port, timeout=5)
        try:
            connection.request("GET", f"{CONFLUENT_API}/subjects", headers=self._identity())
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _identity(self) -> dict[str, str]:
        if not self._guarded:
            return {}
        token = base64.b64encode(f"reader:{self.passwords['reader']}".encode()).decode()
        return {"Authorization": f"Basic {token}"}


def server_settings(port: int, directory: Path) -> dict[str, str]:
    """Return the settings of a registry that keeps what it acknowledged in ``directory``."""
    return {
        "quarkus.http.host": HOST,
        "quarkus.http.port": str(port),
        "quarkus.banner.enabled": "false",
        "quarkus.log.console.format": "%d{HH:mm:ss,SSS} %p %m (%c{1})%n%e",
        # Without a delay of the file, a schema that was acknowledged survives a kill.
        "apicurio.datasource.url": f"jdbc:h2:file:{directory / 'data'};WRITE_DELAY=0;DB_CLOSE_ON_EXIT=FALSE",
        "apicurio.datasource.jdbc.initial-size": "1",
        "apicurio.datasource.jdbc.min-size": "1",
        "apicurio.datasource.jdbc.max-size": "8",
        "apicurio.import.work-dir": str(directory / "scratch"),
        "apicurio.storage.snapshot.location": str(directory / "scratch"),
    }


def guard_settings(passwords: dict[str, str]) -> dict[str, str]:
    """Return the settings by which a registry asks for users and passwords (HTTP basic)."""
    roles = {"reader": "sr-readonly", "writer": "sr-admin"}
    settings = {
        "quarkus.http.auth.basic": "true",
        "quarkus.http.auth.permission.api.paths": "/apis/*",
        "quarkus.http.auth.permission.api.policy": "authenticated",
        "quarkus.security.users.embedded.plain-text": "true",
        "apicurio.auth.role-based-authorization": "true",
    }
    for user, password in passwords.items():
        settings[f"quarkus.security.users.embedded.users.{user}"] = password
        settings[f"quarkus.security.users.embedded.roles.{user}"] = roles[user]
    return settings
