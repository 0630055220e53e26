"""A pod of the tests' own, in which commands are run."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from support.images import image

from k8s.kube import Namespace

NAME = "helper"
_IDLE = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit()); signal.pause()"


def start(namespace: Namespace, claim: str = "") -> None:
    """Start it; the claim, if any, is at /volume."""
    volumes = [{"name": "volume", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": NAME,
                    "image": image("tools"),
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", _IDLE],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": one["name"], "mountPath": "/volume"} for one in volumes],
                }
            ],
            "volumes": volumes,
        },
    }
    namespace.kubectl("apply", "-f", "-", given=json.dumps(body))
    namespace.kubectl("wait", f"pod/{NAME}", "--for=condition=Ready", "--timeout=60s")


def python(namespace: Namespace, code: str, given: bytes | None = None) -> str:
    """What a program prints there. Raises `Failed`."""
    return namespace.kubectl("exec", "-i", NAME, "--", "python", "-c", code, given=given)


def copy(namespace: Namespace, folder: Path) -> None:
    """Put all of `folder` into the claim."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for one in folder.iterdir():
            archive.add(one, one.name)
    code = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('/volume')"
    python(namespace, code, packed.getvalue())


def stop(namespace: Namespace) -> None:
    """End it."""
    namespace.kubectl("delete", "pod", NAME, "--wait=true", timeout_s=60)
