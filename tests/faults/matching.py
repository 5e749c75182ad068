"""Finds the histories under which an answer is right, without trying all of each partition with all of the others."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice, product
from typing import Any, Final, TypeAlias

from faults.cluster import KEYS
from faults.histories import History
from faults.log import Record
from faults.oracle import READS, Answer, Read

Options: TypeAlias = Mapping[int, frozenset[History]]
"""What may be applied of each partition."""

MOST: Final = 5_000
_ROWS: Final = "to_polars"
_PARTITION = -3
"""Rows end with the partition, offset and time of their record."""


class WrongAnswerError(AssertionError):
    """A reader's answer is none of those that are right."""


def matching(name: str, given: dict[str, Any], options: Options) -> Options:
    """Return the histories of each partition under which the answer of an object is right.

    Raises
    ------
    WrongAnswerError
        When there are none, with the difference from the answer that was likeliest.
    """
    read, answer = READS[name], given["answer"]
    groups = {p: _groups(read, p, options, answer) for p in sorted(options)}
    found: dict[int, set[History]] = {p: set() for p in options}
    count = 0
    for combination in islice(product(*groups.values()), MOST):
        chosen = dict(zip(groups, combination, strict=True))
        count += 1
        if _right(read, {p: some[0].records for p, some in chosen.items()}, answer) == answer:
            for partition, some in chosen.items():
                found[partition] |= set(some)
    assert all(found.values()) or count < MOST, "too many possibilities to tell right from wrong"
    if not all(found.values()):
        unbroken = {p: min(some, key=lambda each: each.is_anew).records for p, some in options.items()}
        nearest = _right(read, unbroken, answer)
        message = f"{name} answers what it must not:\n{difference(answer, nearest, given)}"
        raise WrongAnswerError(message)
    return {p: frozenset(some) for p, some in found.items()}


def _right(read: Read, logs: dict[int, tuple[Record, ...]], answer: Answer) -> Answer:
    right = read.answer(logs, KEYS)
    return {what: right[what] for what in answer}


def _groups(read: Read, partition: int, options: Options, answer: Answer) -> list[list[History]]:
    """Return the histories of a partition that fit its own rows, those together that make no difference to the others.

    The unbroken ones come first, and of these the longest: most of what a killed reader had read is there.
    """
    groups: dict[Any, list[History]] = {}
    known = {
        (each.partition, each.offset, each.time): each
        for some in options.values()
        for history in some
        for each in history.records
    }
    for history in sorted(options[partition], key=lambda each: (each.is_anew, -len(each.records))):
        if read.by is None or _fits(read, partition, history, answer, known):
            groups.setdefault(read.signature({partition: history.records}), []).append(history)
    return list(groups.values())


def _fits(
    read: Read, partition: int, history: History, answer: Answer, known: dict[tuple[int, ...], Record]
) -> bool:
    """Say whether the rows that a partition shows can be those of a history, whatever the others have applied.

    Among partitions the newest wins: each row that is shown is its own partition's newest, and one that isn't shown gave
    way to a newer one.
    """
    alone = {tuple(row) for row in read.answer({partition: history.records}, KEYS)[_ROWS]}
    shown = {tuple(row) for row in answer[_ROWS] if row[_PARTITION] == partition}
    return shown <= alone and all(_may_give_way(read, row, known) for row in alone - shown)


def _may_give_way(read: Read, row: tuple[Any, ...], known: dict[tuple[int, ...], Record]) -> bool:
    """Say whether another partition may have something newer at the place of a row."""
    record = known[row[_PARTITION:]]
    return any(
        (other.time, other.partition) > (record.time, record.partition)
        and other.partition != record.partition
        and (not read.is_windowed or row[0] <= other.time < row[1])
        and any(getattr(other, name) == getattr(record, name) for name in read.by or ())
        for other in known.values()
    )


def difference(answer: Answer, right: Answer, given: dict[str, Any]) -> str:
    """Return what is missing from an answer, what is wrong in it, and what the object says of itself."""
    lines = []
    for what in right:
        if answer.get(what) == right[what]:
            continue
        if isinstance(right[what], list) and isinstance(answer.get(what), list):
            lines += [f"  {what}: missing {each}" for each in right[what] if each not in answer[what]]
            lines += [f"  {what}: wrong   {each}" for each in answer[what] if each not in right[what]]
            if answer[what] and sorted(map(str, answer[what])) == sorted(map(str, right[what])):
                lines.append(f"  {what}: another order")
        else:
            lines.append(f"  {what}: {answer.get(what)}, not {right[what]}")
    return "\n".join([*lines, f"  status: {given.get('status')}", f"  said: {given.get('said')}"])
