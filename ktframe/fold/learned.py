"""What the first records of each partition have shown of the fields of JSON, by which the types of columns are decided.

Counts of partitions add up in any order, so that the types do not depend on how the records were cut into batches. How
batches are counted is in ``learning``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Final

import orjson

from ktframe.formats import NO_FORMS, Forms
from ktframe.formats.json.sightings import Path, Sightings

SAMPLE_RECORDS: Final = 10_000
"""How many records of each partition decide."""

_FLAGS: Final = "flags"
"""The name of the part that is not the sample of a partition, whose name is its number."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The first ``records`` of one partition: those before the offset ``end``, the first one of them at ``first``."""

    first: int
    end: int
    records: int = 0
    values: Sightings = field(default_factory=Sightings)
    keys: Sightings = field(default_factory=Sightings)


@dataclass(frozen=True, slots=True)
class Learned:
    """The samples of all partitions, by partition, and what follows from the rows that were accepted since."""

    samples: Mapping[int, Sample] = field(default_factory=dict)
    values: Sightings = field(default_factory=Sightings)
    """What was seen in the values of all samples."""
    keys: Sightings = field(default_factory=Sightings)
    """What was seen in the record keys of all samples."""
    accepted_wide: frozenset[Path] = frozenset()
    """Where integers beyond 2**53 were accepted."""
    forms: Forms = NO_FORMS
    """Where the rows so far have text, or the entries of maps."""
    is_exact: bool = False
    """Whether all records of a sample are counted one by one, and none in whole columns."""
    differing: str = ""
    """The first field that would have another type if the topic were read again."""
    seen: frozenset[str] = frozenset()
    """Fields of records that ``where=`` has left out before the first one passed."""
    by_arrival: str = ""
    """A field of which no sample has shown anything, where the records that came first decided against later ones."""

    def has_records(self, partitions: Iterable[int], count: int) -> bool:
        """Say whether each of the samples of ``partitions`` has so many records."""
        samples = self.samples
        return all(p in samples and samples[p].records >= count for p in partitions)

    def plus(self, partition: int, more: Sample) -> Learned:
        """Return this with further records of one partition."""
        sample = self.samples.get(partition, more)
        if sample is not more:
            sample = Sample(
                sample.first,
                more.end,
                sample.records + more.records,
                sample.values.plus(more.values),
                sample.keys.plus(more.keys),
            )
        return replace(
            self,
            samples={**self.samples, partition: sample},
            values=self.values.plus(more.values),
            keys=self.keys.plus(more.keys),
        )

    def without(self, partitions: Iterable[int]) -> Learned:
        """Return this without the samples of partitions whose rows are dropped."""
        gone = set(partitions)
        kept = {p: sample for p, sample in self.samples.items() if p not in gone}
        return replace(
            self,
            samples=kept,
            values=reduce(Sightings.plus, (sample.values for sample in kept.values()), Sightings()),
            keys=reduce(Sightings.plus, (sample.keys for sample in kept.values()), Sightings()),
        )

    def changes_since(self, earlier: Learned) -> dict[str, bytes]:
        """Return the parts that are not as they were, by name, to be kept with the rows; no bytes for one that is gone."""
        flags = {
            "wide": sorted(self.accepted_wide, key=repr),
            "forms": sorted(self.forms, key=repr),
            "is_exact": self.is_exact,
            "differing": self.differing,
            "by_arrival": self.by_arrival,
            **({"seen": sorted(self.seen)} if self.seen else {}),
        }
        gone = dict.fromkeys((str(p) for p in earlier.samples if p not in self.samples), b"")
        changed = {
            str(p): orjson.dumps([at.first, at.end, at.records, at.values.as_json(), at.keys.as_json()])
            for p, at in self.samples.items()
            if at is not earlier.samples.get(p)
        }
        return {_FLAGS: orjson.dumps(flags), **gone, **changed}

    @classmethod
    def from_parts(cls, parts: Mapping[str, bytes]) -> Learned:
        """Return what has these parts."""
        flags: dict[str, Any] = orjson.loads(parts.get(_FLAGS) or b"{}")
        samples = {
            int(name): _sample(*orjson.loads(raw)) for name, raw in parts.items() if raw and name != _FLAGS
        }
        whole = cls(
            samples,
            accepted_wide=frozenset(map(tuple, flags.get("wide", ()))),
            forms=frozenset((tuple(path), form) for path, form in flags.get("forms", ())),
            is_exact=flags.get("is_exact", False),
            differing=flags.get("differing", ""),
            by_arrival=flags.get("by_arrival", ""),
            seen=frozenset(flags.get("seen", ())),
        )
        return whole.without(())


def _sample(first: int, end: int, records: int, values: Any, keys: Any) -> Sample:
    return Sample(first, end, records, Sightings.from_json(values), Sightings.from_json(keys))
