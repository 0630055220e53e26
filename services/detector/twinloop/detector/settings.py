"""What the detector is told by its environment."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from twinloop.contracts.topics import TELEMETRY_FACTORY, TELEMETRY_VEHICLE, Topic
from twinloop.detector.routes import Share
from twinloop.runtime.checks import check_address
from twinloop.runtime.settings import ServiceSettings

_TELEMETRY = {one.name: one for one in (TELEMETRY_FACTORY, TELEMETRY_VEHICLE)}


class DetectorSettings(ServiceSettings):
    """`TWINLOOP_DETECTOR_<FIELD>`; `triton` is `TWINLOOP_TRITON`, the same for every service."""

    model_config = SettingsConfigDict(env_prefix="TWINLOOP_DETECTOR_", frozen=True, extra="ignore")

    triton: str = Field(validation_alias="TWINLOOP_TRITON", description="gRPC address, host:port")
    score_every: int = Field(
        default=100, ge=0, description="publish the verdict on one of so many windows; 0: on none"
    )
    group: str = Field(
        default="detector",
        pattern=r"[A-Za-z0-9._-]+",
        description="consumer group: one for each of several detectors that share the signal sets",
    )
    topics: str = Field(
        default=",".join(_TELEMETRY), description="read these telemetry topics, separated by commas"
    )
    signal_sets: str = Field(
        default="", description="judge only these, separated by commas; empty: all of them"
    )
    without: str = Field(
        default="", description="leave these signal sets to others: to be set where another one has them"
    )
    max_poll_records: int = Field(default=16_000, ge=1, le=100_000, description="frames in one round")
    memory_records: int = Field(
        default=10_000,
        ge=100,
        description="what an asset said more records of its partition ago is forgotten: bounds recovery",
    )
    dead_letter_limit: int = Field(
        default=1000, ge=1, le=10_000, description="a partition stops above so many refused of 10,000 records"
    )
    infer_timeout_s: float = Field(default=5.0, gt=0, description="deadline of one inference")
    shared_memory: bool = Field(
        default=True, description="hand windows to a Triton on this machine in shared memory"
    )
    retry_s: float = Field(default=0.5, gt=0, description="between attempts while Triton is away")
    session_timeout_s: float = Field(
        default=10.0, ge=6, le=300, description="how long a dead member's partitions wait for a new owner"
    )

    @property
    def sources(self) -> tuple[Topic, ...]:
        """What this one reads."""
        return tuple(_TELEMETRY[name] for name in _names(self.topics))

    @property
    def share(self) -> Share:
        """Which signal sets are this one's."""
        return Share(frozenset(_names(self.signal_sets)), frozenset(_names(self.without)))

    @field_validator("topics")
    @classmethod
    def _are_telemetry(cls, value: str) -> str:
        names = _names(value)
        if not names or not set(names) <= _TELEMETRY.keys():
            raise ValueError(f"{value!r} must name one or more of {', '.join(_TELEMETRY)}")
        return value

    @field_validator("triton")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return check_address(value)


def _names(listed: str) -> list[str]:
    """What is separated by commas, each once."""
    return list(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
