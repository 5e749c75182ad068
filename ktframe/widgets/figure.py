"""Charts that look right on light and dark pages: transparent, in mid grey, in colours that all can tell apart.

They are ``Figure`` objects without pyplot, which would keep each one for ever.
"""

from __future__ import annotations

import math
import warnings
from datetime import UTC
from io import BytesIO
from threading import Lock
from typing import Any, Final
from unicodedata import east_asian_width

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ktframe.widgets.picture import PNG_SCALE

__all__ = ["DASHES", "HEIGHT", "INK", "PALETTE", "WIDTH", "Axes", "Chart", "legend", "look", "style"]

INK: Final = "#808080"
"""The colour of text and axes: readable on white and on black."""

PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Okabe and Ito's colours, without black and yellow, which are lost on some pages."""

DASHES: Final = ("-", "--", "-.", ":")
"""Line styles, for more lines than colours."""

WIDTH: Final = 760

HEIGHT: Final = 260
"""Pixels on the page: what a notebook has room for."""

_DPI: Final = 100
_LEGEND_COLUMNS, _LEGEND_ROWS = 7, 4

_LEGEND_CHARACTERS, _LEGEND_GAP = 90, 6
"""How many characters have room side by side, and what a line's sample takes of that."""

_ONE_AT_A_TIME: Final = Lock()
"""Matplotlib does not promise that two threads may draw at once, be it on figures of their own."""


class Chart(Figure):
    """A figure that a notebook shows by itself; ``axes[0]`` is where it is drawn."""

    def __init__(self, *, width: int = WIDTH, height: int = HEIGHT) -> None:
        super().__init__(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(self)
        self.patch.set_alpha(0)
        self.add_subplot()

    def again(self) -> Axes:
        """Return new axes in the place of those that were drawn on: a layout begins where the one before it ended."""
        self.clear()
        return self.add_subplot()

    def png(self) -> bytes:
        """Return the picture, for dense screens."""
        out = BytesIO()
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            # Of each character that the font has not; a box stands for it.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            self.savefig(out, format="png", dpi=_DPI * PNG_SCALE, transparent=True)
        return out.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        return self.png(), {"width": WIDTH, "height": HEIGHT}


def style(ax: Axes, *, title: str, ylabel: str) -> None:
    """Give axes the look of all charts; the x axis is time, in UTC."""
    ax.set_title(title, loc="left", fontsize=10, color=INK, parse_math=False)
    ax.set_ylabel(ylabel, fontsize=9, color=INK, parse_math=False)
    ax.patch.set_alpha(0)
    ax.tick_params(colors=INK, labelsize=8)
    ax.grid(visible=True, axis="y", color=INK, alpha=0.25, linewidth=0.6)
    for side, spine in ax.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(INK)
    locator = AutoDateLocator(minticks=3, maxticks=7, tz=UTC)
    ax.xaxis.set_major_locator(locator)
    # Seconds with their minute: alone they look like any number.
    formats = ["%Y", "%b", "%d", "%H:%M", "%H:%M", "%H:%M:%S"]
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC, formats=formats))
    ax.xaxis.get_offset_text().set(color=INK, fontsize=8)
    ax.set_xlabel("UTC", fontsize=8, color=INK, loc="left")
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def legend(ax: Axes) -> None:
    """Name the lines, where there is more than one."""
    handles, labels = ax.get_legend_handles_labels()
    if len(handles) > 1:
        # No wider and no higher than there is room: what is larger takes it from the chart, until nothing is left.
        fitting = int(_LEGEND_CHARACTERS / (max(map(_width, labels)) + _LEGEND_GAP))
        columns = max(1, min(_LEGEND_COLUMNS, max(fitting, math.ceil(len(labels) / _LEGEND_ROWS))))
        labels = [_cut(label, _LEGEND_CHARACTERS / columns - _LEGEND_GAP) for label in labels]
        shown = ax.legend(
            handles,
            labels,
            fontsize=8,
            frameon=False,
            labelcolor=INK,
            loc="upper left",
            bbox_to_anchor=(0, -0.2),  # below: lines go anywhere
            ncols=columns,
        )
        for text in shown.get_texts():
            text.set_parse_math(False)


def _width(text: str) -> float:
    """Return about how many small letters a text is wide."""
    return sum(1.8 if east_asian_width(char) in "WF" else 1.4 if char.isupper() else 1 for char in text)


def _cut(text: str, most: float) -> str:
    """Return a text that is about ``most`` small letters wide."""
    width = _width(text)
    return text if width <= most else f"{text[: int(len(text) * most / width) - 1]}…"


def look(number: int) -> dict[str, Any]:
    """Return colour and dashes of the line with this number."""
    return {
        "color": PALETTE[number % len(PALETTE)],
        "linestyle": DASHES[number // len(PALETTE) % len(DASHES)],
    }
