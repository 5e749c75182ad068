"""The means of the tests in a browser: what they rely on holds, and what should fail them does."""

import re
import sys
from pathlib import Path

import pytest
from support.jupyter_frontends import Lab, NotebookSeven, Voila
from support.jupyter_notebook import CellFailedError
from support.waiting import wait_until

TICKING = """
import threading, time
import ipywidgets

shown = ipywidgets.HTML("started")
go_on = threading.Event()

def tick():
    while not go_on.wait(0.05):
        shown.value = f"<b>tick at {time.monotonic():.3f}</b>"

threading.Thread(target=tick, daemon=True).start()
display(shown)
"""
BUSY = TICKING + "time.sleep(600)"
BUTTON = """
import ipywidgets

button, label = ipywidgets.Button(description="Push"), ipywidgets.Label("as it was")
button.on_click(lambda _: setattr(label, "value", "pushed"))
ipywidgets.VBox([button, label])
"""
A_TICK = re.compile(r"tick at \d+\.\d{3}")


def test_jupyterlab_shows_what_a_thread_updates_while_the_main_thread_sleeps(lab: Lab) -> None:
    """A widget that a thread updates moves on in JupyterLab during a cell that blocks."""
    notebook = lab.open([BUSY])
    notebook.start(0)
    notebook.wait_for_text(0, A_TICK)
    before = notebook.output(0).inner_text()
    notebook.wait_for_text(0, re.compile(f"^(?!{re.escape(before)})tick"))


def test_notebook_7_shows_what_a_thread_updates_while_the_main_thread_sleeps(
    notebook7: NotebookSeven,
) -> None:
    """A widget that a thread updates moves on in Notebook 7 during a cell that blocks."""
    notebook = notebook7.open([BUSY])
    notebook.start(0)
    notebook.wait_for_text(0, A_TICK)


def test_voila_shows_what_a_thread_updates_after_the_cells_have_run(voila: Voila) -> None:
    """A widget that a thread updates moves on in a page of Voila, where its button works as well."""
    page = voila.open([TICKING, BUTTON])
    page.wait_for_text(A_TICK)
    page.click("Push")
    page.wait_for_text("pushed")


def test_a_cell_runs_again_and_its_button_works(lab: Lab) -> None:
    """Cells run one by one, all together and once more; each run has outputs of its own."""
    notebook = lab.open(["n = 0", "n += 1\nprint(f'run {n}')", BUTTON])
    notebook.run_all()
    notebook.run(1)
    assert [output["text"] for output in notebook.outputs(1)] == ["run 2\n"]
    notebook.click(2, "Push")
    notebook.wait_for_text(2, "pushed")


def test_two_notebooks_are_open_and_each_runs_its_own_cells(lab: Lab) -> None:
    """A notebook that is not in front runs its cells in its own kernel."""
    first, second = lab.open(["a = 1"]), lab.open(["a = 2"])
    second.run(0)
    first.run(0)
    assert (first.ask("a"), second.ask("a")) == ("1", "2")


def test_the_kernel_is_the_python_of_the_tests_and_has_ktframe(lab: Lab) -> None:
    """A notebook imports the ktframe that is tested, and code without a cell tells so."""
    notebook = lab.open([])
    assert notebook.ask("import sys; print(sys.executable)").strip() == sys.executable
    source = Path(__file__).parents[2] / "ktframe" / "__init__.py"
    assert notebook.ask("import ktframe; print(ktframe.__file__)").strip() == str(source)


def test_what_raises_in_the_kernel_fails_the_test(lab: Lab) -> None:
    """A cell that fails, alone or among all, and code without a cell that fails are not passed over."""
    notebook = lab.open(["1 / 0"])
    with pytest.raises(CellFailedError, match="ZeroDivisionError"):
        notebook.run(0)
    with pytest.raises(CellFailedError, match="ZeroDivisionError"):
        notebook.run_all()
    with pytest.raises(CellFailedError, match="nowhere"):
        notebook.ask("import nowhere")


def test_an_error_on_the_console_is_heard(lab: Lab) -> None:
    """What a page prints as an error, does not catch, or does not find is an error of the test."""
    notebook = lab.open([])
    notebook.page.evaluate("async () => { await fetch('/nothing'); }")
    notebook.page.evaluate("() => { console.error('printed'); }")
    notebook.page.evaluate("() => { setTimeout(() => { throw new Error('thrown'); }); }")
    notebook.page.evaluate("() => { Promise.reject(new Error('rejected')); }")
    heard: list[str] = []

    def all_are_heard() -> bool:
        heard.extend(lab.console.take())
        said = re.findall("nothing|printed|rejected|thrown", "\n".join(heard))
        return sorted(said) == ["nothing", "printed", "rejected", "thrown"]

    wait_until(all_are_heard, "four errors on the console")
    assert lab.console.take() == []


def test_a_picture_shows_the_theme(lab: Lab, tmp_path: Path) -> None:
    """The page and the outputs of a cell are photographed in the light theme and in the dark one."""
    notebook = lab.open(["print('hello')"])
    notebook.run(0)
    notebook.screenshot(tmp_path / "light.png", cell=0)
    notebook.theme("dark")
    notebook.screenshot(tmp_path / "dark.png", cell=0)
    notebook.screenshot(tmp_path / "page.png")
    assert len({path.read_bytes() for path in tmp_path.glob("*.png")}) == 3


def test_a_saved_notebook_has_the_outputs(lab: Lab) -> None:
    """What is saved is what the page shows."""
    notebook = lab.open(["print('kept')"])
    notebook.run(0)
    assert notebook.saved().cells[0].outputs[0].text == "kept\n"
