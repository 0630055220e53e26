"""The configuration of an `amqtt` broker that asks who one is, and says who may publish and hear what.

A plant publishes under its own Sparkplug group, and what its vehicles tell; it hears what is asked of its own
nodes, and whether hosts are there. Ingest hears all, and asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amqtt.contexts import Action
from amqtt.plugins.authentication import FileAuthPlugin
from amqtt.plugins.topic_checking import TopicAccessControlListPlugin
from amqtt.session import Session
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from twinloop.local.keys.authority import write
from twinloop.local.keys.secured import INGEST, MQTT, Secrets
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


def configuration(secrets: Secrets, address: str, folder: Path) -> dict[str, Any]:
    """That of the broker; writes the file of its users' hashed passwords into `folder`."""
    users, hasher = (INGEST, *secrets.secure.plants), PasswordHash((Argon2Hasher(),))
    lines = [f"{user}:{hasher.hash(secret_of(secrets.mqtt_password(user)))}\n" for user in users]
    passwords = folder / "passwords"
    write(passwords, "".join(lines).encode(), private=True)
    publish, hear = may_publish(secrets.secure.plants), may_hear(secrets.secure.plants)
    here = "twinloop.local.parts.mqtt_secured"
    return {
        "listeners": {
            "default": {
                "type": "tcp",
                "bind": address,
                "ssl": True,
                "certfile": str(secrets.mqtt / f"{MQTT}.cert.pem"),
                "keyfile": str(secrets.mqtt / f"{MQTT}.key.pem"),
                "cafile": str(secrets.authorities),
            }
        },
        "plugins": {
            f"{here}.Users": {"password_file": str(passwords), "publish_acl": publish},
            f"{here}.Topics": {"publish_acl": publish, "subscribe_acl": hear, "receive_acl": hear},
        },
    }


class Users(FileAuthPlugin):  # type: ignore[misc]  # amqtt is untyped
    """Asks for a password, always; and refuses a will that its user may not publish, which the broker would
    publish for him."""

    async def authenticate(self, *, session: Session) -> bool:
        """See `FileAuthPlugin`."""
        if not session.username or not await super().authenticate(session=session):
            return False
        if not session.will_flag:
            return True
        allowed = self.context.config.publish_acl.get(session.username, [])
        return any(Topics.topic_ac(session.will_topic or "", one) for one in allowed)

    @dataclass
    class Config(FileAuthPlugin.Config):  # type: ignore[misc]  # amqtt is untyped
        """The file, and who may publish what."""

        publish_acl: dict[str, list[str]] = field(default_factory=dict)


class Topics(TopicAccessControlListPlugin):  # type: ignore[misc]  # amqtt is untyped
    """The lists. What the broker itself publishes goes to nobody who may not hear it."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """See `TopicAccessControlListPlugin`."""
        return bool(await super().topic_filtering(session=session, topic=topic, action=action))

    @dataclass
    class Config:
        """Topics by user."""

        publish_acl: dict[str, list[str]] = field(default_factory=dict)
        subscribe_acl: dict[str, list[str]] = field(default_factory=dict)
        receive_acl: dict[str, list[str]] = field(default_factory=dict)
