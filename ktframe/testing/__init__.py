"""For tests of code that uses ktframe: a Kafka cluster, a schema registry and a clock in memory.

>>> import ktframe
>>> from ktframe.testing import FakeBroker
>>> broker = FakeBroker()
>>> _ = broker.produce("orders", key="o-1", value={"amount": 5})
>>> with broker.connect() as kt:
...     kt.table("orders").get("o-1")
{'key': 'o-1', 'amount': 5}
"""

from ktframe.testing.broker import FakeBroker
from ktframe.testing.clients import FakeReader, FakeWriter
from ktframe.testing.clock import ManualClock
from ktframe.testing.registry import FakeRegistry

__all__ = ["FakeBroker", "FakeReader", "FakeRegistry", "FakeWriter", "ManualClock"]
