"""What the rows of a topic lack: records that were refused, and rows that are stale. One verdict for all who show it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ktframe.errors import SchemaError
from ktframe.events import Reason
from ktframe.fold.records import Cause
from ktframe.fold.refused import all_causes
from ktframe.fold.remedies import remedy
from ktframe.sync.materializer import Materializer

_TOLERATED: Final = 0.01
"""The share of records up to which a table is called ready although they were refused."""


@dataclass(frozen=True, slots=True)
class Missing:
    """How many ``records`` were applied; how many of these were ``accepted`` with a value, and how many refused.

    ``conflicts`` are those of the refused that disagree with the schema; ``stale`` counts the rows whose newest record
    was refused.
    """

    records: int = 0
    accepted: int = 0
    refused: int = 0
    conflicts: int = 0
    stale: int = 0
    causes: tuple[Cause, ...] = ()
    """Why, the commonest first."""
    hint: str | None = None
    """The argument that keeps the records."""
    misnamed: SchemaError | None = None
    """The error of reads where ``key=`` or ``time=`` names a field that no record has."""

    @classmethod
    def of(cls, materializer: Materializer, topic: str, *, stale: int | None = None) -> Missing:
        """Return what the rows of ``materializer`` lack; ``stale`` where the rows that are shown are others."""
        positions = list(materializer.store.positions().values())
        causes = all_causes(materializer.store.causes().values())
        return cls(
            records=sum(position.records for position in positions),
            accepted=sum(position.accepted for position in positions),
            refused=sum(position.refused for position in positions),
            conflicts=sum(position.conflicts for position in positions),
            stale=_stale_rows(materializer) if stale is None else stale,
            causes=tuple(causes),
            hint=remedy(causes, materializer.decoder, topic) if causes else None,
        )

    def with_cause(self, cause: Cause, materializer: Materializer, topic: str, *, accepted: int) -> Missing:
        """Return this with records that became rows, but are not in what is shown; ``accepted`` are left."""
        causes = tuple(sorted((*self.causes, cause), key=lambda each: -each.records))
        return replace(
            self,
            accepted=accepted,
            refused=self.refused + cause.records,
            causes=causes,
            hint=remedy(causes, materializer.decoder, topic),
        )

    @property
    def are_all_refused(self) -> bool:
        """Whether every record that has a value was refused."""
        return self.refused > 0 and self.accepted <= 0

    @property
    def reason(self) -> Reason | None:
        """Why rows that are up to date are not complete; None where hardly a record is missing and no row is stale."""
        if self.misnamed is not None:
            return Reason.SCHEMA_CONFLICT
        if self.stale:
            return Reason.STALE_ROWS
        if self.conflicts > _TOLERATED * max(self.records, 1):
            return Reason.SCHEMA_CONFLICT
        if self.refused > _TOLERATED * max(self.records, 1) or self.are_all_refused:
            return Reason.REFUSED
        return None

    def __str__(self) -> str:
        parts = [f"{self.refused:,} of {counted(self.records, 'record')} refused"] if self.refused else []
        parts += [counted(self.stale, "stale row")] if self.stale else []
        parts += [self.misnamed.fact.removesuffix(".")] if self.misnamed else []
        return ", ".join(parts)


def _stale_rows(materializer: Materializer) -> int:
    # Not without marks: a snapshot merges what waits into the view.
    view, marks = materializer.view, materializer.view.marks()
    return view.stale(view.snapshot().rows, marks).height if marks.height else 0


def were(number: int) -> str:
    """Return the verb that goes with a number."""
    return "was" if number == 1 else "were"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where there are several: "1 record", "2 records"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
