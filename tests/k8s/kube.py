"""kubectl and helm in one namespace, and ways from this machine to its Services."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.images import ROOT, tag
from support.waiting import wait

CHART = ROOT / "helm" / "twinloop"
FORWARDED = "127.0.7.1"
"""Where Services are, if their own addresses are not reached from here."""


class Failed(AssertionError):
    """Raised when a command ends with an error; the text is what it said."""


class Refused(Failed):
    """Raised when the API server answers 429: a disruption budget holds a pod back."""


def program(name: str) -> str:
    """Where a program is. Raises `AssertionError` with what to do."""
    beside = Path(os.environ.get("TWINLOOP_CLUSTER_BIN", Path.home() / ".cache/twinloop-cluster/bin")) / name
    found = shutil.which(name) or (str(beside) if beside.exists() else None)
    assert found, f"{name} is not there: install it, or put it on the path"
    return found


def run(
    *command: str, timeout_s: float = 300, given: str | bytes | None = None, errors_too: bool = False
) -> str:
    """What a command prints, with `errors_too` also on standard error. Raises `Failed`."""
    content = given.encode() if isinstance(given, str) else given
    done = subprocess.run(command, input=content, capture_output=True, timeout=timeout_s, check=False)
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace")
        kind = Refused if "TooManyRequests" in said or "disruption budget" in said else Failed
        raise kind(f"{' '.join(command[:8])}: {said[-4000:]}")
    return (done.stdout + (done.stderr if errors_too else b"")).decode(errors="replace")


@dataclass
class Namespace:
    """A namespace that enforces `restricted`."""

    name: str

    def kubectl(self, *arguments: str, timeout_s: float = 120, given: str | bytes | None = None) -> str:
        """Raises `Failed`."""
        return run(program("kubectl"), "-n", self.name, *arguments, timeout_s=timeout_s, given=given)

    def get(self, *what: str) -> list[dict[str, Any]]:
        """Objects."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", *what, "-o", "json"))["items"]
        return found

    def helm(self, *arguments: str, timeout_s: float = 600) -> str:
        """What it and its hooks say. Raises `Failed`, with what the pods were at."""
        try:
            return run(program("helm"), "-n", self.name, *arguments, timeout_s=timeout_s, errors_too=True)
        except Failed as error:
            raise Failed(f"{error}\n{self.told()}") from None

    def install(self, release: str, values: Path, *further: str) -> None:
        """Install the chart and wait until everything is ready."""
        chosen = ("--set", f"image.tag={tag()}", *further)
        self.helm("install", release, str(CHART), "-f", str(values), "--wait", "--timeout", "6m", *chosen)

    def upgrade(self, release: str, values: Path, *further: str) -> None:
        """The same for an upgrade."""
        chosen = ("--set", f"image.tag={tag()}", *further)
        self.helm("upgrade", release, str(CHART), "-f", str(values), "--wait", "--timeout", "6m", *chosen)

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Those that are not on their way out."""
        found = self.get("pods", "-l", f"app.kubernetes.io/component={component}")
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def ready(self, component: str) -> list[str]:
        """Names of pods that are ready."""
        return [
            one["metadata"]["name"]
            for one in self.pods(component)
            if any(
                each["type"] == "Ready" and each["status"] == "True"
                for each in one["status"].get("conditions", [])
            )
        ]

    def evict(self, pod: str) -> None:
        """As `kubectl drain` does. Raises `Refused` when a budget holds it back."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.name},
        }
        path = f"/api/v1/namespaces/{self.name}/pods/{pod}/eviction"
        run(program("kubectl"), "create", "--raw", path, "-f", "-", given=json.dumps(body))

    def told(self) -> str:
        """Pods, events and the last lines of what is not ready."""
        parts = []
        for command in (("get", "pods", "-o", "wide"), ("get", "events", "--sort-by=.lastTimestamp")):
            with contextlib.suppress(Failed, subprocess.TimeoutExpired):
                parts.append("\n".join(self.kubectl(*command).splitlines()[-25:]))
        with contextlib.suppress(Failed, subprocess.TimeoutExpired):
            for pod in self.get("pods"):
                states = pod["status"].get("containerStatuses", [])
                if not all(one["ready"] for one in states):
                    with contextlib.suppress(Failed):
                        name = pod["metadata"]["name"]
                        parts.append(f"--- {name}\n{self.kubectl('logs', name, '--tail=15')}")
        return "\n".join(parts)


class Ways:
    """Ways to Services by name: their own addresses where they are reached, else `kubectl port-forward`."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._known: dict[str, str] = {}
        self._forwards: list[subprocess.Popen[bytes]] = []

    def to(self, service: str, port: int) -> str:
        """The address that this machine reaches a Service at; from then on its name means it here."""
        if service not in self._known:
            found = json.loads(self._namespace.kubectl("get", "service", service, "-o", "json"))
            own = found["spec"]["clusterIP"]
            self._known[service] = own if _answers(own, port) else self._forward(service, port)
        return self._known[service]

    def _forward(self, service: str, port: int) -> str:
        address = str(ipaddress.ip_address(FORWARDED) + len(self._forwards))
        command = [program("kubectl"), "-n", self._namespace.name, "port-forward", "--address", address]
        self._forwards.append(subprocess.Popen([*command, f"service/{service}", str(port)]))
        wait(lambda: _answers(address, port), 20, f"{service} is not forwarded")
        return address

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """For the time of the context this process resolves the names of known Services."""
        original = socket.getaddrinfo

        def resolve(host: Any, *others: Any, **named: Any) -> Any:
            return original(self._known.get(host, host), *others, **named)

        socket.getaddrinfo = resolve
        try:
            yield
        finally:
            socket.getaddrinfo = original
            for one in self._forwards:
                one.terminate()
                one.wait()


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True
