"""Three Kafka nodes on this machine, each broker and controller, that can be killed one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from support.ports import free_port
from support.waiting import until

from twinloop.local.install.kafka import CLUSTER_ID, class_path, java
from twinloop.local.places import find_places

NODES = 3
_JAVA_OPTIONS = ("-Xms256m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")


class Cluster:
    """The nodes. Every topic of the cluster's own has three copies, of which two must be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kafka = find_places().kafka
        self._ports = [free_port() for _ in range(2 * NODES)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.pids: list[int] = []

    @property
    def bootstrap(self) -> str:
        """Every broker's address."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports[:NODES])

    def start(self, node: int) -> None:
        """Start node 0, 1 or 2, at its former address with its former data."""
        folder = self._folder / f"node{node}"
        settings = folder / "server.properties"
        if not settings.exists():
            folder.mkdir(parents=True)
            settings.write_text("".join(f"{key}={value}\n" for key, value in self._settings(node).items()))
            with (folder / "kafka.log").open("ab") as log:
                subprocess.run(
                    self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(settings)),
                    stdout=log,
                    stderr=log,
                    check=True,
                    timeout=60,
                )
        with (folder / "kafka.log").open("ab") as log:
            process = subprocess.Popen(self._java("kafka.Kafka", str(settings)), stdout=log, stderr=log)
        self._processes[node] = process
        self.pids.append(process.pid)

    def kill(self, node: int) -> None:
        """SIGKILL."""
        self._end(node, signal.SIGKILL)

    def _end(self, node: int, how: signal.Signals) -> None:
        process = self._processes.pop(node)
        process.send_signal(how)
        process.wait(30)

    async def whole(self, timeout_s: float = 90.0) -> None:
        """Wait until every copy of every partition is in sync."""

        async def in_sync() -> bool:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5000)
            try:
                await admin.start()
                if len((await admin.describe_cluster())["brokers"]) < NODES:
                    return False
                partitions = [one for topic in await admin.describe_topics() for one in topic["partitions"]]
                return all(len(one["isr"]) == len(one["replicas"]) for one in partitions)
            except (KafkaError, OSError):
                return False
            finally:
                await admin.close()

        await until(in_sync, timeout_s, "the cluster's copies are not in sync")

    def close(self) -> None:
        """Stop what runs."""
        for node in list(self._processes):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._end(node, signal.SIGKILL)

    def _settings(self, node: int) -> dict[str, str]:
        brokers, controllers = self._ports[:NODES], self._ports[NODES:]
        return {
            "process.roles": "broker,controller",
            "node.id": str(node + 1),
            "controller.quorum.voters": ",".join(f"{n + 1}@127.0.0.1:{p}" for n, p in enumerate(controllers)),
            "listeners": f"PLAINTEXT://127.0.0.1:{brokers[node]},CONTROLLER://127.0.0.1:{controllers[node]}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{brokers[node]}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self._folder / f"node{node}" / "data"),
            "auto.create.topics.enable": "false",
            "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "transaction.state.log.num.partitions": "5",
            "group.initial.rebalance.delay.ms": "0",
            # A dead broker is noticed by its silence: the default of 9 s is the whole gap that is allowed.
            "broker.session.timeout.ms": "4000",
            "broker.heartbeat.interval.ms": "500",
        }

    def _java(self, *arguments: str) -> list[str]:
        return [str(java(self._kafka)), *_JAVA_OPTIONS, "-cp", class_path(self._kafka), *arguments]


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """A running cluster for the time of the context."""
    made = Cluster(folder)
    try:
        for node in range(NODES):
            await asyncio.to_thread(made.start, node)
        await made.whole()
        yield made
    finally:
        made.close()
