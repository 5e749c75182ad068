"""The shapes of writing: records as they go to a topic, and where the brokers put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ktframe.errors import ConfigurationError
from ktframe.formats.base import Headers


@dataclass(frozen=True, slots=True)
class OutgoingRecords:
    """Records of one topic as columns, to be written in this order.

    A value of None is a tombstone. ``partitions`` None, or None in it, leaves the choice to the partitioner, which
    puts a key where Java's clients put it. ``timestamps`` are in milliseconds; None means the time of sending.

    Raises
    ------
    ConfigurationError
        When the columns are not equally long, or a timestamp is not after 1970 began.
    """

    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    partitions: Sequence[int | None] | None = None
    headers: Sequence[Headers] | None = None
    timestamps: Sequence[int | None] | None = None

    def __post_init__(self) -> None:
        columns = (self.values, self.partitions, self.headers, self.timestamps)
        lengths = {len(self.keys), *(len(column) for column in columns if column is not None)}
        if len(lengths) != 1:
            message = f"the columns of records to write have different lengths: {sorted(lengths)}."
            raise ConfigurationError(message)
        # To librdkafka a zero means now, which is not what was said.
        if self.timestamps is not None and any(at is not None and at <= 0 for at in self.timestamps):
            message = (
                "a record to write has a timestamp of 1970 or earlier, which the Kafka client can't send."
            )
            raise ConfigurationError(message, "timestamps are milliseconds since 1970, from 1 on.")

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Sent:
    """Where acknowledged records are, in the order in which they were given.

    ``ends`` is behind the last of them in each partition that got any: who has read up to there has read them. An
    offset of -1 means that the record is there, but its acknowledgement was lost on the way and did not come again.
    """

    partitions: Sequence[int] = ()
    offsets: Sequence[int] = ()
    ends: Mapping[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets)
