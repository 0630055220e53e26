"""What the chart's page says can be done: values render, objects, keys, files and words are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm.chart import CHART, PROFILES, Manifest, kinds, merged, pods, render, values_of
from helm.readme import README, claimed, claims, requests
from twinloop.cli import arguments
from twinloop.local.keys import certs
from twinloop.runtime.kafka import acls
from twinloop.trainer.__main__ import parse

TEXT = README.read_text()
ROOT = CHART.parents[1]
SHORT = {"svc": "Service", "deploy": "Deployment", "statefulset": "StatefulSet"}


def commands() -> list[str]:
    """Every line that is to be typed, those that go on in the next one joined."""
    lines = re.findall(r"^ {4}(.+)$", TEXT.replace("\\\n", " "), re.M)
    return [one for one in lines if re.match(r"(helm|kubectl|docker|make|python|mkdir|tar|TWINLOOP_)", one)]


def walk() -> dict[str, Any]:
    """The values of the walk, beside those of one's Kafka."""
    assert "-f helm/twinloop/values-walk.yaml -f walk.yaml" in TEXT
    values: dict[str, Any] = yaml.safe_load((CHART / "values-walk.yaml").read_text())
    return values


def release(values: dict[str, Any], name: str) -> list[Manifest]:
    """The objects of a release of that name."""
    (objects,) = render({"values": values, "name": name})
    return objects


@pytest.mark.parametrize("profile", ["minimal", "sasl-scram", "mtls", "oauth", "strimzi", "strimzi-tls"])
def test_the_walk_goes_beside_every_kafka(profile: str) -> None:
    assert f"ci/{profile}.yaml" in TEXT
    objects = release(merged(walk(), {"kafka": values_of(profile)["kafka"]}), "walk")
    (test,) = kinds(objects, "Pod")
    container = test["spec"]["containers"][0]
    assert "--loop" in container["args"]
    users = {
        variable["value"]
        for _, _, spec in pods(objects)
        for variable in spec["containers"][0].get("env", [])
        if variable["name"] == "TWINLOOP_KAFKA_USER"
    }
    if profile == "sasl-scram":
        names = {one.name for one in acls.PROGRAMS} - {"trainer", "cli"} | {"admin"}
        assert users == {f"walk.{name}" for name in names}
        for name in users:
            assert f"`{name}`" in TEXT, f"the page does not name {name}"


def test_the_secret_of_the_walk_has_every_key_that_is_read(tmp_path: Path) -> None:
    certs.make(tmp_path, datetime.now(UTC))
    there = {one.name for one in tmp_path.rglob("*") if one.is_file() and "trusted-by" not in str(one)}
    there.add("pseudonym-key")
    read: set[str] = set()
    for _, _, spec in pods(release(merged(walk(), {"kafka": values_of("minimal")["kafka"]}), "walk")):
        for volume in spec.get("volumes", []):
            sources = [one.get("secret", {}) for one in volume.get("projected", {}).get("sources", [])]
            whole = volume.get("secret", {})
            for source in [*sources, {**whole, "name": whole.get("secretName")}]:
                if source.get("name") == "twinloop":
                    read |= {item["key"] for item in source["items"]}
    assert "twin.key.pem" in read
    assert read <= there
    for key in read:
        assert f"`{key}`" in TEXT or key.endswith(".token"), f"the table does not name {key}"


def test_jobs_and_claims_that_are_left_are_found_by_the_label_that_is_named() -> None:
    (labels,) = re.findall(r"delete job,pvc -l (\S+)=(\S+)", TEXT)
    assert labels == ("app.kubernetes.io/instance", "walk")
    objects = release(merged(walk(), {"kafka": values_of("sasl-scram")["kafka"]}), "walk")
    jobs = kinds(objects, "Job")
    assert len(jobs) == 2
    assert all(one["metadata"]["labels"][labels[0]] == labels[1] for one in jobs)
    assert claims(objects)
    assert all(one["metadata"]["labels"][labels[0]] == labels[1] for one in claims(objects))


def test_what_the_walk_asks_for_is_what_the_page_says() -> None:
    objects = release(merged(walk(), {"kafka": values_of("minimal")["kafka"]}), "walk")
    cpu, memory = requests(objects)
    assert f"ask for {cpu / 1000:.1f} cores and {memory * 2**20 / 1e9:.0f} GB" in " ".join(TEXT.split())
    assert f"claims for {claimed(objects) * 2**20 / 1e9:.0f} GB" in TEXT


def named() -> Iterator[tuple[str, str]]:
    """Kind and name of every object that a command of kubectl is about."""
    for one in commands():
        for kind, name in re.findall(r"\b(svc|deploy|statefulset)/([a-z0-9-]+)", one):
            yield SHORT[kind], name
        for name in re.findall(r"exec -i ([a-z-]+)-0 ", one):
            yield "StatefulSet", name


def test_objects_that_commands_name_are_there() -> None:
    walked = release(merged(walk(), {"kafka": values_of("minimal")["kafka"]}), "walk")
    objects = [*release(values_of("minimal"), "twinloop"), *walked]
    there = {(one["kind"], one["metadata"]["name"]) for one in objects}
    wanted = set(named())
    assert ("StatefulSet", "twinloop-twin") in wanted
    assert wanted <= there


def test_files_that_are_named_are_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (CHART / link).exists(), link
    for one in commands():
        for file in re.findall(r"-f (helm/\S+)", one):
            assert (ROOT / file).exists(), file


def test_words_of_commands_are_known() -> None:
    """Of our own programs; `make` has the target."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    found = set()
    for one in commands():
        words = shlex.split(one.replace("…", "why").partition("|")[0])
        if words[0] == "make":
            assert words[1] in targets
            found.add("make")
        if "twinloop.runtime.kafka.acls" in words:
            acls._parse(words[words.index("twinloop.runtime.kafka.acls") + 1 :])
            found.add("acls")
        if "twinloop.trainer" in words:
            parse(words[words.index("twinloop.trainer") + 1 :])
            found.add("trainer")
        if "twinloop" in words and words[0].startswith("TWINLOOP_"):
            arguments.parser().parse_args(words[words.index("twinloop") + 1 :])
            found.add("twinloop")
    assert found == {"make", "acls", "trainer", "twinloop"}
    for said in re.findall(r"`twinloop ([^`]+)`", TEXT):
        arguments.parser().parse_args(shlex.split(said.replace("…", "why")))


def test_every_profile_of_a_kafka_is_on_the_page() -> None:
    others = {"keda", "hpa", "hardened"}
    for profile in set(PROFILES) - others:
        assert f"ci/{profile}.yaml" in TEXT, profile
