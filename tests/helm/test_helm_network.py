"""Nothing goes in or out but what is needed, and both ends of every connection allow it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from helm.chart import (
    PROFILES,
    Manifest,
    component,
    identity,
    kinds,
    manifests,
    merged,
    pods,
    render,
    values_of,
)

CALLS = {
    # who calls whom at which port, where both are in the release
    ("detector", "triton", "grpc"),
    ("detector-vehicles", "triton", "grpc"),
    ("modelops", "triton", "grpc"),
    ("line", "simulator", "opcua"),
    ("simulator", "ingest", "http"),
    *(
        (caller, "kafka", "kafka")
        for caller in ("ingest", "detector", "detector-vehicles", "modelops", "controller")
    ),
    *((caller, "kafka", "kafka") for caller in ("twin", "line", "historian", "topics", "test")),
    *((caller, "mqtt", "mqtt") for caller in ("ingest", "simulator")),
    *(
        ("test", service, "http")
        for service in ("ingest", "detector", "detector-vehicles", "modelops", "controller")
    ),
    *(("test", service, "http") for service in ("twin", "line", "historian", "simulator")),
}


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector with `matchLabels` alone takes these labels."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


class Release:
    """Pods and policies of a profile."""

    def __init__(self, profile: str) -> None:
        self.objects = manifests(profile)
        self.policies = kinds(self.objects, "NetworkPolicy")
        self.pods = {
            component(metadata["labels"]): (metadata["labels"], spec)
            for _, metadata, spec in pods(self.objects)
        }

    def port(self, name: str, port: int | str) -> int:
        """The number of a pod's port."""
        if isinstance(port, int):
            return port
        (number,) = [
            one["containerPort"]
            for container in self.pods[name][1]["containers"]
            for one in container.get("ports", [])
            if one["name"] == port
        ]
        return int(number)

    def _rules(self, name: str, direction: str) -> list[Manifest]:
        return [
            rule
            for policy in self.policies
            if matches(policy["spec"]["podSelector"], self.pods[name][0])
            for rule in policy["spec"].get(direction) or []
        ]

    def allows(self, caller: str, called: str, port: str) -> bool:
        """Whether both ends let it pass."""
        number = self.port(called, port)

        def passes(rule: Manifest, key: str, other: str) -> bool:
            at = [
                self.port(called, one["port"])
                for one in rule.get("ports", [])
                if isinstance(one["port"], int) or one["port"] in self.names(called)
            ]
            peers = rule.get(key)
            labels = self.pods[other][0]
            return (not rule.get("ports") or number in at) and (
                not peers
                or any(
                    "podSelector" in one
                    and "namespaceSelector" not in one
                    and matches(one["podSelector"], labels)
                    for one in peers
                )
            )

        return any(passes(rule, "to", called) for rule in self._rules(caller, "egress")) and any(
            passes(rule, "from", caller) for rule in self._rules(called, "ingress")
        )

    def names(self, name: str) -> set[str]:
        """The names of a pod's ports."""
        return {
            one["name"]
            for container in self.pods[name][1]["containers"]
            for one in container.get("ports", [])
        }


@pytest.mark.parametrize("profile", PROFILES)
def test_every_pod_is_denied_everything_first(profile: str) -> None:
    release = Release(profile)
    (deny,) = [one for one in release.policies if one["metadata"]["name"].endswith("-deny")]
    assert deny["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not deny["spec"].keys() & {"ingress", "egress"}
    for labels, _ in release.pods.values():
        assert matches(deny["spec"]["podSelector"], labels)


def test_all_of_a_trial_may_speak_where_it_must_and_nowhere_else() -> None:
    release = Release("trial")
    everybody = set(release.pods) - {"keys-make", "keys-remove"}
    found = {
        (caller, called, port)
        for caller in everybody
        for called in everybody - {caller}
        for port in release.names(called)
        if release.allows(caller, called, port)
    }
    assert found == CALLS


@pytest.mark.parametrize("profile", PROFILES)
def test_services_reach_pods(profile: str) -> None:
    release = Release(profile)
    for service in kinds(release.objects, "Service"):
        targets = [
            name
            for name, (labels, _) in release.pods.items()
            if labels.items() >= service["spec"]["selector"].items()
        ]
        assert len(targets) == 1, (service["metadata"]["name"], targets)
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in release.names(targets[0]), service["metadata"]["name"]
            assert port["port"] == release.port(targets[0], port["targetPort"]), (
                "a headless name has the pod's ports"
            )


@pytest.mark.parametrize("profile", PROFILES)
def test_addresses_in_the_release_are_those_of_services(profile: str) -> None:
    release = Release(profile)
    ports = {
        (service["metadata"]["name"], port["port"])
        for service in kinds(release.objects, "Service")
        for port in service["spec"]["ports"]
    }
    full = "tl" if profile == "hardened" else "demo-twinloop"
    strimzi = {"demo-twinloop-kafka-bootstrap"}
    for _, _, spec in pods(release.objects):
        for variable in spec["containers"][0].get("env", []):
            for host, port in re.findall(rf"\b({full}-[a-z-]+):(\d+)", str(variable.get("value", ""))):
                assert host in strimzi or (host, int(port)) in ports, variable


@pytest.mark.parametrize("profile", PROFILES)
def test_every_policy_selects_a_pod_and_every_peer_of_the_release_is_one(profile: str) -> None:
    release = Release(profile)
    for policy in release.policies:
        spec = policy["spec"]
        assert any(matches(spec["podSelector"], labels) for labels, _ in release.pods.values()), identity(
            policy
        )
        for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]:
            for peer in [*rule.get("from", []), *rule.get("to", [])]:
                selector = peer.get("podSelector", {}).get("matchLabels", {})
                if "namespaceSelector" not in peer and "app.kubernetes.io/component" in selector:
                    assert any(matches(peer["podSelector"], labels) for labels, _ in release.pods.values()), (
                        identity(policy),
                        peer,
                    )


