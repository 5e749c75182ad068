"""All exceptions that ktframe raises, as one tree.

::

    KtframeError
    ├── ConfigurationError            an argument, a setting or a declaration is wrong
    │   └── SchemaError               a declared schema, key or time does not fit
    ├── ContextError
    │   ├── NotConnectedError         no Context yet
    │   ├── ContextClosedError        this object's Context was closed
    │   ├── ForkedError               it belongs to a process that this one was forked off: process/forks.py
    │   └── NotWritableError          this object's Context only reads
    ├── BrokerError                   the cluster refused or failed
    │   ├── BrokerUnreachableError
    │   ├── AuthenticationError
    │   ├── AuthorizationError
    │   ├── UnknownTopicError
    │   ├── OffsetOutOfRangeError     the log does not hold the next offset to read
    │   ├── DamagedRecordsError       the checksum of records is wrong
    │   └── WriteError                not all records were written; it says which
    ├── RegistryError                 the schema registry does not answer, or refuses the login
    ├── StoreError                    a local store
    │   ├── StoreLockedError          another process has it open
    │   ├── StoreMismatchError        it belongs to another cluster or topic
    │   └── StoreCorruptError
    ├── NotReadyError                 rows are not complete (in time)
    └── IncompleteError               records were refused, and the caller wants an error then
        └── StaleRowsError            rows show an older record, because the newest was refused

    KtframeWarning                    a UserWarning: what is missing from rows that were read

Each class makes its own text from its attributes: the fact first, then a line ``Hint:`` with what helps.
Exceptions of other libraries are translated only in the module that owns their library. Nothing here may hold a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ktframe.ipython import short_traceback


class KtframeError(Exception):
    """Root of all errors of ktframe; ``fact`` says what is wrong, ``hint`` what helps."""

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

    def _render_traceback_(self) -> list[str]:
        # IPython calls this to show an error.
        return short_traceback(self, fact=self.fact, hint=self.hint)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception pickles its positional arguments; here the attributes are the whole state.
        return _restore, (type(self), dict(vars(self)))


def _restore(cls: type[KtframeError], attributes: dict[str, Any]) -> KtframeError:
    error = cls.__new__(cls)
    vars(error).update(attributes)
    return error


def did_you_mean(names: Sequence[str]) -> str | None:
    """Return the hint that suggests ``names``, None where there are none."""
    return f"did you mean {' or '.join(map(repr, names))}?" if names else None


@dataclass(eq=False)
class ConfigurationError(KtframeError):
    """An argument, a setting or a declaration is wrong."""

    message: str
    hint: str | None = None

    @property
    def fact(self) -> str:
        return self.message


class SchemaError(ConfigurationError):
    """A declared schema, key or time column does not fit."""


class ContextError(KtframeError):
    """The Context that an object needs is missing, closed or read-only."""


class NotConnectedError(ContextError):
    """There is no connection yet."""

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
        return "open it again; if the connection was closed, call ktframe.connect(...) first."


@dataclass(eq=False)
class NotWritableError(ContextError):
    """The Context of this object only reads, as by default."""

    name: str

    @property
    def fact(self) -> str:
        return f"{self.name} can't be written to: this connection only reads."

    @property
    def hint(self) -> str:
        return "ktframe.connect(..., writable=True), once you are sure which cluster that is."


@dataclass(eq=False)
class BrokerError(KtframeError):
    """The cluster refused or failed; trying again does not help against ``is_fatal`` errors."""

    bootstrap: str
    reason: str
    is_fatal: bool = False

    @property
    def fact(self) -> str:
        return f"Kafka at {self.bootstrap}: {self.reason}"


class BrokerUnreachableError(BrokerError):
    """No broker answered, or not the one that leads a partition."""

    @property
    def fact(self) -> str:
        return f"no answer from Kafka at {self.bootstrap} ({self.reason})."

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
    """The user is known, but not allowed to do this."""

    resource: str = ""
    is_fatal: bool = True
    verb: str = "read"

    @property
    def fact(self) -> str:
        may_not = f"does not allow this user to {self.verb} {self.resource}"
        return f"Kafka at {self.bootstrap} {may_not}: {self.reason}"

    @property
    def hint(self) -> str:
        if self.verb == "write":
            return (
                "ask for WRITE and DESCRIBE on the topic (before Kafka 2.8 also for IDEMPOTENT_WRITE on the cluster); "
                'an atomic write needs WRITE and DESCRIBE on transactional ids with the prefix "ktframe-" as well.'
            )
        return "ask for READ and DESCRIBE on the topic; reading needs no consumer group and no other right."


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
        unseen = "names are case-sensitive; ask for DESCRIBE on the topic if it should be there."
        return did_you_mean(self.suggestions) or unseen


@dataclass(eq=False)
class OffsetOutOfRangeError(BrokerError):
    """The log no longer holds, or never held, the next offset to read."""

    topic: str = ""
    partition: int = -1

    @property
    def fact(self) -> str:
        return f"{self.topic}[{self.partition}]: the next offset to read is outside the log ({self.reason})."


class DamagedRecordsError(BrokerError):
    """Records don't have the checksum that they were written with: bytes have changed on a disk, or on the way."""

    @property
    def fact(self) -> str:
        return f"Kafka at {self.bootstrap} has damaged records, none from there on is shown ({self.reason})."

    @property
    def hint(self) -> str:
        return "have the disks of the brokers checked; start= at a later moment reads what came after them."


