"""A real Apache Kafka for the tests: one KRaft node in a child process that dies with its parent."""

import base64
import uuid

from confluent_kafka import KafkaException
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from support.child_process import START_SECONDS, ChildProcess
from support.java_programs import java_command, run_or_fail
from support.kafka_jars import kafka_jars
from support.kafka_records import answer, quiet_admin
from support.kafka_settings import JVM_FLAGS, LOG4J, BrokerPorts, Membership, server_properties
from support.kafka_topics import KafkaTopics
from support.ports import HOST, free_ports
from support.silent_proxy import SilentProxy
from support.waiting import wait_until

SCRAM_MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512")


class KafkaBroker(ChildProcess, KafkaTopics):
    """One Kafka broker on loopback ports, with its data in a directory of its own.

    The plaintext listener (``bootstrap``) allows everything. The SASL listener (``sasl_bootstrap``)
    knows the user ``scram_user``, who may do only what ``grant_read`` granted. At ``proxied_bootstrap``
    is nothing but what ``proxy`` puts there.
    """

    scram_user = "reader"
    scram_password = "reader-secret"

    def __init__(self, ports: BrokerPorts | None = None, member: Membership | None = None) -> None:
        self._java = java_command()
        self._jars = kafka_jars()
        self._ports = ports or BrokerPorts(*free_ports(5))
        self._member = member or Membership(new_cluster_id(), 1, (self._ports.controller,))
        self.sasl_bootstrap = f"{HOST}:{self._ports.sasl}"
        self.proxied_bootstrap = f"{HOST}:{self._ports.proxy}"
        ChildProcess.__init__(self, "broker")
        KafkaTopics.__init__(self, f"{HOST}:{self._ports.plaintext}")
        self._write_settings()

    def restart_cleaner(self) -> None:
        """Restart the broker so that its cleaner goes over all closed segments once more.

        The cleaner marks a tombstone in its first pass and removes it in a later one, which otherwise
        comes only after new records.
        """
        self.stop()
        (self._dir / "data" / "cleaner-offset-checkpoint").unlink(missing_ok=True)
        self.start()

    def proxy(self) -> SilentProxy:
        """Return a proxy at ``proxied_bootstrap``; it serves while it is entered."""
        return SilentProxy(self._ports.proxy, self._ports.behind_proxy)

    def delete_without_trace(self, topic: str, key: bytes) -> None:
        """Delete ``key`` from a topic of ``create_compacted_topic``, and return once its tombstone is compacted away too."""
        self.produce(topic, [(key, None)])
        self.wait_until_compacted(topic, roll_key=b"other")
        self.restart_cleaner()

        def is_gone() -> bool:
            if key not in {record.key for record in self.records(topic, isolation="read_uncommitted")}:
                return True
            self.roll_segment(topic, key=b"other")
            return False

        wait_until(is_gone, f"the tombstone of {key!r} to be compacted away")

    def scram_settings(
        self, *, password: str | None = None, mechanism: str = "SCRAM-SHA-256"
    ) -> dict[str, str]:
        """Return the client settings with which ``scram_user`` connects."""
        return {
            "bootstrap.servers": self.sasl_bootstrap,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": mechanism,
            "sasl.username": self.scram_user,
            "sasl.password": self.scram_password if password is None else password,
        }

    def set_scram_password(self, password: str, mechanism: str = "SCRAM-SHA-256") -> None:
        """Give ``scram_user`` another password; connections that are open stay."""
        credential = ScramCredentialInfo(ScramMechanism[mechanism.replace("-", "_")], 4096)
        change = UserScramCredentialUpsertion(self.scram_user, credential, password.encode())
        admin = quiet_admin(self.bootstrap)
        answer(admin.alter_user_scram_credentials([change])[self.scram_user])

    def refused_logins(self) -> int:
        """Return how many logins the broker has refused since its first start."""
        return self.log.count("Failed authentication with")

    def _write_settings(self) -> None:
        (self._dir / "log4j2.properties").write_text(LOG4J)
        properties = server_properties(self._ports, self._dir / "data", self._member)
        (self._dir / "server.properties").write_text(properties)

    def _java_command(self, main_class: str, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._dir / 'log4j2.properties'}"
        return [self._java, *JVM_FLAGS, log4j, "-cp", f"{self._jars}/*", main_class, *arguments]

    def _command(self) -> list[str]:
        return self._java_command("kafka.Kafka", str(self._dir / "server.properties"))

    def _prepare(self) -> None:
        """Format the storage before the first start."""
        if (self._dir / "data" / "meta.properties").exists():
            return
        credential = f"name={self.scram_user},password={self.scram_password}"
        arguments = ["format", "--cluster-id", self._member.cluster_id]
        arguments += ["--config", str(self._dir / "server.properties")]
        for mechanism in SCRAM_MECHANISMS:
            arguments += ["--add-scram", f"{mechanism}=[{credential}]"]
        command = self._java_command("kafka.tools.StorageTool", *arguments)
        run_or_fail(command, timeout=START_SECONDS, failure="Kafka could not format its storage")

    def _answers(self) -> bool:
        try:
            answer = quiet_admin(self.bootstrap).list_topics(timeout=0.5)
        except KafkaException:
            return False
        return bool(answer.brokers)


def new_cluster_id() -> str:
    """Return a random id in Kafka's spelling: 16 bytes, URL-safe base64, no leading dash."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return "A" + text[1:]
