"""What ``import ktframe`` does not do."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("library", ["matplotlib", "ipywidgets", "IPython", "jupyterlab", "duckdb"])
def test_importing_ktframe_loads_no_heavy_library(library: str) -> None:
    """A notebook's libraries are loaded when they are used, not before."""
    code = f"import sys, ktframe; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=180).returncode == 0


@pytest.mark.slow
def test_reading_json_does_not_load_pandas() -> None:
    """Pyarrow imports it for a comparison with a number and for a list, which takes as long as a small load."""
    assert find_spec("pandas") is not None
    code = """
import sys
import polars as pl
from ktframe.testing import FakeBroker

broker = FakeBroker()
for number in range(1_000):
    broker.produce("t", "a", {"n": number, "amount": number / 7, "at": "2024-01-31T12:00:00Z", "day": "2024-01-31"})
with broker.connect() as kt:
    schema = {"n": pl.Int64, "amount": pl.Float64, "at": pl.Datetime("us", "UTC"), "day": pl.Date}
    assert kt.table("t", schema=schema).to_polars().height == 1
    # A few records are decoded one by one.
    broker.produce("inferred", "a", {"n": 1, "amount": 0.5, "name": "ann", "is_paid": True, "note": None})
    assert kt.table("inferred").to_polars().height == 1
sys.exit("pandas" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=180).returncode == 0
