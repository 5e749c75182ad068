"""Rows that a user's conditions hold for, of a table or its windows: another object that reads the same store."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import polars as pl

from ktframe.errors import ConfigurationError
from ktframe.sync.materializer import Materializer
from ktframe.tables.complete_reads import CompleteReads
from ktframe.tables.presentation import fields_of
from ktframe.windows.aggregation import Columns, require_known

_HINT = 'filter(pl.col("amount") > 10) or filter(region="EMEA").'


class Filterable(CompleteReads):
    """Rows of which some can be chosen."""

    _conditions: tuple[pl.Expr, ...] = ()

    def filter(self, *conditions: pl.Expr, **values: Any) -> Self:
        """Return the rows that all conditions hold for, as an object that follows the topic like this one.

        The rows are judged, not the records: a row whose newest record fits no longer is gone, whatever older records were,
        and of windows each window's row is judged. Conditions that look at other rows, such as a mean, look at those that a
        read is of: of windows those of the range. What is refused or late is not narrowed: ``errors()`` and warnings tell of
        the whole topic.

        Parameters
        ----------
        conditions
            Polars expressions that are true or false for each row. They can name every column of
            ``to_polars(metadata=True)``.
        values
            Columns, and what they must equal; None: nulls.

        Raises
        ------
        ConfigurationError
            When something is no Polars expression or nothing is given; at a read, when a column is not there or an expression
            is no condition.
        """
        given: list[object] = [*conditions]
        odd = next((each for each in given if not isinstance(each, pl.Expr)), None)
        if odd is not None or not (given or values):
            message = "filter() needs a condition." if odd is None else f"{odd!r} is not a Polars expression."
            raise ConfigurationError(message, _HINT)
        narrowed = copy.copy(self)
        equal = [pl.col(name).eq_missing(pl.lit(value)) for name, value in values.items()]
        narrowed._conditions = (*self._conditions, *conditions, *equal)  # noqa: SLF001 - of the same class
        return narrowed

    def _name(self, quote: Callable[[str], str] = repr) -> str:
        """Return what is read, and the conditions, as a repr shows them."""
        return super()._name(quote) + "".join(f", {condition}" for condition in self._conditions)

    def _chosen(self, lines: pl.DataFrame, materializer: Materializer) -> pl.DataFrame:
        if not self._conditions or not lines.height:
            return lines
        known = self._known(materializer)
        require_known(self._conditions, list(known.all))
        rows = lines.select(self._columns(known))
        is_chosen = pl.repeat(value=True, n=rows.height, dtype=pl.Boolean, eager=True)
        for condition in self._conditions:
            # Not by filter(): there a row number would be a column, which conditions on many columns see.
            for values in self._values(rows, condition):
                is_chosen &= values.new_from_index(0, rows.height) if len(values) == 1 else values
        return lines if is_chosen.all() else lines.filter(is_chosen)

    def _values(self, rows: pl.DataFrame, condition: pl.Expr) -> list[pl.Series]:
        try:
            found = rows.select(condition).get_columns()
        except pl.exceptions.PolarsError as error:
            raise self._no_condition(condition, f": {error}") from error
        if any(values.dtype != pl.Boolean or len(values) not in (1, rows.height) for values in found):
            raise self._no_condition(condition, "")
        return [values.fill_null(value=False) for values in found]

    @staticmethod
    def _no_condition(condition: pl.Expr, why: str) -> ConfigurationError:
        message = f"filter({condition}) is no condition for these rows{why}"
        return ConfigurationError(message, f"give what is true or false for each row: {_HINT}")

    def _columns(self, known: Columns) -> list[pl.Expr]:
        """Return the columns that the conditions look at; all of a frame for one that names none, such as ``pl.len() > 5``."""
        needed = known.needed(self._conditions)
        return needed or [known.all[name] for name in known.usual]

    def _judged(self, materializer: Materializer) -> set[str]:
        """Return the columns of the view that the conditions look at."""
        if not self._conditions:
            return set()
        needed = self._columns(self._known(materializer))
        return {name for column in needed for name in column.meta.root_names()}

    def _known(self, materializer: Materializer) -> Columns:
        """Return the columns that conditions can name."""
        empty = self._presentation.with_windows(pl.DataFrame(schema=materializer.view.schema))
        fields = fields_of(empty)
        return Columns(self._presentation.expressions(fields), self._presentation.names(fields))
