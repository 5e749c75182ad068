"""The test broker's settings: one KRaft node whose cleaner and retention run within seconds."""

from dataclasses import dataclass
from pathlib import Path

from support.java_programs import FRUGAL_JVM_FLAGS
from support.ports import HOST

JVM_FLAGS = ("-Xms256m", "-Xmx512m", *FRUGAL_JVM_FLAGS)

SCRAM_LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"

LOG4J = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n%ex
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
logger.logins.name = org.apache.kafka.common.network.Selector
logger.logins.level = info
"""


@dataclass(frozen=True, slots=True)
class BrokerPorts:
    """The loopback ports of one broker; clients of ``behind_proxy`` are sent to ``proxy``, where a test puts one."""

    plaintext: int
    sasl: int
    controller: int
    behind_proxy: int
    proxy: int


@dataclass(frozen=True, slots=True)
class Membership:
    """Which node of a cluster a broker is; ``controllers`` are the ports of the controllers of all, the first is node 1."""

    cluster_id: str
    node: int
    controllers: tuple[int, ...]


def server_properties(ports: BrokerPorts, log_dir: Path, member: Membership) -> str:
    """Return the broker's ``server.properties``."""
    voters = ",".join(f"{node}@{HOST}:{port}" for node, port in enumerate(member.controllers, 1))
    replicas = str(len(member.controllers))
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(member.node),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": (
            f"PLAINTEXT://{HOST}:{ports.plaintext},"
            f"SASL_PLAINTEXT://{HOST}:{ports.sasl},"
            f"PROXIED://{HOST}:{ports.behind_proxy},"
            f"CONTROLLER://{HOST}:{ports.controller}"
        ),
        "advertised.listeners": (
            f"PLAINTEXT://{HOST}:{ports.plaintext},"
            f"SASL_PLAINTEXT://{HOST}:{ports.sasl},"
            f"PROXIED://{HOST}:{ports.proxy}"
        ),
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "inter.broker.listener.name": "PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config": SCRAM_LOGIN,
        "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": SCRAM_LOGIN,
        # Whoever comes over the plaintext listener may do all; a SCRAM user only what an ACL grants.
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
        "log.dirs": str(log_dir),
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # Cleaner and retention run at once and often, with little memory.
        "log.cleaner.enable": "true",
        "log.cleaner.backoff.ms": "100",
        "log.cleaner.dedupe.buffer.size": "4194304",
        "log.initial.task.delay.ms": "100",
        "log.retention.check.interval.ms": "200",
        "log.segment.delete.delay.ms": "100",
        "log.index.size.max.bytes": "65536",
        # Retention goes by the records' own timestamps, and tests like small ones: keep unless a topic says.
        "log.retention.ms": "-1",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
        # A killed broker may come back only when its registration has run out (9 s by default).
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "400",
        "num.network.threads": "2",
        "num.io.threads": "2",
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())
