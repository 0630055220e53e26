"""The profile `trial` on a real Kubernetes: the loop closes, and what a chart promises holds."""

from __future__ import annotations

import base64
import json

import httpx
import pytest
from support.waiting import wait

from k8s import helper
from k8s.kube import CHART, Failed, Namespace, Ways

pytestmark = pytest.mark.timeout(900)
RELEASE = "loop-twinloop"
VALUES = CHART / "ci" / "trial.yaml"
STRANGER = ("--set", "podUser=1000660000")
"""A user that no image knows, such as OpenShift gives."""
SERVICES = ("ingest", "detector", "detector-vehicles", "historian", "modelops", "controller", "twin", "line")


@pytest.fixture(scope="module")
def release(namespace: Namespace) -> Namespace:
    """The release, when everything is ready."""
    namespace.install(RELEASE, VALUES, *STRANGER)
    return namespace


def test_everybody_is_ready_under_restricted(release: Namespace) -> None:
    for service in (*SERVICES, "simulator", "triton", "kafka", "mqtt"):
        assert release.ready(service), f"{service} is not ready"
    refused = [
        one["message"] for one in release.get("events") if "violates PodSecurity" in one.get("message", "")
    ]
    assert not refused


def test_the_keys_were_made_once(release: Namespace) -> None:
    secret = json.loads(release.kubectl("get", "secret", f"{RELEASE}-keys", "-o", "json"))
    assert {"people.toml", "twin.key.pem", "line.cert.der", "pseudonym-key"} <= secret["data"].keys()
    assert not release.get("role", "-l", "app.kubernetes.io/part-of=twinloop"), "a right remains"


def test_the_loop_closes(release: Namespace) -> None:
    said = release.helm("test", RELEASE, "--timeout", "6m", timeout_s=420)
    assert "VERDICT: loop closed" in said, said


def test_it_closes_again(release: Namespace) -> None:
    assert "VERDICT: loop closed" in release.helm("test", RELEASE, "--timeout", "6m", timeout_s=420)


def test_a_stranger_reaches_nothing(release: Namespace) -> None:
    helper.start(release)
    try:
        for service, port in (("triton", 8001), ("kafka", 9092), ("line", 8080), ("simulator", 4840)):
            code = f"import socket; socket.create_connection(('{RELEASE}-{service}', {port}), 4)"
            with pytest.raises(Failed, match=r"(?i)timed out|refused|unreachable"):
                helper.python(release, code)
    finally:
        helper.stop(release)


def test_a_person_who_is_taken_out_is_no_longer_believed(release: Namespace) -> None:
    secret = json.loads(release.kubectl("get", "secret", f"{RELEASE}-keys", "-o", "json"))
    token = base64.b64decode(secret["data"]["vera.token"]).decode().strip()
    people = base64.b64decode(secret["data"]["people.toml"]).decode()
    address = _pod_address(release, "twin")

    def answer() -> int:
        got = httpx.get(
            f"http://{address}:8080/assets", headers={"Authorization": f"Bearer {token}"}, timeout=10
        )
        return got.status_code

    assert answer() == 200

    def believe(whom: str) -> None:
        changed = {"data": {"people.toml": base64.b64encode(whom.encode()).decode()}}
        release.kubectl("patch", "secret", f"{RELEASE}-keys", "-p", json.dumps(changed))

    believe("[[people]]".join(one for one in people.split("[[people]]") if 'name = "vera"' not in one))
    try:
        wait(lambda: answer() == 401, 150, "the twin believes her still")
    finally:
        believe(people)


def test_an_upgrade_keeps_the_audit_stores(release: Namespace) -> None:
    def entries(service: str) -> int:
        code = "import glob; print(sum(len(open(x).readlines()) for x in glob.glob('/data/audit/*.jsonl')))"
        return int(release.kubectl("exec", f"{RELEASE}-{service}-0", "--", "python", "-c", code))

    audited = ("modelops", "controller", "twin", "line")
    before = {service: entries(service) for service in audited}
    assert all(before.values()), before
    rolled = [f"{service}.podAnnotations.rolled=2" for service in (*audited, "ingest", "historian")]
    release.upgrade(RELEASE, VALUES, *STRANGER, "--set-string", ",".join(rolled))
    after = {service: entries(service) for service in audited}
    assert all(after[one] >= before[one] for one in audited), (before, after)
    release.helm("rollback", RELEASE, "1", "--wait", "--timeout", "6m")
    assert "VERDICT: loop closed" in release.helm("test", RELEASE, "--timeout", "6m", timeout_s=420)


def test_nothing_remains(release: Namespace) -> None:
    release.helm("uninstall", RELEASE, "--wait", "--timeout", "3m")
    everything = "deploy,sts,ds,job,pod,svc,cm,secret,pvc,netpol,pdb,sa,role,rolebinding"

    def remains() -> list[str]:
        return [
            f"{one['kind']}/{one['metadata']['name']}"
            for one in release.get(everything, "-l", "app.kubernetes.io/part-of=twinloop")
        ]

    wait(lambda: not remains(), 90, lambda: f"there remain {remains()}")


def _pod_address(release: Namespace, component: str) -> str:
    """Of a pod behind a headless Service: its own, or a forwarded one."""
    pod = release.pods(component)[0]
    address: str = pod["status"]["podIP"]
    try:
        httpx.get(f"http://{address}:8080/health/live", timeout=3)
    except httpx.HTTPError:
        return Ways(release).to(f"{RELEASE}-{component}", 8080)
    return address
