"""Where the stores of one description are on disk: one of each format version, side by side.

The first is ``table-<hash>``; one of another format version that is built beside it is ``table-<hash>-2``, and so on.
Stores of an older version may have other names: their settings had other names then, and the hash is over these.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from ktframe.config.settings import StoreOptions
from ktframe.errors import StoreCorruptError, StoreError
from ktframe.store.engine import DATA, Engine, SharedMemory
from ktframe.store.layout import FORMAT_VERSION
from ktframe.store.manifest import check_manifest
from ktframe.store.protocol import StoreDescription

DESCRIPTION = "store.json"
_REMOVED = "removed-"


def places(path: Path) -> list[Path]:
    """Return what is at ``path`` and at the numbered names beside it."""
    beside = (
        each
        for each in path.parent.glob(f"{path.name}-*")
        if each.name.removeprefix(f"{path.name}-").isdecimal()
    )
    numbered = sorted(beside, key=lambda each: int(each.name.rpartition("-")[2]))
    return [each for each in (path, *numbered) if each.exists()]


def free_place(path: Path) -> Path:
    """Return ``path`` or, where that is taken, the first numbered name that is free."""
    names = (path if number == 1 else path.with_name(f"{path.name}-{number}") for number in count(1))
    return next(each for each in names if not each.exists())


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty where it holds anything else."""
    try:
        value = json.loads(file.read_bytes())
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def described(place: Path) -> dict[str, Any]:
    """Return what ``store.json`` says; empty where that is no JSON object."""
    return read_json(place / DESCRIPTION)


def outdated_places(path: Path, description: StoreDescription) -> dict[Path, str]:
    """Return the stores of other format versions that a store at ``path`` replaces, with their versions.

    They have its name, or are older and hold the same rows, whatever their names.
    """
    named, found = places(path), dict[Path, str]()
    for file in path.parent.glob(f"[!.]*/{DESCRIPTION}"):
        try:
            stored = described(file.parent)
        except OSError:  # another store's; the error of its own is raised when it is opened
            continue
        version = stored.get("format_version")
        is_other = bool(stored) and version != FORMAT_VERSION
        if is_other and (file.parent in named or _is_older(stored, description)):
            found[file.parent] = str(version)
    return found


def _is_older(stored: dict[str, Any], description: StoreDescription) -> bool:
    version, settings = stored.get("format_version"), stored.get("settings")
    return (
        isinstance(version, int)
        and version < FORMAT_VERSION
        and all(stored.get(name) == getattr(description, name) for name in ("cluster_id", "topic", "kind"))
        and isinstance(settings, dict)
        # A setting that only one of the two versions has can't tell their stores apart.
        and all(settings.get(name, value) == value for name, value in description.settings.items())
    )


def remove_store(place: Path, options: StoreOptions, memory: SharedMemory) -> None:
    """Remove a store that nobody has open: first its name, in one step, then its files.

    Raises
    ------
    StoreLockedError
        When it is open, in this process or another one.
    StoreError, OSError
        When it can't be removed.
    """
    engine: Engine | None = None
    check_manifest(place, place / DATA)  # else it can't be asked, and the store stays
    # RocksDB itself has to be asked for its lock: whoever else opens and closes the file, in the process that has the
    # store open, takes the lock away from it. Its lock is held until the name is gone.
    with suppress(StoreCorruptError):  # which RocksDB finds after it got the lock
        engine = Engine(place, options, memory)
    try:
        hidden = Path(mkdtemp(prefix=f".{place.name}.{_REMOVED}", dir=place.parent))
        place.rename(hidden / place.name)
    finally:
        if engine is not None:
            with suppress(StoreError):  # it has lost its directory
                engine.close()
    shutil.rmtree(hidden, ignore_errors=True)


def sweep(path: Path) -> None:
    """Remove the files that a crash left after the name of their store was gone."""
    for hidden in path.parent.glob(f".*.{_REMOVED}*"):
        shutil.rmtree(hidden, ignore_errors=True)
