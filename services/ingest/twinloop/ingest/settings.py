"""What ingest is told from outside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from twinloop.ingest.normalize import Ages
from twinloop.runtime.settings import ServiceSettings, check_address


@dataclass(frozen=True, slots=True)
class Mqtt:
    """How to reach the broker. `inbox_bytes`: how much may wait here before reading pauses."""

    host: str
    port: int
    client_id: str
    host_id: str
    inbox_bytes: int
    username: str | None = None
    password: str | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


class IngestSettings(ServiceSettings):
    """The service's settings; its own are read from `TWINLOOP_INGEST_<FIELD>`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_prefix="TWINLOOP_INGEST_"
    )

    mqtt: str = Field(validation_alias="TWINLOOP_MQTT", description="broker, host:port")
    mqtt_client_id: str = Field(default="twinloop-ingest", min_length=1, max_length=64)
    mqtt_username: str | None = None
    mqtt_password: SecretStr | None = None
    host_id: str = Field(
        default="twinloop", pattern=r"^[^+/#]{1,64}$", description="as a Sparkplug host application"
    )
    pseudonym_key: SecretStr = Field(description="secret of the keyed hash of VINs, 16 characters or more")
    pseudonym_key_file: Path | None = Field(
        default=None, description="file that holds it: then it need not be in the environment"
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

    @model_validator(mode="before")
    @classmethod
    def _key_of_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        file = values.get("pseudonym_key_file")
        if not file or "pseudonym_key" in values:
            return values
        try:
            return {**values, "pseudonym_key": Path(file).read_text().strip()}
        except OSError as error:
            raise ValueError(f"TWINLOOP_INGEST_PSEUDONYM_KEY_FILE cannot be read: {error}") from error

    @field_validator("mqtt")
    @classmethod
    def _is_one_address(cls, value: str) -> str:
        if "," in value:
            raise ValueError("it must name one broker")
        return check_address(value)

    @field_validator("pseudonym_key")
    @classmethod
    def _is_long_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 16:
            raise ValueError("it must have at least 16 characters")
        return value

    @property
    def broker(self) -> Mqtt:
        """The broker. Client and host id carry the topic prefix: two sites on one broker do not collide."""
        host, _, port = self.mqtt.rpartition(":")
        return Mqtt(
            host=host,
            port=int(port),
            client_id=self.topic_prefix + self.mqtt_client_id,
            host_id=self.topic_prefix + self.host_id,
            inbox_bytes=self.inbox_bytes,
            username=self.mqtt_username,
            password=None if self.mqtt_password is None else self.mqtt_password.get_secret_value(),
        )

    @property
    def ages(self) -> Ages:
        """The limits on timestamps."""
        return Ages(self.max_age_s, self.max_ahead_s, self.vehicle_max_age_s)
