"""Where reading continues, and what of a store is no longer true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktframe.events import LEGAL, BindingState, check_transition
from ktframe.sync.resume import Log, plan_resume

OFFSETS = st.integers(0, 20)


@pytest.mark.parametrize(
    ("stored", "starts", "ends", "positions", "forgotten"),
    [
        ({}, {0: 0}, {0: 9}, {0: 0}, []),
        ({}, {0: 4}, {0: 9}, {0: 4}, []),
        ({0: 5}, {0: 0}, {0: 9}, {0: 5}, []),
        ({0: 9}, {0: 0}, {0: 9}, {0: 9}, []),
        ({0: 4}, {0: 4}, {0: 4}, {0: 4}, []),
        ({0: 3}, {0: 4}, {0: 9}, {0: 4}, [0]),
        ({0: 10}, {0: 2}, {0: 9}, {0: 2}, [0]),
        ({0: 5, 1: 5}, {0: 0}, {0: 9}, {0: 5}, [1]),
        ({0: 5}, {0: 0, 1: 3}, {0: 9, 1: 8}, {0: 5, 1: 3}, []),
    ],
)
def test_a_stored_position_outside_the_log_is_forgotten_never_moved(
    stored: dict[int, int],
    starts: dict[int, int],
    ends: dict[int, int],
    positions: dict[int, int],
    forgotten: list[int],
) -> None:
    """Inside the log reading continues; outside it the partition's rows go and it starts anew."""
    plan = plan_resume(stored, Log(starts, ends))
    assert (plan.positions, sorted(plan.forget)) == (positions, forgotten)


def test_a_recreated_topic_is_read_from_its_start() -> None:
    """However well the offsets fit, rows of the old topic are not rows of the new one."""
    plan = plan_resume({0: 5}, Log({0: 0}, {0: 9}, is_recreated=True))
    assert (plan.positions, list(plan.forget)) == ({0: 0}, [0])


@given(
    stored=st.dictionaries(st.integers(0, 3), OFFSETS),
    logs=st.dictionaries(st.integers(0, 3), st.tuples(OFFSETS, OFFSETS).map(sorted)),
)
def test_every_partition_is_read_from_within_its_log(
    stored: dict[int, int], logs: dict[int, list[int]]
) -> None:
    """Whatever was stored, each partition of the topic is read once, from an offset that it has."""
    starts, ends = {p: log[0] for p, log in logs.items()}, {p: log[1] for p, log in logs.items()}
    positions = plan_resume(stored, Log(starts, ends)).positions
    assert positions.keys() == logs.keys()
    assert all(starts[p] <= position <= ends[p] for p, position in positions.items())


@pytest.mark.parametrize("state", BindingState)
def test_every_state_but_the_last_can_stop(state: BindingState) -> None:
    """STOPPED can be reached from every state and left for none."""
    assert (BindingState.STOPPED in LEGAL[state]) is (state is not BindingState.STOPPED)


def test_an_illegal_step_is_a_bug_that_shows() -> None:
    """The table of transitions is checked, not merely written down."""
    with pytest.raises(AssertionError, match="from created to ready"):
        check_transition(BindingState.CREATED, BindingState.READY)
