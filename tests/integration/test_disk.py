"""Disks that refuse for a while: full, read-only, without permission, gone. A table goes on once that is over."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT_OF_ITS_OWN = ["unshare", "--mount", "--map-root-user"]
"""May mount, whoever runs the tests."""
NOBODY = ["unshare", "--user"]
"""May not write where permissions forbid it, even if root runs the tests."""


def run(isolated: list[str], *command: object) -> Any:
    """Run a program apart from this one, and return what it printed as JSON."""
    done = subprocess.run(
        [*isolated, *map(str, command)], check=False, capture_output=True, text=True, timeout=180
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "isolated", "message"),
    [
        ("read-only", ROOT_OF_ITS_OWN, "the file system is read-only: make it writable again"),
        ("no permission", NOBODY, "this user may not read and write there: allow it to"),
        ("gone", [], "files of it were removed while it was open"),
    ],
)
def test_a_table_goes_on_once_its_disk_does(
    tmp_path: Path, fault: str, isolated: list[str], message: str
) -> None:
    """The error names the directory and what helps; what helps does, with no cell run, and rows are complete."""
    told = run(isolated, sys.executable, HERE / "refusing_disk.py", fault, tmp_path)
    assert message in told["error"]
    assert str(tmp_path / "state") in told["error"]
    assert told == told | {"got": {"key": "k7", "n": 2}, "is_equal": True, "goes_on": True, "left": []}
    assert ("the disk has lost its rows" in told["rebuilt"]) or fault != "gone"


@pytest.mark.slow
def test_writes_that_fail_at_random(tmp_path: Path) -> None:
    """On a disk that is full again and again, every read is right or says that the disk is full; in the end all is right."""

    def reads(seed: int) -> Any:
        disk = tmp_path / str(seed)
        disk.mkdir()
        program = f"{sys.executable} {HERE / 'small_disk.py'} {disk} {seed} 50"
        return run(ROOT_OF_ITS_OWN, "sh", "-c", f"mount -t tmpfs -o size=10m tmpfs {disk} && exec {program}")

    # Side by side: RocksDB takes a second for each error.
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(reads, range(4)))
    assert sum(each["right"] + each["error"] for each in told) == 200
    assert sum(each["error"] for each in told) > 50
