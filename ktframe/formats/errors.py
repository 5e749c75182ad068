"""Why payloads are not read or values not written, inside of this room: the text of each error is the reason.

None of them reaches a user: a reason ends up in a ``Refusal``, or in a ``SchemaError`` that names the column and row.
"""

from __future__ import annotations


class RefusedError(Exception):
    """A payload can't be read exactly, or a value not be written exactly."""


class ConflictError(RefusedError):
    """A payload is well formed but disagrees with the columns, or a schema with those of earlier schemas.

    ``fields`` are the top-level fields that disagree. ``remedy`` is what ``schema=`` could declare so that the value
    fits, where more can be said than ``ktframe.Json``, which every value fits.
    """

    def __init__(self, reason: str, fields: tuple[str, ...] = (), *, remedy: str = "") -> None:
        super().__init__(reason)
        self.fields = fields
        self.remedy = remedy


class UnusableSchemaError(Exception):
    """No payload under a schema can be read."""


class UncertainBatchError(Exception):
    """A batch may have been read wrongly: its payloads must be read one by one."""
