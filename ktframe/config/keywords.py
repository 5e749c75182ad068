"""Misspelt keyword arguments: refused with the name that was meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from ktframe.config.spelling import similar_names
from ktframe.errors import ConfigurationError, did_you_mean

_ELSEWHERE: Final = {
    (
        "table",
        "explode",
    ): "a table has a row per key; ktframe.stream(..., explode=True) has an event for each object.",
}
"""Arguments that another function has, by the function that was called and their names."""

P = ParamSpec("P")
T = TypeVar("T")


def with_known_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """Let ``function`` refuse keyword arguments it does not have as a ``ConfigurationError`` with a hint.

    Python itself raises a ``TypeError``, which until Python 3.13 does not say which name was meant.
    """
    names = tuple(name for name in inspect.signature(function).parameters if name != "self")

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        for name in kwargs:
            if name not in names:
                message = f"{function.__name__}() has no argument {name!r}."
                elsewhere = _ELSEWHERE.get((function.__name__, name))
                hint = did_you_mean(similar_names(name, names)) or f"there are {', '.join(names)}."
                raise ConfigurationError(message, elsewhere or hint)
        return function(*args, **kwargs)

    return call
