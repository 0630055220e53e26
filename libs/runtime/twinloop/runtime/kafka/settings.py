"""What says how Kafka is reached: `TWINLOOP_KAFKA` and `TWINLOOP_KAFKA_*`, the same for every program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from twinloop.runtime.checks import check_address, is_loopback, refuse_together
from twinloop.runtime.credentials import AccessUnusable, Tls
from twinloop.runtime.kafka.access import KafkaAccess, Mechanism, Security
from twinloop.runtime.kafka.tokens import ClientCredentials, TokenFile, TokenProvider

_PREFIX = "TWINLOOP_KAFKA_"


class KafkaSettings(BaseSettings):
    """Where Kafka is and what it is told. Secrets are files. Cross-field mistakes are sentences."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    kafka: str = Field(validation_alias="TWINLOOP_KAFKA", description="bootstrap servers, host:port")
    kafka_security: Security = Field(default=Security.PLAINTEXT, validation_alias="TWINLOOP_KAFKA_SECURITY")
    kafka_sasl: Mechanism | None = Field(default=None, validation_alias="TWINLOOP_KAFKA_SASL")
    kafka_user: str | None = Field(default=None, min_length=1, validation_alias="TWINLOOP_KAFKA_USER")
    kafka_password_file: Path | None = Field(default=None, validation_alias="TWINLOOP_KAFKA_PASSWORD_FILE")
    kafka_ca_file: Path | None = Field(
        default=None,
        validation_alias="TWINLOOP_KAFKA_CA_FILE",
        description="PEM; without it, the authorities that this machine believes",
    )
    kafka_cert_file: Path | None = Field(default=None, validation_alias="TWINLOOP_KAFKA_CERT_FILE")
    kafka_key_file: Path | None = Field(default=None, validation_alias="TWINLOOP_KAFKA_KEY_FILE")
    kafka_token_url: str | None = Field(default=None, validation_alias="TWINLOOP_KAFKA_TOKEN_URL")
    kafka_client_id: str | None = Field(default=None, validation_alias="TWINLOOP_KAFKA_CLIENT_ID")
    kafka_client_secret_file: Path | None = Field(
        default=None, validation_alias="TWINLOOP_KAFKA_CLIENT_SECRET_FILE"
    )
    kafka_scope: str | None = Field(default=None, validation_alias="TWINLOOP_KAFKA_SCOPE")
    kafka_token_file: Path | None = Field(default=None, validation_alias="TWINLOOP_KAFKA_TOKEN_FILE")

    @field_validator(
        *("kafka_sasl", "kafka_user", "kafka_password_file", "kafka_ca_file", "kafka_cert_file"),
        *("kafka_key_file", "kafka_token_url", "kafka_client_id", "kafka_client_secret_file"),
        *("kafka_scope", "kafka_token_file"),
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        """Charts and Compose files cannot leave a variable out as easily as they leave it empty."""
        return None if value == "" else value

    @field_validator("kafka")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return check_address(value)

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = [*self._sasl_problems(), *self._tls_problems()]
        if not problems:
            try:
                self.kafka_access.client()
            except AccessUnusable as error:
                problems.append(f"{_PREFIX}*: {error}")
        refuse_together(problems)
        return self

    @cached_property
    def kafka_access(self) -> KafkaAccess:
        """The same as one value, whose tokens all clients of this process share."""
        return KafkaAccess(
            self.kafka,
            self.kafka_security,
            self.kafka_sasl,
            self.kafka_user,
            self.kafka_password_file,
            Tls(self.kafka_ca_file, self.kafka_cert_file, self.kafka_key_file),
            self._tokens(),
        )

    def _tokens(self) -> TokenProvider | None:
        if self.kafka_token_file is not None:
            return TokenProvider(TokenFile(self.kafka_token_file))
        if self.kafka_token_url and self.kafka_client_id and self.kafka_client_secret_file:
            return TokenProvider(
                ClientCredentials(
                    self.kafka_token_url,
                    self.kafka_client_id,
                    self.kafka_client_secret_file,
                    self.kafka_scope,
                )
            )
        return None

    def _given(self, *names: str) -> list[str]:
        """Those of these variables that are set."""
        return [f"{_PREFIX}{name}" for name in names if getattr(self, f"kafka_{name.lower()}") is not None]

    def _sasl_problems(self) -> Iterator[str]:
        security, sasl = self.kafka_security, self.kafka_sasl
        words = self._given("USER", "PASSWORD_FILE")
        grant = self._given("TOKEN_URL", "CLIENT_ID", "CLIENT_SECRET_FILE")
        if security.asks_who and sasl is None:
            yield (
                f"{_PREFIX}SECURITY is {security}, so {_PREFIX}SASL must say how: set it to one of"
                f" {', '.join(Mechanism)}"
            )
            return
        if sasl is not None and not security.asks_who:
            yield (
                f"{_PREFIX}SASL is set, but {_PREFIX}SECURITY is {security}: set that to SASL_SSL, or unset"
                f" {_PREFIX}SASL"
            )
        elif sasl is None and (stray := words + grant + self._given("SCOPE", "TOKEN_FILE")):
            yield (
                f"{', '.join(stray)} would not be used: set {_PREFIX}SECURITY to SASL_SSL and {_PREFIX}SASL"
                " to a mechanism, or unset what is not needed"
            )
        elif (
            security is Security.SASL_PLAINTEXT
            and sasl in (Mechanism.PLAIN, Mechanism.OAUTHBEARER)
            and not all(is_loopback(one.strip().rpartition(":")[0]) for one in self.kafka.split(","))
        ):
            yield (
                f"{_PREFIX}SASL is {sasl}, which would go over the network in clear: set {_PREFIX}SECURITY to"
                " SASL_SSL"
            )
        elif sasl is Mechanism.OAUTHBEARER:
            yield from self._token_problems(words, grant)
        elif sasl is not None:
            for name in sorted({f"{_PREFIX}USER", f"{_PREFIX}PASSWORD_FILE"} - set(words)):
                yield f"{_PREFIX}SASL is {sasl}: set {name}, too"
            if stray := grant + self._given("SCOPE", "TOKEN_FILE"):
                yield f"{', '.join(stray)} are for OAUTHBEARER, but {_PREFIX}SASL is {sasl}: unset them"

    def _token_problems(self, words: list[str], grant: list[str]) -> Iterator[str]:
        every = [f"{_PREFIX}{name}" for name in ("TOKEN_URL", "CLIENT_ID", "CLIENT_SECRET_FILE")]
        if words:
            yield f"{', '.join(words)} are for PLAIN and SCRAM, but {_PREFIX}SASL is OAUTHBEARER: unset them"
        if self.kafka_token_file is not None and grant:
            yield f"{_PREFIX}TOKEN_FILE and {grant[0]} are two sources of tokens: unset one of them"
        elif self.kafka_token_file is None and len(grant) < len(every):
            missing = [one for one in every if one not in grant]
            yield f"{_PREFIX}SASL is OAUTHBEARER: set {', '.join(missing)}; or {_PREFIX}TOKEN_FILE alone"
        if self.kafka_token_url is not None:
            parts = urlsplit(self.kafka_token_url)
            if not parts.hostname or not (
                parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))
            ):
                yield f"{_PREFIX}TOKEN_URL must begin with https://: a secret is sent there"

    def _tls_problems(self) -> Iterator[str]:
        files = self._given("CA_FILE", "CERT_FILE", "KEY_FILE")
        if files and not self.kafka_security.encrypts:
            yield (
                f"{', '.join(files)} would not be used, because {_PREFIX}SECURITY is"
                f" {self.kafka_security}: set that to SSL or SASL_SSL, or unset them"
            )
        if (self.kafka_cert_file is None) != (self.kafka_key_file is None):
            there, missing = "CERT", "KEY"
            if self.kafka_cert_file is None:
                there, missing = missing, there
            yield f"{_PREFIX}{there}_FILE is set: set {_PREFIX}{missing}_FILE, too"
        named = ("PASSWORD", "CA", "CERT", "KEY", "CLIENT_SECRET", "TOKEN")
        for name in named:
            path: Path | None = getattr(self, f"kafka_{name.lower()}_file")
            if path is not None and not path.is_file():
                yield f"{_PREFIX}{name}_FILE: there is no file {path}"


class _Listed(KafkaSettings):
    """Out of what is given, and not out of this process's environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def access_of(variables: Mapping[str, str]) -> KafkaAccess:
    """What variables say, such as those of a file. Raises `pydantic.ValidationError`."""
    found = {name: value for name, value in variables.items() if name.startswith("TWINLOOP_KAFKA")}
    return _Listed.model_validate(found).kafka_access
