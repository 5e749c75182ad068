"""Kafka topics as Polars DataFrames: complete as of the call, kept in local RocksDB stores.

>>> import ktframe
>>> with ktframe.demo(rate=0) as kt:
...     orders = kt.table("orders")
...     orders.to_polars().height > 5_000
True
"""

import importlib
import logging
from types import ModuleType

from ktframe._api import connect, demo, inspect, publish, stream, table, topics
from ktframe.context import Context
from ktframe.declare import entity
from ktframe.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerError,
    BrokerUnreachableError,
    ConfigurationError,
    ContextClosedError,
    ContextError,
    KtframeError,
    NotConnectedError,
    NotReadyError,
    NotWritableError,
    OffsetOutOfRangeError,
    RegistryError,
    SchemaError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    StoreMismatchError,
    UnknownTopicError,
    WriteError,
)
from ktframe.events import (
    BindingState,
    BindingStateChanged,
    LagUpdated,
    PartitionLag,
    ReadyChanged,
    Reason,
    RowsChanged,
    TableRebuilt,
)
from ktframe.inspection import Inspection
from ktframe.monitor import Readiness
from ktframe.settings import RetryPolicy, Settings, StoreOptions
from ktframe.status import TablePosition, TableStatus
from ktframe.stream import KStream
from ktframe.sync.health import BindingHealth
from ktframe.table import KTable
from ktframe.windowed import WindowedKTable
from ktframe.windowedstream import WindowedKStream

__version__ = "0.1.0"

# A library is silent unless its user's program configures logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> ModuleType:
    # ipywidgets and matplotlib are slow to import, and most programs have no notebook before them.
    if name == "widgets":
        return importlib.import_module("ktframe.widgets")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


__all__ = [
    "AuthenticationError",
    "AuthorizationError",
    "BindingHealth",
    "BindingState",
    "BindingStateChanged",
    "BrokerError",
    "BrokerUnreachableError",
    "ConfigurationError",
    "Context",
    "ContextClosedError",
    "ContextError",
    "Inspection",
    "KStream",
    "KTable",
    "KtframeError",
    "LagUpdated",
    "NotConnectedError",
    "NotReadyError",
    "NotWritableError",
    "OffsetOutOfRangeError",
    "PartitionLag",
    "Readiness",
    "ReadyChanged",
    "Reason",
    "RegistryError",
    "RetryPolicy",
    "RowsChanged",
    "SchemaError",
    "Settings",
    "StoreCorruptError",
    "StoreError",
    "StoreLockedError",
    "StoreMismatchError",
    "StoreOptions",
    "TablePosition",
    "TableRebuilt",
    "TableStatus",
    "UnknownTopicError",
    "WindowedKStream",
    "WindowedKTable",
    "WriteError",
    "connect",
    "demo",
    "entity",
    "inspect",
    "publish",
    "stream",
    "table",
    "topics",
]
