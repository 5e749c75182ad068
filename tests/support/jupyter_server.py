"""A real Jupyter server for the tests, with the pages of JupyterLab and of Notebook 7."""

from typing import Any

from support.jupyter_process import JupyterProcess
from support.ports import HOST


class JupyterServer(JupyterProcess):
    """JupyterLab below ``lab`` and Notebook 7 below ``notebooks``; both give their application to the page's scripts."""

    def __init__(self) -> None:
        super().__init__("jupyter", program="jupyterlab", probe="api/status")

    def _settings(self, port: int, token: str) -> dict[str, dict[str, Any]]:
        extensions = "lab/user-settings/@jupyterlab"
        return {
            "jupyter_server_config.json": {
                "ServerApp": {
                    "ip": HOST,
                    "port": port,
                    "port_retries": 0,
                    "open_browser": False,
                    "root_dir": str(self.notebooks),
                    "allow_root": True,
                },
                "IdentityProvider": {"token": token},
                # One that could install asks a package index for what there is.
                "LabApp": {"expose_app_in_browser": True, "extension_manager": "readonly"},
                "JupyterNotebookApp": {"expose_app_in_browser": True},
            },
            f"{extensions}/apputils-extension/notification.jupyterlab-settings": {
                "fetchNews": "false",
                "checkForUpdates": False,
            },
            # Else a cell that is not in sight is not in the page.
            f"{extensions}/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
        }
