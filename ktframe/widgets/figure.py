"""The look of all charts: transparent, with grey text, for light and dark pages; colours that colour-blind people can tell apart.

Charts are ``Figure`` objects made without pyplot, which would keep each one in memory. What is drawn on them is in
``lag_chart.py`` and ``window_chart.py``.
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

# How many characters have room side by side, and how many of them the sample of a line takes.
_LEGEND_CHARACTERS, _LEGEND_GAP = 90, 6

# Matplotlib does not promise that two threads may draw at once, even on figures of their own.
_DRAWING: Final = Lock()


class Chart(Figure):
    """A figure that a notebook shows by itself; ``axes[0]`` is where it is drawn."""

    def __init__(self, *, width: int = WIDTH, height: int = HEIGHT) -> None:
        super().__init__(figsize=(width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(self)
        self.patch.set_alpha(0)
        self.add_subplot()

    def again(self) -> Axes:
        """Return new axes in the place of the old ones."""
        # Clearing the old axes is not enough: their layout would start from where the last one ended.
        self.clear()
        return self.add_subplot()

    def png(self) -> bytes:
        """Return the picture, for dense screens."""
        out = BytesIO()
        with _DRAWING, warnings.catch_warnings():
            # One for each character that the font does not have; it is drawn as a box.
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
    """Add a legend where there is more than one line."""
    handles, labels = ax.get_legend_handles_labels()
    if len(handles) > 1:
        # A legend that is wider or higher than there is room for takes the room from the chart.
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
    """Return the width of a text, roughly, in small letters."""
    return sum(1.8 if east_asian_width(char) in "WF" else 1.4 if char.isupper() else 1 for char in text)


def _cut(text: str, most: float) -> str:
    """Return a text, cut where it is wider than about ``most`` small letters."""
    width = _width(text)
    return text if width <= most else f"{text[: int(len(text) * most / width) - 1]}…"


def look(number: int) -> dict[str, Any]:
    """Return colour and dashes of the line with this number."""
    return {
        "color": PALETTE[number % len(PALETTE)],
        "linestyle": DASHES[number // len(PALETTE) % len(DASHES)],
    }
