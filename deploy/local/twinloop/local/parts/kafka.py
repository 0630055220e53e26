"""Apache Kafka: one node that is broker and controller (KRaft), its data in the state folder."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from twinloop.local import probes
from twinloop.local.errors import CannotStart
from twinloop.local.install.kafka import CLUSTER_ID, class_archive, class_path, java
from twinloop.local.parts.base import Elsewhere, Part
from twinloop.local.places import Installed
from twinloop.local.ports import Ports
from twinloop.local.process import Command

# C1 only: the broker is ready in half the time and leaves the cores to the services.
_JAVA_OPTIONS = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")

_LOG4J2 = """\
Configuration:
  status: warn
  Appenders:
    Console:
      name: STDOUT
      target: SYSTEM_OUT
      PatternLayout:
        pattern: "%d{ISO8601} %p %c{1} %m%n"
  Loggers:
    Root:
      level: info
      AppenderRef:
        ref: STDOUT
    Logger:
      - name: org.apache.kafka.common.config
        level: warn
"""


def server_properties(broker: str, controller: str, data: Path) -> str:
    """Settings of a single node, which loses nothing that a single node can keep."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "5",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # A broker that was killed comes back only once its former self counts as dead: by default after 9 s.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


class Kafka(Part):
    name = "kafka"
    grace_s = 15.0

    def __init__(self, installed: Installed, state: Path, environ: Mapping[str, str], ports: Ports) -> None:
        if not installed.complete:
            raise CannotStart("Kafka is not installed: run `python3.11 deploy/local/bootstrap.py kafka`.")
        self._installed = installed
        self._folder = state / "kafka"
        self._scratch = state / "tmp"
        self._environ = environ
        self._broker = ports.reserve("TWINLOOP_KAFKA_PORT")
        self._controller = ports.reserve("TWINLOOP_KAFKA_CONTROLLER_PORT")

    @property
    def where(self) -> str:
        return self._broker.address

    def prepare(self) -> Sequence[Command]:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "log4j2.yaml").write_text(_LOG4J2)
        self._settings.write_text(
            server_properties(self._broker.address, self._controller.address, self._folder / "data")
        )
        if (self._folder / "data" / "meta.properties").exists():
            return ()
        return (self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self._settings)),)

    def command(self) -> Command:
        return self._java("kafka.Kafka", str(self._settings))

    async def ready(self) -> bool:
        return await probes.kafka_answers(self.where)

    @property
    def _settings(self) -> Path:
        return self._folder / "server.properties"

    def _java(self, *arguments: str) -> Command:
        options = (
            *_JAVA_OPTIONS,
            f"-XX:SharedArchiveFile={class_archive(self._installed)}",
            f"-Djava.io.tmpdir={self._scratch}",
            f"-Dlog4j2.configurationFile=file:{self._folder / 'log4j2.yaml'}",
            *shlex.split(self._environ.get("TWINLOOP_KAFKA_JAVA_OPTIONS", "")),
        )
        argv = (str(java(self._installed)), *options, "-cp", class_path(self._installed), *arguments)
        return Command(argv, self._environ)


class KafkaElsewhere(Elsewhere):
    """The cluster at `TWINLOOP_KAFKA`."""

    name = "kafka"

    def __init__(self, address: str) -> None:
        self._address = address

    @property
    def where(self) -> str:
        return self._address

    async def ready(self) -> bool:
        return await probes.kafka_answers(self._address.split(",")[0])
