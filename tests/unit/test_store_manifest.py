"""Damage to the files by which RocksDB finds all others: a store is opened as it was at some flush, or refused, at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.changes import changes_of
from support.stores import OPTIONS, ORDERS

from ktframe.errors import StoreCorruptError
from ktframe.fold.identity_codec import encode_part
from ktframe.store.manager import StoreManager
from ktframe.store.manifest import check_manifest

HERE = Path(__file__).parent


@pytest.fixture
def files(manager: StoreManager) -> Path:
    """Return the directory of RocksDB's files of a store that was flushed some times, and is closed."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    for number in range(1, 6):
        store.apply(changes_of([(0, encode_part(number), b"1")]), {0: number})
        store.flush()
    manager.close(store)
    return manager.path_of(ORDERS) / "rocksdb"


def records(manifest: Path) -> list[int]:
    """Return where each record of a manifest begins."""
    raw, at, found = manifest.read_bytes(), 0, []
    while at < len(raw):
        found.append(at)
        at += 7 + int.from_bytes(raw[at + 4 : at + 6], "little")
    return found


@pytest.mark.parametrize("kind", [5, 6, 7, 8, 11, 255])
def test_a_record_of_another_kind_is_refused(manager: StoreManager, files: Path, kind: int) -> None:
    """RocksDB would read a manifest with some of these for ever."""
    (manifest,) = files.glob("MANIFEST-*")
    whole = manifest.read_bytes()
    for at in records(manifest):
        manifest.write_bytes(whole[: at + 6] + bytes([kind]) + whole[at + 7 :])
        with pytest.raises(StoreCorruptError, match=f"it has a record of kind {kind}") as raised:
            manager.get_or_open(ORDERS, OPTIONS)
        assert f"Remove {files.parent} and it is built again" in str(raised.value)
    shutil.rmtree(files.parent)
    assert manager.get_or_open(ORDERS, OPTIONS).positions() == {}


def test_records_in_all_blocks_are_looked_at(tmp_path: Path) -> None:
    """A manifest is read in blocks of 32 KiB, whose rest is empty where the next record does not fit."""
    record = bytes(4) + (10_000).to_bytes(2, "little") + b"\1" + bytes(10_000)
    block = (record * 3).ljust(32_768, b"\0")
    (tmp_path / "CURRENT").write_text("MANIFEST-000005\n")
    manifest = tmp_path / "MANIFEST-000005"
    for raw in (block, block + record[:5], block + record[:5_000], block + bytes(70_000), b""):
        manifest.write_bytes(raw)
        check_manifest(tmp_path, tmp_path)
    manifest.write_bytes(block * 2 + record + record[:6] + b"\5")
    with pytest.raises(StoreCorruptError, match="it has a record of kind 5"):
        check_manifest(tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["CURRENT", "IDENTITY", "rocksdict-config.json"])
def test_a_file_of_one_line_is_short(manager: StoreManager, files: Path, name: str) -> None:
    """RocksDB would read all of it into memory."""
    os.truncate(files / name, 1 << 33)
    with pytest.raises(StoreCorruptError, match=f"{name} is no longer a short file"):
        manager.get_or_open(ORDERS, OPTIONS)


@pytest.mark.parametrize(
    "text", ["MANIFEST-000000\n", "MANIFEST-000005", "", "\n", "\0", "CURRENT\n", "/\n", "../store.json\n"]
)
def test_a_current_that_points_nowhere_is_refused(manager: StoreManager, files: Path, text: str) -> None:
    """Whatever it names, it is no manifest."""
    (files / "CURRENT").write_text(text)
    with pytest.raises(StoreCorruptError):
        manager.get_or_open(ORDERS, OPTIONS)


@pytest.mark.slow
def test_random_damage_is_a_prefix_or_an_error(tmp_path: Path) -> None:
    """Whichever file is damaged, and how: a store is opened as of one of its flushes, or refused."""
    command = [sys.executable, HERE / "damaged_stores.py", tmp_path, "400"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    opened, refused = map(int, done.stdout.split())
    assert opened + refused == 400
    assert min(opened, refused) > 20
