"""docker-compose.yml and its overlays, read as text: every program is there, safe, limited and only for this
machine, and nothing is used that Compose 1.29 would refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import images
from support.images import ROOT

from twinloop.local.keys import handout

FILES = [ROOT / "docker-compose.yml", *sorted((ROOT / "deploy" / "compose").glob("*.yml"))]
OVERLAYS = [one for one in FILES[1:] if one.name != "prometheus.yml"]
COMPOSE = yaml.safe_load(FILES[0].read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
JOBS = ("setup", "topics", "cli", "demo")
PUBLISHED = re.compile(r"127\.0\.0\.1:\$\{TWINLOOP_[A-Z_]+_PORT-\d+\}:\d+")
UNKNOWN_TO_1_29 = ("name", "include", "configs", "secrets", "models")
"""At the top of a file: the first two are new; the others are not used, nor what is new in them."""


def test_every_program_runs_from_its_image() -> None:
    for name in images.SERVICES:
        assert SERVICES[name]["image"] == f"twinloop/{name}:${{TWINLOOP_TAG-0.1.0}}"
    assert SERVICES["detector-vehicles"]["image"] == SERVICES["detector"]["image"]


def test_images_have_the_version_of_the_project() -> None:
    tags = re.findall(r"twinloop/[a-z-]+:\$\{TWINLOOP_TAG-([^}]+)\}", FILES[0].read_text())
    assert set(tags) == {images.version()}


@pytest.mark.parametrize("name", SERVICES)
def test_it_is_limited_and_cannot_do_more_than_it_must(name: str) -> None:
    one = SERVICES[name]
    assert one["mem_limit"]
    assert one["cpus"]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "pid", "ipc", "devices", "user"} & one.keys()
    assert not any("docker.sock" in volume for volume in one.get("volumes", []))


@pytest.mark.parametrize("name", [one for one in SERVICES if one not in JOBS])
def test_what_stays_up_has_a_health_check_and_what_needs_it_waits(name: str) -> None:
    assert "healthcheck" in SERVICES[name]
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_order_is_gated(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        ends = needed in JOBS
        assert how == {"condition": "service_completed_successfully" if ends else "service_healthy"}


@pytest.mark.parametrize("name", SERVICES)
def test_only_this_machine_can_reach_it(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert PUBLISHED.fullmatch(port), port
    assert SERVICES[name].get("network_mode", "none") == "none"


def test_no_two_publish_the_same_port() -> None:
    ports = [re.findall(r"-(\d+)\}", port)[0] for one in SERVICES.values() for port in one.get("ports", [])]
    assert len(ports) == len(set(ports))


def test_volumes_are_named_and_files_of_the_checkout_read_only() -> None:
    for one in SERVICES.values():
        for volume in one.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (source.startswith("./") and volume.endswith(":ro")), (
                volume
            )


def test_private_keys_reach_nobody_else() -> None:
    readers: dict[str, set[str]] = {}
    for name, one in SERVICES.items():
        for volume in one.get("volumes", []):
            readers.setdefault(volume.split(":")[0], set()).add(name)
    assert readers["keys"] == {"setup"}
    assert readers["keys-twin"] == {"setup", "twin"}
    assert readers["keys-line"] == {"setup", "line"}
    assert readers["keys-simulator"] == {"setup", "simulator"}
    assert readers["keys-ingest"] == {"setup", "ingest"}
    assert readers["keys-people"] == {"setup", "cli", "demo"}


@pytest.mark.parametrize("file", FILES, ids=lambda one: one.name)
def test_nothing_is_a_secret_in_itself(file: Path) -> None:
    for key, value in _variables(yaml.safe_load(file.read_text())):
        secret = re.search(r"PASSWORD|SECRET|TOKEN|PSEUDONYM_KEY", key) and not key.endswith("_FILE")
        assert not secret, f"{key}={value}"


@pytest.mark.parametrize("file", [FILES[0], *OVERLAYS], ids=lambda one: one.name)
def test_nothing_is_used_that_compose_1_29_refuses(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    assert not set(UNKNOWN_TO_1_29) & content.keys()
    for one in content["services"].values():
        assert not {"gpus", "configs", "secrets", "develop", "provider", "pull_policy"} & one.keys()
        assert not (isinstance(one.get("build"), dict) and "secrets" in one["build"])
        for how in (one.get("depends_on") or {}).values():
            assert not {"required", "restart"} & how.keys()
        assert "start_interval" not in (one.get("healthcheck") or {})


@pytest.mark.parametrize("file", OVERLAYS, ids=lambda one: one.name)
def test_overlays_publish_only_here(file: Path) -> None:
    for one in yaml.safe_load(file.read_text())["services"].values():
        for port in one.get("ports", []):
            assert port.startswith("127.0.0.1:"), port


def test_with_tls_and_sasl_each_program_is_itself_and_reads_its_own_password_alone() -> None:
    overlay = yaml.safe_load((ROOT / "deploy/compose/tls-sasl.yml").read_text())
    told: dict[str, dict[str, Any]] = overlay["services"]
    users = {**{one: one for one in images.SERVICES}, "detector-vehicles": "detector", "topics": "provision"}
    users = {**users, "cli": "monitor", "demo": "monitor"}
    del users["simulator"]  # it does not speak to Kafka
    mqtt_users = {"ingest": "ingest", "simulator": "plant"}
    mounted = {
        **{name: [f"kafka-{user}:/kafka:ro"] for name, user in users.items()},
        "acls": ["kafka-admin:/kafka:ro"],
        "kafka": ["kafka-broker:/kafka:ro"],
        "mqtt": ["mqtt-broker:/mqtt:ro"],
        "simulator": [],
    }
    for name, user in users.items():
        environment = told[name]["environment"]
        assert environment["TWINLOOP_KAFKA_USER"] == f"${{TWINLOOP_TOPIC_PREFIX-}}{user}", name
        assert environment["TWINLOOP_KAFKA_SECURITY"] == "SASL_SSL"
    for name, user in mqtt_users.items():
        environment = told[name]["environment"]
        assert environment["TWINLOOP_MQTT_USER"] == user
        assert environment["TWINLOOP_MQTT_CA_FILE"]
        mounted[name] = [*mounted[name], f"mqtt-{user}:/mqtt:ro"]
    assert told.keys() == {*mounted, "setup"}
    assert {name: told[name]["volumes"] for name in mounted} == mounted
    assert set(users.values()) == set(handout.USERS)
    handed = {one.split(":")[0] for one in told["setup"]["volumes"]}
    given = {one.split(":")[0] for volumes in mounted.values() for one in volumes}
    assert handed == overlay["volumes"].keys() == given
    image = (ROOT / "deploy/docker/Dockerfile").read_text()
    folders = re.findall(r"for one in ([a-z ]+); do(?: \\\n +| )mkdir -p \"/empty/(kafka|mqtt)/", image)
    made = {f"{of}-{one}" for names, of in folders for one in names.split()}
    assert made == handed, "a volume takes the owner of its folder"


def test_a_gpu_is_used_as_its_page_says() -> None:
    """Of the command there, what is not an address of that machine; and what it says that Twinloop needs."""
    page = (ROOT / "docs/gpu.md").read_text()
    overlay = yaml.safe_load((ROOT / "deploy/compose/gpu.yml").read_text())["services"]
    told = {one.partition("=")[0] for one in overlay["triton"]["command"]}
    (command,) = re.findall(r"^ {6}tritonserver (.+?)\n\n", page, re.M | re.S)
    wanted = {one for one in re.findall(r"--[a-z-]+", command) if not one.endswith("-address")}
    assert wanted <= told
    chart = (ROOT / "helm/twinloop/templates/triton/triton.yaml").read_text()
    assert all(one in chart for one in wanted)
    assert "NVIDIA_TF32_OVERRIDE=0" in page
    assert overlay["triton"]["environment"]["NVIDIA_TF32_OVERRIDE"] == "0"
    seconds = overlay["modelops"]["environment"]["TWINLOOP_MODELOPS_LOAD_TIMEOUT_S"]
    assert f"TWINLOOP_MODELOPS_LOAD_TIMEOUT_S={seconds}" in page


def test_every_program_is_scraped_under_its_name() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/compose/prometheus.yml").read_text())["scrape_configs"]
    jobs = {one["job_name"]: one["static_configs"][0]["targets"] for one in scraped}
    assert jobs.keys() == {*images.SERVICES, "triton"}
    assert {target.split(":")[0] for targets in jobs.values() for target in targets} <= SERVICES.keys()


def _variables(content: Any) -> Iterator[tuple[str, str]]:
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, (str, int)):
                yield str(key), str(value)
            yield from _variables(value)
    elif isinstance(content, list):
        for one in content:
            yield from _variables(one)


def test_make_names_the_overlays_that_there_are() -> None:
    """But for the one that needs a GPU: no demo is played there."""
    (named,) = re.findall(r"^compose-demo:.* OVERLAY=([\w|-]+)", (ROOT / "Makefile").read_text(), re.M)
    assert set(named.split("|")) == {one.stem for one in OVERLAYS} - {"gpu"}