def test_external_ports_are_those_of_the_addresses() -> None:
    egress = {
        one["metadata"]["name"]: [
            port["port"] for rule in one["spec"].get("egress") or [] for port in rule.get("ports", [])
        ]
        for one in kinds(manifests("oauth"), "NetworkPolicy")
    }
    assert egress["demo-twinloop-detector"] == [9094, 443, 8001]  # Kafka, tokens, Triton
    assert egress["demo-twinloop-line"] == [9094, 443, 4840, 443]  # Kafka, tokens, PLC, keys of the issuer
    assert egress["demo-twinloop-ingest"] == [9094, 443, 1883, 443]


def test_the_network_of_a_hardened_release_is_narrow() -> None:
    for policy in kinds(manifests("hardened"), "NetworkPolicy"):
        for rule in policy["spec"].get("egress") or []:
            assert rule.get("to"), f"{identity(policy)} lets pods go anywhere: {rule}"


HOLE: list[dict[str, Any]] = [{"ipBlock": {"cidr": "10.4.0.0/24"}}]


def policies(profile: str, over: Mapping[str, Any]) -> dict[str, Any]:
    """The policies by name, with `over` laid over the profile."""
    (objects,) = render({"values": merged(values_of(profile), over)})
    return {one["metadata"]["name"]: one["spec"] for one in kinds(objects, "NetworkPolicy")}


def test_where_tokens_and_keys_come_from_can_be_narrowed() -> None:
    found = policies("oauth", {"networkPolicy": {"identityTo": HOLE}})
    for name in ("line", "detector", "topics", "test"):
        rules = [one for one in found[f"demo-twinloop-{name}"]["egress"] if one["ports"][0]["port"] == 443]
        assert rules
        assert all(one["to"] == HOLE for one in rules), name


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("s3://bucket/models", 443),
        ("s3://minio.store:9000/bucket/models", 9000),
        ("s3://http://minio.store/bucket", 80),
        ("s3://https://minio.store:9443/bucket", 9443),
    ],
)
def test_triton_reaches_the_bucket_and_nothing_else(url: str, port: int) -> None:
    found = policies("keda", {"triton": {"models": {"url": url}}, "networkPolicy": {"modelsTo": HOLE}})
    assert found["demo-twinloop-triton"]["egress"] == [
        {"ports": [{"protocol": "TCP", "port": port}], "to": HOLE}
    ]


def test_metrics_of_a_program_are_the_job_of_its_name() -> None:
    release = Release("keda")
    jobs = {}
    for monitor in kinds(release.objects, "PodMonitor"):
        spec = monitor["spec"]
        (endpoint,) = spec["podMetricsEndpoints"]
        (job,) = [one["replacement"] for one in endpoint["relabelings"] if one["targetLabel"] == "job"]
        jobs[job] = [name for name, (labels, _) in release.pods.items() if matches(spec["selector"], labels)]
        assert jobs[job], job
        assert all(endpoint["port"] in release.names(name) for name in jobs[job])
    assert jobs["detector"] == ["detector", "detector-vehicles"]
    assert jobs.keys() == {"ingest", "detector", "controller", "twin", "line", "historian", "triton"}
