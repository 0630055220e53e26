"""Every profile of values renders, to what it rendered before, and to objects that Kubernetes takes."""

from __future__ import annotations

import json
from functools import cache

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils

from helm import golden, made, readme
from helm.chart import CHART, PROFILES, ask, containers, identity, kinds, manifests, merged, pods, values_of

VERSIONS = ("1.30", "1.34", "1.37")
"""From the first that kubeVersion allows to the newest that is known."""
INFO = 1
OTHERS = ("keda.sh", "monitoring.coreos.com", "kafka.strimzi.io")
"""Groups that are not Kubernetes' own."""


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_renders_as_it_did(profile: str) -> None:
    path, content = golden.expected(profile)
    assert path.read_text() == content, f"{path.name} differs: `make helm-refresh`, and look at what changed"


def test_no_golden_render_is_left_over() -> None:
    assert {path.name for path in golden.FOLDER.iterdir()} == {
        golden.expected(profile)[0].name for profile in PROFILES
    }


def test_helm_finds_nothing_to_complain_about() -> None:
    looked_at = ("minimal", "trial", "keda", "strimzi")
    for profile, answer in zip(
        looked_at, ask([{"values": values_of(one), "lint": True} for one in looked_at]), strict=True
    ):
        said = [one for one in answer["messages"]["messages"] if one["severity"] > INFO]
        assert not said, f"{profile}: {said}"


@cache
def _distinct() -> dict[str, tuple[str, tuple[str, str]]]:
    """Every different object of all profiles, as JSON, and where it is from."""
    return {
        json.dumps(one, sort_keys=True): (profile, identity(one))
        for profile in PROFILES
        for one in manifests(profile)
        if not one["apiVersion"].startswith(OTHERS)
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # It reads megabytes of definitions anew for every object.
    monkeypatch.setattr(utils, "schema_contents", cache(utils.schema_contents))
    seen = set()
    for text, (profile, known_as) in _distinct().items():
        one = json.loads(text)
        # Objects that differ in names and texts alone need not be checked twice.
        shape = json.dumps(_shape(one), sort_keys=True)
        if shape in seen:
            continue
        seen.add(shape)
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{profile}, {'/'.join(known_as)}, Kubernetes {version}: {error.message}")


def _shape(value: object) -> object:
    """Keys and types."""
    if isinstance(value, dict):
        return {key: _shape(one) if key not in ("apiVersion", "kind") else one for key, one in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(_shape(one), sort_keys=True) for one in value})
    return type(value).__name__


def test_nothing_is_rendered_twice() -> None:
    for profile in PROFILES:
        named = [identity(one) for one in manifests(profile)]
        assert len(named) == len(set(named)), profile


def test_every_object_is_labelled_and_in_the_namespace_of_the_release() -> None:
    for profile in PROFILES:
        for one in manifests(profile):
            if one["metadata"]["name"].endswith("-note"):
                continue  # an extra object
            assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "twinloop", identity(one)
            assert one["metadata"]["namespace"] == "twinloop", identity(one)


def test_the_tables_of_the_readme_are_those_of_values_yaml() -> None:
    assert readme.README.read_text() == readme.expected(), "README.md differs: `make helm-refresh`"


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    for path, content in made.expected():
        assert path.read_text() == content, f"{path.name} differs from the code: `make helm-refresh`"


def test_the_schema_is_closed_everywhere() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    free = {"object", "strings", "quantities", "list", "peers"}  # what Kubernetes checks itself

    def walk(node: object, at: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                assert node.get("additionalProperties") is False, f"{at} lets anything in"
            for key, one in node.items():
                if not (at == "definitions" and key in free):
                    walk(one, f"{at}.{key}".lstrip("."))

    walk(schema, "")


def test_the_schema_knows_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def walk(node: dict[str, object], known: dict[str, object], at: str) -> None:
        assert set(node) <= set(known), f"{at}: {set(node) ^ set(known)}"
        for key, one in node.items():
            below = known[key]
            if isinstance(one, dict) and isinstance(below, dict) and "properties" in below:
                walk(one, below["properties"], f"{at}.{key}")

    walk(values, schema["properties"], "")


def test_what_the_notes_say_fits() -> None:
    assert "KAFKA IS A TRIAL" in golden.notes("trial")
    assert "THE PLANT IS SIMULATED" in golden.notes("trial")
    assert "TRIAL" not in golden.notes("minimal")
    assert "it touches nothing" in golden.notes("minimal")
    (answer,) = ask([{"values": merged(values_of("minimal"), {"test": {"enabled": False}})}])
    assert "helm -n twinloop test" not in answer["manifests"]["twinloop/templates/NOTES.txt"]


def test_helm_tells_what_its_test_said_before_it_removes_the_pod() -> None:
    """`helm test --logs` of Helm 3 looks for the pod after that, and fails."""
    for profile in PROFILES:
        (one,) = [one for one in kinds(manifests(profile), "Pod") if "test" in one["metadata"]["name"]]
        annotations = one["metadata"]["annotations"]
        # A pod that stayed would hold the claims that are deleted after an uninstall.
        assert {"hook-succeeded", "hook-failed"} < set(annotations["helm.sh/hook-delete-policy"].split(","))
        assert annotations["helm.sh/hook-output-log-policy"] == "hook-succeeded,hook-failed"
        assert "--logs" not in golden.notes(profile)


def test_helm_tells_what_a_job_said_that_failed() -> None:
    """Of a pod that is started again and again nothing is left to be asked when its job gives up."""
    jobs = [one for profile in PROFILES for one in kinds(manifests(profile), "Job")]
    assert jobs
    assert all(one["spec"]["template"]["spec"]["restartPolicy"] == "Never" for one in jobs)
    noted = [one["metadata"].get("annotations", {}) for one in jobs]
    hooks = [one for one in noted if "helm.sh/hook" in one]
    assert hooks
    for one in hooks:
        assert one["helm.sh/hook-output-log-policy"] == "hook-failed"
        assert "hook-failed" not in one["helm.sh/hook-delete-policy"]


def test_no_profile_names_an_image_without_a_version() -> None:
    for profile in PROFILES:
        for _, _, spec in pods(manifests(profile)):
            for one in containers(spec):
                assert "@sha256:" in one["image"] or one["image"].rpartition(":")[2] not in ("", "latest"), (
                    one
                )


def test_who_is_scaled_has_no_number_of_replicas() -> None:
    for profile in ("keda", "hpa"):
        scaled = {
            one["spec"]["scaleTargetRef"]["name"]
            for one in kinds(manifests(profile), "ScaledObject", "HorizontalPodAutoscaler")
        }
        assert len(scaled) == 3  # both detectors and Triton
        for one in kinds(manifests(profile), "Deployment"):
            assert ("replicas" in one["spec"]) == (one["metadata"]["name"] not in scaled), identity(one)


def test_a_cluster_of_strimzi_loses_nothing_with_a_broker() -> None:
    objects = manifests("strimzi")
    (pool,) = kinds(objects, "KafkaNodePool")
    (cluster,) = kinds(objects, "Kafka")
    assert pool["spec"]["resources"]["requests"].keys() == {"cpu", "memory"}
    spread = pool["spec"]["template"]["pod"]["topologySpreadConstraints"]
    assert {one["topologyKey"] for one in spread} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    for one in (pool, cluster):  # its labels become those of the brokers
        assert "helm.sh/chart" not in one["metadata"]["labels"]
    topics = kinds(objects, "KafkaTopic")
    assert topics
    for topic in topics:
        assert topic["spec"]["replicas"] == 3
        assert topic["spec"]["config"]["min.insync.replicas"] == 2
