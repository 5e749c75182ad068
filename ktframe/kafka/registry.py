"""Asks a schema registry that speaks Confluent's REST API. Reads only: ktframe registers no schema.

The client and its HTTP library are imported when a registry is first asked: most connections have none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Final, Protocol, TypeVar

from ktframe.config.settings import ConfigValue, redact
from ktframe.errors import ConfigurationError, RegistryError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.schemas import UnknownSchemaError
from ktframe.formats.wire import describe_ref, guid_of, id_ref, schema_id_of
from ktframe.kafka.redaction import without_secrets

T = TypeVar("T")
_NOT_FOUND: Final = 404

# No subject, version, schema (https://docs.confluent.io/platform/current/schema-registry/develop/api.html). A server that
# is no registry says 404 as well, without such a code; so does a registry that knows nothing of GUIDs.
_NO_SUCH_THING: Final = (40401, 40402, 40403)
_REFUSED: Final = (401, 403)
_DEEPEST: Final = 16
_PROTOBUF: Final = "PROTOBUF"


class Registry(Protocol):
    """What ktframe asks of a registry; any thread may ask."""

    def fetch(self, schema_ref: bytes) -> SchemaDocument:
        """Return the schema that ``schema_ref`` names; UnknownSchemaError where there is none."""

    def latest(self, subject: str) -> tuple[int, SchemaDocument] | None:
        """Return the newest schema of ``subject`` with its id, None where nothing is registered."""

    def close(self) -> None:
        """Hang up."""


class RegistryClient:
    """A ``Registry`` over confluent-kafka's client; ``timeout`` seconds bound each request.

    ``client`` is used as it is where given, as tests do.
    """

    def __init__(self, config: Mapping[str, ConfigValue], timeout: float, *, client: Any = None) -> None:
        self._config = dict(config)
        self._timeout = timeout
        self._lock = Lock()
        self._client = client
        self.url = str(redact(self._config).get("url", ""))

    def fetch(self, schema_ref: bytes) -> SchemaDocument:
        """Return the schema that ``schema_ref`` names.

        Raises
        ------
        UnknownSchemaError
            When the registry has none.
        RegistryError
            When it does not answer, or refuses the login.
        ConfigurationError
            When the client does not take its settings, or is not installed.
        """
        number = schema_id_of(schema_ref)

        def ask(client: Any, form: str | None) -> Any:
            if number is None:
                return client.get_schema_by_guid(guid_of(schema_ref), fmt=form)
            return client.get_schema(number, fmt=form)

        found = self._ask(lambda: self._document(ask, 0))
        if found is None:
            message = f"{describe_ref(schema_ref)} is not in the registry at {self.url}"
            raise UnknownSchemaError(message)
        return found

    def latest(self, subject: str) -> tuple[int, SchemaDocument] | None:
        """Return the newest schema of ``subject`` with its id, None where nothing is registered; raises as ``fetch``."""

        def ask() -> int:
            self._client.clear_latest_caches()  # the client would believe for ever what was the newest once
            newest = _found(
                lambda client, form: client.get_latest_version(subject, fmt=form), self._client, None
            )
            return int(newest.schema_id)

        number = self._ask(ask)
        return None if number is None else (number, self.fetch(id_ref(number)))

    def _ask(self, question: Callable[[], T]) -> T | None:
        """Return what the registry answers to a question to ``_client``, None where it has no such thing."""
        with self._lock:
            if self._client is None:
                self._client = _new_client(self._config, self._timeout)
            try:
                return question()
            except _NotFoundError:
                return None
            except UnknownSchemaError:
                raise
            except Exception as error:
                raise self._meaning(error) from error

    def _document(self, question: Callable[[Any, str | None], Any], depth: int) -> SchemaDocument:
        schema = _found(question, self._client, None)
        if schema.schema_type == _PROTOBUF:
            # As descriptors where the registry has that form; it keeps answers by id alone.
            self._client.clear_caches()
            schema = _found(question, self._client, "serialized")
        if depth > _DEEPEST:
            message = f"a schema refers to schemas more than {_DEEPEST} deep"
            raise UnknownSchemaError(message)
        references = tuple(
            (each.name, self._document(_version_of(each.subject, each.version), depth + 1))
            for each in schema.references or ()
        )
        return SchemaDocument(schema.schema_type or "AVRO", schema.schema_str, references)

    def _meaning(self, error: Exception) -> RegistryError:
        status = getattr(error, "http_status_code", getattr(error, "status_code", None))
        reason = without_secrets(str(error) or type(error).__name__, self._config)
        return RegistryError(self.url, reason, is_fatal=status in _REFUSED)

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and hasattr(client, "close"):
            client.close()


class _NotFoundError(Exception):
    """The registry answers that there is no such thing."""


def _found(question: Callable[[Any, str | None], Any], client: Any, form: str | None) -> Any:
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    try:
        return question(client, form)
    except SchemaRegistryError as error:
        if error.http_status_code == _NOT_FOUND and error.error_code in _NO_SUCH_THING:
            raise _NotFoundError from error
        raise


def _version_of(subject: str, version: int) -> Callable[[Any, str | None], Any]:
    return lambda client, form: client.get_version(subject, version, fmt=form).schema


def _new_client(config: Mapping[str, ConfigValue], timeout: float) -> Any:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        message = f"schema_registry= needs a package that is not installed: {error.name}."
        raise ConfigurationError(message, "pip install 'ktframe[registry]'") from error
    token = {"bearer.auth.credentials.source": "STATIC_TOKEN", "bearer.auth.logical.cluster": ""}
    defaults = {"timeout": timeout, "max.retries": 1, "retries.wait.ms": 100}
    bearer = token if "bearer.auth.token" in config else {}
    try:
        return SchemaRegistryClient.new_client({**defaults, **bearer, **config})
    except (ValueError, TypeError, OSError) as error:
        reason = without_secrets(str(error), config)
    # Out here it has neither a cause nor a context, which a traceback or a logger might show.
    message = f"the schema registry's client does not take these settings: {reason}"
    raise ConfigurationError(message, "names and values are those of confluent-kafka's SchemaRegistryClient.")
