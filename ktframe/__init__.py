"""Kafka topics as Polars DataFrames: complete as of the call, kept in local RocksDB stores.

>>> import ktframe
>>> with ktframe.demo(rate=0) as kt:
...     orders = kt.table("orders")
...     orders.to_polars().height > 5_000
True
"""

import logging as _logging
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

from ktframe._api import inspect, publish, stream, table, topics
from ktframe._connect import connect, demo
from ktframe.config.settings import RetryPolicy, Settings, StoreOptions
from ktframe.config.version import VERSION as _VERSION
from ktframe.context.context import Context
from ktframe.context.declaration import entity
from ktframe.context.schema import Json, Map
from ktframe.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerError,
    BrokerUnreachableError,
    ConfigurationError,
    ContextClosedError,
    ContextError,
    DamagedRecordsError,
    IncompleteError,
    KtframeError,
    KtframeWarning,
    NotConnectedError,
    NotReadyError,
    NotWritableError,
    OffsetOutOfRangeError,
    RegistryError,
    SchemaError,
    StaleRowsError,
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
from ktframe.explore.inspection import Inspection
from ktframe.process.forks import ForkedError
from ktframe.sync.health import BindingHealth
from ktframe.sync.monitor import Readiness
from ktframe.sync.status import TablePosition, TableStatus
from ktframe.tables.stream import KStream
from ktframe.tables.table import KTable
from ktframe.tables.windowed_stream import WindowedKStream
from ktframe.tables.windowed_table import WindowedKTable

__version__ = _VERSION


# A library is silent unless its user's program configures logging.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())


_ROOMS_FOR_USERS = ("testing", "widgets")


def __dir__() -> list[str]:
    # Tab shows what users need, not the rooms.
    return sorted({*__all__, *_ROOMS_FOR_USERS, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> _ModuleType:
    # ipywidgets and matplotlib are slow to import, and most programs have no notebook before them.
    if name in _ROOMS_FOR_USERS:
        return _import_module(f"ktframe.{name}")
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
    "DamagedRecordsError",
    "ForkedError",
    "IncompleteError",
    "Inspection",
    "Json",
    "KStream",
    "KTable",
    "KtframeError",
    "KtframeWarning",
    "LagUpdated",
    "Map",
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
    "StaleRowsError",
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

# Tracebacks, help() and pickles say ktframe.KTable: rooms are ours to change.
for _name in __all__:
    globals()[_name].__module__ = __name__
