"""A secured stack, as it is planned: each program is told of its own user, and of no other's secrets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from twinloop.contracts.rights import PROGRAMS
from twinloop.local.errors import CannotStart
from twinloop.local.keys.secured import BROKER, Secrets, Secure
from twinloop.local.parts.kafka_secured import settings
from twinloop.local.parts.mqtt_secured import may_hear, may_publish
from twinloop.local.places import find_places
from twinloop.local.plan import Endpoints, Plan, make_plan
from twinloop.local.ports import Ports
from twinloop.local.services import SERVICES
from twinloop.local.state import StateFolder

SITE = "acme."


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    made = Secrets(StateFolder(tmp_path).certs, Secure(sites=(SITE,)))
    made.make(datetime.now(UTC))
    return made


@pytest.fixture
def plan(tmp_path: Path, secrets: Secrets) -> Iterator[Plan]:
    environ = {"PATH": os.environ["PATH"], "TWINLOOP_TOPIC_PREFIX": SITE}
    ports = Ports(environ)
    parts = ("kafka", "triton", "mqtt")
    yield make_plan(find_places(), StateFolder(tmp_path), parts, SERVICES, environ, ports, secrets)
    ports.release()


def told(plan: Plan, name: str) -> dict[str, str]:
    command = plan.parts[name].command()
    assert command is not None
    return dict(command.env)


def test_each_program_is_its_own_user(plan: Plan) -> None:
    users = {one.name: told(plan, one.name).get("TWINLOOP_KAFKA_USER") for one in SERVICES}
    assert users == {
        one.name: None if one.program == "simulator" else f"{SITE}{one.program}" for one in SERVICES
    }
    assert users["detector-vehicles"] == users["detector"] == f"{SITE}detector"
    assert told(plan, "topics")["TWINLOOP_KAFKA_USER"] == f"{SITE}provision"
    assert told(plan, "ingest")["TWINLOOP_MQTT_USER"] == "ingest"
    assert told(plan, "simulator")["TWINLOOP_MQTT_USER"] == "plant"


def test_only_what_makes_acls_is_the_administrator(plan: Plan, secrets: Secrets) -> None:
    admin = secrets.admin_variables()["TWINLOOP_KAFKA_KEY_FILE"]
    assert [name for name in plan.parts if admin in told(plan, name).values()] == ["acls"]
    assert "acls" in plan.parts["topics"].needs
    assert "TWINLOOP_KAFKA_SASL" not in told(plan, "acls")


def test_no_secret_is_in_the_environment_or_an_argument(plan: Plan, secrets: Secrets, tmp_path: Path) -> None:
    words = [one.read_text().strip() for one in tmp_path.rglob("*.password")]
    words.append(secrets.pseudonym_key.read_text().strip())
    assert len(words) == len(PROGRAMS) + 3
    for part in plan.parts.values():
        for command in (*part.prepare(), part.command()):
            assert command is not None
            shown = "\n".join([*command.argv, *command.env.values()])
            assert [one for one in words if one in shown] == [], part.name
    for file in tmp_path.rglob("*"):
        if file.is_file() and any(one in file.read_text(errors="replace") for one in words):
            assert file.stat().st_mode & 0o077 == 0, file


def test_no_certificate_but_kafkas_own_makes_an_administrator_of_kafka(
    secrets: Secrets, tmp_path: Path
) -> None:
    """They all come from one authority, and Kafka looks at their names."""
    of_a_former_version = secrets.mqtt / f"{BROKER}.cert.pem"
    of_a_former_version.write_bytes((secrets.kafka / f"{BROKER}.cert.pem").read_bytes())
    secrets.make(datetime.now(UTC))
    found = settings(secrets, "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3")
    assert found["ssl.principal.mapping.rules"] == "RULE:^CN=([^,]+)$/$1/"
    supers = {f"CN={one.removeprefix('User:')}" for one in found["super.users"].split(";")}
    names = {
        one: x509.load_pem_x509_certificate(one.read_bytes()).subject.rfc4514_string()
        for one in tmp_path.rglob("*.cert.pem")
    }
    assert {one.parent.name for one in names} == {"kafka", "mqtt"}
    assert {one.parent for one, name in names.items() if name in supers} == {secrets.kafka}


def test_who_looks_is_the_monitor_and_finds_it_in_the_endpoints(plan: Plan, tmp_path: Path) -> None:
    where = plan.endpoints
    assert where.kafka_access.user == f"{SITE}monitor"
    again = Endpoints.from_environment(tmp_path, where.environment())
    assert again.kafka_access == where.kafka_access


def test_what_is_there_stays(secrets: Secrets, tmp_path: Path) -> None:
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    secrets.make(datetime.now(UTC))
    assert {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()} == before


def test_what_runs_elsewhere_is_not_secured_from_here(tmp_path: Path, secrets: Secrets) -> None:
    environ = {"TWINLOOP_KAFKA": "127.0.0.1:9092"}
    ports = Ports(environ)
    with pytest.raises(CannotStart, match="TWINLOOP_KAFKA is set"):
        make_plan(find_places(), StateFolder(tmp_path), ("kafka",), (), environ, ports, secrets)
    ports.release()


def test_kafkas_data_with_users_is_not_taken_for_such_without(plan: Plan, tmp_path: Path) -> None:
    data = tmp_path / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").touch()
    with pytest.raises(CannotStart, match="was made without users"):
        plan.parts["kafka"].prepare()


def test_plants_publish_under_their_own_groups_alone() -> None:
    plants = {"a": "acme.berlin", "b": "acme.wien"}
    for user, group in plants.items():
        for topic in (*may_publish(plants)[user], *may_hear(plants)[user]):
            own = topic.startswith(f"spBv1.0/{group}/")
            assert own or topic in ("vehicles/+/telemetry", "spBv1.0/STATE/+")
        assert "spBv1.0/STATE/+" not in may_publish(plants)[user]
        assert "vehicles/+/telemetry" not in may_hear(plants)[user]
