"""How pods come and go: grace, surge, budgets, probes, spread."""

from __future__ import annotations

from typing import Any

import pytest

from helm.chart import (
    PROFILES,
    component,
    containers,
    kinds,
    manifests,
    merged,
    pods,
    render,
    values_of,
)

ONCE = {"ingest", "historian", "simulator", "mqtt"}
"""Deployments of which there are never two at a time."""


@pytest.mark.parametrize("profile", PROFILES)
def test_there_is_time_to_drain(profile: str) -> None:
    for one, _, spec in pods(manifests(profile)):
        for container in spec["containers"]:
            told = {entry["name"]: entry.get("value") for entry in container.get("env", [])}
            if "TWINLOOP_GRACE_S" in told:
                pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
                needed = pre_stop + float(told["TWINLOOP_GRACE_S"])
                assert spec["terminationGracePeriodSeconds"] > needed, one["metadata"]["name"]


@pytest.mark.parametrize("profile", PROFILES)
def test_rollouts_are_slow_or_one_after_the_other(profile: str) -> None:
    for one in kinds(manifests(profile), "Deployment"):
        strategy, part = one["spec"]["strategy"], component(one["metadata"]["labels"])
        if part in ONCE:
            assert strategy == {"type": "Recreate"}, part
        elif part == "triton" and profile == "gpu":
            assert strategy["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
        else:
            assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}, part


@pytest.mark.parametrize("profile", PROFILES)
def test_budgets_let_one_pod_go(profile: str) -> None:
    objects = manifests(profile)
    held = {
        tuple(sorted(one["spec"]["selector"]["matchLabels"].items()))
        for one in kinds(objects, "PodDisruptionBudget")
    }
    for budget in kinds(objects, "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] == 1
    for one in kinds(objects, "Deployment", "StatefulSet"):
        if component(one["metadata"]["labels"]) not in ("kafka", "mqtt"):
            assert tuple(sorted(one["spec"]["selector"]["matchLabels"].items())) in held, one["metadata"][
                "name"
            ]


def test_who_keeps_an_audit_store_has_one_writer_and_a_claim_of_its_own() -> None:
    stateful = {
        component(one["metadata"]["labels"]): one for one in kinds(manifests("minimal"), "StatefulSet")
    }
    assert stateful.keys() == {"modelops", "controller", "twin", "line"}
    for one in stateful.values():
        assert [claim["metadata"]["name"] for claim in one["spec"]["volumeClaimTemplates"]] == ["data"]
        assert one["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    for part, variable in (
        ("controller", "TWINLOOP_CONTROLLER_AUDIT_CHAIN"),
        ("twin", "TWINLOOP_TWIN_AUDIT_CHAIN"),
    ):
        env = {
            entry["name"]: entry
            for entry in stateful[part]["spec"]["template"]["spec"]["containers"][0]["env"]
        }
        assert env[variable]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


ALONE = {"ingest", "modelops", "line", "simulator", "kafka", "mqtt"}
"""Of which there is one pod at most."""


@pytest.mark.parametrize("profile", PROFILES)
def test_pods_are_spread_by_version(profile: str) -> None:
    for one in kinds(manifests(profile), "Deployment", "StatefulSet"):
        spread = one["spec"]["template"]["spec"].get("topologySpreadConstraints", [])
        if component(one["metadata"]["labels"]) in ALONE:
            assert not spread
            continue
        version = "pod-template-hash" if one["kind"] == "Deployment" else "controller-revision-hash"
        assert all(each["matchLabelKeys"] == [version] for each in spread)
        assert all(
            each["labelSelector"]["matchLabels"] == one["spec"]["selector"]["matchLabels"] for each in spread
        )
        assert {each["topologyKey"] for each in spread} == {
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
        }, one["metadata"]["name"]


def test_triton_is_given_the_time_that_loading_takes() -> None:
    for profile, seconds in (("minimal", 120), ("gpu", 1800)):
        (triton,) = [
            one
            for one in kinds(manifests(profile), "Deployment")
            if component(one["metadata"]["labels"]) == "triton"
        ]
        probe = triton["spec"]["template"]["spec"]["containers"][0]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= seconds


def test_a_gpu_is_asked_for() -> None:
    (triton,) = [
        one
        for one in kinds(manifests("gpu"), "Deployment")
        if component(one["metadata"]["labels"]) == "triton"
    ]
    spec = triton["spec"]["template"]["spec"]
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1, "memory": "16Gi"}
    assert spec["containers"][0]["image"] == "nvcr.io/nvidia/tritonserver:24.10-py3"
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "4Gi"}} in spec["volumes"]


