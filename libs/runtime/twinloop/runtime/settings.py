"""Settings: one frozen, typed object a service, read once from the environment in `__main__`."""

from __future__ import annotations

from typing import TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from twinloop.contracts.models import ModelNamespace
from twinloop.contracts.rights import site
from twinloop.runtime.checks import check_address
from twinloop.runtime.kafka.settings import KafkaSettings
from twinloop.runtime.observability.logging import LogFormat
from twinloop.runtime.toml_files import load_toml, refuse

__all__ = ["LogFormat", "ServiceSettings", "check_address", "load", "load_toml"]


class ServiceSettings(KafkaSettings):
    """What every service needs. A service subclasses this and sets its own `env_prefix`.

    Fields here carry explicit names (`TWINLOOP_KAFKA`), the same for every service; those of the subclass
    are read from `TWINLOOP_<SERVICE>_<FIELD>`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    topic_prefix: str = Field(
        default="",
        validation_alias="TWINLOOP_TOPIC_PREFIX",
        description="of a site among several at one Kafka, such as `acme.`: it goes before topics, groups,"
        " transactional ids and models",
    )
    model_prefix: str | None = Field(
        default=None,
        validation_alias="TWINLOOP_MODEL_PREFIX",
        description="of models alone; default: that of topics",
    )
    health_host: str = Field(default="127.0.0.1", validation_alias="TWINLOOP_HEALTH_HOST")
    health_port: int = Field(default=0, ge=0, le=65535, validation_alias="TWINLOOP_HEALTH_PORT")
    log_format: LogFormat | None = Field(
        default=None,
        validation_alias="TWINLOOP_LOG_FORMAT",
        description="console or json; default: console on a terminal, else json",
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", validation_alias="TWINLOOP_LOG_LEVEL"
    )
    grace_s: float = Field(default=10.0, gt=0, validation_alias="TWINLOOP_GRACE_S")

    @field_validator("topic_prefix", "model_prefix")
    @classmethod
    def _is_a_site(cls, value: str | None) -> str | None:
        return None if value is None else site(value)

    @property
    def model_names(self) -> ModelNamespace:
        """Which models are this site's."""
        return ModelNamespace(self.topic_prefix if self.model_prefix is None else self.model_prefix)


S = TypeVar("S", bound=BaseSettings)


def _variable(kind: type[BaseSettings], location: tuple[int | str, ...]) -> str:
    """The environment variable that a field is read from."""
    name = str(location[0]) if location else "?"
    field = kind.model_fields.get(name)
    if field is not None and not isinstance(field.validation_alias, str):
        name = f"{kind.model_config.get('env_prefix', '')}{name}".upper()
    return ".".join([name, *map(str, location[1:])])


def _is_secret(kind: type[BaseSettings], location: tuple[int | str, ...]) -> bool:
    """Whether a value must not be shown, also when it is refused."""
    name = str(location[0])
    for one, field in kind.model_fields.items():
        if name in (one, field.validation_alias):
            return "Secret" in str(field.annotation)
    return True


def load(kind: type[S]) -> S:
    """The settings from the environment. On failure lists *every* bad field on stderr and exits with 2."""
    try:
        return kind()
    except ValidationError as error:
        problems = []
        for one in error.errors():
            if not one["loc"]:  # several fields together: the sentence names them
                problems.append(one["msg"].removeprefix("Value error, "))
                continue
            told = one["type"] != "missing" and not _is_secret(kind, one["loc"])
            given = f" (got {str(one['input'])[:80]!r})" if told else ""
            problems.append(f"{_variable(kind, one['loc'])}: {one['msg']}{given}")
        refuse("These settings must be mended before this service can start:", problems)
