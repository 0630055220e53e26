"""What the historian is told by its environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from twinloop.historian.buffers import Limits
from twinloop.runtime.settings import ServiceSettings


class HistorianSettings(ServiceSettings):
    """`TWINLOOP_HISTORIAN_<FIELD>`; a file is rolled by whichever limit is reached first."""

    model_config = SettingsConfigDict(env_prefix="TWINLOOP_HISTORIAN_", frozen=True, extra="ignore")

    folder: Path = Field(description="where the Parquet files go; shared by all members of the group")
    max_records: int = Field(default=50_000, ge=1, description="records a file")
    max_bytes: int = Field(default=32 * 1024 * 1024, ge=1, description="bytes of records a file, about")
    max_age_s: float = Field(default=60.0, gt=0, description="the longest that a record waits for its file")
    session_timeout_s: float = Field(
        default=10.0, ge=6, le=300, description="how long a dead member's partitions wait for a new owner"
    )
    reconcile: bool = Field(default=True, description="whether what detectors do is reconciled")
    reconcile_patience_s: float = Field(
        default=30.0,
        gt=0,
        description="how long the records of a transaction may take to be readable: longer than Kafka lets a"
        " transaction be open (15 s), because that keeps others of the same topics unread",
    )

    @property
    def limits(self) -> Limits:
        """When a file is rolled."""
        return Limits(self.max_records, self.max_bytes, timedelta(seconds=self.max_age_s))
