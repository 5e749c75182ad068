"""What the notebook servers of the tests share: a process that sees none of the user's Jupyter, and its notebooks."""

import json
import os
import secrets
import sys
from abc import abstractmethod
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import Any

import nbformat

from support.child_process import ChildProcess
from support.ports import HOST, free_ports

# Nobody is asked to choose a kernel, and the one of this name runs the Python that runs the server.
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


class JupyterProcess(ChildProcess):
    """A server on a loopback port that serves ``notebooks``, to those who know its token."""

    def __init__(self, name: str, *, program: str, probe: str) -> None:
        super().__init__(name)
        self.notebooks = self._dir / "notebooks"
        self._program = program
        self._probe = probe
        self._token = secrets.token_hex(16)
        self._numbers = count(1)
        (self._port,) = free_ports(1)
        self.notebooks.mkdir()
        for file, settings in self._settings(self._port, self._token).items():
            path = self._dir / "config" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(settings))

    def url(self, path: str) -> str:
        """Return the address of a page, with the token that opens it."""
        return f"http://{HOST}:{self._port}/{path}?token={self._token}"

    def write(self, cells: Sequence[str]) -> str:
        """Write a notebook of code cells, and return its name."""
        name = f"notebook-{next(self._numbers)}.ipynb"
        made = [nbformat.v4.new_code_cell(source) for source in cells]
        nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=KERNEL), self.notebooks / name)
        return name

    def close(self) -> None:
        """End the kernels, then the server, and remove their data."""
        # A server that is killed leaves its kernels running for a second, and they write to its directory.
        self.stop()
        super().close()

    @abstractmethod
    def _settings(self, port: int, token: str) -> dict[str, dict[str, Any]]:
        """Return the files of settings, below Jupyter's directory of them, and what is in each."""

    def _arguments(self) -> list[str]:
        return []

    def _command(self) -> list[str]:
        environment = self._environment()
        for place in environment.values():
            Path(place).mkdir(exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
        variables = [f"{name}={value}" for name, value in (kept | environment).items()]
        return ["env", "-i", *variables, sys.executable, "-m", self._program, *self._arguments()]

    def _environment(self) -> dict[str, str]:
        # A home of its own, too: settings, kernels and the stores of ktframe of whoever runs the tests stay
        # as they are, and do not change what the tests see.
        places = {
            "HOME": "home",
            "TMPDIR": "scratch",
            "IPYTHONDIR": "ipython",
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
        }
        return {name: str(self._dir / place) for name, place in places.items()}

    def _answers(self) -> bool:
        connection = HTTPConnection(HOST, self._port, timeout=5)
        try:
            connection.request("GET", f"/{self._probe}", headers={"Authorization": f"token {self._token}"})
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
