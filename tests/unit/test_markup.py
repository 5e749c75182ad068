"""Frames on a page: the text of cells and dtypes, which Polars has behind private members, and their HTML."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

from ktframe.widgets import markup
from ktframe.widgets.polars_text import cell_texts, dtype_texts

BEYOND = 253_402_300_800_000
"""The first millisecond of the year 10000."""

KINDS = pl.DataFrame(
    {
        "i": [1, None],
        "f": [1.5, float("nan")],
        "s": ["x", None],
        "b": [b"\x00a", None],
        "d": [Decimal("1.10"), None],
        "t": [datetime(2026, 1, 1, tzinfo=UTC), None],
        "e": [timedelta(minutes=5), None],
        "l": [[1, 2], []],
        "o": [{"a": "x"}, None],
    }
)


@pytest.mark.parametrize("name", KINDS.columns)
def test_texts_are_those_that_polars_prints(name: str) -> None:
    """The private members that give them are still there, and agree with the public repr; else it names the version."""
    column = KINDS.select(name)
    with pl.Config(tbl_formatting="NOTHING", tbl_hide_dataframe_shape=True, set_tbl_width_chars=1_000):
        _, _, dtype, *cells = (line.strip() for line in str(column).splitlines())
    try:
        texts = [row[0].strip('"') for row in cell_texts(column)]
        heads = dtype_texts(column)
    except AttributeError as error:
        pytest.fail(f"Polars {pl.__version__} has no {error.name}: see ktframe/widgets/polars_text.py")
    assert (heads, texts) == ([dtype], [cell.strip('"') for cell in cells]), f"Polars {pl.__version__}"


def test_times_beyond_the_year_9999_have_a_text() -> None:
    """Python has no datetime for them."""
    times = pl.Series("t", [BEYOND]).cast(pl.Datetime("ms", "UTC")).to_frame()
    assert cell_texts(times) == [("+10000-01-01 00:00:00 UTC",)]


def test_cells_are_as_polars_prints_them() -> None:
    """Nulls, long text, nested values, and text that looks like HTML or goes on for lines."""
    frame = pl.DataFrame(
        {
            "text": ["<b>&\"'", None, "x" * 500],
            "list": [[1, 2], None, []],
            "struct": [{"a": "<i>"}, {"a": None}, None],
            "float": [1.5, float("nan"), None],
        }
    )
    texts = cell_texts(frame)
    assert texts[0][0] == "<b>&\"'"
    assert [row[0] for row in texts][1:] == ["null", "x" * 200 + "…"]
    assert [row[3] for row in texts] == ["1.5", "NaN", "null"]
    html = markup.table(frame)
    assert "<b>" not in html
    assert "<i>" not in html
    assert markup.table(pl.DataFrame()).count("<tr") == 1
