"""What a user sees notebooks in: JupyterLab, Notebook 7 and Voila. Each opens notebooks that a test gives as cells."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from support.browser import Console
from support.jupyter_notebook import HAS_THEME, THEMES, WAIT_SECONDS, Notebook
from support.jupyter_server import JupyterServer
from support.voila_server import VoilaServer

LOAD_SECONDS = 60.0

_HAS_APPLICATION = "() => !!window.jupyterapp"

_LEAVE = """async theme => {
    const app = window.jupyterapp;
    for (const panel of [...app.shell.widgets("main")]) {
        const kernel = panel.context?.sessionContext?.session?.kernel;
        // A busy one would be given seconds to end by itself.
        if (kernel?.status === "busy") await kernel.interrupt();
        await panel.context?.sessionContext?.shutdown();
        panel.dispose();
    }
    if (document.body.dataset.jpThemeName !== theme) await app.commands.execute("apputils:change-theme", {theme});
}"""


class FrontEnd(ABC):
    """One front end in one context of the browser; ``console`` hears all its pages."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(WAIT_SECONDS * 1000)
        self._context = context
        self.console = Console(context)

    @property
    def pages(self) -> list[Page]:
        """The pages that are open."""
        return self._context.pages

    @abstractmethod
    def leave(self) -> None:
        """Close what a test opened, and end its kernels."""

    def discard(self) -> None:
        """Close every page, as after a test that failed and left nobody knows what."""
        for page in self.pages:
            page.close()


class Lab(FrontEnd):
    """JupyterLab in one page that all tests share: to load it takes longer than to open a notebook in it."""

    def __init__(self, context: BrowserContext, server: JupyterServer) -> None:
        super().__init__(context)
        self._server = server

    def open(self, cells: Sequence[str]) -> Notebook:
        """Open a notebook of these cells, and return when its kernel is there."""
        name = self._server.write(cells)
        page = self.pages[0] if self.pages else self._load()
        script = "async path => (await jupyterapp.commands.execute('docmanager:open', {path})).id"
        notebook = Notebook(page, page.evaluate(script, name), self._server.notebooks / name)
        notebook.wait_until_idle(timeout=LOAD_SECONDS)
        return notebook

    def leave(self) -> None:
        """Close all notebooks, end their kernels and take the light theme; the page stays."""
        for page in self.pages:
            page.evaluate(_LEAVE, THEMES["light"])
            page.wait_for_function(HAS_THEME, arg=THEMES["light"])

    def _load(self) -> Page:
        page = self._context.new_page()
        # Without the tabs that were open in another page.
        page.goto(self._server.url("lab") + "&reset")
        page.wait_for_function(_HAS_APPLICATION, timeout=LOAD_SECONDS * 1000)
        page.evaluate("async () => { await jupyterapp.restored; }")
        return page


class NotebookSeven(FrontEnd):
    """Notebook 7, which gives each notebook a page."""

    def __init__(self, context: BrowserContext, server: JupyterServer) -> None:
        super().__init__(context)
        self._server = server

    def open(self, cells: Sequence[str]) -> Notebook:
        """Open a notebook of these cells, and return when its kernel is there."""
        name = self._server.write(cells)
        page = self._context.new_page()
        page.goto(self._server.url(f"notebooks/{name}"))
        page.wait_for_function(_HAS_APPLICATION, timeout=LOAD_SECONDS * 1000)
        page.wait_for_function("() => !!jupyterapp.shell.currentWidget", timeout=LOAD_SECONDS * 1000)
        panel_id = page.evaluate("() => jupyterapp.shell.currentWidget.id")
        notebook = Notebook(page, panel_id, self._server.notebooks / name)
        notebook.wait_until_idle(timeout=LOAD_SECONDS)
        return notebook

    def leave(self) -> None:
        """Close all pages and end their kernels."""
        for page in self.pages:
            page.evaluate(_LEAVE, THEMES["light"])
        self.discard()


class VoilaPage:
    """The outputs of a notebook as one page. ``page`` is Playwright's, for all the rest."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wait_for_text(self, text: str | re.Pattern[str], *, timeout: float = WAIT_SECONDS) -> None:
        """Return when the page shows ``text``; fail with what it shows instead."""
        shown = self.page.locator("#rendered_cells")
        expect(shown).to_contain_text(text, use_inner_text=True, timeout=timeout * 1000)

    def click(self, button: str) -> None:
        """Click the button of that name."""
        self.page.get_by_role("button", name=button, exact=True).click()

    def screenshot(self, path: Path) -> None:
        """Write a picture of the page."""
        self.page.screenshot(path=path)


class Voila(FrontEnd):
    """Voila, which shows a page when all cells have run, and has widgets live from then on."""

    def __init__(self, context: BrowserContext, server: VoilaServer) -> None:
        super().__init__(context)
        self._server = server

    def open(self, cells: Sequence[str]) -> VoilaPage:
        """Open the page of a notebook of these cells, and return when all have run."""
        page = self._context.new_page()
        address = self._server.url(f"voila/render/{self._server.write(cells)}")
        page.goto(address, timeout=LOAD_SECONDS * 1000)
        return VoilaPage(page)

    def leave(self) -> None:
        """Close all pages; their kernels end with the server, as Voila has it."""
        self.discard()
