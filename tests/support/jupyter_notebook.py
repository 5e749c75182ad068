"""A notebook that is open in JupyterLab or Notebook 7: what a user does there, by the front end's own commands.

Simulated keys and clicks on menus depend on what has the focus; commands do not. Everything returns when it is done,
or fails at a deadline, and what it looks at is the outputs of a cell, never its source.
"""

import re
from pathlib import Path
from typing import Any, Literal

import nbformat
from playwright.sync_api import Locator, Page, expect

RUN_SECONDS = 90.0
WAIT_SECONDS = 60.0
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
HAS_THEME = "name => document.body.dataset.jpThemeName === name"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

_IS_IDLE = """id => {
    const panel = [...(window.jupyterapp?.shell.widgets("main") ?? [])].find(each => each.id === id);
    const session = panel?.context?.isReady && panel.context.sessionContext;
    return !!session && session.isReady && session.session?.kernel?.status === "idle";
}"""

_FRAME = """async ([id, given, seconds]) => {
    const app = window.jupyterapp;
    const panel = [...app.shell.widgets("main")].find(each => each.id === id);
    const kernel = panel.context.sessionContext.session.kernel;
    const work = async () => { %s };
    const late = (_, reject) => setTimeout(() => reject(new Error(`no answer within ${seconds} s`)), seconds * 1000);
    return await Promise.race([work(), new Promise(late)]);
}"""

_SELECT = "panel.content.deselectAll(); panel.content.activeCellIndex = given;"
# Else a command is for the notebook in front, which another one stays for a moment.
_HERE = "{semanticWidget: id}"

# A kernel aborts what it is asked in the moment after a cell has raised: it is asked again then.
_ASK = """
    for (;;) {
        const said = [];
        const future = kernel.requestExecute({code: given, store_history: false});
        future.onIOPub = ({header, content}) => {
            if (header.msg_type === "stream") said.push(content.text);
            if (header.msg_type === "execute_result") said.push(content.data["text/plain"]);
        };
        const reply = (await future.done).content;
        if (reply.status === "aborted") continue;
        return {text: said.join(""), error: reply.status === "ok" ? null : reply.traceback.join("\\n")};
    }
"""


class CellFailedError(AssertionError):
    """Code raised in the kernel; the text is the kernel's traceback."""

    def __init__(self, what: str, traceback: str) -> None:
        super().__init__(f"{what} failed:\n{_COLOUR.sub('', traceback)}")


class Notebook:
    """An open notebook with a kernel; its cells are counted from zero. ``page`` is Playwright's, for all the rest."""

    def __init__(self, page: Page, panel_id: str, path: Path) -> None:
        self.page = page
        self._id = panel_id
        self._path = path
        self._panel = page.locator(f"[id='{panel_id}']")

    def run(self, cell: int, *, timeout: float = RUN_SECONDS) -> None:
        """Run a cell, or run it again, and return when it has ended; fail with its traceback."""
        self._do(
            f"{_SELECT} await app.commands.execute('notebook:run-cell', {_HERE});", cell, timeout=timeout
        )
        self._check(cell)

    def start(self, cell: int) -> None:
        """Let a cell run, and do not wait for it."""
        self._do(f"{_SELECT} app.commands.execute('notebook:run-cell', {_HERE}).catch(() => {{}});", cell)

    def run_all(self, *, timeout: float = RUN_SECONDS) -> None:
        """Run all cells, and return when the last has ended; fail with the traceback of the first that fails."""
        self._do(
            f"{_SELECT} await app.commands.execute('notebook:run-all-cells', {_HERE});", 0, timeout=timeout
        )
        for cell in range(self._do("return panel.content.widgets.length;")):
            self._check(cell)

    def interrupt(self) -> None:
        """Interrupt the kernel, as the stop button does."""
        self._do("await kernel.interrupt();")

    def wait_until_idle(self, *, timeout: float = RUN_SECONDS) -> None:
        """Return when the notebook is loaded and its kernel has nothing to do."""
        self.page.wait_for_function(_IS_IDLE, arg=self._id, timeout=timeout * 1000)

    def output(self, cell: int) -> Locator:
        """Return the place of all outputs of a cell."""
        return self._panel.locator(".jp-CodeCell").nth(cell).locator(".jp-Cell-outputArea")

    def outputs(self, cell: int) -> list[dict[str, Any]]:
        """Return the outputs of a cell as a saved notebook would have them."""
        outputs: list[dict[str, Any]] = self._do(
            "return panel.content.widgets[given].model.outputs.toJSON();", cell
        )
        return outputs

    def wait_for_text(self, cell: int, text: str | re.Pattern[str], *, timeout: float = WAIT_SECONDS) -> None:
        """Return when the outputs of a cell show ``text``; fail with what they show instead."""
        expect(self.output(cell)).to_contain_text(text, use_inner_text=True, timeout=timeout * 1000)

    def click(self, cell: int, button: str) -> None:
        """Click the button of that name in the outputs of a cell."""
        self.output(cell).get_by_role("button", name=button, exact=True).click()

    def ask(self, code: str, *, timeout: float = RUN_SECONDS) -> str:
        """Run code that no cell shows in the kernel; return what it prints and the text of its last expression."""
        answer = self._do(_ASK, code, timeout=timeout)
        if answer["error"] is not None:
            raise CellFailedError(code, answer["error"])
        return str(answer["text"])

    def saved(self) -> nbformat.NotebookNode:
        """Save the notebook, and return what is in the file then."""
        self._do("await panel.context.save();")
        return nbformat.read(self._path, as_version=4)

    def theme(self, name: Literal["light", "dark"]) -> None:
        """Change the theme of the whole page."""
        script = "await app.commands.execute('apputils:change-theme', {theme: given});"
        self._do(script, THEMES[name])
        # The command returns before the new style sheet is there.
        self.page.wait_for_function(HAS_THEME, arg=THEMES[name])

    def screenshot(self, path: Path, *, cell: int | None = None) -> None:
        """Write a picture of the page, or of the outputs of one cell."""
        if cell is None:
            self.page.screenshot(path=path)
        else:
            self.output(cell).screenshot(path=path)

    def _check(self, cell: int) -> None:
        cell_name = f"cell {cell}"
        for output in self.outputs(cell):
            if output["output_type"] == "error":
                raise CellFailedError(cell_name, "\n".join(output["traceback"]))

    def _do(self, script: str, given: object = None, *, timeout: float = WAIT_SECONDS) -> Any:
        return self.page.evaluate(_FRAME % script, [self._id, given, timeout])
