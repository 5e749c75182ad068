"""Topics whose records have a time in a field ``at``, for tests of ``time=`` and its unit."""

from __future__ import annotations

import json
import warnings
from datetime import date
from typing import Any

from ktframe.testing import FakeBroker

SECONDS = 1_711_848_600
"""2024-03-31 01:30 UTC."""

DAY = date(2024, 3, 31)


def broker_of_times(*values: Any) -> FakeBroker:
    """Return a broker with a record for each value, in the field ``at``, in the topic ``t``."""
    broker = FakeBroker()
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", json.dumps({"at": value}).encode(), timestamp=1_000)
    return broker


def said(rows: Any) -> str:
    """Return the warnings of a read."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows.to_polars()
    return "\n".join(str(warning.message) for warning in caught)


def days(windows: Any) -> list[date]:
    """Return the days on which windows start, each once."""
    return sorted(set(windows.to_polars()["window_start"].dt.date()))
