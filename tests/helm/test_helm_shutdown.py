"""How pods come and go: grace, surge, budgets, probes, spread."""

from __future__ import annotations

import pytest

from helm.chart import PROFILES, component, kinds, manifests, pods

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
        ("controller", "TWINLOOP_CONTROLLER_CHAIN"),
        ("twin", "TWINLOOP_TWIN_AUDIT_CHAIN"),
    ):
        env = {
            entry["name"]: entry
            for entry in stateful[part]["spec"]["template"]["spec"]["containers"][0]["env"]
        }
        assert env[variable]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


@pytest.mark.parametrize("profile", PROFILES)
def test_pods_are_spread_by_version(profile: str) -> None:
    for one in kinds(manifests(profile), "Deployment"):
        if component(one["metadata"]["labels"]) in ("detector", "detector-vehicles", "triton"):
            spread = one["spec"]["template"]["spec"]["topologySpreadConstraints"]
            assert all(each["matchLabelKeys"] == ["pod-template-hash"] for each in spread)
            assert {each["topologyKey"] for each in spread} == {
                "kubernetes.io/hostname",
                "topology.kubernetes.io/zone",
            }


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
