"""The services as a table: what runs, after what, with which settings of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from twinloop.local import probes
from twinloop.local.parts.base import Part
from twinloop.local.ports import Ports
from twinloop.local.process import Command

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Service:
    """One process `python -m <module>`.

    `needs` names what must be ready first; a name that is not part of the stack is not waited for. In the
    values of `settings`, `{state}` and `{config}` stand for the state folder and deploy/local/config,
    `{certs}` for the folder of keys and certificates, `{pseudonym_key}` for a file with a secret, and the
    name of a service before it in the table for that one's address; without it the setting is left out.
    What the environment sets goes before them.
    """

    name: str
    needs: tuple[str, ...] = ("topics",)
    settings: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    module: str = ""

    @property
    def program(self) -> str:
        """What runs: the name of its image, and of its user at Kafka."""
        return (self.module or self.name).removeprefix("twinloop.")

    def with_settings(self, **settings: str) -> Service:
        """The same service with these settings added or replaced."""
        return replace(self, settings={**self.settings, **settings})


SERVICES: tuple[Service, ...] = (
    Service(
        "historian",
        settings={"TWINLOOP_HISTORIAN_FOLDER": "{state}/parquet", "TWINLOOP_HISTORIAN_MAX_AGE_S": "1"},
    ),
    Service(
        "ingest",
        needs=("topics", "mqtt"),
        settings={
            "TWINLOOP_INGEST_PSEUDONYM_KEY_FILE": "{pseudonym_key}",
            # Months of driving are replayed: what vehicles tell may be three years old.
            "TWINLOOP_INGEST_VEHICLE_MAX_AGE_S": str(3 * 365 * 86_400),
        },
    ),
    # What routes name is loaded before anybody asks for it.
    Service(
        "modelops",
        needs=("topics", "triton"),
        settings={
            "TWINLOOP_MODELOPS_AUDIT": "{state}/audit",
            "TWINLOOP_MODELOPS_BUDGET_S": "1",  # many processes share few cores here
            "TWINLOOP_ACCESS_PEOPLE": "{certs}/people.toml",
        },
    ),
    # One for the line and one for vehicles: a model of either that hangs holds up its own stream alone.
    Service(
        "detector",
        needs=("topics", "triton"),
        settings={
            "TWINLOOP_DETECTOR_TOPICS": "telemetry.factory",
            "TWINLOOP_DETECTOR_SCORE_EVERY": "1",
        },
    ),
    Service(
        "detector-vehicles",
        needs=("topics", "triton"),
        settings={
            "TWINLOOP_DETECTOR_GROUP": "detector-vehicles",
            "TWINLOOP_DETECTOR_TOPICS": "telemetry.vehicle",
            "TWINLOOP_DETECTOR_SCORE_EVERY": "1",
        },
        module="twinloop.detector",
    ),
    Service(
        "controller",
        settings={
            "TWINLOOP_CONTROLLER_DATA": "{state}/controller",
            "TWINLOOP_CONTROLLER_ASSETS": "{config}/controller.toml",
            "TWINLOOP_CONTROLLER_AUDIT": "{state}/audit",
            "TWINLOOP_CONTROLLER_FIELD": "{config}/field.toml",
            "TWINLOOP_ACCESS_PEOPLE": "{certs}/people.toml",
        },
    ),
    Service(
        "twin",
        settings={
            "TWINLOOP_TWIN_ASSETS": "{config}/twin.toml",
            "TWINLOOP_TWIN_MODELS": "{state}/processes",
            "TWINLOOP_TWIN_SIGNING_KEY": "{certs}/signing/twin.key.pem",
            "TWINLOOP_TWIN_AUDIT": "{state}/audit",
            "TWINLOOP_ACCESS_PEOPLE": "{certs}/people.toml",
        },
    ),
    # The plant is ready when somebody listens: ingest is its primary host.
    Service(
        "simulator",
        needs=("mqtt", "ingest"),
        settings={
            "TWINLOOP_SIMULATOR_STATIONS": "{config}/simulator.toml",
            "TWINLOOP_SIMULATOR_INGEST": "{ingest}",
            "TWINLOOP_SIMULATOR_PRIMARY_HOST": "twinloop",  # as ingest calls itself
            "TWINLOOP_SIMULATOR_OPCUA_CERTIFICATE": "{certs}/opcua/plc.cert.der",
            "TWINLOOP_SIMULATOR_OPCUA_KEY": "{certs}/opcua/plc.key.pem",
            "TWINLOOP_SIMULATOR_OPCUA_TRUSTED": "{certs}/opcua/trusted-by-plc",
        },
    ),
    Service(
        "line",
        needs=("topics", "simulator"),
        settings={
            "TWINLOOP_LINE_ASSETS": "{config}/line.toml",
            "TWINLOOP_LINE_OPCUA_CERTIFICATE": "{certs}/opcua/line.cert.der",
            "TWINLOOP_LINE_OPCUA_KEY": "{certs}/opcua/line.key.pem",
            "TWINLOOP_LINE_OPCUA_TRUSTED": "{certs}/opcua/trusted-by-line",
            "TWINLOOP_LINE_APPROVERS": "{certs}/signing/trusted",
            "TWINLOOP_LINE_AUDIT": "{state}/audit",
            "TWINLOOP_ACCESS_PEOPLE": "{certs}/people.toml",
        },
    ),
)


def select(names: Sequence[str]) -> tuple[Service, ...]:
    """Services of the table by name, in the table's order. Raises KeyError for an unknown name."""
    unknown = set(names) - {service.name for service in SERVICES}
    if unknown:
        raise KeyError(f"no such service: {', '.join(sorted(unknown))}")
    return tuple(service for service in SERVICES if service.name in names)


class ServicePart(Part):
    """A service as the stack sees it: ready when its health port says so. `environ` holds its settings."""

    grace_s = 15.0

    def __init__(self, service: Service, environ: Mapping[str, str], ports: Ports) -> None:
        self.name = service.name
        self.needs = service.needs
        self._module = service.module or f"twinloop.{service.name}"
        self._environ = environ
        self._port = ports.reserve(f"TWINLOOP_{service.name.upper().replace('-', '_')}_HEALTH_PORT")

    @property
    def where(self) -> str:
        return f"http://{self._port.address}"

    def command(self) -> Command:
        env = {**self._environ, "TWINLOOP_HEALTH_PORT": str(self._port.number)}
        return Command((sys.executable, "-m", self._module), env)

    async def ready(self) -> bool:
        return await probes.http_ok(self._port.address, "/health/ready")


class TopicsPart(Part):
    """Creates the topics, between Kafka and the services: a command that ends."""

    name = "topics"
    needs = ("kafka", "acls")
    ends = True

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def command(self) -> Command:
        return Command((sys.executable, "-m", "twinloop.runtime.kafka.provision"), self._environ)

    async def ready(self) -> bool:
        return False  # never asked: `ends`


class AclsPart(Part):
    """Makes the ACLs of a secured Kafka, before anybody needs one: a command that ends."""

    name = "acls"
    needs = ("kafka",)
    ends = True

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def command(self) -> Command:
        return Command(
            (sys.executable, "-m", "twinloop.runtime.kafka.acls", "--apply", "--prune"), self._environ
        )

    async def ready(self) -> bool:
        return False  # never asked: `ends`
