"""What the controller is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from twinloop.runtime.settings import ServiceSettings


class ControllerSettings(ServiceSettings):
    """`TWINLOOP_CONTROLLER_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="TWINLOOP_CONTROLLER_", frozen=True, extra="ignore")

    assets: Path = Field(description="TOML file: what may be done at each asset")
    data: Path = Field(
        description="folder of this process alone, for the table's local copy; may be empty or lost"
    )
    audit: Path = Field(description="folder of the audit store; nothing is proposed while it is away")
    audit_chain: str = Field(
        default="controller",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="name of the audit chain: each replica needs its own",
    )
    field: Path | None = Field(
        default=None,
        description="TOML file of the slow loop, with its API; without one this process does no field work",
    )
    commit_interval_s: float = Field(default=0.5, gt=0, description="as much is folded again after a crash")
    session_timeout_s: float = Field(
        default=10.0, ge=6, le=300, description="how long a dead member's partitions wait for a new owner"
    )
    tick_s: float = Field(default=0.5, gt=0, description="how often what time alone decides is looked at")
    dead_letter_limit: int = Field(
        default=100, ge=1, description="so many records in a row that cannot be folded stop the service"
    )
    replication: int = Field(
        default=1, ge=1, validation_alias="TWINLOOP_TOPIC_REPLICATION", description="of the changelog"
    )
