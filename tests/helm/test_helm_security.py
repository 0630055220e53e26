"""Pod Security `restricted` and more, of every pod of every profile."""

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

VOLUMES = {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim"}


@pytest.mark.parametrize("profile", PROFILES)
def test_pods_are_restricted(profile: str) -> None:
    for one, _, spec in pods(manifests(profile)):
        where = f"{one['kind']}/{one['metadata']['name']}"
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, where
        assert security["runAsUser"] == security["runAsGroup"] == 10001, where
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), where
        for volume in spec.get("volumes", []):
            assert len(volume.keys() & VOLUMES) == 1, (where, volume)
        for container in containers(spec):
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, where
            assert own["readOnlyRootFilesystem"] is True, where
            assert own["capabilities"] == {"drop": ["ALL"]}, where


def test_a_cluster_that_gives_users_is_told_none() -> None:
    for user in (None, 1_000_660_000):
        (objects,) = render({"values": merged(values_of("trial"), {"podUser": user})})
        for one, _, spec in pods(objects):
            security = spec["securityContext"]
            assert security["runAsNonRoot"] is True, one["metadata"]["name"]
            told = {security.get(field) for field in ("runAsUser", "runAsGroup", "fsGroup")}
            assert told == {user}, one["metadata"]["name"]


@pytest.mark.parametrize("profile", PROFILES)
def test_no_pod_may_speak_to_the_api_server(profile: str) -> None:
    for one, _, spec in pods(manifests(profile)):
        assert spec["automountServiceAccountToken"] is False, one["metadata"]["name"]
        tokens = [
            source["serviceAccountToken"]
            for volume in spec.get("volumes", [])
            for source in volume.get("projected", {}).get("sources", [])
            if "serviceAccountToken" in source
        ]
        if one["metadata"]["name"].endswith(("keys-make", "keys-remove")):
            assert profile == "trial"
            assert tokens == [{"path": "token", "expirationSeconds": 600}]
        else:
            assert all("audience" in token for token in tokens), one["metadata"]["name"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_container_says_what_it_needs(profile: str) -> None:
    for one, _, spec in pods(manifests(profile)):
        for container in containers(spec):
            resources = container["resources"]
            assert resources["requests"].keys() >= {"cpu", "memory"}, one["metadata"]["name"]
            assert "memory" in resources["limits"], one["metadata"]["name"]
            assert "cpu" not in resources["limits"], "a limit of CPU would hold up heartbeats"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_pod_may_write_where_the_images_do(profile: str) -> None:
    for one, _, spec in pods(manifests(profile)):
        places = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
        assert "/tmp" in places, one["metadata"]["name"]
        if "twinloop/" in spec["containers"][0]["image"] and "triton" not in spec["containers"][0]["image"]:
            assert "/data" in places, one["metadata"]["name"]


@pytest.mark.parametrize("profile", PROFILES)
def test_mounts_and_volumes_fit(profile: str) -> None:
    for one, _, spec in pods(manifests(profile)):
        named = [volume["name"] for volume in spec.get("volumes", [])]
        named += [claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])]
        assert len(named) == len(set(named)), one["metadata"]["name"]
        mounted = {mount["name"] for each in containers(spec) for mount in each["volumeMounts"]}
        assert mounted == set(named), one["metadata"]["name"]


def test_annotations_of_accounts_reach_all_of_them() -> None:
    """Triton's as well: a cloud gives an account that is annotated the right to read a bucket."""
    told = {"eks.example/role": "models"}
    (objects,) = render({"values": merged(values_of("keda"), {"serviceAccount": {"annotations": told}})})
    accounts = kinds(objects, "ServiceAccount")
    assert any(one["metadata"]["name"].endswith("-triton") for one in accounts)
    for one in accounts:
        assert one["metadata"]["annotations"].items() >= told.items(), one["metadata"]["name"]


def test_by_tokens_of_accounts_kafka_tells_who_is_who() -> None:
    """Who makes topics or ACLs must not be the account that everybody has by default."""
    over: dict[str, Any] = {
        "kafka": {
            "sasl": {"oauth": {"tokenUrl": "", "serviceAccountAudience": "kafka"}},
            "acls": {"enabled": True},
        }
    }
    (objects,) = render({"values": merged(values_of("oauth"), over)})
    made = {one["metadata"]["name"]: one for one in kinds(objects, "ServiceAccount")}
    accounts: dict[str, set[str]] = {}
    for one, metadata, spec in pods(objects):
        part = component(metadata.get("labels", {})) or component(one["metadata"]["labels"])
        name = spec.get("serviceAccountName", "default")
        accounts.setdefault(name, set()).add(part)
        hook = one["metadata"].get("annotations", {}).get("helm.sh/hook", "")
        if "pre-install" in hook:  # before it the release has no objects
            annotations = made[name]["metadata"]["annotations"]
            assert annotations["helm.sh/hook"] == hook
            weight = one["metadata"]["annotations"]["helm.sh/hook-weight"]
            assert int(annotations["helm.sh/hook-weight"]) < int(weight)
    assert accounts.keys() == made.keys()
    assert accounts.pop("demo-twinloop-detector") == {"detector", "detector-vehicles"}
    assert all(len(parts) == 1 for parts in accounts.values()), accounts


@pytest.mark.parametrize("profile", PROFILES)
def test_secrets_are_files(profile: str) -> None:
    for one, _, spec in pods(manifests(profile)):
        for container in containers(spec):
            for variable in container.get("env", []):
                source: dict[str, Any] = variable.get("valueFrom", {})
                assert "secretKeyRef" not in source, (one["metadata"]["name"], variable)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_chart_holds_no_secret(profile: str) -> None:
    for one in manifests(profile):
        if one["kind"] == "Secret":
            assert one["metadata"]["name"].endswith("-keda")
            assert one["stringData"].keys() == {"username"}
