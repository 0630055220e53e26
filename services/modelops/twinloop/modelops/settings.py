"""What modelops is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from twinloop.runtime.checks import check_address
from twinloop.runtime.settings import ServiceSettings
from twinloop.tritonio.serving import Platform
from twinloop.trust.bearer import AccessSettings


class ModelopsSettings(ServiceSettings, AccessSettings):
    """`TWINLOOP_MODELOPS_<FIELD>`; `triton` and `repository` are the same for every service."""

    model_config = SettingsConfigDict(env_prefix="TWINLOOP_MODELOPS_", frozen=True, extra="ignore")

    triton: str = Field(validation_alias="TWINLOOP_TRITON", description="gRPC address, host:port")
    repository: Path = Field(
        validation_alias="TWINLOOP_MODEL_REPOSITORY", description="folder that Triton loads its models from"
    )
    platform: Platform = Field(default=Platform.CPU, description="what runs the models: cpu or gpu")
    serving: Path | None = Field(
        default=None,
        validation_alias="TWINLOOP_SERVING",
        description="TOML file: how much of Triton each model may take",
    )
    audit: Path = Field(description="folder of the audit store")
    audit_chain: str = Field(
        default="modelops",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="name of the audit store; processes at once need different ones",
    )
    upload_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="the largest artefact that is taken"
    )
    run_s: float = Field(default=30.0, gt=0, description="the longest that golden windows may take")
    run_memory_bytes: int = Field(
        default=2 * 1024**3, ge=256 * 1024**2, description="address space of the process that runs them"
    )
    budget_s: float = Field(default=0.1, gt=0, description="p99 of a request of one window, at most")
    infer_timeout_s: float = Field(default=5.0, gt=0, description="deadline of one inference")
    load_timeout_s: float = Field(default=60.0, gt=0, description="deadline of one load")
    quiet_s: float = Field(
        default=10.0,
        gt=0,
        description="how long nobody must have asked a version before it is retired: more than the"
        " detectors' TWINLOOP_DETECTOR_INFER_TIMEOUT_S",
    )
    retire_s: float = Field(default=45.0, gt=0, description="how long to wait for that")
    look_s: float = Field(default=2.0, gt=0, description="between looks at Triton")
    false_stop: float = Field(
        default=0.05, gt=0, lt=1, description="chance to stop a version that is within its alarms"
    )
    false_pass: float = Field(
        default=0.05, gt=0, lt=1, description="chance to pass a version that is not within its alarms"
    )
    block: int = Field(
        default=10,
        ge=1,
        description="windows of an asset that are one piece of a trial's evidence, at least",
    )
    disagreement: float = Field(default=0.05, gt=0, lt=1, description="share of windows both may differ on")
    failures: float = Field(
        default=0.01, ge=0, lt=1, description="share of failed requests beyond the serving one's"
    )
    slower: float = Field(default=4.0, ge=1, description="times as long for a window as the one that serves")

    drift_epoch_s: float = Field(
        default=3600.0, gt=0, description="drift is told by what was seen in one to two times this"
    )
    drift_look_s: float = Field(default=10.0, gt=0, description="between looks at drift")

    @field_validator("triton")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return check_address(value)
