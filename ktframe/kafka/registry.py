"""A client for schema registries with Confluent's REST API. Only reads: ktframe registers no schema.

The client library and its HTTP library are imported at the first request: most connections have no registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Final, Protocol, TypeVar

from ktframe.config.settings import ConfigValue, redact
from ktframe.errors import ConfigurationError, RegistryError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.rules import rules_of
from ktframe.formats.schemas import UnknownSchemaError
from ktframe.formats.wire import describe_ref, guid_of, id_ref, schema_id_of
from ktframe.kafka.redaction import without_secrets

T = TypeVar("T")
_NOT_FOUND: Final = 404

# No such subject, version or schema (https://docs.confluent.io/platform/current/schema-registry/develop/api.html).
# Without such a code, a 404 comes from a server that is not a registry, or from a registry without GUIDs.
_NO_SUCH_ENTRY: Final = (
    40401,
    40402,
    40403,
    40400,
)  # the last one from the client's registry in memory, mock://
_LOGIN_REFUSED: Final = (401, 403)
_MAX_DEPTH: Final = 16
_PROTOBUF: Final = "PROTOBUF"


class Registry(Protocol):
    """What ktframe needs of a registry. Any thread may call it."""

    def fetch(self, schema_ref: bytes) -> SchemaDocument:
        """Return the schema that ``schema_ref`` names; raise UnknownSchemaError if there is none."""

    def latest(self, subject: str) -> tuple[int, SchemaDocument] | None:
        """Return the newest schema of ``subject`` with its id, None if there is none."""

    def close(self) -> None:
        """Disconnect."""


class RegistryClient:
    """A ``Registry`` over confluent-kafka's client; each request may take ``timeout`` seconds.

    Tests pass a ``client`` of their own.
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
            When the registry has no such schema.
        RegistryError
            When it does not answer, or refuses the login.
        ConfigurationError
            When the client does not accept its settings, or is not installed.
        """
        number = schema_id_of(schema_ref)

        def request(client: Any, form: str | None) -> Any:
            if number is None:
                return client.get_schema_by_guid(guid_of(schema_ref), fmt=form)
            return client.get_schema(number, fmt=form)

        document = self._send(lambda: self._document(request, 0))
        if document is None:
            message = f"{describe_ref(schema_ref)} is not in the registry at {self.url}"
            raise UnknownSchemaError(message)
        return document

    def latest(self, subject: str) -> tuple[int, SchemaDocument] | None:
        """Return the newest schema of ``subject`` with its id, None if there is none; raises as ``fetch``."""

        def newest_id() -> int:
            self._client.clear_latest_caches()  # otherwise the client would return its first answer forever
            newest = _answer(
                lambda client, form: client.get_latest_version(subject, fmt=form), self._client, None
            )
            return int(newest.schema_id)

        number = self._send(newest_id)
        return None if number is None else (number, self.fetch(id_ref(number)))

    def _send(self, request: Callable[[], T]) -> T | None:
        """Return the result of ``request``, which uses ``_client``; None if the registry has no such entry."""
        with self._lock:
            if self._client is None:
                self._client = _new_client(self._config, self._timeout)
            try:
                return request()
            except _NotFoundError:
                return None
            except UnknownSchemaError:
                raise
            except Exception as error:
                raise self._meaning(error) from error

    def _document(self, request: Callable[[Any, str | None], Any], depth: int) -> SchemaDocument:
        schema = _answer(request, self._client, None)
        text = schema.schema_str
        if schema.schema_type == _PROTOBUF:
            text = self._serialized(request) or text
        if depth > _MAX_DEPTH:
            message = f"the references of a schema are more than {_MAX_DEPTH} levels deep"
            raise UnknownSchemaError(message)
        references = tuple(
            (reference.name, self._document(_version_of(reference.subject, reference.version), depth + 1))
            for reference in schema.references or ()
        )
        rule_set, metadata = (
            None if part is None else part.to_dict() for part in (schema.rule_set, schema.metadata)
        )
        return SchemaDocument(schema.schema_type or "AVRO", text, references, rules_of(rule_set, metadata))

    def _serialized(self, request: Callable[[Any, str | None], Any]) -> str | None:
        """Return the schema in serialized form, None where the registry does not have it so (Karapace answers with 500)."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        self._client.clear_caches()  # by id alone, whatever the form
        try:
            return str(_answer(request, self._client, "serialized").schema_str)
        except SchemaRegistryError as error:
            if error.http_status_code in _LOGIN_REFUSED:
                raise
            return None

    def _meaning(self, error: Exception) -> RegistryError:
        status = getattr(error, "http_status_code", getattr(error, "status_code", None))
        reason = without_secrets(str(error) or type(error).__name__, self._config)
        return RegistryError(self.url, reason, is_fatal=status in _LOGIN_REFUSED)

    def close(self) -> None:
        """Disconnect; a second call does nothing."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None and hasattr(client, "close"):
            client.close()


class _NotFoundError(Exception):
    """The registry has no such entry."""


def _answer(request: Callable[[Any, str | None], Any], client: Any, form: str | None) -> Any:
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    try:
        return request(client, form)
    except SchemaRegistryError as error:
        if error.http_status_code == _NOT_FOUND and error.error_code in _NO_SUCH_ENTRY:
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
    # Raised out here, without cause or context: a traceback or a logger would show those, and secrets with them.
    message = f"the schema registry's client does not take these settings: {reason}"
    raise ConfigurationError(message, "names and values are those of confluent-kafka's SchemaRegistryClient.")
