"""Keys of a trial as one Secret of Kubernetes: `python -m twinloop.local.keys.cluster_keys make|remove`.

What `twinloop.local.keys.certs` makes, and the key of pseudonyms, flat in one Secret. One that is there stays
as it is. It speaks to the API server as the pod that it runs in.
"""

from __future__ import annotations

import argparse
import base64
import os
import secrets
import ssl
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from twinloop.local.errors import LocalError
from twinloop.local.interrupts import run_command
from twinloop.local.keys import certs

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token, and the authority of the API server."""
PSEUDONYM_KEY: Final = "pseudonym-key"


class NotTaken(LocalError):
    """Raised when the API server does not do what it is asked.

    Operator action: the text holds its answer; usually the account lacks a right.
    """


def made(now: datetime) -> dict[str, bytes]:
    """New keys, certificates, people and tokens, by file name."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        certs.make(root, now)
        found = {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found.pop(".lock", None)
    return found | {PSEUDONYM_KEY: secrets.token_hex(32).encode()}


def secret(name: str, content: Mapping[str, bytes]) -> dict[str, Any]:
    """The object."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "twinloop"}},
        "type": "Opaque",
        "data": {file: base64.b64encode(one).decode() for file, one in content.items()},
    }


async def make(api: httpx.AsyncClient, name: str, now: datetime) -> str:
    """See to it that the Secret is there; what was done, in words. Raises `NotTaken`."""
    there = await api.get(f"secrets/{name}")
    if there.status_code == 200:
        return f"{name} is there already"
    if there.status_code != 404:
        raise NotTaken(f"secrets/{name}: {there.status_code} {there.text}")
    answer = await api.post("secrets", json=secret(name, made(now)))
    if answer.status_code == 409:
        return f"{name} was made by somebody else"
    if answer.status_code != 201:
        raise NotTaken(f"secrets/{name}: {answer.status_code} {answer.text}")
    return f"made {name}"


async def remove(api: httpx.AsyncClient, name: str) -> str:
    """See to it that there is none; what was done, in words. Raises `NotTaken`."""
    answer = await api.delete(f"secrets/{name}")
    if answer.status_code not in (200, 202, 404):
        raise NotTaken(f"secrets/{name}: {answer.status_code} {answer.text}")
    return f"{name} was not there" if answer.status_code == 404 else f"removed {name}"


def client(namespace: str, environ: Mapping[str, str], account: Path = ACCOUNT) -> httpx.AsyncClient:
    """A client of the API server of the cluster that this pod runs in."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ["KUBERNETES_SERVICE_PORT"]
    return httpx.AsyncClient(
        base_url=f"https://{f'[{host}]' if ':' in host else host}:{port}/api/v1/namespaces/{namespace}/",
        headers={"Authorization": f"Bearer {(account / 'token').read_text()}"},
        verify=ssl.create_default_context(cafile=account / "ca.crt"),
        timeout=20,
        trust_env=False,
    )


async def main(options: argparse.Namespace) -> int:
    """Do it; the exit status."""
    try:
        async with client(options.namespace, os.environ) as api:
            if options.act == "make":
                print(await make(api, options.secret, datetime.now(UTC)))
            else:
                print(await remove(api, options.secret))
    except httpx.HTTPError as error:
        raise NotTaken(f"the API server does not answer: {error or type(error).__name__}") from error
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m twinloop.local.keys.cluster_keys", description=__doc__)
    parser.add_argument("act", choices=("make", "remove"))
    parser.add_argument("--secret", required=True)
    parser.add_argument("--namespace", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main(_parse())))