@dataclass(eq=False)
class WriteError(BrokerError):
    """Not all records were written: which were and which were not, by their index among the records to write.

    ``failed`` has the reasons. The ``unknown`` were in flight at the timeout: they may be written, now or in a moment.
    ``keys`` holds the keys of the first few of each kind.
    """

    topic: str = ""
    total: int = 0
    written: Sequence[int] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    unknown: Sequence[int] = ()
    keys: Mapping[int, bytes | None] = field(default_factory=dict)
    cause_hint: str | None = None

    @property
    def fact(self) -> str:
        counted = f"{len(self.written)} of {self.total} records were written to topic {self.topic!r}"
        parts = [f"Kafka at {self.bootstrap}: {counted}: {self.reason}"]
        kinds = (("not written", self.failed), ("not known", self.unknown), ("written", self.written))
        parts += [f"{name}: {self._shown(indices)}" for name, indices in kinds if indices]
        return "\n".join(parts)

    def _shown(self, indices: Sequence[int] | Mapping[int, str]) -> str:
        shown = [f"{self.keys[index]!r:.60}" for index in indices if index in self.keys]
        more = ", ..." if len(indices) > len(shown) else ""
        return f"{len(indices)} (keys {', '.join(shown)}{more})"

    @property
    def hint(self) -> str | None:
        again = (
            "running the same call again is safe for a table: the same keys get the same values. "
            "A stream may then hold records twice."
        )
        parts = [self.cause_hint, again if self.written or self.unknown else None]
        return "\n".join(part for part in parts if part) or None


@dataclass(eq=False)
class RegistryError(KtframeError):
    """The schema registry does not answer or refuses; trying again does not help against ``is_fatal`` errors."""

    url: str
    reason: str
    is_fatal: bool = False

    @property
    def fact(self) -> str:
        return f"the schema registry at {self.url} can't be asked: {self.reason}"

    @property
    def hint(self) -> str:
        if self.is_fatal:
            return "check the login of schema_registry= (basic.auth.user.info, or bearer.auth.token)."
        return (
            "check schema_registry= and the network or VPN; rows that were read before are there without it."
        )


@dataclass(eq=False)
class StoreError(KtframeError):
    """A local store can't be used."""

    path: str
    reason: str
    is_closed: bool = field(default=False, kw_only=True)

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
    """The store belongs to another cluster or topic; it was left untouched."""

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
    """Rows are not complete (in time): ``reason`` is a code, ``partitions`` are those that are behind."""

    name: str
    reason: str
    detail: str
    partitions: tuple[int, ...] = ()
    hint: str | None = None

    @property
    def fact(self) -> str:
        where = f" (partitions {', '.join(map(str, self.partitions))})" if self.partitions else ""
        return f"{self.name} is not ready: {self.reason}{where}: {self.detail}"


@dataclass(eq=False)
class IncompleteError(KtframeError):
    """Records were refused: all of them for one cause, or some while the table has ``on_refused="raise"``."""

    message: str
    hint: str | None = None
    refused: int = 0
    records: int = 0

    @property
    def fact(self) -> str:
        return self.message


class StaleRowsError(IncompleteError):
    """Rows show an older record, because their newest one was refused, and the table has ``stale="raise"``."""


class KtframeWarning(UserWarning):
    """What is missing from the rows that were just read, why, and what would keep it."""
