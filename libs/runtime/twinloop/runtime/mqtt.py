"""How an MQTT broker is reached: `TWINLOOP_MQTT` and `TWINLOOP_MQTT_*`, the same for every program.

TLS is spoken when an authority is named; a password goes over TLS, or does not leave this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from twinloop.runtime.checks import check_address, is_loopback, refuse_together
from twinloop.runtime.credentials import AccessUnusable, Tls, secret_of

_PREFIX = "TWINLOOP_MQTT_"


@dataclass(frozen=True, slots=True)
class MqttAccess:
    """One broker, and who we are there. Without `tls` it is spoken to in clear."""

    host: str
    port: int
    user: str | None = None
    password_file: Path | None = None
    tls: Tls | None = None

    @classmethod
    def at(cls, address: str) -> Self:
        """A broker that asks nobody who he is, at `host:port`."""
        host, _, port = address.rpartition(":")
        return cls(host, int(port))

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"

    def client(self) -> dict[str, Any]:
        """Keyword arguments of a client of aiomqtt; files are read each time. Raises `AccessUnusable`."""
        return {
            "hostname": self.host,
            "port": self.port,
            "username": self.user,
            "password": None if self.password_file is None else secret_of(self.password_file),
            "tls_context": None if self.tls is None else self.tls.context(),
        }


class MqttSettings(BaseSettings):
    """Where the broker is and what it is told; beside `ServiceSettings`."""

    mqtt: str = Field(validation_alias="TWINLOOP_MQTT", description="broker, host:port")
    mqtt_user: str | None = Field(default=None, validation_alias="TWINLOOP_MQTT_USER")
    mqtt_password_file: Path | None = Field(default=None, validation_alias="TWINLOOP_MQTT_PASSWORD_FILE")
    mqtt_ca_file: Path | None = Field(
        default=None, validation_alias="TWINLOOP_MQTT_CA_FILE", description="PEM; with it, TLS is spoken"
    )
    mqtt_cert_file: Path | None = Field(default=None, validation_alias="TWINLOOP_MQTT_CERT_FILE")
    mqtt_key_file: Path | None = Field(default=None, validation_alias="TWINLOOP_MQTT_KEY_FILE")

    @field_validator("mqtt")
    @classmethod
    def _is_one_address(cls, value: str) -> str:
        if "," in value:
            raise ValueError("it must name one broker")
        return check_address(value)

    @field_validator(
        *("mqtt_user", "mqtt_password_file", "mqtt_ca_file", "mqtt_cert_file", "mqtt_key_file"), mode="before"
    )
    @classmethod
    def _no_word_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _mqtt_fits_together(self) -> Self:
        problems = list(self._mqtt_problems())
        if not problems:
            try:
                self.mqtt_access.client()
            except AccessUnusable as error:
                problems.append(f"{_PREFIX}*: {error}")
        refuse_together(problems)
        return self

    @property
    def mqtt_access(self) -> MqttAccess:
        """The same as one value."""
        host, _, port = self.mqtt.rpartition(":")
        tls = None
        if self.mqtt_ca_file is not None:
            tls = Tls(self.mqtt_ca_file, self.mqtt_cert_file, self.mqtt_key_file)
        return MqttAccess(host, int(port), self.mqtt_user, self.mqtt_password_file, tls)

    def _mqtt_problems(self) -> Iterator[str]:
        if (self.mqtt_user is None) != (self.mqtt_password_file is None):
            there, missing = "USER", "PASSWORD_FILE"
            if self.mqtt_user is None:
                there, missing = missing, there
            yield f"{_PREFIX}{there} is set: set {_PREFIX}{missing}, too"
        if (self.mqtt_cert_file is None) != (self.mqtt_key_file is None):
            there, missing = "CERT", "KEY"
            if self.mqtt_cert_file is None:
                there, missing = missing, there
            yield f"{_PREFIX}{there}_FILE is set: set {_PREFIX}{missing}_FILE, too"
        if self.mqtt_ca_file is None and (self.mqtt_cert_file or self.mqtt_key_file):
            yield (
                f"{_PREFIX}CERT_FILE would not be used: set {_PREFIX}CA_FILE, so that TLS is spoken (a bundle"
                " of public authorities is one, too)"
            )
        if (
            self.mqtt_password_file
            and not self.mqtt_ca_file
            and not is_loopback(self.mqtt.rpartition(":")[0])
        ):
            yield f"{_PREFIX}PASSWORD_FILE would go over the network in clear: set {_PREFIX}CA_FILE"
        for name in ("PASSWORD", "CA", "CERT", "KEY"):
            path: Path | None = getattr(self, f"mqtt_{name.lower()}_file")
            if path is not None and not path.is_file():
                yield f"{_PREFIX}{name}_FILE: there is no file {path}"
