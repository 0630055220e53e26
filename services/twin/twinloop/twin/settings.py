"""What the twin is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from twinloop.runtime.settings import ServiceSettings


class TwinSettings(ServiceSettings):
    """`TWINLOOP_TWIN_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="TWINLOOP_TWIN_", frozen=True, extra="ignore")

    assets: Path = Field(description="TOML file: assets and approval policies")
    models: Path = Field(description="folder of process models, <process>/<version>/")
    look_back_s: float = Field(
        default=120.0, ge=0, description="how old observations may be that a starting twin still reads"
    )
    session_timeout_s: float = Field(
        default=10.0, ge=6, le=300, description="how long a dead member's partitions wait for a new owner"
    )
