"""From what is wanted to what is started: addresses chosen, each part and service with its environment."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from twinloop.contracts.rights import MONITOR, PROGRAMS
from twinloop.local.errors import CannotStart
from twinloop.local.install.machine import available_memory_bytes, check_memory
from twinloop.local.keys.authority import write
from twinloop.local.keys.secured import INGEST, Secrets
from twinloop.local.parts.base import Part
from twinloop.local.parts.kafka import Kafka, KafkaElsewhere
from twinloop.local.parts.mqtt import Mqtt, MqttElsewhere
from twinloop.local.parts.prometheus import Prometheus
from twinloop.local.parts.triton import Triton, TritonElsewhere
from twinloop.local.places import Places
from twinloop.local.ports import Ports, checked_address
from twinloop.local.services import AclsPart, Service, ServicePart, TopicsPart
from twinloop.local.state import MARK, StateFolder
from twinloop.runtime.kafka.access import KafkaAccess
from twinloop.runtime.kafka.settings import KafkaSettings, access_of

_PROGRAMS = frozenset(one.name for one in PROGRAMS)

OPERATOR = "olga"
"""Whose token the command line uses unless told otherwise."""

PARTS = ("kafka", "triton", "mqtt")
MORE = ("prometheus",)
"""What runs only where it is asked for."""
_KEY = "TWINLOOP_INGEST_PSEUDONYM_KEY"

_SECURITY = frozenset(
    str(one.validation_alias) for name, one in KafkaSettings.model_fields.items() if name.startswith("kafka_")
)


@dataclass(frozen=True)
class Endpoints:
    """Where everything is. An address is empty when the stack has no such part."""

    state: Path
    kafka: str = ""
    triton: str = ""  # gRPC
    triton_http: str = ""
    mqtt: str = ""
    opcua: str = ""
    prometheus: str = ""
    topic_prefix: str = ""
    model_repository: Path = Path()
    serving: Path = Path()
    """How much of Triton each model may take."""
    parquet: Path = Path()
    token_file: Path = Path()
    """The token with which the command line speaks for a person, by default an operator."""
    security: Mapping[str, str] = field(default_factory=dict)
    """`TWINLOOP_KAFKA_*` of who looks at everything, `monitor`; empty where Kafka asks nobody who he is."""
    health: Mapping[str, str] = field(default_factory=dict)
    """Base URL of each service: its `/health/ready`, `/metrics` and own pages are below it."""

    @classmethod
    def from_environment(cls, state: Path, values: Mapping[str, str]) -> Self:
        """The endpoints of a running stack, from the variables that `environment` gave."""
        suffix = "_URL"
        return cls(
            state=state,
            kafka=values.get("TWINLOOP_KAFKA", ""),
            triton=values.get("TWINLOOP_TRITON", ""),
            triton_http=values.get("TWINLOOP_TRITON_HTTP", ""),
            mqtt=values.get("TWINLOOP_MQTT", ""),
            opcua=values.get("TWINLOOP_OPCUA", ""),
            prometheus=values.get("TWINLOOP_PROMETHEUS", ""),
            topic_prefix=values.get("TWINLOOP_TOPIC_PREFIX", ""),
            model_repository=Path(values.get("TWINLOOP_MODEL_REPOSITORY", "")),
            serving=Path(values.get("TWINLOOP_SERVING", "")),
            parquet=Path(values.get("TWINLOOP_HISTORIAN_FOLDER", "")),
            token_file=Path(values.get("TWINLOOP_TOKEN_FILE", "")),
            security={key: value for key, value in values.items() if key in _SECURITY},
            health={
                key.removeprefix("TWINLOOP_").removesuffix(suffix).lower().replace("_", "-"): url
                for key, url in values.items()
                if key.endswith(suffix)
            },
        )

    def environment(self) -> dict[str, str]:
        """As environment variables: what services are given, and what endpoints.env holds."""
        values = {
            "TWINLOOP_KAFKA": self.kafka,
            "TWINLOOP_TRITON": self.triton,
            "TWINLOOP_TRITON_HTTP": self.triton_http,
            "TWINLOOP_MQTT": self.mqtt,
            "TWINLOOP_OPCUA": self.opcua,
            "TWINLOOP_PROMETHEUS": self.prometheus,
            "TWINLOOP_TOPIC_PREFIX": self.topic_prefix,
            "TWINLOOP_MODEL_REPOSITORY": str(self.model_repository),
            "TWINLOOP_SERVING": str(self.serving),
            "TWINLOOP_HISTORIAN_FOLDER": str(self.parquet),
            "TWINLOOP_TOKEN_FILE": str(self.token_file),
        }
        health = {f"TWINLOOP_{_upper(name)}_URL": url for name, url in self.health.items()}
        return {key: value for key, value in (values | dict(self.security) | health).items() if value}

    @property
    def kafka_access(self) -> KafkaAccess:
        """Kafka, for who looks at everything. Raises `pydantic.ValidationError`."""
        return access_of({"TWINLOOP_KAFKA": self.kafka, **self.security})


@dataclass(frozen=True)
class Plan:
    """What to start, by name. `needs` of the parts give the order."""

    parts: Mapping[str, Part]
    endpoints: Endpoints

    def levels(self) -> list[list[str]]:
        """Names in groups, so that each needs only names of earlier groups."""
        depth: dict[str, int] = {}

        def depth_of(name: str) -> int:
            if name not in depth:
                needs = [need for need in self.parts[name].needs if need in self.parts]
                depth[name] = 1 + max(map(depth_of, needs), default=-1)
            return depth[name]

        for name in self.parts:
            depth_of(name)
        deepest = max(depth.values(), default=-1)
        return [[name for name in self.parts if depth[name] == level] for level in range(deepest + 1)]


def make_plan(
    places: Places,
    state: StateFolder,
    parts: Sequence[str],
    services: Sequence[Service],
    environ: Mapping[str, str],
    ports: Ports,
    secure: Secrets | None = None,
) -> Plan:
    """Choose every address. Raises `CannotStart` for what must be put right first."""
    unknown = set(parts) - {*PARTS, *MORE}
    if unknown:
        raise ValueError(
            f"no such part: {', '.join(sorted(unknown))}; there are {', '.join((*PARTS, *MORE))}"
        )
    # onnxruntime's wheels tell their maker what they run.
    environ = {"ORT_DISABLE_TELEMETRY": "1", **environ}
    environ = {**environ, MARK: str(state.root), "TMPDIR": str(state.scratch), "PYTHONUNBUFFERED": "1"}
    makers: dict[str, Callable[[], Part]] = {
        "kafka": lambda: Kafka(places.kafka, state.root, environ, ports, secure),
        "triton": lambda: Triton(places.triton, state.root, environ, ports),
        "mqtt": lambda: Mqtt(state.root, environ, ports, secure),
    }
    elsewhere: dict[str, Callable[[str], Part]] = {
        "kafka": lambda address: KafkaElsewhere(address, environ),
        "triton": TritonElsewhere,
        "mqtt": MqttElsewhere,
    }
    planned: dict[str, Part] = {}
    for name in [one for one in parts if one in makers]:
        variable = f"TWINLOOP_{name.upper()}"
        address = environ.get(variable)
        if address and secure is not None and name != "triton":
            raise CannotStart(
                f"{variable} is set: what runs elsewhere is not secured from here. Unset one of both."
            )
        planned[name] = elsewhere[name](checked_address(variable, address)) if address else makers[name]()
    if any(isinstance(part, (Kafka, Triton)) for part in planned.values()):
        check_memory(available_memory_bytes())

    serving = Path(environ.get("TWINLOOP_SERVING") or places.config / "serving.toml")
    endpoints = _endpoints(planned, state, environ, ports, serving, with_opcua=bool(services))
    endpoints = replace(endpoints, security={key: environ[key] for key in _SECURITY if environ.get(key)})
    if secure is not None:
        monitor = f"{endpoints.topic_prefix}{MONITOR.name}"
        endpoints = replace(endpoints, security=secure.kafka_variables(monitor))
    if not services:
        return Plan(planned, endpoints)
    # One thread a service for linear algebra: many processes share few cores here.
    shared = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | environ | endpoints.environment()
    if secure is not None:  # each is told of its own user, and of no other
        shared = {key: value for key, value in shared.items() if key not in _SECURITY}
    planned["topics"] = TopicsPart(shared | _own_security("provision", endpoints, secure))
    kafka = planned.get("kafka")
    if secure is not None and isinstance(kafka, Kafka):
        at = {"TWINLOOP_KAFKA": kafka.certified}
        planned["acls"] = AclsPart(shared | secure.admin_variables() | at)
    stands_for: defaultdict[str, str] = defaultdict(
        str,
        state=str(state.root),
        config=str(places.config),
        certs=str(state.certs),
        pseudonym_key="" if _KEY in environ else str(_pseudonym_key(state, secure)),
    )
    health = {}
    for service in services:
        told = {key: value.format_map(stands_for) for key, value in service.settings.items()}
        own = {key: value for key, value in told.items() if value}
        part = ServicePart(service, own | shared | _own_security(service.program, endpoints, secure), ports)
        planned[service.name] = part
        stands_for[service.name] = health[service.name] = part.where
    prometheus = ""
    if "prometheus" in parts:
        planned["prometheus"] = Prometheus(
            state.root, places.rules, _targets(planned, services), environ, ports
        )
        prometheus = planned["prometheus"].where
    return Plan(planned, replace(endpoints, health=health, prometheus=prometheus))


def _targets(planned: Mapping[str, Part], services: Sequence[Service]) -> dict[str, list[str]]:
    """What is scraped, by job: a program has one, however many processes of it there are."""
    found: dict[str, list[str]] = {}
    for one in services:
        found.setdefault(one.program, []).append(planned[one.name].where.removeprefix("http://"))
    if isinstance(triton := planned.get("triton"), Triton):
        found["triton"] = [triton.metrics]
    return found


def _own_security(program: str, endpoints: Endpoints, secure: Secrets | None) -> dict[str, str]:
    """What tells a program of a secured stack who it is."""
    if secure is None:
        return {}
    mqtt = {"ingest": INGEST, "simulator": next(iter(secure.secure.plants), "")}.get(program)
    return {
        **(secure.kafka_variables(f"{endpoints.topic_prefix}{program}") if program in _PROGRAMS else {}),
        **(secure.mqtt_variables(mqtt) if mqtt else {}),
    }


def _pseudonym_key(state: StateFolder, secure: Secrets | None) -> Path:
    """A file with a secret; of a stack that is not secured, one of this run."""
    if secure is not None:
        return secure.pseudonym_key
    path = state.scratch / "pseudonym.key"
    write(path, f"{secrets.token_hex(32)}\n".encode(), private=True)
    return path


def _endpoints(
    planned: Mapping[str, Part],
    state: StateFolder,
    environ: Mapping[str, str],
    ports: Ports,
    serving: Path,
    *,
    with_opcua: bool,
) -> Endpoints:
    triton = planned.get("triton")
    models = state.root / "models"
    if isinstance(triton, TritonElsewhere):
        if not environ.get("TWINLOOP_MODEL_REPOSITORY"):
            raise CannotStart(
                "TWINLOOP_TRITON is set, so TWINLOOP_MODEL_REPOSITORY must be too: set it to the folder "
                "from which "
                "that server loads its models."
            )
        models = Path(environ["TWINLOOP_MODEL_REPOSITORY"])
    opcua = environ.get("TWINLOOP_OPCUA", "")
    if with_opcua and not opcua:
        opcua = f"opc.tcp://{ports.reserve('TWINLOOP_OPCUA_PORT').address}/twinloop/"
    return Endpoints(
        state=state.root,
        kafka=planned["kafka"].where if "kafka" in planned else "",
        triton=triton.where if triton else "",
        triton_http=triton.http if isinstance(triton, Triton) else "",
        mqtt=planned["mqtt"].where if "mqtt" in planned else "",
        opcua=opcua,
        topic_prefix=environ.get("TWINLOOP_TOPIC_PREFIX", ""),
        model_repository=models,
        serving=serving,
        parquet=state.root / "parquet",
        token_file=state.certs / "tokens" / f"{OPERATOR}.token",
    )


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")
