"""The health of a binding, and what an error means: a reason code, a sentence, a hint, and whether to retry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ktframe.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerError,
    BrokerUnreachableError,
    ConfigurationError,
    KtframeError,
    RegistryError,
    StoreError,
    UnknownTopicError,
)
from ktframe.events import BindingState, Reason

_REASONS: tuple[tuple[type[Exception], Reason], ...] = (
    (UnknownTopicError, Reason.UNKNOWN_TOPIC),
    (AuthenticationError, Reason.AUTHENTICATION),
    (AuthorizationError, Reason.AUTHORIZATION),
    (BrokerUnreachableError, Reason.BROKER_UNREACHABLE),
    (StoreError, Reason.STORE),
    (RegistryError, Reason.REGISTRY),
)
_FROM_OUTSIDE = (BrokerError, RegistryError)


@dataclass(frozen=True, slots=True)
class BindingHealth:
    """The state of a binding, the reason for it, its last error, and how often it has failed."""

    state: BindingState
    reason: Reason
    last_error: str | None
    consecutive_failures: int
    restarts: int
    rate: float | None
    """Offsets a second over the last ten seconds."""
    last_record_at: datetime | None
    """Timestamp of the newest record that was applied."""


def reason_of(error: BaseException) -> Reason:
    """Return the reason code of ``error``."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.ERROR)


def explain(error: BaseException) -> tuple[Reason, str, str | None]:
    """Return the reason code, a sentence and a hint for ``error``."""
    if isinstance(error, KtframeError):
        return reason_of(error), error.fact, error.hint
    return reason_of(error), f"{type(error).__name__}: {error}", None


def is_worth_retrying(error: BaseException) -> bool:
    """Return whether trying again may help against ``error``."""
    if isinstance(error, UnknownTopicError):
        return True  # it was there when the table was asked for, and may be made anew
    if isinstance(error, _FROM_OUTSIDE):
        return not error.is_fatal
    if isinstance(error, StoreError):
        return _is_of_disk(error)
    return isinstance(error, Exception) and not isinstance(error, ConfigurationError)


def is_from_outside(error: BaseException) -> bool:
    """Return whether it is an error of Kafka, the registry or the disk: an outage may take as long as it likes."""
    return isinstance(error, _FROM_OUTSIDE) or _is_of_disk(error)


def _is_of_disk(error: BaseException) -> bool:
    # Not of its kinds: a store that is damaged, in use or another topic's stays so.
    return type(error) is StoreError and not error.is_closed
