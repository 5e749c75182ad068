"""The floors of ARCHITECTURE.md, enforced: data and imports go one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ktframe"

# Ground floor first. A module imports its own floor and lower ones.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "events", "current", "interactive", "tracebacks"}),
    frozenset(
        {
            "clock",
            "collector",
            "durations",
            "settings",
            "clientsettings",
            "configuration",
            "records",
            "formats",
            "windows",
            "calendars",
            "wallclock",
            "moments",
        }
    ),
    frozenset(
        {
            "rowvalue",
            "encoding",
            "keycolumn",
            "settingaside",
            "eventtime",
            "retention",
            "identity",
            "fieldkey",
            "windowkey",
            "streamkey",
            "entity",
            "declare",
            "lateness",
            "eventwindows",
            "sliding",
            "stragglers",
            "sessions",
        }
    ),
    frozenset(
        {
            "kafka",
            "store",
            "storedschemas",
            "settling",
            "frame",
            "rollup",
            "aggregation",
            "presentation",
            "differences",
            "widening",
        }
    ),
    frozenset({"monitor", "progress", "history"}),
    frozenset({"sync"}),
    frozenset({"status", "widgets"}),
    frozenset(
        {
            "source",
            "finality",
            "selection",
            "narrowing",
            "aggregates",
            "materialized",
            "windowed",
            "windowedstream",
            "table",
            "tablewriter",
            "topicwriter",
            "publishing",
            "stream",
            "guessing",
            "inspection",
            "looking",
            "sampled",
        }
    ),
    frozenset({"declared", "clients", "opening", "catalog", "context"}),
    frozenset({"demo", "completion", "_api", "__init__", "__main__", "testing"}),
)

# Which room alone may import which library.
OWNERS = {
    "confluent_kafka": "kafka",
    "rocksdict": "store",
    "tenacity": "sync",
    "psygnal": "events",
    "ipywidgets": "widgets",
    "matplotlib": "widgets",
}

# Rooms that are written once against "identity" and may not know which one they serve.
IDENTITY_BLIND = ("sync", "store", "frame")
WINDOWS_AND_STREAMS = (
    "windows",
    "calendars",
    "wallclock",
    "windowkey",
    "streamkey",
    "eventwindows",
    "sliding",
    "sessions",
    "windowed",
    "windowedstream",
    "narrowing",
    "stream",
)


def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name below ``ktframe``."""
    return {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """Return the first part of a dotted name."""
    return module.split(".", maxsplit=1)[0]


def floor_of(module: str) -> int:
    """Return the floor on which a module of the package lives."""
    return next(number for number, rooms in enumerate(FLOORS) if room_of(module) in rooms)


def own_imports(module: str, path: Path) -> set[str]:
    """Return the modules of the package that a module imports."""
    known = modules()
    found = set()
    for name in imports(path):
        if room_of(name) != "ktframe":
            continue
        inner = name.removeprefix("ktframe").lstrip(".")
        candidates = (
            inner,
            inner.rpartition(".")[0],
            f"{inner}.__init__",
            f"{inner.rpartition('.')[0]}.__init__",
        )
        found |= {next(candidate for candidate in candidates if candidate in known)}
    return found - {module}


@pytest.mark.parametrize("module", modules())
def test_every_module_lives_on_a_floor(module: str) -> None:
    """A module that no floor names has no place in the house."""
    assert any(room_of(module) in rooms for rooms in FLOORS)


@pytest.mark.parametrize(("module", "path"), modules().items())
def test_no_module_imports_from_a_higher_floor(module: str, path: Path) -> None:
    """Imports point downward or stay on their floor."""
    upward = {name for name in own_imports(module, path) if floor_of(name) > floor_of(module)}
    assert upward == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    """The import graph has an order."""
    graph = {module: own_imports(module, path) for module, path in modules().items()}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == set(graph)


@pytest.mark.parametrize(("library", "owner"), OWNERS.items())
def test_a_library_is_imported_by_its_owner_only(library: str, owner: str) -> None:
    """A foreign library, and with it the translation of its errors, lives in one room."""
    users = {room_of(module) for module, path in modules().items() if library in map(room_of, imports(path))}
    assert users <= {owner}


@pytest.mark.parametrize("room", IDENTITY_BLIND)
def test_a_room_written_against_identity_names_none(room: str) -> None:
    """Sync, stores and the view import no identity: they serve tables, windows and streams alike."""
    named = {
        (module, name)
        for module, path in modules().items()
        if room_of(module) == room
        for name in imports(path)
        if name.startswith("ktframe.identity")
    }
    assert named == set()


def classes(path: Path) -> set[str]:
    """Return the names of the classes that a module defines."""
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)}


def names(path: Path) -> set[str]:
    """Return every name that a module uses, defines or imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias | ast.ClassDef):
            found.add(node.name)
    return found


@pytest.mark.parametrize("room", IDENTITY_BLIND)
def test_sync_stores_and_the_view_name_no_window_or_stream(room: str) -> None:
    """Windows and streams have no loop, store or view of their own: these three name no class of theirs."""
    theirs = {name for module in WINDOWS_AND_STREAMS for name in classes(modules()[module])}
    assert {"WindowKey", "StreamKey", "FixedWindows", "KStream", "WindowedKTable"} <= theirs
    used = {
        (module, name)
        for module, path in modules().items()
        if room_of(module) == room
        for name in names(path)
        if name in theirs
    }
    assert used == set()


def test_there_is_one_loop_one_view_and_a_store_per_backend() -> None:
    """No second sync loop, view or store class hides in another room."""
    found = {name: room_of(module) for module, path in modules().items() for name in classes(path)}
    kinds = ("Binding", "Store", "View", "Materializer")
    alike = {name: room for name, room in found.items() if name.endswith(kinds) and not name.startswith("_")}
    assert alike == {
        "TopicBinding": "sync",
        "Materializer": "sync",
        "StateStore": "store",
        "RocksDBStore": "store",
        "MemoryStore": "store",
        "View": "frame",
    }


@pytest.mark.parametrize(("module", "path"), modules().items())
def test_no_module_is_longer_than_its_idea(module: str, path: Path) -> None:
    """At four hundred lines a file holds more than one idea."""
    assert len(path.read_text().splitlines()) <= 400, module
