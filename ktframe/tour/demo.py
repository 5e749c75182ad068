"""``ktframe.demo()``: a Context on an embedded broker with sample data that keeps changing."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ktframe.clock import SystemClock, now_ms
from ktframe.config.settings import Settings
from ktframe.context.context import Context
from ktframe.errors import ConfigurationError
from ktframe.kafka.cluster import KafkaCluster
from ktframe.kafka.mock_broker import MockBroker
from ktframe.kafka.registry import Registry
from ktframe.tour.samples import SAMPLE_NAMES, live_orders, load_sample

DEFAULT_RATE = 5.0

SCRATCH = "scratch"
"""An empty topic to try writing."""

_SEED = 20_261


@dataclass(frozen=True, slots=True)
class Demo:
    """A broker in this process, and a Context connected to it; closing the Context ends both."""

    broker: MockBroker
    context: Context


def start_demo(
    rate: float = DEFAULT_RATE, *, writable: bool = False, registry: Registry | None = None
) -> Demo:
    """Start a broker, load the topics ``orders``, ``customers`` and ``clicks``, and connect to it.

    ``rate`` orders a second change from then on; 0 keeps everything still. Stores are temporary. With ``writable`` there
    is an empty topic ``scratch`` as well. ``registry`` looks up the schemas that records name.
    """
    if rate < 0:
        message = f"rate={rate} is negative."
        raise ConfigurationError(message, "rate is in order changes a second; 0 keeps the topics still.")
    broker = MockBroker()
    clock = SystemClock()
    loaded_at = now_ms(clock)
    for name in SAMPLE_NAMES:
        broker.load(name, load_sample(name, loaded_at))
    if writable:
        broker.create(SCRATCH)
    if rate > 0:
        broker.keep_producing("orders", live_orders(_SEED, lambda: now_ms(clock)), rate)
    state_dir = Path(tempfile.mkdtemp(prefix="ktframe-demo-"))

    def clean_up() -> None:
        cluster.close()
        broker.close()
        shutil.rmtree(state_dir, ignore_errors=True)

    settings = Settings(
        bootstrap=broker.bootstrap, state_dir=state_dir, monitor_interval=1.0, writable=writable
    )
    cluster = KafkaCluster(settings, has_topic_ids=False, lookup=broker.offset_at)
    return Demo(broker, Context(settings, cluster=cluster, registry=registry, on_close=clean_up))
