"""How tests follow a hint: they meet it as a user would, take the code out of its text, and run that.

Every ``Hint(module, text)`` that a test names is a hint that it follows; ``tests/unit/test_hints.py`` holds them against
those in the code.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pytest

import ktframe
from ktframe.errors import KtframeError
from support.hints import Hint

_ARGUMENT = re.compile(r"(?<![\w.\"'])([a-z]\w*)=(?=[^\s=>])")
_CALL = re.compile(r"(?<![\w.])[a-z][\w.]*\(")
_NAMES = {"pl": pl, "ktframe": ktframe}
_VALUES = (ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.Call, ast.Attribute, ast.UnaryOp)


class Met:
    """A hint as a user met it."""

    def __init__(self) -> None:
        self.text = ""
        self.parts: tuple[str, ...] = ()
        """What stands in the places of its ``{}``."""
        self.error: KtframeError | None = None

    def read(self, hint: Hint, where: str | None) -> Met:
        """Take the hint out of ``where``, which must have it."""
        parts = [re.escape(part) for part in hint.text.split("{}")]
        # What comes last, with nothing after it, is all the rest.
        pattern = (
            "(.*?)".join(parts[:-1]) + ("(.*)" if parts[-1] == "" else "(.*?)" + parts[-1])
            if parts[1:]
            else parts[0]
        )
        text = where or ""
        match = re.fullmatch(pattern, text, re.DOTALL) or re.search(pattern, text, re.DOTALL)
        assert match is not None, f"{hint.text!r} is not in {where!r}"
        self.text, self.parts = match.group(), match.groups()
        return self

    @property
    def quoted(self) -> list[Any]:
        """What stands between quotes in it, or in the places of ``{}`` as literals."""
        return [ast.literal_eval(each) for each in re.findall(r"\"[^\"]*\"|(?<!\w)'[^']*'", self.text)]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that it names, with their values: ``{"max_future_skew": None}``; the last one of a name."""
        found = {}
        for match in _ARGUMENT.finditer(self.text):
            code = _longest(self.text[match.end() :])
            if code is not None:
                found[match.group(1)] = evaluated(code)
        return found

    @property
    def calls(self) -> list[str]:
        """The calls that it names, as code."""
        return [
            self.text[match.start() : match.start() + len(code)]
            for match in _CALL.finditer(self.text)
            if (code := _longest(self.text[match.start() :])) is not None
        ]

    @property
    def names(self) -> list[str]:
        """The names that "did you mean" or a list of choices offers."""
        listed = self.parts[0] if self.parts else ""
        return [each.strip().strip("'\"") for each in re.split(r", | or ", listed) if each.strip(". ")]


def met(hint: Hint, where: str | None) -> Met:
    """Return ``hint`` as it stands in a warning, a reason or a readiness."""
    return Met().read(hint, where)


@contextmanager
def hinted(hint: Hint) -> Iterator[Met]:
    """Expect an error of ktframe whose hint is this one."""
    found = Met()
    with pytest.raises(KtframeError) as raised:
        yield found
    found.error = raised.value
    found.read(hint, raised.value.hint)


def evaluated(code: str, **names: Any) -> Any:
    """Return the value of code that a hint names; ``ktframe`` may be a connection in the place of the package."""
    return eval(code, {**_NAMES, **names})  # noqa: S307 - texts of ktframe itself, that is what is tested


def _longest(text: str) -> str | None:
    """Return the longest beginning of ``text`` that is a value or a call."""
    for end in range(len(text), 0, -1):
        try:
            tree = ast.parse(text[:end], mode="eval")
        except (SyntaxError, ValueError):
            continue
        is_open = isinstance(tree.body, ast.Tuple) and text[0] != "("
        if isinstance(tree.body, _VALUES) and not is_open and text[:end].strip() == text[:end]:
            return text[:end]
    return None
