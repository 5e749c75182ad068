"""Which known name was meant by an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def similar_names(name: str, choices: Iterable[str], *, most: int = 1) -> tuple[str, ...]:
    """Return those of ``choices`` that ``name`` may be a misspelling of, upper and lower case alike, the most similar first."""
    spelt: dict[str, list[str]] = {}
    for choice in choices:
        spelt.setdefault(choice.casefold(), []).append(choice)
    close = difflib.get_close_matches(name.casefold(), spelt, n=most)
    return tuple(choice for each in close for choice in spelt[each])[:most]
