"""The Dockerfile, its locks and its start of Kafka, as far as they can be judged without an engine."""

from __future__ import annotations

import importlib.util
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from support.images import JOBS, PARTS, ROOT, SERVICES

from twinloop.local.keys.secured import Secrets, Secure
from twinloop.local.parts import kafka_secured
from twinloop.local.parts.kafka import server_properties

DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()


def module(path: str) -> ModuleType:
    """A script of the images."""
    spec = importlib.util.spec_from_file_location(
        path.replace("/", "_"), ROOT / "deploy/docker" / f"{path}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


lock, kafka, strip = module("lock"), module("parts/kafka"), module("strip")


def stages() -> dict[str, tuple[str, str]]:
    """By name: what it builds on, and its lines."""
    found: dict[str, tuple[str, str]] = {}
    for text in re.split(r"^FROM ", DOCKERFILE, flags=re.M)[1:]:
        head, _, body = text.partition("\n")
        base, _, name = head.partition(" AS ")
        found[name.strip()] = (base.strip(), body.replace("\\\n", " "))
    return found


STAGES = stages()


@pytest.mark.parametrize("name", [*SERVICES, *JOBS, *PARTS])
def test_every_image_has_a_target_that_says_what_it_is(name: str) -> None:
    _, body = STAGES[name]
    for label in ("title", "description", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in body
    assert f'image.title="twinloop-{name}"' in body
    assert re.search(r'^ENTRYPOINT \["', body, re.M), "PID 1 must be the program itself, not a shell"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_its_module_and_checks_itself(name: str) -> None:
    base, body = STAGES[name]
    assert base == "service"
    assert f'ENTRYPOINT ["python", "-m", "twinloop.{name}"]' in body
    assert 'CMD ["python", "-m", "twinloop.runtime.healthcheck", "ready"]' in STAGES["service"][1]


@pytest.mark.parametrize("name", ["service", "mqtt", "triton-cpu", "kafka"])
def test_what_is_shipped_stands_on_the_slim_base_and_runs_as_nobody_in_particular(name: str) -> None:
    assert STAGES[name][0] == "runtime"
    assert STAGES["runtime"][0] == "scratch"
    assert "USER 10001:10001" in STAGES["runtime"][1]


def test_nothing_is_installed_or_run_in_an_image_that_is_shipped() -> None:
    for name in ("runtime", "service", *SERVICES, *JOBS, *PARTS):
        assert not re.search(r"^(RUN|USER 0|USER root|ADD) ", STAGES[name][1], re.M), name


def test_packages_come_with_hashes_and_without_secrets_in_a_layer() -> None:
    install = (ROOT / "deploy/docker/install.sh").read_text()
    assert "--require-hashes" in install
    assert "--only-binary :all:" in install
    for name, (_, body) in STAGES.items():
        if "install.sh" in body:
            assert "--mount=type=secret,id=ca" in body, name
    assert not re.search(r"^(ARG|ENV) .*(INDEX_URL|TOKEN|PASSWORD|PROXY)", DOCKERFILE, re.M)


def test_the_context_lets_nothing_in_that_is_not_named() -> None:
    lines = [one for one in (ROOT / ".dockerignore").read_text().splitlines() if not one.startswith("#")]
    assert lines[0] == "*"


# ---- locks


@pytest.mark.parametrize("name", [*lock.IMAGES, *lock.ALONE])
def test_an_image_installs_what_the_services_were_tested_with(name: str) -> None:
    tested = dict(lock.blocks((ROOT / "deploy/requirements/services.txt").read_text()))
    for package, text in lock.blocks((ROOT / f"deploy/requirements/images/{name}.txt").read_text()):
        assert "--hash=sha256:" in text
        assert pinned(text) == pinned(tested[package])


@pytest.mark.parametrize("name", [one for one in lock.IMAGES if one != lock.COMMON])
def test_an_image_has_what_its_packages_declare(name: str) -> None:
    folder = ROOT / "deploy/requirements/images"
    locked = {
        one for file in (name, lock.COMMON) for one, _ in lock.blocks((folder / f"{file}.txt").read_text())
    }
    wanted = {lock.name_of(one) for one in lock.declared(lock.IMAGES[name])} - lock.WITHOUT.get(name, set())
    assert wanted <= locked, "run `make lock`"


def test_extras_are_for_those_who_ask() -> None:
    assert "onnx" in lock.declared(["modelops"])
    assert "onnx" not in lock.declared(["detector"])


def pinned(block: str) -> str:
    return block.split()[0]


# ---- Kafka


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("KAFKA_LOG_DIRS", "log.dirs"),
        ("KAFKA_LISTENER_NAME_SASL__SSL_SCRAM___SHA___512_X", "listener.name.sasl_ssl.scram-sha-512.x"),
    ],
)
def test_properties_are_named_as_in_the_usual_image(variable: str, name: str) -> None:
    assert kafka.property_name(variable) == name


