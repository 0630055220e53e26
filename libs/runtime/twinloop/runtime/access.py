"""How Kafka is reached, as one value: addresses, TLS, and who we are there.

access = settings.kafka_access                         # of `ServiceSettings`
AIOKafkaProducer(**access.client(), acks="all")

Certificates and passwords are read each time a client is made: what has been replaced on the disk is used by
the next one. Nothing that is secret is in the value itself, so it may be printed.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from twinloop.runtime.tokens import TokenProvider


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


class AccessUnusable(ValueError):
    """Raised when a file with a certificate, key or password is not what it should be.

    Operator action: the text names the file; mend or replace it.
    """


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom we believe (`None`: those whom this machine believes), and our own certificate, if any."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or later; the other side's certificate and name are verified. Raises `AccessUnusable`."""
        try:
            made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca_file)
        except (OSError, ValueError) as error:
            raise AccessUnusable(
                f"{self.ca_file} holds no certificates of authorities: {_why(error)}"
            ) from None
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            try:
                # Without a password to give, a key that needs one must not be asked for at a terminal.
                made.load_cert_chain(self.cert_file, self.key_file, password=lambda: b"")
            except (OSError, ValueError) as error:
                raise AccessUnusable(
                    f"{self.cert_file} and {self.key_file} are no certificate and its key (PEM,"
                    f" the key without a password): {_why(error)}"
                ) from None
        return made


def secret_of(path: Path) -> str:
    """The one line of a file. Raises `AccessUnusable`, which tells nothing of it."""
    try:
        text = path.read_text().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise AccessUnusable(f"{path} cannot be read: {why}") from None
    if not text or "\n" in text:
        raise AccessUnusable(f"{path} must hold a secret in one line")
    return text


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """Bootstrap servers, and what their listeners demand. `tokens` are those of OAUTHBEARER."""

    servers: str
    security: Security = Security.PLAINTEXT
    mechanism: Mechanism | None = None
    user: str | None = None
    password_file: Path | None = None
    tls: Tls = Tls()
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
        made: dict[str, Any] = {"bootstrap_servers": self.servers, "security_protocol": self.security.value}
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


Kafka = KafkaAccess | str
"""Where Kafka is; bootstrap servers alone are those of a Kafka that asks nobody who he is."""


def client_of(kafka: Kafka) -> dict[str, Any]:
    """Keyword arguments of every client of aiokafka. Raises `AccessUnusable`."""
    return (KafkaAccess(kafka) if isinstance(kafka, str) else kafka).client()


def _why(error: Exception) -> str:
    """OpenSSL's word for it, without the place in its sources."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "it is no PEM").lower().replace("_", " ")
    return getattr(error, "strerror", None) or "it is no PEM"
