"""A real Voila for the tests: each notebook as a page of its outputs alone, run anew for whoever opens it."""

from typing import Any

from support.jupyter_process import JupyterProcess
from support.ports import HOST


class VoilaServer(JupyterProcess):
    """Voila with the notebooks below ``voila/render``."""

    def __init__(self) -> None:
        super().__init__("voila", program="voila", probe="voila/static/voila.js")

    def _settings(self, port: int, token: str) -> dict[str, dict[str, Any]]:
        return {
            "voila.json": {
                "Voila": {"ip": HOST, "port": port, "port_retries": 0, "open_browser": False, "token": token},
                "VoilaConfiguration": {
                    "show_tracebacks": True,
                    # Notebook 7 adds it to JupyterLab; in Voila's older one it fails, and says so on the console.
                    "extension_denylist": ["@jupyter-notebook/lab-extension"],
                },
            },
        }

    def _arguments(self) -> list[str]:
        return [str(self.notebooks)]
