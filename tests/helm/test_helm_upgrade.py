"""From any values to any others, and back: what Kubernetes never lets change does not change."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Any

import pytest

from helm.chart import Manifest, ask, identity, merged, read, values_of

IMMUTABLE = {
    "Deployment": ["spec.selector"],
    "StatefulSet": [
        "spec.selector",
        "spec.serviceName",
        "spec.podManagementPolicy",
        "spec.volumeClaimTemplates",
    ],
    "Service": ["spec.clusterIP"],
    "PersistentVolumeClaim": ["spec"],
    "Job": ["spec"],
    "RoleBinding": ["roleRef"],
}
CHANGES: dict[str, dict[str, Any]] = {
    "as it was": {},
    "another version": {"image": {"tag": "0.2.0"}},
    "scaled by hand": {"detector": {"replicas": 5}, "controller": {"replicas": 3}, "twin": {"replicas": 2}},
    "scaled by KEDA": {"scaling": {"mode": "keda"}},
    "labels": {"commonLabels": {"team": "a"}, "line": {"podLabels": {"x": "y"}}},
    "other resources": {"triton": {"resourcesPreset": "xlarge"}, "detector": {"resourcesPreset": "large"}},
    "another Kafka": {"kafka": {"bootstrapServers": "other:9092"}, "topicPrefix": "acme."},
    "less": {"detectorVehicles": {"enabled": False}, "networkPolicy": {"enabled": False}},
    "watched": {"metrics": {"podMonitor": {"enabled": True}, "rules": {"enabled": True}}},
    "claims that go": {"storage": {"keep": False}},
}


@cache
def renders() -> dict[str, dict[tuple[str, str], Manifest]]:
    """Each change, by the identity of its objects; a later revision each."""
    requests = [
        {"values": merged(values_of("minimal"), change), "revision": number, "upgrade": number > 1}
        for number, change in enumerate(CHANGES.values(), 1)
    ]
    return {
        name: {identity(one): one for one in read(answer)}
        for name, answer in zip(CHANGES, ask(requests), strict=True)
    }


def at(one: Manifest, path: str) -> Any:
    """What lies at a dotted path."""
    value: Any = one
    for step in path.split("."):
        value = (value or {}).get(step)
    return value


def is_hook(one: Manifest) -> bool:
    """Whether Helm deletes it before it makes it anew."""
    return "helm.sh/hook" in one["metadata"].get("annotations", {})


@pytest.mark.parametrize(("before", "after"), list(permutations(CHANGES, 2)))
def test_what_never_may_change_does_not(before: str, after: str) -> None:
    there, then = renders()[before], renders()[after]
    for known_as in there.keys() & then.keys():
        if is_hook(then[known_as]):
            continue
        for path in IMMUTABLE.get(known_as[0], []):
            assert at(there[known_as], path) == at(then[known_as], path), f"{'/'.join(known_as)}: {path}"


def test_a_rollback_renders_what_was() -> None:
    """It is another revision: nothing but the names of a trial's jobs may depend on that."""
    again = ask(
        [
            {"values": merged(values_of("minimal"), change), "revision": 99, "upgrade": True}
            for change in CHANGES.values()
        ]
    )
    for name, answer in zip(CHANGES, again, strict=True):
        assert {identity(one): one for one in read(answer)} == renders()[name], name


def test_a_job_of_a_trial_has_a_new_name_with_each_revision() -> None:
    values = values_of("trial")
    first, second = (
        {identity(one) for one in read(answer)}
        for answer in ask(
            [{"values": values, "revision": 1}, {"values": values, "revision": 2, "upgrade": True}]
        )
    )
    assert first - second == {("Job", "demo-twinloop-topics-1")}
    assert second - first == {("Job", "demo-twinloop-topics-2")}


def test_another_plant_restarts_those_who_read_it_and_nobody_else() -> None:
    values = values_of("hardened")
    other = merged(values, {"plant": {"config": {"controller": '[defaults]\nhighest_mode = "off"\n'}}})
    before, after = (
        {identity(one): one for one in read(answer)}
        for answer in ask([{"values": values}, {"values": other}])
    )
    changed = {
        name
        for (kind, name) in before
        if kind in ("Deployment", "StatefulSet") and before[kind, name] != after[kind, name]
    }
    assert changed == {"tl-ingest", "tl-controller", "tl-twin", "tl-line", "tl-modelops"}


def test_a_new_version_of_the_chart_alone_restarts_nothing() -> None:
    for one in renders()["as it was"].values():
        if one["kind"] in ("Deployment", "StatefulSet"):
            assert "helm.sh/chart" not in one["spec"]["template"]["metadata"]["labels"]
