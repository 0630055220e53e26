"""Volumes for a cluster that provides none: folders of this machine, which is its only node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from k8s.kube import program, run

LABEL = "twinloop.tests=k8s"


def needed() -> bool:
    """Whether the cluster provides no volumes by itself."""
    return not json.loads(run(program("kubectl"), "get", "storageclass", "-o", "json"))["items"]


def make(folder: Path, count: int) -> None:
    """So many, for whoever asks for up to 20 GiB without a class."""
    key, _, value = LABEL.partition("=")
    volumes: list[dict[str, Any]] = []
    for number in range(count):
        place = folder / f"volume-{number}"
        place.mkdir(parents=True)
        place.chmod(0o777)  # the images' user is not known here
        volumes.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"{folder.name}-{number}", "labels": {key: value}},
                "spec": {
                    "capacity": {"storage": "20Gi"},
                    "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": str(place), "type": "Directory"},
                },
            }
        )
    run(
        program("kubectl"),
        "apply",
        "-f",
        "-",
        given=json.dumps({"apiVersion": "v1", "kind": "List", "items": volumes}),
    )


def remove() -> None:
    """All of them."""
    run(program("kubectl"), "delete", "pv", "-l", LABEL, "--wait=true", timeout_s=60)
