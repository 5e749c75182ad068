"""ktframe as it comes: ``table().to_polars()``, its store in RocksDB.

Arguments: bootstrap, topic, records. The number of records is not used: ktframe finds out by itself what there is.
"""

from __future__ import annotations

import sys

from stamps import begin, end, result

import ktframe


def main() -> None:
    """Load the table."""
    bootstrap, topic, _ = sys.argv[1:]
    begin()
    with ktframe.connect(bootstrap, state_dir="state") as kt:
        frame = kt.table(topic).to_polars()
        end()
        result(frame["amount"])


main()
