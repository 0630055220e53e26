"""How Kafka is reached, as one value: addresses, TLS, and who we are there.

access = settings.kafka_access                         # of `ServiceSettings`
AIOKafkaProducer(**access.client(), acks="all")

Certificates and passwords are read each time a client is made: what has been replaced on the disk is used by
the next one. Nothing that is secret is in the value itself, so it may be printed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from twinloop.runtime.credentials import Tls, secret_of
from twinloop.runtime.kafka.tokens import TokenProvider


class Security(StrEnum):
    """How a listener of Kafka is spoken to."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def encrypts(self) -> bool:
        """Whether TLS is spoken."""
        return self in (Security.SSL, Security.SASL_SSL)

    @property
    def asks_who(self) -> bool:
        """Whether we say by SASL who we are."""
        return self in (Security.SASL_PLAINTEXT, Security.SASL_SSL)


class Mechanism(StrEnum):
    """How SASL says who we are."""

    PLAIN = "PLAIN"
    SCRAM_256 = "SCRAM-SHA-256"
    SCRAM_512 = "SCRAM-SHA-512"
    OAUTHBEARER = "OAUTHBEARER"


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """Bootstrap servers, and what their listeners demand. `tokens` are those of OAUTHBEARER."""

    servers: str
    security: Security = Security.PLAINTEXT
    mechanism: Mechanism | None = None
    user: str | None = None
    password_file: Path | None = None
    tls: Tls = field(default_factory=Tls)
    tokens: TokenProvider | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        """For people: where."""
        return self.servers

    def at(self, servers: str) -> KafkaAccess:
        """The same at other addresses."""
        return KafkaAccess(
            servers, self.security, self.mechanism, self.user, self.password_file, self.tls, self.tokens
        )

    def client(self) -> dict[str, Any]:
        """Keyword arguments of every client of aiokafka. Raises `AccessUnusable`."""
        made: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "security_protocol": self.security.value,
            "client_id": program(),
        }
        if self.security.encrypts:
            made["ssl_context"] = self.tls.context()
        if self.security.asks_who and self.mechanism is not None:
            made["sasl_mechanism"] = self.mechanism.value
            if self.mechanism is Mechanism.OAUTHBEARER:
                made["sasl_oauth_token_provider"] = self.tokens
            else:
                made["sasl_plain_username"] = self.user
                made["sasl_plain_password"] = self.password()
        return made

    def password(self) -> str | None:
        """That of PLAIN and SCRAM. Raises `AccessUnusable`."""
        return None if self.password_file is None else secret_of(self.password_file)


def program() -> str:
    """What runs, as brokers are told it (`client.id`): `twinloop-detector` for `twinloop.detector`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return "twinloop" if spec is None else str(spec.name).removesuffix(".__main__").replace(".", "-")


Kafka = KafkaAccess | str
"""Where Kafka is; bootstrap servers alone are those of a Kafka that asks nobody who he is."""


def client_of(kafka: Kafka) -> dict[str, Any]:
    """Keyword arguments of every client of aiokafka. Raises `AccessUnusable`."""
    return (KafkaAccess(kafka) if isinstance(kafka, str) else kafka).client()
