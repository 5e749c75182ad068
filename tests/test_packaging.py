"""What leaves the house: dependencies that agree, and a wheel that works where the source tree is gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_names_the_dependencies_of_pyproject() -> None:
    """A conda user gets exactly what a pip user gets with the notebook extra."""
    listed = re.findall(r"^      - (\S+)$", (ROOT / "environment.yml").read_text(), flags=re.MULTILINE)
    assert listed == [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["notebook"]]


def test_the_version_is_said_once_and_the_same() -> None:
    """``ktframe.__version__`` is the version of the project."""
    import ktframe  # noqa: PLC0415 - only this test needs it

    assert ktframe.__version__ == PROJECT["version"]


@pytest.mark.slow
def test_the_wheel_runs_the_demo_where_the_source_tree_is_gone(tmp_path: Path) -> None:
    """The built wheel, alone in a clean environment, goes from ``demo()`` to a frame."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        timeout=300,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=300)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True, timeout=600)
    code = (
        "import ktframe, pathlib\n"
        f"assert {str(ROOT)!r} not in ktframe.__file__, ktframe.__file__\n"
        "with ktframe.demo(rate=0) as kt:\n"
        "    print(kt.table('orders').to_polars().height)\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    # The sample orders hold records that are none, and the read says so, in the user's line.
    assert done.stderr.startswith("<string>:4: KtframeWarning: 12 of"), done.stderr
    assert int(done.stdout) > 5_000


@pytest.mark.parametrize(("length", "code"), [(72, 0), (73, 1)])
def test_a_long_subject_is_refused(tmp_path: Path, length: int, code: int) -> None:
    """The hook for commit messages lets 72 characters pass, and says what to do with more."""
    message = tmp_path / "message"
    message.write_text(f"{'x' * length}\n\nA body may be longer: {'x' * 80}\n# a comment\n")
    hook = ROOT / "tests" / "support" / "check_commit_subject.sh"
    done = subprocess.run(["sh", str(hook), str(message)], check=False, capture_output=True, text=True)  # noqa: S607
    assert (done.returncode, "say what changed for whom" in done.stdout) == (code, code == 1)
