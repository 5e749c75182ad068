"""The states of a binding and the only ways between them.

::

    CREATED -> RESTORING -> READY <-> LAGGING
    any living state -> BACKING_OFF -> RESTORING | FAILED
    FAILED -> RESTORING      asked to try again
    any -> STOPPED
"""

from __future__ import annotations

from ktframe.events import BindingState as S

LEGAL: dict[S, frozenset[S]] = {
    S.CREATED: frozenset({S.RESTORING, S.BACKING_OFF, S.FAILED, S.STOPPED}),
    S.RESTORING: frozenset({S.READY, S.BACKING_OFF, S.FAILED, S.STOPPED}),
    S.READY: frozenset({S.LAGGING, S.RESTORING, S.BACKING_OFF, S.FAILED, S.STOPPED}),
    S.LAGGING: frozenset({S.READY, S.RESTORING, S.BACKING_OFF, S.FAILED, S.STOPPED}),
    S.BACKING_OFF: frozenset({S.RESTORING, S.FAILED, S.STOPPED}),
    S.FAILED: frozenset({S.RESTORING, S.STOPPED}),
    S.STOPPED: frozenset(),
}


def check_transition(old: S, new: S) -> None:
    """Raise for a step that the diagram does not have: a bug in the binding, never a fault of the world."""
    if new not in LEGAL[old]:
        message = f"a binding can't go from {old} to {new}"
        raise AssertionError(message)
