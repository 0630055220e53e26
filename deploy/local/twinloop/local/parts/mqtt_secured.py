"""The configuration of an `amqtt` broker that asks who one is, and says who may publish and hear what.

A plant publishes under its own Sparkplug group, and what its vehicles tell; it hears what is asked of its own
nodes, and whether hosts are there. Ingest hears all, and asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from twinloop.local.keys.secured import INGEST, Secrets
from twinloop.runtime.credentials import secret_of

_VEHICLES = "vehicles/+/telemetry"
_STATE = "spBv1.0/STATE/+"


def may_publish(plants: Mapping[str, str]) -> dict[str, list[str]]:
    """Topics by user; `plants` are users with their Sparkplug groups."""
    asked = [f"spBv1.0/+/{kind}/#" for kind in ("NCMD", "DCMD")]
    data = ("NBIRTH", "NDEATH", "NDATA", "DBIRTH", "DDEATH", "DDATA")
    return {
        INGEST: [_STATE, *asked],
        **{
            user: [*(f"spBv1.0/{group}/{kind}/#" for kind in data), _VEHICLES]
            for user, group in plants.items()
        },
    }


def may_hear(plants: Mapping[str, str]) -> dict[str, list[str]]:
    """The same of subscriptions, and of what is delivered."""
    return {
        INGEST: ["spBv1.0/#", _VEHICLES],
        **{
            user: [_STATE, *(f"spBv1.0/{group}/{kind}/#" for kind in ("NCMD", "DCMD"))]
            for user, group in plants.items()
        },
    }


def hashed_passwords(secrets: Secrets) -> bytes:
    """The file of the broker's users, which tells nobody their passwords."""
    hasher = PasswordHash((Argon2Hasher(),))
    users = secrets.secure.mqtt_users()
    return "".join(f"{one}:{hasher.hash(secret_of(secrets.mqtt_password(one)))}\n" for one in users).encode()


def configuration(
    address: str,
    plants: Mapping[str, str],
    *,
    certificate: Path,
    key: Path,
    authorities: Path,
    passwords: Path,
) -> bytes:
    """That of the broker at `address`, JSON; files are where the broker sees them."""
    publish, hear = may_publish(plants), may_hear(plants)
    plugins = "twinloop.local.parts.mqtt_plugins"
    told: dict[str, Any] = {
        "listeners": {
            "default": {
                "type": "tcp",
                "bind": address,
                "ssl": True,
                "certfile": str(certificate),
                "keyfile": str(key),
                "cafile": str(authorities),
            }
        },
        "plugins": {
            f"{plugins}.Users": {"password_file": str(passwords), "publish_acl": publish},
            f"{plugins}.Topics": {"publish_acl": publish, "subscribe_acl": hear, "receive_acl": hear},
        },
    }
    return json.dumps(told).encode()
