"""The rooms of ARCHITECTURE.md, enforced: data and imports go one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ktframe"

# The front door: single modules, which know each other.
FACE = frozenset({"_api", "_connect", "__init__", "__main__"})

# Ground floor first. A room imports rooms of lower floors only.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset(
        {"errors", "events", "clock", "columns", "call_site", "ipython", "gc_pause", "current", "threads"}
    ),
    frozenset({"config", "formats", "process"}),
    frozenset({"windows"}),
    frozenset({"fold"}),
    frozenset({"kafka", "store"}),
    frozenset({"sync", "explore"}),
    frozenset({"widgets"}),
    frozenset({"tables"}),
    frozenset({"context"}),
    frozenset({"tour", "testing"}),
    FACE,
)

# The ground floor is made of single modules, of which these know each other.
NEIGHBOURS = {
    ("errors", "ipython"),
    ("current", "errors"),
    ("ipython", "call_site"),
}

# Which room alone may import which library.
OWNERS = {
    "confluent_kafka": "kafka",
    "rocksdict": "store",
    "javaproperties": "config",
    "ipywidgets": "widgets",
    "matplotlib": "widgets",
    "msgspec": "formats",
}

# What the rooms show each other: a module that is not listed is its room's own business.
SHOWN = {
    "config": {
        "durations",
        "keywords",
        "moments",
        "options",
        "settings",
        "sources",
        "spelling",
        "version",
    },
    "context": {"completion", "context", "declaration", "headers", "schema"},
    "explore": {"inspection", "topics"},
    "fold": {
        *(
            "begun",
            "combined",
            "compact",
            "condition",
            "decoder",
            "deletes",
            "epoch",
            "event_time",
            "hashes",
            "identity",
            "identity_codec",
            "key_column",
            "key_tombstones",
            "nested_fields",
            "records",
        ),
        *("learned", "learning"),
        *(
            "refused",
            "remedies",
            "row_codec",
            "rows",
            "stale",
            "view",
            "field_key",
            "record_key",
            "stream_key",
        ),
        *("as_sent", "header_codec", "headers"),
        *("sifting", "unnested_fields", "window_key", "written"),
    },
    "formats": {
        *(
            "__init__",
            "base",
            "bodies",
            "body_readers",
            "compact_json",
            "dtypes",
            "field_names",
            "header_values",
            "nested",
            "plain",
            "resolution",
            "rules",
        ),
        *(
            "schemas",
            "windowed_keys",
            "wire",
            "writers",
            "json.decision",
            "json.packed",
            "json.refusals",
            "json.scalars",
            "json.sightings",
        ),
    },
    "kafka": {
        *(
            "cluster",
            "mock_broker",
            "outgoing",
            "protocol",
            "reader",
            "registry",
            "sampler",
            "survey",
            "writer",
        ),
    },
    "process": {"endings", "forks", "available_memory", "memory", "threads"},
    "store": {"manager", "protocol", "replacement", "schemas"},
    "sync": {
        *("barrier", "binding", "health", "history", "lookups", "manager", "materializer"),
        *("missing", "monitor", "progress"),
        *("reader", "status"),
    },
    "tables": {
        *(
            "base",
            "presentation",
            "stream",
            "table",
            "table_writer",
            "topic_writer",
            "window_spec",
        ),
        *("windowed_stream", "windowed_table"),
    },
    "tour": {"demo"},
    "widgets": {"__init__", "figure", "window_chart"},
    "windows": {"aggregation", "base", "events", "fixed", "parsing", "retention", "sessions", "sliding"},
}

# Rooms that are written once against "identity" and may not know which one they serve.
IDENTITY_BLIND = ("sync", "store", "fold.view")
WINDOWS_AND_STREAMS = (
    "windows.base",
    "windows.fixed",
    "windows.parsing",
    "windows.calendar",
    "windows.wall_clock",
    "fold.window_key",
    "fold.stream_key",
    "windows.events",
    "windows.sliding",
    "windows.sessions",
    "tables.windowed_table",
    "tables.windowed_stream",
    "tables.windowed",
    "tables.stream",
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


def is_in(module: str, room: str) -> bool:
    """Say whether a module is a room, or lives in it."""
    return module == room or module.startswith(f"{room}.")


def floor_of(module: str) -> int:
    """Return the floor on which a module of the package lives."""
    return next(number for number, rooms in enumerate(FLOORS) if room_of(module) in rooms)


def own_imports(module: str, path: Path) -> set[str]:
    """Return the modules of the package that a module imports."""
    known = modules()
    own = set()
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
        own |= {next(candidate for candidate in candidates if candidate in known)}
    return own - {module}


def test_every_module_lives_in_a_room() -> None:
    """A module that no floor names has no place in the house."""
    rooms = set().union(*FLOORS)
    assert {module for module in modules() if room_of(module) not in rooms} == set()


def test_few_modules_stand_outside_of_the_rooms() -> None:
    """The front door and the ground: everything else lives in a room."""
    assert len(list(PACKAGE.glob("*.py"))) <= 12


def test_a_room_imports_lower_rooms_only() -> None:
    """Imports between rooms point downward; rooms of one floor do not know each other."""
    sideways = {
        (module, name)
        for module, path in modules().items()
        for name in own_imports(module, path)
        if room_of(name) != room_of(module)
        and floor_of(name) >= floor_of(module)
        and (room_of(module), room_of(name)) not in NEIGHBOURS
        and not {module, name} <= FACE
    }
    assert sideways == set()


def test_a_room_shows_the_others_what_is_listed_and_no_more() -> None:
    """Whatever another room imports is listed: the rest of a room can change without a look outside."""
    shown: dict[str, set[str]] = {}
    for module, path in modules().items():
        for name in own_imports(module, path):
            room, _, inner = name.partition(".")
            if inner and room != room_of(module):
                shown.setdefault(room, set()).add(inner)
    assert shown == SHOWN


def test_no_modules_import_each_other_in_a_circle() -> None:
    """The import graph has an order."""
    graph = {module: own_imports(module, path) for module, path in modules().items()}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == set(graph)


def test_a_library_is_imported_by_its_owner_only() -> None:
    """A foreign library, and with it the translation of its errors, lives in one room."""
    trespassers = {
        (module, library)
        for module, path in modules().items()
        for library in OWNERS.keys() & {room_of(name) for name in imports(path)}
        if room_of(module) != OWNERS[library]
    }
    assert trespassers == set()


@pytest.mark.parametrize("room", IDENTITY_BLIND)
def test_a_room_written_against_identity_names_none(room: str) -> None:
    """Sync, stores and the view import no identity: they serve tables, windows and streams alike."""
    named = {
        (module, name)
        for module, path in modules().items()
        if is_in(module, room)
        for name in imports(path)
        if name.startswith("ktframe.fold.identity")
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
        if is_in(module, room)
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
        "View": "fold",
    }


def test_no_module_is_longer_than_its_idea() -> None:
    """At four hundred lines a file holds more than one idea."""
    lengths = {module: len(path.read_text().splitlines()) for module, path in modules().items()}
    assert {module: length for module, length in lengths.items() if length > 400} == {}
