"""The notebook around us, where there is one: which cell runs, and how to put something below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ktframe.interactive import has_front_end, shell

__all__ = ["around_cells", "cell_id", "has_front_end", "replace", "show"]


def cell_id() -> str | None:
    """Return which cell runs; None where that is not known."""
    found = shell()
    if found is None or not hasattr(found, "get_parent"):
        return None
    cell: str | None = (found.get_parent().get("metadata") or {}).get("cellId")
    return cell


def around_cells(before: Callable[[str | None], object], after: Callable[[], object]) -> None:
    """Call ``before`` with the id of each cell that is about to run, and ``after`` when it has run."""
    found = shell()
    if found is not None:
        events = found.events
        events.register("pre_run_cell", lambda info: before(getattr(info, "cell_id", None) or cell_id()))
        events.register("post_run_cell", lambda _: after())


def show(bundle: Mapping[str, Any], display_id: str) -> None:
    """Put a bundle of MIME types below the running cell."""
    from IPython.display import display  # noqa: PLC0415 - only where a notebook has loaded it already

    display(dict(bundle), raw=True, display_id=display_id)


def replace(bundle: Mapping[str, Any], display_id: str) -> None:
    """Put a bundle in the place of what was shown under ``display_id``; any thread may."""
    from IPython.display import update_display  # noqa: PLC0415 - only where a notebook has loaded it already

    update_display(dict(bundle), raw=True, display_id=display_id)
