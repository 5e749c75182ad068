"""Which known name was meant by an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

_MOST_ELSEWHERE: Final = 3


def similar_names(name: str, choices: Iterable[str], *, most: int = 1) -> tuple[str, ...]:
    """Return those of ``choices`` that ``name`` may be a misspelling of, upper and lower case alike, the most similar first."""
    spelt: dict[str, list[str]] = {}
    for choice in choices:
        spelt.setdefault(choice.casefold(), []).append(choice)
    close = difflib.get_close_matches(name.casefold(), spelt, n=most)
    return tuple(choice for each in close for choice in spelt[each])[:most]


def similar_fields(name: str, choices: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``choices`` that ``name`` may mean: fields of that name inside of others, else the most similar one."""
    known = [*choices]
    last = _last_part(name)
    elsewhere = [other for other in known if _last_part(other) == last]
    return tuple(elsewhere[:_MOST_ELSEWHERE]) or similar_names(name, known)


def _last_part(name: str) -> str:
    return name.rpartition(".")[2].casefold()
