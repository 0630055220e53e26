"""What the twin is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from twinloop.runtime.settings import ServiceSettings
from twinloop.trust.bearer import AccessSettings


class TwinSettings(ServiceSettings, AccessSettings):
    """`TWINLOOP_TWIN_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="TWINLOOP_TWIN_", frozen=True, extra="ignore")

    assets: Path = Field(description="TOML file: assets and approval policies")
    models: Path = Field(description="folder of process models, <process>/<version>/")
    signing_key: Path = Field(
        description="PEM file with the Ed25519 key that released commands are signed by"
    )
    audit: Path = Field(description="folder of the audit store")
    audit_chain: str = Field(
        default="twin",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="name of the audit store; processes at once need different ones",
    )
    stream_room: int = Field(
        default=1000, ge=10, description="messages that may wait for a client of /stream until it is let go"
    )
    look_back_s: float = Field(
        default=120.0, ge=0, description="how old observations may be that a starting twin still reads"
    )
    session_timeout_s: float = Field(
        default=10.0, ge=6, le=300, description="how long a dead member's partitions wait for a new owner"
    )
