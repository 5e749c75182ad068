"""``ktframe.demo()``: a Context on an embedded broker with sample data that keeps changing."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from ktframe.context import Context
from ktframe.errors import ConfigurationError
from ktframe.kafka.cluster import KafkaCluster
from ktframe.kafka.embedded import EmbeddedBroker
from ktframe.kafka.sample import SAMPLE_NAMES, live_orders, load_sample
from ktframe.settings import Settings

DEFAULT_RATE = 5.0
_SEED = 20_261


def demo_context(rate: float = DEFAULT_RATE) -> Context:
    """Start a broker in this process, load the topics ``orders``, ``customers`` and ``clicks``, and connect to it.

    ``rate`` orders a second change from then on; 0 keeps everything still. Stores are temporary.
    """
    if rate < 0:
        message = f"rate={rate} is negative."
        raise ConfigurationError(message, "rate is in order changes a second; 0 keeps the topics still.")
    broker = EmbeddedBroker()
    now_ms = _now_ms()
    for name in SAMPLE_NAMES:
        broker.load(name, load_sample(name, now_ms))
    if rate > 0:
        broker.keep_producing("orders", live_orders(_SEED, _now_ms), lambda: rate)
    state_dir = Path(tempfile.mkdtemp(prefix="ktframe-demo-"))

    def clean_up() -> None:
        broker.close()
        shutil.rmtree(state_dir, ignore_errors=True)

    settings = Settings(bootstrap=broker.bootstrap, state_dir=state_dir, monitor_interval=1.0)
    return Context(settings, cluster=KafkaCluster(settings, has_topic_ids=False), on_close=clean_up)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
