"""What the simulator is told from outside: the environment, and the file that describes the plant."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from twinloop.runtime.mqtt import MqttSettings
from twinloop.runtime.settings import ServiceSettings
from twinloop.simulator.opcua_server import Security
from twinloop.simulator.plant import GATE, StationSpec
from twinloop.simulator.plc_state import WATCHDOG_S, Range


class OpcUaSecurity(StrEnum):
    """How the PLCs are spoken to."""

    SIGN_AND_ENCRYPT = "sign_and_encrypt"
    NONE = "none"


class SimulatorSettings(ServiceSettings, MqttSettings):
    """The service's settings; its own are read from `TWINLOOP_SIMULATOR_<FIELD>`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_prefix="TWINLOOP_SIMULATOR_"
    )

    kafka: str = Field(
        default="", validation_alias="TWINLOOP_KAFKA", description="not used: a plant has none"
    )
    opcua: str = Field(
        validation_alias="TWINLOOP_OPCUA", description="where the PLCs are served, opc.tcp://..."
    )
    opcua_security: OpcUaSecurity = Field(
        default=OpcUaSecurity.SIGN_AND_ENCRYPT,
        description="sign_and_encrypt (Basic256Sha256), or none: everybody may command the PLCs",
    )
    opcua_certificate: Path | None = Field(
        default=None, validate_default=True, description="the PLCs' certificate, DER; see `make certs`"
    )
    opcua_key: Path | None = Field(
        default=None, validate_default=True, description="its private key, a PEM file whose name ends in .pem"
    )
    opcua_trusted: Path | None = Field(
        default=None, validate_default=True, description="folder of the clients' certificates that are let in"
    )
    stations: Path = Field(description="TOML file that describes the plant")
    ingest: str | None = Field(
        default=None, description="URL of ingest, http://host:port: where vehicles that were built are told"
    )
    ingest_token_file: Path | None = Field(
        default=None, description="file with the token of a sender, where ingest asks who sends"
    )
    primary_host: str | None = Field(
        default=None,
        pattern=r"^[^+/#]{1,64}$",
        description="id of the Sparkplug host application without which nothing is sent",
    )
    store_parts: int = Field(default=20_000, ge=1, description="parts stored while nobody listens, at most")
    store_s: float = Field(default=3600.0, gt=0, description="for how long, at most")
    first_part: int | None = Field(
        default=None, ge=1, description="first part counter of each station; from the clock when not given"
    )

    @field_validator("kafka")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return value

    @field_validator("opcua")
    @classmethod
    def _is_endpoint(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "opc.tcp" or not parts.hostname or parts.port is None:
            raise ValueError(f"{value!r} is not opc.tcp://host:port/path")
        return value

    @field_validator("ingest")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and (
            urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname
        ):
            raise ValueError(f"{value!r} is not http://host:port")
        return value

    @field_validator("ingest_token_file", mode="before")
    @classmethod
    def _no_word_is_no_file(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("opcua_certificate", "opcua_key", "opcua_trusted")
    @classmethod
    def _is_there(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if info.data.get("opcua_security") is not OpcUaSecurity.SIGN_AND_ENCRYPT:
            return value
        if value is None:
            raise ValueError(
                "needed to sign and encrypt: make one with `make certs`, or say "
                "TWINLOOP_SIMULATOR_OPCUA_SECURITY=none where nobody else can reach the PLCs"
            )
        there = value.is_dir() if info.field_name == "opcua_trusted" else value.is_file()
        if not there:
            raise ValueError(f"{value} is not there: make it with `make certs`")
        if info.field_name == "opcua_key" and value.suffix != ".pem":
            raise ValueError(f"the name of {value} must end in .pem")
        return value

    @property
    def host(self) -> str | None:
        """The primary host. Its id carries the topic prefix, as that of the host itself does."""
        return None if self.primary_host is None else self.topic_prefix + self.primary_host

    def security(self) -> Security | None:
        """The PLCs' certificates; `None` when they are spoken to without security."""
        if self.opcua_security is OpcUaSecurity.NONE:
            return None
        certificate, key, trusted = self.opcua_certificate, self.opcua_key, self.opcua_trusted
        assert certificate is not None  # or the settings would not have been accepted
        assert key is not None
        assert trusted is not None
        return Security(certificate, key, trusted)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RangeTable(_Table):
    """The PLC's own limits of one setpoint, inclusive, and the most that one command may change it."""

    nominal: float
    low: float
    high: float
    max_step: float = Field(gt=0)

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if not self.low <= self.nominal <= self.high:
            raise ValueError("low <= nominal <= high must hold")
        return self


class StationTable(_Table):
    """A station: the recipe it runs, the limits of its PLC and its watchdog's patience."""

    recipe: str = Field(min_length=1)
    power_w: RangeTable
    focus_mm: RangeTable
    watchdog_s: float = Field(default=WATCHDOG_S, gt=0)
    end_of_line_limit_uohm: RangeTable = RangeTable(
        nominal=GATE.nominal, low=GATE.low, high=GATE.high, max_step=GATE.max_step
    )

    def spec(self) -> StationSpec:
        """The same as plain values."""
        return StationSpec(
            self.recipe,
            Range(**self.power_w.model_dump()),
            Range(**self.focus_mm.model_dump()),
            self.watchdog_s,
            Range(**self.end_of_line_limit_uohm.model_dump()),
        )


class PlantTable(_Table):
    """The plant: one Sparkplug edge node with a device a station."""

    group: str = Field(pattern=r"^[^+/#]+$")
    node: str = Field(pattern=r"^[^+/#]+$")
    stations: dict[str, StationTable] = Field(min_length=1)
