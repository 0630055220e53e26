"""What `line` is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from twinloop.runtime.settings import ServiceSettings


class LineSettings(ServiceSettings):
    """`TWINLOOP_LINE_<FIELD>`; `opcua` is `TWINLOOP_OPCUA`."""

    model_config = SettingsConfigDict(env_prefix="TWINLOOP_LINE_", frozen=True, extra="ignore")

    opcua: str = Field(
        validation_alias="TWINLOOP_OPCUA", description="the PLC's endpoint, opc.tcp://host:port/path"
    )
    assets: Path = Field(description="TOML file: the stations, and what may be written to each")
    call_timeout_s: float = Field(default=2.0, gt=0, description="deadline of one OPC UA request")
    session_timeout_s: float = Field(
        default=10.0, ge=6, le=300, description="how long a dead member's partitions wait for a new owner"
    )

    @field_validator("opcua")
    @classmethod
    def _is_endpoint(cls, value: str) -> str:
        if not value.startswith("opc.tcp://"):
            raise ValueError("it must look like opc.tcp://127.0.0.1:4840/path")
        return value
