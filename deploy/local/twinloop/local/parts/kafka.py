"""Apache Kafka: one node that is broker and controller (KRaft), its data in the state folder."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from twinloop.local import probes
from twinloop.local.errors import CannotStart
from twinloop.local.install.kafka import CLUSTER_ID, class_archive, class_path, java
from twinloop.local.keys.authority import write
from twinloop.local.keys.secured import Secrets
from twinloop.local.parts import kafka_secured as secured
from twinloop.local.parts.base import Elsewhere, Part
from twinloop.local.places import Installed
from twinloop.local.ports import Ports
from twinloop.local.process import Command
from twinloop.runtime.kafka.settings import access_of

_SECURED = "secured"
"""A file that says that the data was made with users."""

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


def server_properties(
    broker: str, controller: str, data: Path, over: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Settings of a single node, which loses nothing that a single node can keep; `over` goes over them."""
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
        **over,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


class Kafka(Part):
    name = "kafka"
    grace_s = 15.0

    def __init__(
        self,
        installed: Installed,
        state: Path,
        environ: Mapping[str, str],
        ports: Ports,
        secrets: Secrets | None = None,
    ) -> None:
        """With `secrets` it asks everybody who he is, and lets nobody do what no ACL allows."""
        if not installed.complete:
            raise CannotStart("Kafka is not installed: run `python3.11 deploy/local/bootstrap.py kafka`.")
        self._installed = installed
        self._folder = state / "kafka"
        self._scratch = state / "tmp"
        self._environ = environ
        self._broker = ports.reserve("TWINLOOP_KAFKA_PORT")
        self._controller = ports.reserve("TWINLOOP_KAFKA_CONTROLLER_PORT")
        self._secrets = secrets
        self._certified = None if secrets is None else ports.reserve("TWINLOOP_KAFKA_TLS_PORT")

    @property
    def where(self) -> str:
        return self._broker.address

    @property
    def certified(self) -> str:
        """Where a secured one speaks with those who have a certificate; else empty."""
        return "" if self._certified is None else self._certified.address

    def prepare(self) -> Sequence[Command]:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "log4j2.yaml").write_text(_LOG4J2)
        data, secrets = self._folder / "data", self._secrets
        over: Mapping[str, str] = {}
        if secrets is not None:
            over = secured.settings(secrets, self.where, self.certified, self._controller.address)
            secured.write_key_store(secrets)
        text = server_properties(self._broker.address, self._controller.address, data, over)
        write(self._settings, text.encode(), private=True)
        mark = self._folder / _SECURED
        if (data / "meta.properties").exists():
            if mark.exists() != (secrets is not None):
                made = "with" if mark.exists() else "without"
                raise CannotStart(
                    f"Kafka's data in {data} was made {made} users, and you ask for the other: set"
                    " TWINLOOP_STATE to another folder, or remove it with `make clean`."
                )
            return ()
        users: Sequence[str] = ()
        if secrets is not None:
            users = secured.format_arguments(secrets, self._folder / "users")
            mark.touch()
        words = ("format", "-t", CLUSTER_ID, "-c", str(self._settings), *users)
        return (self._java("kafka.tools.StorageTool", *words),)

    def command(self) -> Command:
        return self._java("kafka.Kafka", str(self._settings))

    async def ready(self) -> bool:
        if self._secrets is not None:
            return await probes.kafka_answers(self._secrets.admin(self.certified))
        return await probes.kafka_answers(self.where)

    def clean(self) -> None:
        (self._folder / "users").unlink(missing_ok=True)

    @property
    def _settings(self) -> Path:
        return self._folder / "server.properties"

    def _java(self, *arguments: str) -> Command:
        options = (
            *_JAVA_OPTIONS,
            f"-XX:SharedArchiveFile={class_archive(self._installed)}",
            f"-Djava.io.tmpdir={self._scratch}",
            *self._believed(),
            f"-Dlog4j2.configurationFile=file:{self._folder / 'log4j2.yaml'}",
            *shlex.split(self._environ.get("TWINLOOP_KAFKA_JAVA_OPTIONS", "")),
        )
        argv = (str(java(self._installed)), *options, "-cp", class_path(self._installed), *arguments)
        return Command(argv, self._environ)

    def _believed(self) -> tuple[str, ...]:
        """Where keys of tokens may come from."""
        if self._secrets is None:
            return ()
        return (f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={secured.jwks_url(self._secrets)}",)


class KafkaElsewhere(Elsewhere):
    """The cluster at `TWINLOOP_KAFKA`."""

    name = "kafka"

    def __init__(self, address: str, environ: Mapping[str, str]) -> None:
        """`environ` says who we are there."""
        self._address = address
        self._environ = environ

    @property
    def where(self) -> str:
        return self._address

    async def ready(self) -> bool:
        return await probes.kafka_answers(access_of(self._environ).at(self._address.split(",")[0]))
