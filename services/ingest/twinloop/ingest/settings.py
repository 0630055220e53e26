"""What ingest is told from outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from twinloop.ingest.normalize import Ages
from twinloop.runtime.checks import is_loopback, refuse_together
from twinloop.runtime.credentials import AccessUnusable, secret_of
from twinloop.runtime.mqtt import MqttAccess, MqttSettings
from twinloop.runtime.settings import ServiceSettings
from twinloop.trust.bearer import AnyAccessSettings

_OWN = "TWINLOOP_INGEST_"
_KEY_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Mqtt:
    """How to reach the broker. `inbox_bytes`: how much may wait here before reading pauses."""

    access: MqttAccess
    client_id: str
    host_id: str
    inbox_bytes: int

    @property
    def address(self) -> str:
        """`host:port`."""
        return self.access.address


class IngestSettings(ServiceSettings, MqttSettings, AnyAccessSettings):
    """The service's settings; its own are read from `TWINLOOP_INGEST_<FIELD>`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_prefix="TWINLOOP_INGEST_"
    )

    mqtt_client_id: str = Field(default="twinloop-ingest", min_length=1, max_length=64)
    host_id: str = Field(
        default="twinloop", pattern=r"^[^+/#]{1,64}$", description="as a Sparkplug host application"
    )
    pseudonym_key_file: Path | None = Field(
        default=None, description="file with the secret of the keyed hash of VINs, 16 characters or more"
    )
    pseudonym_key: SecretStr | None = Field(
        default=None, description="the same in the environment, which others on the machine may read"
    )
    max_age_s: float = Field(default=86_400.0, gt=0)
    max_ahead_s: float = Field(default=60.0, ge=0)
    vehicle_max_age_s: float | None = Field(
        default=None, gt=0, description="the same of vehicles, which may have been out of reach for months"
    )
    signal_sets: Path | None = Field(default=None, description="TOML file of further signal sets")
    inbox_bytes: int = Field(default=64 * 1024 * 1024, ge=65_536)
    group_messages: int = Field(default=500, ge=1, le=10_000)
    rebirth_interval_s: float = Field(default=2.0, gt=0)
    http_timeout_s: float = Field(default=10.0, gt=0)
    http_max_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)

    @field_validator("pseudonym_key")
    @classmethod
    def _is_long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < _KEY_LENGTH:
            raise ValueError(f"it must have at least {_KEY_LENGTH} characters")
        return value

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        file = f"{_OWN}PSEUDONYM_KEY_FILE"
        problems = []
        if (self.pseudonym_key_file is None) == (self.pseudonym_key is None):
            problems.append(f"set {file}, and not {_OWN}PSEUDONYM_KEY beside it")
        elif self.pseudonym_key_file is not None:
            try:
                if len(secret_of(self.pseudonym_key_file)) < _KEY_LENGTH:
                    problems.append(f"{file}: it must have at least {_KEY_LENGTH} characters")
            except AccessUnusable as error:
                problems.append(f"{file}: {error}")
        refuse_together(problems)
        return self

    def key(self) -> bytes:
        """That of the keyed hash of VINs. Raises `AccessUnusable`."""
        if self.pseudonym_key_file is not None:
            return secret_of(self.pseudonym_key_file).encode()
        assert self.pseudonym_key is not None  # or the settings would not have been accepted
        return self.pseudonym_key.get_secret_value().encode()

    @property
    def asks_who(self) -> bool:
        """Whether who sends over HTTP must say who he is: unless nobody but this machine can send, and it is
        not said who may."""
        return self.lets_somebody_in or not is_loopback(self.health_host)

    @property
    def broker(self) -> Mqtt:
        """The broker. Client and host id carry the topic prefix: two sites on one broker do not collide."""
        return Mqtt(
            access=self.mqtt_access,
            client_id=self.topic_prefix + self.mqtt_client_id,
            host_id=self.topic_prefix + self.host_id,
            inbox_bytes=self.inbox_bytes,
        )

    @property
    def ages(self) -> Ages:
        """The limits on timestamps."""
        return Ages(self.max_age_s, self.max_ahead_s, self.vehicle_max_age_s)