def triton_of(profile: str, over: dict[str, Any] | None = None) -> dict[str, Any]:
    """Triton's Deployment, with `over` laid over the profile."""
    (objects,) = render({"values": merged(values_of(profile), over or {})})
    (one,) = [one for one in kinds(objects, "Deployment") if component(one["metadata"]["labels"]) == "triton"]
    return one


@pytest.mark.parametrize("profile", ["minimal", "gpu"])
def test_triton_ends_within_the_time_that_it_is_given(profile: str) -> None:
    spec = triton_of(profile, {"triton": {"exitSeconds": 40}})["spec"]["template"]["spec"]
    assert "--exit-timeout-secs=40" in spec["containers"][0]["args"]
    assert spec["terminationGracePeriodSeconds"] == 5 + 40 + 5


def test_a_gpus_toleration_comes_beside_others() -> None:
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    plant = {"key": "plant", "operator": "Exists"}
    for over in ({"scheduling": {"tolerations": [plant]}}, {"triton": {"tolerations": [plant]}}):
        spec = triton_of("gpu", over)["spec"]["template"]["spec"]
        assert spec["tolerations"] == [plant, gpu]


@pytest.mark.parametrize(
    "over",
    [
        {"triton": {"platform": "gpu", "resources": {}}, "modelops": {"loadTimeoutSeconds": 900}},
        {
            "modelops": {"enabled": False},
            "triton": {"models": {"source": "image", "image": {"repository": "m"}}},
        },
    ],
)
def test_what_triton_keeps_in_volumes_does_not_evict_it(over: dict[str, Any]) -> None:
    """A limit of ephemeral storage counts a pod's own volumes: engines and models are larger than 1 GiB."""
    spec = triton_of("minimal", over)["spec"]["template"]["spec"]
    for container in containers(spec):
        assert "ephemeral-storage" not in container["resources"]["limits"]
    for volume in spec["volumes"]:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"], volume["name"]


def test_shared_memory_leaves_most_of_tritons_memory() -> None:
    spec = triton_of("minimal")["spec"]["template"]["spec"]
    (shm,) = [one["emptyDir"]["sizeLimit"] for one in spec["volumes"] if one["name"] == "shm"]
    assert (shm, spec["containers"][0]["resources"]["limits"]["memory"]) == ("256Mi", "1Gi")


def test_several_tritons_are_met_by_everybody() -> None:
    for profile, headless in (("minimal", ""), ("keda", "-headless"), ("hpa", "-headless")):
        objects = manifests(profile)
        for one, _, spec in pods(objects):
            told = {entry["name"]: entry.get("value") for entry in spec["containers"][0].get("env", [])}
            if component(one["metadata"]["labels"]) == "detector":
                assert told["TWINLOOP_TRITON"] == f"demo-twinloop-triton{headless}:8001"
        (triton,) = [
            one for one in kinds(objects, "Deployment") if one["metadata"]["name"].endswith("triton")
        ]
        args = triton["spec"]["template"]["spec"]["containers"][0]["args"]
        assert ("--grpc-max-connection-age=60000" in args) == bool(headless)


def test_triton_is_scaled_by_what_a_request_waits() -> None:
    """KEDA's average value is divided by the pods, so an average of all requests is multiplied by them."""
    (one,) = [
        one for one in kinds(manifests("keda"), "ScaledObject") if one["metadata"]["name"].endswith("triton")
    ]
    (trigger,) = one["spec"]["triggers"]
    assert trigger.get("metricType", "AverageValue") == "AverageValue"  # else there would be no fallback
    query = trigger["metadata"]["query"]
    assert query.endswith('* count(up{job="triton",namespace="twinloop"} == 1)')


def test_scaling_is_slow_to_take_away() -> None:
    for one in kinds(manifests("keda"), "ScaledObject"):
        spec = one["spec"]
        assert spec["minReplicaCount"] >= 1
        assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] == 600
        assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 120}]
        for trigger in spec["triggers"]:
            if trigger["type"] == "kafka":
                assert trigger["metadata"]["ensureEvenDistributionOfPartitions"] == "true"
                assert int(trigger["metadata"]["activationLagThreshold"]) > 12
    assert not kinds(manifests("keda"), "HorizontalPodAutoscaler")
    assert not kinds(manifests("hpa"), "ScaledObject")
