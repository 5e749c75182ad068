"""What a user may rely on: the names, their docstrings, and that they are few."""

from __future__ import annotations

import inspect

import pytest

import ktframe
import ktframe.errors
from ktframe.testing import FakeBroker


def test_the_exported_names_are_sorted_and_there() -> None:
    """``__all__`` is sorted and names only what exists."""
    assert sorted(ktframe.__all__) == ktframe.__all__
    assert [name for name in ktframe.__all__ if not hasattr(ktframe, name)] == []


def test_the_package_shows_what_it_exports_and_nothing_else() -> None:
    """``__all__`` equals the public names of the package; its rooms aside."""
    shown = {
        name
        for name, value in vars(ktframe).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert shown == set(ktframe.__all__)
    foreign = {
        name
        for name, value in vars(ktframe).items()
        if inspect.ismodule(value) and not name.startswith("_") and not value.__name__.startswith("ktframe.")
    }
    assert foreign == set()


def test_what_is_exported_says_that_it_is_of_ktframe() -> None:
    """Tracebacks, ``help()`` and pickles name ``ktframe.KTable``, not the room where the class lives."""
    modules = {name: getattr(ktframe, name).__module__ for name in ktframe.__all__}
    assert {name: module for name, module in modules.items() if module != "ktframe"} == {}


def test_every_error_of_the_tree_is_exported() -> None:
    """Whatever ktframe raises can be caught by a name of the package."""
    errors = {
        name
        for name, value in vars(ktframe.errors).items()
        if inspect.isclass(value) and issubclass(value, ktframe.KtframeError)
    }
    assert errors - set(ktframe.__all__) == set()


@pytest.mark.parametrize("name", ktframe.__all__)
def test_every_exported_name_has_a_docstring(name: str) -> None:
    """``help()`` says something about every public name."""
    assert inspect.getdoc(getattr(ktframe, name))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "to_polars",
            "to_polars_async",
            "lazy",
            "get",
            "get_many",
            "items",
            "keys",
            "position",
            "readiness",
        ),
        *("status", "wait_until_ready", "ready", "on_change", "errors", "schema", "close"),
        *("__getitem__", "__contains__", "__len__", "__arrow_c_stream__", "__repr__", "_repr_html_"),
    ],
)
def test_a_table_offers_what_it_promises(name: str) -> None:
    """Every name that the README and the design promise is there."""
    assert hasattr(ktframe.KTable, name)


def test_the_package_shows_its_public_names_at_a_tab() -> None:
    """Nor any of its rooms but those for users, which come when they are first named."""
    shown = [name for name in dir(ktframe) if not name.startswith("_")]
    assert shown == sorted([*ktframe.__all__, "testing", "widgets"])
    assert ktframe.testing.FakeBroker is FakeBroker


def test_widgets_offer_what_they_export() -> None:
    """``ktframe.widgets`` lists neither its modules nor what only tables call."""
    shown = [name for name in dir(ktframe.widgets) if not name.startswith("_")]
    assert shown == ["Chart", "Panel", "dashboard", "lag_chart", "live", "status"]


EVERYWHERE = """close describe errors events head history lazy on_change plot_lag position readiness ready relearn sample schema
sort status tail to_arrow to_pandas to_polars to_polars_async topic wait_until_ready write_csv write_parquet"""
WINDOWED = "agg between chart final last late live"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (ktframe.KTable, "delete diff filter get get_many items keys put upsert window"),
        (ktframe.WindowedKTable, f"{WINDOWED} diff filter get items"),
        (ktframe.KStream, "last session since sliding window"),
        (ktframe.WindowedKStream, WINDOWED),
    ],
)
def test_an_analyst_sees_exactly_these_names_at_a_tab(kind: type, names: str) -> None:
    """What only panels need is not among them; ``topic`` and ``events`` are attributes of each object."""
    with FakeBroker().connect() as kt:
        tables = kt.table("t"), kt.table("t").window(5), kt.stream("t"), kt.stream("t").window(5)
        (shown,) = (table for table in tables if type(table) is kind)
        assert [name for name in dir(shown) if not name.startswith("_")] == sorted(
            f"{EVERYWHERE} {names}".split()
        )
