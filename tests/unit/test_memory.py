"""What is done about free memory: little is kept, what users have set counts, and it takes a small part of the time."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from ktframe.process import memory


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return what glibc is called for, in its place; a call of ``malloc_trim`` takes a second."""
    made: list[tuple[str, int]] = []
    clock = SimpleNamespace(now=1_000.0)

    def trim(pad: int) -> None:
        made.append(("malloc_trim", pad))
        clock.now += 1.0

    libc = SimpleNamespace(malloc_trim=trim, mallopt=lambda _, most: made.append(("mallopt", most)))
    monkeypatch.setattr(memory, "_libc", lambda: libc)
    monkeypatch.setattr(memory, "_TRIMMING", memory._Trimming())
    monkeypatch.setattr(memory.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(memory.os, "cpu_count", lambda: 64)
    for name in memory._OWN_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(
        memory, "_pass", lambda seconds: setattr(clock, "now", clock.now + seconds), raising=False
    )
    return made


def test_there_are_few_heaps(calls: list[tuple[str, int]]) -> None:
    """Four, however many cores there are: glibc would make eight for each."""
    memory.limit_heaps()
    assert calls == [("mallopt", 4)]


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_users_have_set_for_glibc_stays(
    calls: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is their process."""
    monkeypatch.setenv(name, "8")
    memory.limit_heaps()
    assert calls == []


def test_memory_is_given_back_for_a_hundredth_of_the_time(calls: list[tuple[str, int]]) -> None:
    """However many tables ask for it: with much memory, also of others in this process, it may take long."""
    for _ in range(20):
        memory.give_back()
    assert calls == [("malloc_trim", 0)]
    memory._pass(101.0)  # type: ignore[attr-defined]
    memory.give_back()
    assert calls == [("malloc_trim", 0)] * 2


def test_where_there_is_no_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """On other systems, and with other C libraries."""
    for libc in (None, SimpleNamespace()):
        monkeypatch.setattr(memory, "_libc", lambda libc=libc: libc)
        memory.limit_heaps()
        memory.give_back()


def test_arrow_is_not_imported_for_this(
    calls: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has used it, it has no memory either."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    memory.give_back()
    assert calls == [("malloc_trim", 0)]
