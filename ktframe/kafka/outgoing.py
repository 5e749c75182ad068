"""What is written, and the answer: records to send to a topic, and where the brokers put them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ktframe.errors import ConfigurationError
from ktframe.formats.base import Headers


@dataclass(frozen=True, slots=True)
class OutgoingRecords:
    """Records of one topic as columns, to be written in this order.

    A value of None is a tombstone. Where ``partitions`` is None or holds None, the partitioner chooses, and puts a key
    where Java's clients put it. ``timestamps`` are in milliseconds; None means the time of sending.

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
        # librdkafka takes zero for "now", which is not what the caller asked for.
        if self.timestamps is not None and any(at is not None and at <= 0 for at in self.timestamps):
            message = "a record to write has a timestamp of 0 or less, which the Kafka client can't send."
            raise ConfigurationError(message, "timestamps are milliseconds since 1970, from 1 on.")

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class Sent:
    """Where acknowledged records are, in the order in which they were sent.

    ``ends`` are the offsets after the last of them, per partition: a reader with these positions has read them all. An
    offset of -1 means that the record is written, but its acknowledgement was lost on the way.
    """

    partitions: Sequence[int] = ()
    offsets: Sequence[int] = ()
    ends: Mapping[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets)
