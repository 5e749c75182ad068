"""The verbs that analysts know from frames: what they give is what the frame of all rows gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, NoReturn

import polars as pl

from ktframe.process.available_memory import available_bytes
from ktframe.tables.presentation import Metadata

if TYPE_CHECKING:  # slow to import
    import pandas as pd
    import pyarrow as pa

_HINT: Final = "lazy() leaves the rows in files: filter or aggregate them there, and collect what is left."
_File = str | Path | IO[bytes]


class FrameVerbs(ABC):
    """Each reads as ``to_polars`` does, and raises and warns as it does. Arguments that are not named here are Polars'.

    ``sample``, ``sort``, ``describe`` and ``to_pandas`` copy all rows, and raise ``MemoryError`` where these are more than the
    memory that is left. The rows of a large table lie in files: ``to_polars`` and ``lazy`` copy none.
    """

    _kind: ClassVar[str]

    @abstractmethod
    def to_polars(self, *, fresh: bool = True, metadata: Metadata | None = None) -> pl.DataFrame:
        """Return the rows as a frame."""

    def head(self, n: int = 5, *, fresh: bool = True) -> pl.DataFrame:
        """Return ``n`` rows, those that ``to_polars()`` begins with; which these are is unspecified for tables."""
        return self.to_polars(fresh=fresh).head(n)

    def tail(self, n: int = 5, *, fresh: bool = True) -> pl.DataFrame:
        """Return ``n`` rows, those that ``to_polars()`` ends with; which these are is unspecified for tables."""
        return self.to_polars(fresh=fresh).tail(n)

    def sample(
        self,
        n: int | None = None,
        *,
        fraction: float | None = None,
        seed: int | None = None,
        fresh: bool = True,
    ) -> pl.DataFrame:
        """Return ``n`` rows drawn by chance (one if nothing is given), or a ``fraction`` of all."""
        return self._in_memory("sample", fresh=fresh).sample(n, fraction=fraction, seed=seed)

    def sort(
        self,
        by: str | pl.Expr | Sequence[str | pl.Expr],
        *more_by: str | pl.Expr,
        descending: bool | Sequence[bool] = False,
        fresh: bool = True,
    ) -> pl.DataFrame:
        """Return all rows, sorted by columns or expressions; nulls first."""
        return self._in_memory("sort", fresh=fresh).sort(by, *more_by, descending=descending)

    def describe(self, *, fresh: bool = True) -> pl.DataFrame:
        """Return counts, means, extremes and quartiles of each column: ``statistic`` (String), then the columns."""
        return self._in_memory("describe", fresh=fresh).describe()

    def to_pandas(self, *, fresh: bool = True, metadata: Metadata | None = None) -> pd.DataFrame:
        """Return the rows as a pandas frame. Integers with nulls become floats there, as pandas has it."""
        return self._in_memory("to_pandas", fresh=fresh, metadata=metadata).to_pandas()

    def to_arrow(self, *, fresh: bool = True, metadata: Metadata | None = None) -> pa.Table:
        """Return the rows as a pyarrow Table; text is ``large_string``."""
        return self.to_polars(fresh=fresh, metadata=metadata).to_arrow()

    def write_parquet(
        self, file: _File, *, fresh: bool = True, metadata: Metadata | None = None, **options: Any
    ) -> None:
        """Write the rows to a Parquet file; ``options`` are those of ``polars.DataFrame.write_parquet``."""
        self.to_polars(fresh=fresh, metadata=metadata).write_parquet(file, **options)

    def write_csv(
        self, file: _File, *, fresh: bool = True, metadata: Metadata | None = None, **options: Any
    ) -> None:
        """Write the rows to a CSV file, which has no lists or structs; ``options`` are those of ``polars.DataFrame.write_csv``."""
        self.to_polars(fresh=fresh, metadata=metadata).write_csv(file, **options)

    def _in_memory(self, verb: str, *, fresh: bool, metadata: Metadata | None = None) -> pl.DataFrame:
        """Return all rows, of which there is room for a copy."""
        rows = self.to_polars(fresh=fresh, metadata=metadata)
        size, room = rows.estimated_size(), available_bytes()
        if room is not None and size > room:
            message = f"{verb}() copies {size / 2**30:,.1f} GB of rows, and {room / 2**30:,.1f} GB of memory are left.\nHint: {_HINT}"
            raise MemoryError(message)
        return rows

    # --- for other libraries --------------------------------------------------------------------------------------

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return a fresh frame to a library with Arrow's PyCapsule protocol: DuckDB, pyarrow, pandas."""
        # By pyarrow: what Polars itself hands over, DuckDB refuses where a column has nothing but nulls.
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """Return the columns without the rows."""
        # Fresh, like the rows: DuckDB asks for the columns first, and refuses rows with other ones.
        return self.to_polars().clear().to_arrow().schema.__arrow_c_schema__()

    def __array__(self, *_: object, **__: object) -> NoReturn:
        # pandas.DataFrame(table) and numpy.asarray(table) would be an array of keys: they iterate.
        message = f"a {self._kind} is no array.\nHint: to_pandas() returns a pandas frame of the rows."
        raise TypeError(message)

    if not TYPE_CHECKING:  # or type checkers would take any name

        def __getattr__(self, name: str) -> NoReturn:
            message = f"{self._kind!r} object has no attribute {name!r}"
            if not name.startswith("_") and hasattr(pl.DataFrame, name):
                call = f"{name}(...)" if callable(getattr(pl.DataFrame, name)) else name
                message += f": it follows a topic, and is no frame.\nHint: to_polars().{call} is of all its rows, as of the call."
            raise AttributeError(message, name=name, obj=self)
