"""What `line` is told by its environment."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from twinloop.line.security import Security
from twinloop.runtime.settings import ServiceSettings
from twinloop.trust.bearer import AccessSettings


class OpcUaSecurity(StrEnum):
    """How OPC UA is secured."""

    SIGN_AND_ENCRYPT = "sign_and_encrypt"
    NONE = "none"


class LineSettings(ServiceSettings, AccessSettings):
    """`TWINLOOP_LINE_<FIELD>`; `opcua` is `TWINLOOP_OPCUA`, people are `TWINLOOP_ACCESS_*`."""

    model_config = SettingsConfigDict(
        env_prefix="TWINLOOP_LINE_", frozen=True, extra="ignore", populate_by_name=True
    )

    opcua: str = Field(
        validation_alias="TWINLOOP_OPCUA", description="the PLC's endpoint, opc.tcp://host:port/path"
    )
    opcua_security: OpcUaSecurity = Field(
        default=OpcUaSecurity.SIGN_AND_ENCRYPT,
        description="sign_and_encrypt, or none: then anybody on the network is believed",
    )
    opcua_certificate: Path | None = Field(default=None, description="our certificate, DER")
    opcua_key: Path | None = Field(default=None, description="its key, a name that ends in .pem")
    opcua_trusted: Path | None = Field(default=None, description="folder of certificates of trusted PLCs")
    approvers: Path = Field(description="folder of public keys (*.pem) of those who may release commands")
    audit: Path = Field(description="folder of the audit store and of the kill switch's state")
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

    @field_validator("opcua_key")
    @classmethod
    def _is_pem(cls, value: Path | None) -> Path | None:
        if value is not None and value.suffix != ".pem":
            raise ValueError("the key file's name must end in .pem")
        return value

    @model_validator(mode="after")
    def _is_secured(self) -> Self:
        if self.opcua_security is OpcUaSecurity.SIGN_AND_ENCRYPT and self.security is None:
            raise ValueError(
                "name TWINLOOP_LINE_OPCUA_CERTIFICATE, _KEY and _TRUSTED, "
                "or say TWINLOOP_LINE_OPCUA_SECURITY=none"
            )
        return self

    @property
    def security(self) -> Security | None:
        """How the PLC's server is spoken to; `None`: not secured."""
        certificate, key, trusted = self.opcua_certificate, self.opcua_key, self.opcua_trusted
        if self.opcua_security is OpcUaSecurity.NONE or certificate is None or key is None or trusted is None:
            return None
        return Security(certificate, key, trusted)
