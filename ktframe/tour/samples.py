"""The sample topics, as records with current timestamps, and an endless stream of further orders.

Nothing here talks to a broker. The files and their fields are described in
``sample_data/README.md``.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson

from ktframe.clock import EPOCH
from ktframe.errors import ConfigurationError
from ktframe.kafka.mock_broker import SampleRecord

SAMPLE_NAMES: Final = ("orders", "customers", "clicks")
"""The samples; each is loaded into a topic of its name."""

_AGE_FIELDS: Final = ("created_at", "updated_at")
_NEXT_STATUS: Final = {"placed": "paid", "paid": "shipped", "shipped": "delivered"}
_CANCELLABLE: Final = ("placed", "paid")
_CARRIERS: Final = ("DHL", "UPS", "FedEx", "Post")
_FIRST_LIVE_NUMBER: Final = 10_000
_MAX_OPEN_ORDERS: Final = 60
_CANCELLED_SHARE: Final = 0.05


def load_sample(name: str, now_ms: int) -> list[SampleRecord]:
    """Return the records of a sample in topic order, the newest just before ``now_ms``.

    Parameters
    ----------
    name
        One of ``SAMPLE_NAMES``.
    now_ms
        Milliseconds since the epoch from which the ages in the file count back.

    Returns
    -------
    list of SampleRecord
        Broken records among them, as bytes; JSON values with ``created_at`` and ``updated_at`` as ISO 8601 text.

    Raises
    ------
    ConfigurationError
        There is no such sample, or its file is not installed.
    """
    return [_record(orjson.loads(line), now_ms) for line in _read_lines(name)]


def live_orders(seed: int, clock_ms: Callable[[], int]) -> Iterator[SampleRecord]:
    """Yield order changes without end: new orders, next steps of open ones, now and then a cancellation.

    Parameters
    ----------
    seed
        Decides which changes come; the same seed gives the same ones.
    clock_ms
        Asked once per record for its timestamp, in milliseconds since the epoch, when the record is taken.

    Yields
    ------
    SampleRecord
        An order of the shape of the ``orders`` sample under an order id the sample doesn't use; a cancellation is a
        tombstone. An order is placed first and ends delivered or cancelled.
    """
    random = Random(seed)  # noqa: S311 - demo data, not cryptography
    templates = _order_templates()
    open_orders: list[dict[str, Any]] = []
    number = _FIRST_LIVE_NUMBER
    while True:
        now_ms = clock_ms()
        # The more orders are open, the rarer new ones are, so that their number levels off.
        if random.randrange(_MAX_OPEN_ORDERS) >= len(open_orders):
            order = {**random.choice(templates), "order_id": f"o-{number:05d}", "created_at": _iso(now_ms)}
            number += 1
        else:
            order = open_orders.pop(random.randrange(len(open_orders)))
            if order["status"] in _CANCELLABLE and random.random() < _CANCELLED_SHARE:
                yield SampleRecord(order["order_id"].encode(), None, now_ms)
                continue
            order = _advanced(order, random)
        order = {**order, "updated_at": _iso(now_ms)}
        if order["status"] in _NEXT_STATUS:
            open_orders.append(order)
        yield SampleRecord(order["order_id"].encode(), orjson.dumps(order), now_ms)


def _advanced(order: dict[str, Any], random: Random) -> dict[str, Any]:
    status = _NEXT_STATUS[order["status"]]
    if status != "shipped":
        return {**order, "status": status}
    return {**order, "status": status, "shipping": {**order["shipping"], "carrier": random.choice(_CARRIERS)}}


def _order_templates() -> list[dict[str, Any]]:
    """Return values of placed orders that have every field a live order has."""
    values = (orjson.loads(line).get("value") for line in _read_lines("orders"))
    return [
        value
        for value in values
        if value and value["status"] == "placed" and "coupon" in value and isinstance(value["amount"], float)
    ]


def _record(line: dict[str, Any], now_ms: int) -> SampleRecord:
    key = None if line["key"] is None else line["key"].encode()
    return SampleRecord(key, _payload(line, now_ms), now_ms - line["age_ms"])


def _payload(line: dict[str, Any], now_ms: int) -> bytes | None:
    if "raw" in line:
        return bytes(line["raw"], "utf-8")
    value = line["value"]
    if value is None:
        return None
    times = {name: _iso(now_ms - value[name]) for name in _AGE_FIELDS if name in value}
    return orjson.dumps(value | times)


def _iso(timestamp_ms: int) -> str:
    at = EPOCH + timedelta(milliseconds=timestamp_ms)
    return f"{at.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _read_lines(name: str) -> list[bytes]:
    if name not in SAMPLE_NAMES:
        message = f"there is no sample {name!r}."
        raise ConfigurationError(message, f"the samples are {', '.join(SAMPLE_NAMES)}.")
    for folder in _folders():
        file = folder / f"{name}.ndjson.gz"
        if file.is_file():
            return gzip.decompress(file.read_bytes()).splitlines()
    message = f"the file of the sample {name!r} is not installed with ktframe."
    raise ConfigurationError(message, "install ktframe again from its wheel, or work in a complete checkout.")


def _folders() -> tuple[Traversable, ...]:
    """Return the folders that may hold the files: in the wheel, or at the top of a source checkout."""
    return resources.files("ktframe") / "sample_data", Path(__file__).resolve().parents[2] / "sample_data"
