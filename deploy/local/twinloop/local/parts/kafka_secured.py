"""The settings of a Kafka that asks who one is, and lets nobody do what no ACL allows.

Three listeners, all of TLS: SASL_SSL for programs (SCRAM, PLAIN, OAUTHBEARER), TLS for who has a certificate,
the broker itself among them, and CONTROLLER. Keys and certificates are PEM files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twinloop.local.keys.authority import write
from twinloop.local.keys.secured import ADMIN, AUDIENCE, BROKER, ISSUER, Secrets
from twinloop.runtime.credentials import secret_of

_MODULES = "org.apache.kafka.common.security"
_SASL = "listener.name.sasl_ssl"
MECHANISMS = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER")


def settings(secrets: Secrets, programs: str, certified: str, controller: str) -> dict[str, str]:
    """What goes over those of a Kafka that asks nobody; each address is `host:port`."""
    plain = " ".join(
        f'user_{user}="{secret_of(secrets.kafka_password(user))}"' for user in secrets.secure.users()
    )
    jaas = {
        "scram-sha-512": f"{_MODULES}.scram.ScramLoginModule required;",
        "scram-sha-256": f"{_MODULES}.scram.ScramLoginModule required;",
        "plain": f"{_MODULES}.plain.PlainLoginModule required {plain};",
        "oauthbearer": f"{_MODULES}.oauthbearer.OAuthBearerLoginModule required;",
    }
    return {
        "listeners": f"SASL_SSL://{programs},TLS://{certified},CONTROLLER://{controller}",
        "advertised.listeners": f"SASL_SSL://{programs},TLS://{certified}",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,TLS:SSL,CONTROLLER:SSL",
        "inter.broker.listener.name": "TLS",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(secrets.kafka / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(secrets.authorities),
        "ssl.enabled.protocols": "TLSv1.3,TLSv1.2",
        "listener.name.tls.ssl.client.auth": "required",
        "listener.name.controller.ssl.client.auth": "required",
        "ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/",
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        **{f"{_SASL}.{mechanism}.sasl.jaas.config": line for mechanism, line in jaas.items()},
        f"{_SASL}.oauthbearer.sasl.server.callback.handler.class": (
            f"{_MODULES}.oauthbearer.OAuthBearerValidatorCallbackHandler"
        ),
        # Kafka's default one looks at no signature where it finds no keys' address.
        "sasl.oauthbearer.jwt.validator.class": f"{_MODULES}.oauthbearer.BrokerJwtValidator",
        "sasl.oauthbearer.jwks.endpoint.url": jwks_url(secrets),
        "sasl.oauthbearer.expected.audience": AUDIENCE,
        "sasl.oauthbearer.expected.issuer": ISSUER,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": f"User:{BROKER};User:{ADMIN}",
    }


def jwks_url(secrets: Secrets) -> str:
    """Where Kafka finds the keys of tokens; Java must be told that it may look there."""
    return (secrets.kafka / "jwks.json").as_uri()


def write_key_store(secrets: Secrets) -> None:
    """The broker's key and certificate in one file, as Kafka wants them."""
    parts = [(secrets.kafka / f"{BROKER}.{what}.pem").read_bytes() for what in ("key", "cert")]
    write(secrets.kafka / "broker.pem", b"".join(parts), private=True)


def format_arguments(secrets: Secrets, into: Path) -> Sequence[str]:
    """Those of the storage tool that make the users of SCRAM: a file that it reads, because others may see
    the arguments of a process."""
    lines = []
    for user in secrets.secure.users():
        password = secret_of(secrets.kafka_password(user))
        for mechanism in ("SCRAM-SHA-512", "SCRAM-SHA-256"):
            lines += ["--add-scram", f"{mechanism}=[name={user},password={password}]"]
    write(into, "".join(f"{line}\n" for line in lines).encode(), private=True)
    return (f"@{into}",)
