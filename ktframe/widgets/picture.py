"""What a panel shows at one moment: a page, perhaps a picture below it, and the same in plain text."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from ktframe.widgets.markup import note

PNG_SCALE: Final = 2
"""Pixels of a picture per pixel of the page: sharp on dense screens."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; ``html`` is escaped already, ``width`` of the picture is in pixels of the page."""

    html: str
    text: str
    png: bytes | None = None
    width: int = 0
    is_last: bool = False
    """Whether what was shown is closed: the frame before this one stays."""

    def noted(self, remark: str) -> Frame:
        """Return this frame with a remark above it."""
        return replace(self, html=note(remark) + self.html, text=f"({remark})\n{self.text}")

    def bundle(self) -> dict[str, Any]:
        """Return what shows where no widget can: on GitHub, in an exported page, without a kernel."""
        found: dict[str, Any] = {"text/plain": self.text}
        page = self.html
        if self.png is not None:
            image = base64.b64encode(self.png).decode()
            found["image/png"] = image
            page += f'<img src="data:image/png;base64,{image}" width="{self.width}" style="max-width:100%">'
        return {**found, "text/html": page}


class Picture(Protocol):
    """Something that can be drawn at any time; only its panel's thread draws it."""

    def frame(self) -> Frame:
        """Return what is to be seen now; never waits for Kafka."""

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` whenever there is something new to draw; return what ends that."""
