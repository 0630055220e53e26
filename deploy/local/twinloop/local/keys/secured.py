"""What makes a local stack a secured one: an authority, a user for each program and plant, and their secrets.

    <certs>/ca/      ca.pem ca.key.pem
    <certs>/kafka/   broker.{cert,key}.pem  admin.{cert,key}.pem  <user>.password  jwks.json issuer.key.pem
    <certs>/mqtt/    mqtt.{cert,key}.pem  <user>.password
    <certs>/ingest/  pseudonym.key

Everything is a file that its owner alone may read; nothing is in a command line or the environment. What is
there stays, so the same users may come back at every start.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import ECAlgorithm

from twinloop.contracts.rights import PROGRAMS
from twinloop.local.keys.authority import Authority, write
from twinloop.runtime.credentials import Tls
from twinloop.runtime.kafka.access import KafkaAccess, Security
from twinloop.runtime.mqtt import MqttAccess

ADMIN = "admin"
"""May do everything at Kafka, by its certificate; the broker itself, by its own, too."""
BROKER = "broker"
MQTT = "mqtt"
"""The MQTT broker, by its certificate: of the same authority, and so of another name than Kafka's."""
INGEST = "ingest"
ISSUER, AUDIENCE = "https://twinloop.local", "kafka"
"""Of the tokens that Kafka believes."""
_KID = "local"
_REFERENCE_PLANT = "plant"


@dataclass(frozen=True)
class Secure:
    """What is to be secured. `sites` are the topic prefixes of Kafka's users; `plants` are MQTT's users
    beside ingest, each with its Sparkplug group."""

    sites: tuple[str, ...] = ("",)
    plants: Mapping[str, str] = field(default_factory=lambda: {_REFERENCE_PLANT: "acme.berlin"})

    def users(self) -> tuple[str, ...]:
        """Kafka's, each program at each site."""
        return tuple(f"{site}{one.name}" for site in self.sites for one in PROGRAMS)

    def mqtt_users(self) -> tuple[str, ...]:
        """MQTT's."""
        return (INGEST, *self.plants)


class Secrets:
    """The files of `Secure` in `folder`. `kafka_hosts` and `mqtt_hosts`: what Kafka and the MQTT broker are
    known as beside localhost."""

    def __init__(
        self, folder: Path, secure: Secure, kafka_hosts: Sequence[str] = (), mqtt_hosts: Sequence[str] = ()
    ) -> None:
        self.secure = secure
        self._kafka_hosts, self._mqtt_hosts = kafka_hosts, mqtt_hosts
        self._folder = folder
        self.authorities = folder / "ca" / "ca.pem"
        self.kafka = folder / "kafka"
        self.mqtt = folder / "mqtt"
        self.mqtt_certificate, self.mqtt_key = (self.mqtt / f"{MQTT}.{one}.pem" for one in ("cert", "key"))
        self.pseudonym_key = folder / "ingest" / "pseudonym.key"

    def make(self, now: datetime) -> None:
        """Make what is missing."""
        authority = Authority(self._folder / "ca", now)
        authority.issue(self.kafka, BROKER, self._kafka_hosts)
        authority.issue(self.kafka, ADMIN)
        authority.issue(self.mqtt, MQTT, self._mqtt_hosts)
        for what in ("cert", "key"):  # of a former version: Kafka would take who has it for its own broker
            (self.mqtt / f"{BROKER}.{what}.pem").unlink(missing_ok=True)
        files = [self.kafka_password(user) for user in self.secure.users()]
        files += [self.mqtt_password(user) for user in self.secure.mqtt_users()]
        for file in (*files, self.pseudonym_key):
            if not file.exists():
                write(file, f"{secrets.token_urlsafe(32)}\n".encode(), private=True)
        self._make_issuer()

    def certify(self, user: str, now: datetime) -> None:
        """A certificate for a user of Kafka who says by it who he is: `<kafka>/<user>.{cert,key}.pem`."""
        Authority(self._folder / "ca", now).issue(self.kafka, user)

    def _make_issuer(self) -> None:
        key_file = self.kafka / "issuer.key.pem"
        if key_file.exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        keys = {"keys": [{**public, "kid": _KID, "use": "sig", "alg": "ES256"}]}
        write(self.kafka / "jwks.json", json.dumps(keys).encode())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write(key_file, pem, private=True)

    def token(self, user: str, life_s: float = 300.0, **claims: object) -> str:
        """A token with which `user` may connect to Kafka, as an authorization server would give it."""
        key = load_pem_private_key((self.kafka / "issuer.key.pem").read_bytes(), None)
        now = time.time()
        told = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": int(now), "exp": int(now + life_s)}
        return jwt.encode({**told, **claims}, key, algorithm="ES256", headers={"kid": _KID})  # type: ignore[arg-type]

    def kafka_password(self, user: str) -> Path:
        """The file with the password of a user of Kafka."""
        return self.kafka / f"{user}.password"

    def mqtt_password(self, user: str) -> Path:
        """The file with the password of a user of MQTT."""
        return self.mqtt / f"{user}.password"

    def kafka_variables(self, user: str) -> dict[str, str]:
        """What tells a program to be `user` at Kafka."""
        return {
            "TWINLOOP_KAFKA_SECURITY": "SASL_SSL",
            "TWINLOOP_KAFKA_SASL": "SCRAM-SHA-512",
            "TWINLOOP_KAFKA_USER": user,
            "TWINLOOP_KAFKA_PASSWORD_FILE": str(self.kafka_password(user)),
            "TWINLOOP_KAFKA_CA_FILE": str(self.authorities),
        }

    def admin(self, servers: str) -> KafkaAccess:
        """Who may do everything, at a listener that asks for certificates."""
        return self.certified(ADMIN, servers)

    def certified(self, user: str, servers: str) -> KafkaAccess:
        """Who says by a certificate who he is; see `certify`."""
        mine = (self.kafka / f"{user}.cert.pem", self.kafka / f"{user}.key.pem")
        return KafkaAccess(servers, Security.SSL, tls=Tls(self.authorities, *mine))

    def admin_variables(self) -> dict[str, str]:
        """The same as variables."""
        return {
            "TWINLOOP_KAFKA_SECURITY": "SSL",
            "TWINLOOP_KAFKA_CA_FILE": str(self.authorities),
            "TWINLOOP_KAFKA_CERT_FILE": str(self.kafka / f"{ADMIN}.cert.pem"),
            "TWINLOOP_KAFKA_KEY_FILE": str(self.kafka / f"{ADMIN}.key.pem"),
        }

    def mqtt_variables(self, user: str) -> dict[str, str]:
        """What tells a program to be `user` at the MQTT broker."""
        return {
            "TWINLOOP_MQTT_USER": user,
            "TWINLOOP_MQTT_PASSWORD_FILE": str(self.mqtt_password(user)),
            "TWINLOOP_MQTT_CA_FILE": str(self.authorities),
        }

    def mqtt_access(self, user: str, address: str) -> MqttAccess:
        """The same as one value."""
        host, _, port = address.rpartition(":")
        return MqttAccess(host, int(port), user, self.mqtt_password(user), Tls(self.authorities))
