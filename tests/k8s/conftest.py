"""A cluster, and a namespace of it for each file."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import LOOP, image
from support.waiting import wait

from k8s import volumes
from k8s.kube import Namespace, program, run

UP_S = 300


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """What KUBECONFIG names; else one that the tool in TWINLOOP_CLUSTER makes here, and ends."""
    for proxy in ("NO_PROXY", "no_proxy"):
        os.environ[proxy] = ",".join([os.environ.get(proxy, ""), "10.244.0.0/24", "10.96.0.0/16"]).strip(",")
    if os.environ.get("KUBECONFIG"):
        yield
        return
    folder = os.environ.get("TWINLOOP_CLUSTER")
    assert folder, "there is no cluster: set KUBECONFIG, or TWINLOOP_CLUSTER to a folder with cluster.sh"
    tool = str(Path(folder) / "cluster.sh")
    inspect = ["docker", "image", "inspect", *map(image, LOOP)]
    built = subprocess.run(inspect, capture_output=True, check=False)
    assert not built.returncode, "its nodes need our images: make images, and leave the Docker engine running"
    subprocess.run([tool, "up"], check=True, timeout=UP_S)
    try:
        said = run(tool, "status").splitlines()[-1]
        config = re.search(r"KUBECONFIG=\"?([^\s\"]+)", said)
        assert config is not None, said
        os.environ["KUBECONFIG"] = config[1]
        for one in LOOP:
            run(tool, "load", image(one))
        yield
    finally:
        os.environ.pop("KUBECONFIG", None)
        subprocess.run([tool, "down"], check=False, timeout=120)


@pytest.fixture(scope="module")
def namespace(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A namespace of its own, with volumes, that enforces `restricted`."""
    one = Namespace(f"twinloop-{uuid.uuid4().hex[:6]}")
    provided = not volumes.needed()
    run(program("kubectl"), "create", "namespace", one.name)
    run(program("kubectl"), "label", "namespace", one.name, "pod-security.kubernetes.io/enforce=restricted")
    if not provided:
        place = tmp_path_factory.mktemp(one.name)
        for above in [place, *place.parents][:3]:
            above.chmod(0o755)
        volumes.make(place, 9)
    try:
        yield one
    finally:
        run(program("kubectl"), "delete", "namespace", one.name, "--wait=true", timeout_s=180)
        if not provided:
            volumes.remove()
            wait(volumes.needed, 5, "a class of volumes has appeared")
