"""What ``import ktframe`` does not do."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("library", ["matplotlib", "ipywidgets", "IPython", "jupyterlab", "duckdb"])
def test_importing_ktframe_loads_no_heavy_library(library: str) -> None:
    """A notebook's libraries are loaded when they are used, not before."""
    code = f"import sys, ktframe; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=180).returncode == 0
