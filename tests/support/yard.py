"""Our images as real containers on a network of their own: started, killed, paused, parted by tests."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import httpx
from docker.models.containers import Container
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from support.http import HTTP
from support.images import ROOT, image

PORT = 8080
USER = "10001:10001"
LABEL = "twinloop.tests"


def start_engine() -> None:
    """Make sure that one runs. Raises `AssertionError` with what to do."""
    done = subprocess.run(
        [ROOT / "deploy/docker/engine.sh", "up"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@dataclass
class Running:
    """One container. Its address within the network is its name."""

    name: str
    made: DockerContainer
    port: int | None

    @property
    def raw(self) -> Container:
        """As the engine knows it now."""
        found = self.made.get_wrapped_container()
        found.reload()
        return found

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> str:
        """As the engine says: running, exited, paused."""
        return str(self.raw.attrs["State"]["Status"])

    @property
    def healthy(self) -> bool:
        """What its own health command says."""
        container = self.raw
        if self.state != "running":
            return False
        command = container.image.attrs["Config"]["Healthcheck"]["Test"][1:]
        return bool(container.exec_run(command).exit_code == 0)

    def log(self) -> str:
        return str(self.raw.logs().decode(errors="replace"))

    def get(self, path: str) -> httpx.Response | None:
        """Its answer; `None` while it does not answer."""
        try:
            return HTTP.get(self.url + path, timeout=5)
        except httpx.HTTPError:
            return None

    @property
    def ready(self) -> bool:
        answer = self.get("/health/ready")
        return answer is not None and answer.status_code == 200

    def kill(self) -> None:
        """SIGKILL."""
        self.raw.kill()

    def start(self) -> None:
        """The same container again."""
        self.raw.start()

    def pause(self) -> None:
        """It stands still, and does not know."""
        self.raw.pause()

    def go_on(self) -> None:
        self.raw.unpause()

    def stop(self, grace_s: int = 30) -> tuple[int, float]:
        """SIGTERM; the exit status, and how long it took, in seconds."""
        began = time.monotonic()
        self.raw.stop(timeout=grace_s)
        took_s = time.monotonic() - began
        return int(self.raw.attrs["State"]["ExitCode"]), took_s


@dataclass
class Yard:
    """A network, and what runs on it."""

    network: Network
    run: str
    folder: Path
    started: dict[str, Running] = field(default_factory=dict)

    def launch(
        self,
        name: str,
        of: str,
        variables: Mapping[str, str] | None = None,
        *,
        volumes: Mapping[str, str] | None = None,
        published: int | None = PORT,
        host_port: int | None = None,
        command: str | None = None,
        **options: Any,
    ) -> Running:
        """Start a container of an image, hardened as they are meant to run.

        `volumes`: folder of this machine to `path` or `path:ro`; `published`: port of the container that
        this machine can reach, at `host_port`, which stays when it restarts.
        """
        container = DockerContainer(of)
        container.with_network(self.network).with_network_aliases(name)
        container.with_kwargs(
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            labels={LABEL: self.run},
            user=USER,
            read_only=True,
            healthcheck={
                "test": ["NONE"]
            },  # asked when a test wants to know: each time is a process of its own
            **options,
        )
        container.with_tmpfs_mount("/tmp")
        for key, value in (variables or {}).items():
            container.with_env(key, value)
        for source, target in (volumes or {}).items():
            path, _, mode = target.partition(":")
            container.with_volume_mapping(source, path, mode or "rw")
        port = None
        if published is not None:
            port = host_port or free_port()
            container.ports[published] = ("127.0.0.1", port)
        if command is not None:
            container.with_command(command)
        container.start()
        self.started[name] = one = Running(name, container, port)
        return one

    def cut_off(self, one: Running) -> None:
        """Take its cable out: it runs, and reaches nobody."""
        self._docker_network().disconnect(one.raw)

    def rejoin(self, one: Running) -> None:
        self._docker_network().connect(one.raw, aliases=[one.name])

    def room(self, name: str) -> Path:
        """A folder of this machine that containers may write."""
        made = self.folder / name
        made.mkdir(parents=True, exist_ok=True)
        made.chmod(0o777)
        return made

    def logs(self, lines: int = 15) -> str:
        """The end of every log, for a test that fails."""
        return "\n".join(
            f"--- {name} ({one.state})\n" + "\n".join(one.log().splitlines()[-lines:])
            for name, one in self.started.items()
        )

    def close(self) -> None:
        """Remove everything."""
        for one in self.started.values():
            with contextlib.suppress(docker.errors.APIError):
                one.raw.remove(force=True, v=True)

    def _docker_network(self) -> Any:
        return docker.from_env().networks.get(self.network.id)


@contextlib.contextmanager
def yard(folder: Path) -> Iterator[Yard]:
    """For the time of the context."""
    with Network() as network:
        one = Yard(network, uuid.uuid4().hex, folder)
        try:
            yield one
        finally:
            one.close()


# ---- the parts that are not ours

IN_YARD = {"TWINLOOP_KAFKA": "kafka:9092", "TWINLOOP_TRITON": "triton:8001", "TWINLOOP_MQTT": "mqtt:1883"}


def kafka(on: Yard) -> tuple[Running, str]:
    """Kafka, and its address for this machine, which is advertised and so must not change."""
    port = free_port()
    one = on.launch(
        "kafka",
        os.environ.get("TWINLOOP_KAFKA_IMAGE", image("kafka")),
        {
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,HOST://:9094,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://kafka:9092,HOST://localhost:{port}",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,HOST:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
        },
        volumes={str(on.room("kafka")): "/data"},
        published=9094,
        host_port=port,
    )
    return one, f"127.0.0.1:{port}"


def triton(on: Yard, models: Path) -> Running:
    """Triton, which loads from `models`."""
    return on.launch(
        "triton", image("triton-cpu"), volumes={str(models): "/models:ro"}, published=8001, shm_size="256m"
    )


def mqtt(on: Yard) -> Running:
    return on.launch("mqtt", image("mqtt"), published=1883)


def healthy(*ones: Running, timeout_s: float = 90.0) -> None:
    """Wait until their own health commands say so."""
    for one in ones:
        end = time.monotonic() + timeout_s
        while not one.healthy:
            assert one.state == "running", f"{one.name} {one.state}:\n{one.log()}"
            assert time.monotonic() < end, f"{one.name} is not healthy after {timeout_s:g} s:\n{one.log()}"
            time.sleep(0.5)
