"""Finds the histories under which an answer is right, without trying all of each partition with all of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    shown = None if read.by is None else {*_shown(read, partition, answer, options)}
    for history in sorted(options[partition], key=lambda each: (each.is_anew, -len(each.records))):
        logs = {partition: history.records}
        if shown is None or shown == {*_shown(read, partition, read.answer(logs, KEYS), options)}:
            sign: Any = history.records if read.fold is None else read.fold(logs).signature
            groups.setdefault(sign, []).append(history)
    return list(groups.values())


def _shown(read: Read, partition: int, answer: Answer, options: Options) -> Iterator[Any]:
    """Yield the rows of a partition that follow from it alone: nothing of other partitions has their key."""
    known = {
        (each.partition, each.offset, each.time): each
        for some in options.values()
        for history in some
        for each in history.records
    }
    others = {
        name: {getattr(each, name) for place, each in known.items() if place[0] != partition}
        for name in read.by or ()
    }
    for row in answer[_ROWS]:
        place = tuple(row[-3:])
        if place[0] != partition:
            continue
        record = known.get(place)
        if record is None or not any(getattr(record, name) in others[name] for name in others):
            yield tuple(row)


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
