"""The examples in docstrings: each runs as it stands, offline."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest

import ktframe

PACKAGE = Path(ktframe.__file__).parent


def examples() -> list[doctest.DocTest]:
    """Return the docstrings of the package that hold examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found: dict[str, doctest.DocTest] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if ">>>" in path.read_text():
            name = ".".join(("ktframe", *path.relative_to(PACKAGE).with_suffix("").parts))
            module = importlib.import_module(name.removesuffix(".__init__"))
            # What is exported calls itself ktframe.x: it is found in the package, not in its own module.
            tests = finder.find(module)
            found |= {test.name: test for test in tests if test.examples}
    return list(found.values())


def params() -> list[Any]:
    """Return the examples as parameters; those that start a demo take seconds."""
    return [
        pytest.param(
            example, id=example.name, marks=[pytest.mark.slow] if "demo(" in example.docstring else []
        )
        for example in examples()
    ]


@pytest.mark.parametrize("example", params())
def test_an_example_gives_what_it_shows(example: doctest.DocTest) -> None:
    """What a docstring shows is what happens."""
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert result.attempted > 0
    assert result.failed == 0
