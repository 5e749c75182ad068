"""The browser of the tests: the system's Chromium, and what the consoles of its pages say.

Playwright brings the means to drive a browser, and none is downloaded. While one is open, an event loop counts as
running in the main thread, so ``asyncio.run`` fails there: the tests with a browser are the last of a run.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, WebError, sync_playwright

from support.ports import HOST

NAMES = ("chromium", "chromium-browser", "google-chrome")
# No page of ours needs the internet, and none may come to need it.
FLAGS = ("--disable-gpu", f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}")


class BrowserMissingError(RuntimeError):
    """There is no Chromium on this machine."""

    def __init__(self) -> None:
        super().__init__("The tests with a browser need Chromium (Debian: apt-get install chromium).")


class Noise(NamedTuple):
    """What a front end says on its own console in every session, and why that is not ours."""

    pattern: re.Pattern[str]
    reason: str


NOISE = (
    Noise(
        re.compile(r"^Could not restore the debugger state: Canceled future for debug_request message\b"),
        "the debugger of JupyterLab and Notebook 7 asks each kernel, and one that is busy until it ends never answers",
    ),
    Noise(
        re.compile(
            r"^TypeError: Cannot read properties of undefined \(reading 'schema'\)\n.*/static/notebook/"
        ),
        "Notebook 7 looks for the settings of a JupyterLab extension before they are loaded",
    ),
    Noise(
        re.compile(r"^Error: Command 'filebrowser:open-path' not registered\.\n.*/static/notebook/"),
        "Notebook 7 has no file browser beside a notebook, and an extension calls it",
    ),
    Noise(
        re.compile(
            r"^TypeError: Cannot read properties of null \(reading 'kernel'\)\n.*/jupyterlab-manager/static/"
        ),
        "the extension for widgets takes it that a notebook has a session, and one may be opened without a kernel",
    ),
    Noise(
        re.compile(
            r"^Failed to load resource: net::ERR_NAME_NOT_RESOLVED\n.*/@fortawesome/fontawesome-free@"
        ),
        "Voila's template takes an icon font, which no widget of ours uses, from the internet",
    ),
)

# Whatever a page has queued comes first, and its messages are here before its answer.
_HAVE_YOUR_SAY = "() => new Promise(done => setTimeout(done))"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the system's Chromium, without a window, and close it at the end."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        raise BrowserMissingError
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Console:
    """The errors on the consoles of all pages of ``context``: what they print as such, and what nobody catches."""

    def __init__(self, context: BrowserContext) -> None:
        self._context = context
        self._errors: list[str] = []
        context.on("console", self._on_message)
        context.on("weberror", self._on_error)

    def take(self) -> list[str]:
        """Return the errors since the last call, without the noise of the front ends."""
        for page in self._context.pages:
            page.evaluate(_HAVE_YOUR_SAY)
        taken, self._errors = self._errors, []
        return [error for error in taken if not any(noise.pattern.search(error) for noise in NOISE)]

    def _on_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._errors.append(f"{message.text}\n    at {message.location['url']}")

    def _on_error(self, error: WebError) -> None:
        self._errors.append(error.error.stack or error.error.message)
