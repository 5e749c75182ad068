"""How many examples Hypothesis tries: the profile decides, and a test says how many times as many it needs.

``quick`` is for the desk, ``ci`` decides whether a change lands, ``nightly`` looks for what these have not met.
``pytest --hypothesis-profile=nightly`` chooses one; ``ci`` is the default.
"""

from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

T = TypeVar("T")

_EXAMPLES = {"quick": 20, "ci": 100, "nightly": 2_000}


def load_profiles() -> None:
    """Make the profiles known and load the default; to be called before any test module is imported."""
    for name, count in _EXAMPLES.items():
        # How long an example takes depends on what else the machine does: no test fails for it.
        settings.register_profile(
            name,
            max_examples=count,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
    settings.load_profile("ci")


def examples(share: float) -> settings:
    """Return settings that try ``share`` times as many examples as the profile says, one at the least."""
    return settings(max_examples=max(1, round(share * settings.default.max_examples)))


def few_examples() -> settings:
    """Return settings for a property on RocksDB that is tested on the memory store, which the contract holds equal."""
    return examples(0.1)


def histories(step: st.SearchStrategy[T], *, longest: int = 30) -> st.SearchStrategy[list[T]]:
    """Return lists of steps, long ones as often as short ones: Hypothesis' own have about five items."""
    return st.integers(0, longest - 8).flatmap(
        lambda fewest: st.lists(step, min_size=fewest, max_size=fewest + 8)
    )
