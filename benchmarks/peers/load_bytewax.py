"""Bytewax: a dataflow that reads to the end of the topic and folds each key's values to the last one.

Arguments: bootstrap, topic, records. The number of records is not used: the source ends where the topic does.
"""

from __future__ import annotations

import sys
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main
from confluent_kafka import OFFSET_BEGINNING
from stamps import begin, end, result


def parsed(message: KafkaSourceMessage[bytes, bytes]) -> tuple[str, Any]:
    """Return key and value."""
    return message.key.decode(), orjson.loads(message.value)


def main() -> None:
    """Run the dataflow to its end."""
    bootstrap, topic, _ = sys.argv[1:]
    latest: list[tuple[str, Any]] = []
    flow = Dataflow("latest")
    source = KafkaSource(
        [bootstrap],
        [topic],
        tail=False,
        starting_offset=OFFSET_BEGINNING,
        batch_size=10_000,
        add_config={"fetch.queue.backoff.ms": "10"},
    )
    rows = op.map("parse", op.input("read", flow, source), parsed)
    folded = op.fold_final("latest", rows, lambda: None, lambda _, row: row)
    op.output("keep", folded, TestingSink(latest))
    begin()
    run_main(flow)
    end()
    result(row["amount"] for _, row in latest)


main()
