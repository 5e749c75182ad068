"""Frames and pictures: a frame is what a panel shows at one moment, a picture is what draws frames.

A frame has a page of HTML, perhaps a PNG below it, and the same as plain text.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from ktframe.widgets.markup import note

PNG_SCALE: Final = 2  # pixels of an image per pixel of the page: sharp on dense screens


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; ``html`` is escaped already, the ``width`` of the PNG is in pixels of the page."""

    html: str
    text: str
    png: bytes | None = None
    width: int = 0
    is_last: bool = False
    """Whether the table or connection is closed: the frame before this one stays."""

    def noted(self, remark: str) -> Frame:
        """Return this frame with a remark above it."""
        return replace(self, html=note(remark) + self.html, text=f"({remark})\n{self.text}")

    def bundle(self) -> dict[str, Any]:
        """Return an output for where no widget can be shown: on GitHub, in an exported page, without a kernel."""
        images: dict[str, Any] = {}
        page = self.html
        if self.png is not None:
            image = base64.b64encode(self.png).decode()
            images["image/png"] = image
            page += f'<img src="data:image/png;base64,{image}" width="{self.width}" style="max-width:100%">'
        return {"text/plain": self.text, **images, "text/html": page}


class Picture(Protocol):
    """Draws frames; only its panel's thread calls it."""

    def frame(self) -> Frame:
        """Return the frame as of now; never waits for Kafka."""

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` whenever there is something new to draw; return what ends that."""
