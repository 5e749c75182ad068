"""Everything ktframe raises, one tree.

::

    KtframeError
    ├── ConfigurationError            an argument, a setting or a declaration is wrong
    │   └── SchemaError               a declared schema, key or time can't be what was said
    ├── ContextError
    │   ├── NotConnectedError         no Context yet
    │   └── ContextClosedError        this object's Context was closed
    ├── BrokerError                   the cluster, as seen from here
    │   ├── BrokerUnreachableError
    │   ├── AuthenticationError
    │   ├── AuthorizationError
    │   ├── UnknownTopicError
    │   └── OffsetOutOfRangeError     the log no longer holds what was asked for
    ├── StoreError                    a local store
    │   ├── StoreLockedError          another process has it open
    │   ├── StoreMismatchError        it belongs to another cluster, topic or format version
    │   └── StoreCorruptError
    └── NotReadyError                 rows can't be complete (in time)

Each class makes its own text from its attributes: the fact first, then a line ``Hint:`` with what helps.
Foreign exceptions are translated only in the module that owns their library. Nothing here may hold a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class KtframeError(Exception):
    """Root of all errors of ktframe; ``fact`` says what is so, ``hint`` what helps."""

    @property
    def fact(self) -> str:
        """What went wrong, with names and numbers."""
        return type(self).__name__

    @property
    def hint(self) -> str | None:
        """The call or setting that helps, where there is one."""
        return None

    def __str__(self) -> str:
        return f"{self.fact}\n\nHint: {self.hint}" if self.hint else self.fact

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own pickling replays positional args; the attributes are the whole state here.
        return _restore, (type(self), dict(vars(self)))


def _restore(cls: type[KtframeError], attributes: dict[str, Any]) -> KtframeError:
    error = cls.__new__(cls)
    vars(error).update(attributes)
    return error


@dataclass(eq=False)
class ConfigurationError(KtframeError):
    """An argument, a setting or a declaration is wrong."""

    message: str
    remedy: str | None = None

    @property
    def fact(self) -> str:
        return self.message

    @property
    def hint(self) -> str | None:
        return self.remedy


class SchemaError(ConfigurationError):
    """A declared schema, key or time column can't be what was said."""


class ContextError(KtframeError):
    """The Context that an object needs is missing or gone."""


class NotConnectedError(ContextError):
    """Nothing is connected yet."""

    @property
    def fact(self) -> str:
        return "ktframe is not connected to a cluster."

    @property
    def hint(self) -> str:
        return 'call ktframe.connect("host:9092") first, or ktframe.demo() to try it without Kafka.'


@dataclass(eq=False)
class ContextClosedError(ContextError):
    """The Context of this object was closed."""

    name: str

    @property
    def fact(self) -> str:
        return f"{self.name} was closed, or the connection it belongs to was."

    @property
    def hint(self) -> str:
        return "ask for it again; where the connection is gone, after ktframe.connect(...)."


@dataclass(eq=False)
class BrokerError(KtframeError):
    """The cluster refused or failed; ``is_fatal`` errors do not heal by trying again."""

    bootstrap: str
    reason: str
    is_fatal: bool = False

    @property
    def fact(self) -> str:
        return f"Kafka at {self.bootstrap}: {self.reason}"


class BrokerUnreachableError(BrokerError):
    """No broker answered."""

    @property
    def fact(self) -> str:
        return f"no Kafka broker answered at {self.bootstrap} ({self.reason})."

    @property
    def hint(self) -> str:
        return "check the address, the network or VPN, and security.protocol; ktframe.demo() needs no Kafka."


@dataclass(eq=False)
class AuthenticationError(BrokerError):
    """The cluster did not accept the credentials."""

    mechanism: str = ""
    is_fatal: bool = True

    @property
    def fact(self) -> str:
        by = f" with {self.mechanism}" if self.mechanism else ""
        return f"Kafka at {self.bootstrap} refused the login{by}: {self.reason}"

    @property
    def hint(self) -> str:
        return "check sasl.mechanism, sasl.username and sasl.password (or the certificate) of this profile."


@dataclass(eq=False)
class AuthorizationError(BrokerError):
    """The credentials are right but not allowed to do this."""

    resource: str = ""
    is_fatal: bool = True

    @property
    def fact(self) -> str:
        return f"Kafka at {self.bootstrap} does not allow this user to read {self.resource}: {self.reason}"

    @property
    def hint(self) -> str:
        return "ask for READ and DESCRIBE on the topic; ktframe needs no consumer group and writes nothing."


@dataclass(eq=False)
class UnknownTopicError(BrokerError):
    """The topic does not exist, or may not be seen."""

    topic: str = ""
    suggestions: tuple[str, ...] = ()
    is_fatal: bool = True

    @property
    def fact(self) -> str:
        return f"topic {self.topic!r} does not exist on Kafka at {self.bootstrap}, or you may not see it."

    @property
    def hint(self) -> str | None:
        if self.suggestions:
            return f"did you mean {' or '.join(map(repr, self.suggestions))}?"
        return "names are case-sensitive; ask for DESCRIBE on the topic if it should be there."


@dataclass(eq=False)
class OffsetOutOfRangeError(BrokerError):
    """The log no longer holds (or never held) the offset that was to be read next."""

    topic: str = ""
    partition: int = -1

    @property
    def fact(self) -> str:
        return f"{self.topic}[{self.partition}]: the next offset to read is outside the log ({self.reason})."


@dataclass(eq=False)
class StoreError(KtframeError):
    """A local store can't be used."""

    path: str
    reason: str

    @property
    def fact(self) -> str:
        return f"store {self.path}: {self.reason}"


@dataclass(eq=False)
class StoreLockedError(StoreError):
    """Another process has the store open for writing, or another Context of this one (``is_own_process``)."""

    pid: int | None = None
    host: str | None = None
    since: str | None = None
    is_own_process: bool = False

    @property
    def fact(self) -> str:
        owner = f"process {self.pid} on {self.host}, since {self.since}" if self.pid else "another process"
        return f"store {self.path} is in use by {owner}."

    @property
    def hint(self) -> str:
        if self.is_own_process:
            return (
                "another Context of this process has it open: close() that one first, "
                "or give this one its own store: connect(..., state_dir=...)."
            )
        return (
            "shut that notebook's kernel down, or give this one its own store: connect(..., state_dir=...)."
        )


class StoreMismatchError(StoreError):
    """The store belongs to another cluster, topic or format version; it was left untouched."""

    @property
    def hint(self) -> str:
        return f"nothing was changed. Use another state_dir, or remove {self.path} if it is not needed."


class StoreCorruptError(StoreError):
    """The store can't be read; it was left untouched."""

    @property
    def hint(self) -> str:
        return f"nothing was changed. Remove {self.path} and it is built again from Kafka."


@dataclass(eq=False)
class NotReadyError(KtframeError):
    """Rows can't be complete (in time): ``reason`` is the code, ``partitions`` what is missing where."""

    name: str
    reason: str
    detail: str
    partitions: tuple[int, ...] = ()
    remedy: str | None = None

    @property
    def fact(self) -> str:
        where = f" (partitions {', '.join(map(str, self.partitions))})" if self.partitions else ""
        return f"{self.name} is not ready: {self.reason}{where}: {self.detail}"

    @property
    def hint(self) -> str | None:
        return self.remedy
