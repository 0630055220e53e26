"""What the trainer is told by its environment; the rest comes from the command line."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from twinloop.runtime.settings import ServiceSettings, check_address


class TrainerSettings(ServiceSettings):
    """`TWINLOOP_TRAINER_<FIELD>`; `triton` is `TWINLOOP_TRITON`, the same for every service."""

    model_config = SettingsConfigDict(env_prefix="TWINLOOP_TRAINER_", frozen=True, extra="ignore")

    triton: str = Field(validation_alias="TWINLOOP_TRITON", description="gRPC address, host:port")
    serving: Path | None = Field(
        default=None,
        validation_alias="TWINLOOP_SERVING",
        description="TOML file: how much of Triton each model may take",
    )
    connect_s: float = Field(default=20.0, gt=0, description="how long Kafka may take to answer at first")
    announce_s: float = Field(default=30.0, gt=0, description="how long Kafka may take to keep the routes")

    @field_validator("triton")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return check_address(value)
