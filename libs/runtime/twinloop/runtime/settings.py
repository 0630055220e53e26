"""Settings: one frozen, typed object a service, read once from the environment in `__main__`."""

from __future__ import annotations

import re
import sys
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from twinloop.contracts.models import ModelNamespace
from twinloop.runtime.kafka_settings import KafkaSettings, check_address

__all__ = ["LogFormat", "ServiceSettings", "check_address", "load", "load_toml"]


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


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
    def _ends_in_a_dot(cls, value: str | None) -> str | None:
        # Without the dot, `acme` would begin the names of `acmeville`, too.
        if value and not re.fullmatch(r"([A-Za-z0-9_-]+\.)+", value):
            raise ValueError(
                f"{value!r} must end in a dot, as in `acme.`; letters, digits, - and _ before it"
            )
        return value

    @property
    def model_names(self) -> ModelNamespace:
        """Which models are this site's."""
        return ModelNamespace(self.topic_prefix if self.model_prefix is None else self.model_prefix)


S = TypeVar("S", bound=BaseSettings)
M = TypeVar("M", bound=BaseModel)


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


def _refuse(header: str, problems: list[str]) -> NoReturn:
    sys.stderr.write("\n".join([header, *[f"  {problem}" for problem in problems]]) + "\n")
    raise SystemExit(2)


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
        _refuse("These settings must be mended before this service can start:", problems)


def load_toml(path: Path, kind: type[M]) -> M:
    """The file's content as `kind`. On failure lists every bad field and exits with 2, like `load`."""
    try:
        return kind.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        _refuse(f"{path} cannot be read:", [str(error)])
    except tomllib.TOMLDecodeError as error:
        _refuse(f"{path} is no valid TOML:", [str(error)])
    except ValidationError as error:
        _refuse(
            f"{path} must be mended before this service can start:",
            [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()],
        )
