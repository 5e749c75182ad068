"""What ``deletes=`` says: which records delete a row, beside those with Kafka's null value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import polars as pl

from ktframe.errors import ConfigurationError
from ktframe.fold.condition import SHARED_HINTS, Condition, Where, condition
from ktframe.formats.json.refusals import WHITESPACE

Deletes: TypeAlias = (
    Literal["empty", "null"] | Where | Sequence[Literal["empty", "null"] | pl.Expr | Mapping[str, Any]]
)
"""``"empty"``: a value without bytes, or of blanks alone; ``"null"``: JSON's null; or a condition on the fields; or several of these."""

_PAYLOADS: Final = {"empty": b"", "null": b"null"}
_HINT: Final = 'give deletes="empty", deletes="null", or a condition such as deletes={"__deleted": "true"}; a list for several.'


@dataclass(frozen=True)
class DeleteRule:
    """A checked ``deletes=``. Two that say the same are equal."""

    payloads: tuple[str, ...] = ()
    """Which values without fields delete a row."""
    conditions: tuple[Condition, ...] = ()
    text: str = field(default="", compare=False)

    @property
    def identity(self) -> str:
        """Everything that it says, as text: part of the name of a store."""
        return repr((self.payloads, tuple(each.identity for each in self.conditions)))

    def is_payload(self, value: bytes) -> bool:
        """Say whether a value deletes a row by what it is as a whole."""
        return any(value.strip(WHITESPACE) == _PAYLOADS[name] for name in self.payloads)


def delete_rule(given: object) -> DeleteRule:
    """Return what ``deletes`` says, checked.

    Raises
    ------
    ConfigurationError
        When it is neither a name of what deletes nor a condition on single records.
    """
    if isinstance(given, DeleteRule):
        return given
    several = [*given] if isinstance(given, list | tuple) else [given]
    payloads = [each for each in several if isinstance(each, str)]
    conditions = [each for each in several if isinstance(each, Mapping | pl.Expr)]
    odd = [each for each in several if not isinstance(each, str | Mapping | pl.Expr)]
    odd += [name for name in payloads if name not in _PAYLOADS]
    if odd or not several:
        message = f"deletes={given!r} does not say which records delete a row."
        raise ConfigurationError(message, _HINT)
    checked = tuple(map(_condition, conditions))
    text = ", ".join([*map(repr, payloads), *(each.text for each in checked)])
    return DeleteRule(tuple(sorted(set(payloads))), checked, text)


def _condition(given: object) -> Condition:
    try:
        return condition(given)
    except ConfigurationError as error:
        message = error.message.replace("where=", "deletes=", 1)
        raise ConfigurationError(message, error.hint if error.hint in SHARED_HINTS else _HINT) from None