def test_the_environment_goes_before_the_defaults_and_options_of_java_are_no_settings() -> None:
    told = kafka.settings({"KAFKA_NODE_ID": "7", "KAFKA_HEAP_OPTS": "-Xmx1g", "HOME": "/"}, "here")
    assert told["node.id"] == "7"
    assert told["advertised.listeners"] == "PLAINTEXT://here:9092"
    assert not [one for one in told if "heap" in one or "home" in one]


def test_a_node_in_a_container_is_set_as_one_of_the_local_stack() -> None:
    local = dict(line.split("=", 1) for line in server_properties("b:1", "c:2", Path("data")).splitlines())
    ours = kafka.defaults("here")
    where = {"listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs"}
    where.add("inter.broker.listener.name")  # Compose names it beside the listeners
    assert {name: ours[name] for name in ours.keys() - where} == {
        name: local[name] for name in local.keys() - where
    }


def test_users_of_a_new_cluster() -> None:
    assert kafka.users("ann s3cret\n\nbob  t\n").splitlines() == [
        *("--add-scram", "SCRAM-SHA-512=[name=ann,password=s3cret]"),
        *("--add-scram", "SCRAM-SHA-512=[name=bob,password=t]"),
    ]


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    assert kafka.private(tmp_path / "users", "x").stat().st_mode & 0o777 == 0o600


# ---- stripping


def test_a_library_that_could_not_be_loaded_is_told() -> None:
    good = bytearray(Path(sys.executable).resolve().read_bytes())
    assert strip.loadable(bytes(good))
    at = int.from_bytes(good[32:40], "little")
    size, count = int.from_bytes(good[54:56], "little"), int.from_bytes(good[56:58], "little")
    load = next(n for n in range(count) if good[at + n * size] == 1)
    good[at + load * size + 8] ^= 0x10  # its offset in the file is no longer that in its page
    assert not strip.loadable(bytes(good))


def test_the_overlay_secures_kafka_as_the_local_stack_does(tmp_path: Path) -> None:
    """What both set they set alike, but for where things lie, and the mechanisms that the overlay has not."""
    overlay = yaml.safe_load((ROOT / "deploy/compose/tls-sasl.yml").read_text())
    told = {
        key: value.replace("$$", "$") for key, value in overlay["services"]["kafka"]["environment"].items()
    }
    found = kafka.settings(told, "kafka")
    made = Secrets(tmp_path, Secure())
    made.make(datetime.now(UTC))
    local = kafka_secured.settings(made, "kafka:1", "kafka:2", "localhost:3")
    elsewhere = {"ssl.keystore.location", "ssl.truststore.location", "sasl.enabled.mechanisms"}
    elsewhere |= {"listeners", "advertised.listeners", "listener.security.protocol.map"}
    missing = {
        one for one in local.keys() - found.keys() if not re.search("oauthbearer|plain|scram-sha-256", one)
    }
    assert not missing
    for one in local.keys() & found.keys() - elsewhere:
        assert found[one] == local[one], one
    listeners = dict(one.split(":") for one in found["listener.security.protocol.map"].split(","))
    assert listeners == {"SASL_SSL": "SASL_SSL", "HOST": "SASL_SSL", "TLS": "SSL", "CONTROLLER": "SSL"}
    scram = "scram-sha-512.sasl.jaas.config"
    assert found[f"listener.name.host.{scram}"] == found[f"listener.name.sasl_ssl.{scram}"]
