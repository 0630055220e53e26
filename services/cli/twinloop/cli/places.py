"""Where services are and who we are: from the environment, else from the state folder of a local stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from twinloop.cli.errors import Unusable
from twinloop.runtime.kafka.access import KafkaAccess
from twinloop.runtime.kafka.settings import access_of

TWIN: Final = "TWINLOOP_TWIN_URL"
LINE: Final = "TWINLOOP_LINE_URL"
CONTROLLER: Final = "TWINLOOP_CONTROLLER_URL"
MODELOPS: Final = "TWINLOOP_MODELOPS_URL"
TOKEN: Final = "TWINLOOP_TOKEN"
TOKEN_FILE: Final = "TWINLOOP_TOKEN_FILE"
KAFKA: Final = "TWINLOOP_KAFKA"
HISTORIAN: Final = "TWINLOOP_HISTORIAN_FOLDER"
TOPIC_PREFIX: Final = "TWINLOOP_TOPIC_PREFIX"
STATE: Final = "TWINLOOP_STATE"
_ENDPOINTS: Final = "endpoints.env"


@dataclass(frozen=True, slots=True)
class Places:
    """What is asked for is looked up when it is needed: `audit verify` needs no token."""

    environ: Mapping[str, str]
    state: Path
    token_file: Path | None = None

    def url(self, variable: str) -> str:
        """The address of an API. Raises `Unusable`."""
        found = self._find(variable)
        if not found:
            raise Unusable(
                f"It is not known where the service is: set {variable}, or start a local stack (`make up`) "
                f"and name its state folder with --state (none in {self.state / _ENDPOINTS})."
            )
        if not found.startswith(("http://", "https://")):
            raise Unusable(f"{variable} is {found!r}: it must begin with http:// or https://.")
        return found.rstrip("/")

    def token(self) -> str:
        """Who we are. Raises `Unusable`."""
        if self.token_file is None and (token := self.environ.get(TOKEN, "").strip()):
            return token
        named = str(self.token_file) if self.token_file else self._find(TOKEN_FILE)
        if not named:
            raise Unusable(f"It is not known who you are: set {TOKEN} or {TOKEN_FILE}, or give --token-file.")
        try:
            token = Path(named).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unusable(f"Your token cannot be read from {named}: {_why(error)}.") from error
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise Unusable(f"{named} holds no token: it must have one word in one line.")
        return token

    def kafka(self) -> tuple[KafkaAccess, str]:
        """Where Kafka is and who we are there, and the topic prefix. Raises `Unusable`."""
        if not self._find(KAFKA):
            raise Unusable(
                f"It is not known where Kafka is: set {KAFKA}, or name a state folder with --state."
            )
        source = self.environ if self.environ.get(KAFKA, "").strip() else self._endpoints()
        try:
            return access_of(source), self._find(TOPIC_PREFIX)
        except ValidationError as error:
            said = "; ".join(str(one["msg"]) for one in error.errors())
            raise Unusable(f"Kafka cannot be reached as {KAFKA} and {KAFKA}_* say: {said}.") from None

    def folder(self) -> str:
        """Where the historian's files are; empty where nothing says it."""
        return self._find(HISTORIAN)

    def _find(self, variable: str) -> str:
        return self.environ.get(variable, "").strip() or self._endpoints().get(variable, "").strip()

    def _endpoints(self) -> dict[str, str]:
        try:
            lines = (self.state / _ENDPOINTS).read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return {}
        return dict(line.split("=", 1) for line in lines if "=" in line)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
