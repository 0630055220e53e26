"""Tokens with which a client of Kafka says who it is (SASL OAUTHBEARER, RFC 7628).

Either of an authorization server, by the client credentials grant (RFC 6749, 4.4), or out of a file that
somebody else keeps fresh, such as a projected service account token. Both are asked again before it ends.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import httpx
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

_TIMEOUT_S = 10.0
_UNKNOWN_LIFE_S = 60.0
"""How long a token is kept that does not say when it ends."""
_USED_FOR = 0.8
"""Of its life. A fifth is left for a connection that is being made, and for clocks that differ."""


class TokenUnavailable(KafkaConnectionError):  # type: ignore[misc]  # aiokafka is untyped
    """Raised when there is no token to connect with. Retriable, as an outage of Kafka itself.

    Operator action: see whether the authorization server answers and knows this client, or who writes the
    file.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """A token, and how many seconds it is good for."""

    value: str
    life_s: float


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka is untyped
    """Keeps a token while it is good, and gets the next one by `fetch`. One serves a whole process."""

    def __init__(
        self, fetch: Callable[[], Awaitable[Token]], now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._now_s = now_s
        self._token = ""
        self._until_s = float("-inf")
        # Faust's consumer has an event loop of its own, and a lock belongs to one.
        self._one_at_a_time: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def token(self) -> str:
        """The token to use now. Raises `TokenUnavailable`."""
        async with self._one_at_a_time.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._now_s() >= self._until_s:
                asked_s = self._now_s()
                got = await self._fetch()
                self._token, self._until_s = got.value, asked_s + _USED_FOR * got.life_s
            return self._token


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The grant: where, who, and the file with the secret, which is read each time."""

    url: str
    client_id: str
    secret_file: Path
    scope: str | None = None

    async def __call__(self) -> Token:
        """Ask for a token. Raises `TokenUnavailable`, which tells nothing of the secret."""
        form = {"grant_type": "client_credentials"}
        if self.scope:
            form["scope"] = self.scope
        try:
            secret = self.secret_file.read_text().strip()
            async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                answer = await client.post(self.url, data=form, auth=(self.client_id, secret))
        except OSError as error:
            raise TokenUnavailable(
                f"the secret in {self.secret_file} cannot be read: {error.strerror}"
            ) from None
        except httpx.HTTPError as error:
            raise TokenUnavailable(f"{self.url} does not answer: {type(error).__name__}") from None
        if answer.status_code != httpx.codes.OK:
            raise TokenUnavailable(f"{self.url} answers {answer.status_code}{_why(answer)}")
        try:
            told = answer.json()
            return Token(_text(told["access_token"]), _life_s(told.get("expires_in", _UNKNOWN_LIFE_S)))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TokenUnavailable(f"{self.url} answers with something that holds no access_token") from None


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file with one token. How long it is good for says the token itself, if it is a JWT."""

    path: Path
    now_s: Callable[[], float] = time.time

    async def __call__(self) -> Token:
        """Read it. Raises `TokenUnavailable`, also when its token has ended."""
        try:
            value = _text(self.path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise TokenUnavailable(f"the token in {self.path} cannot be read: {why}") from None
        except ValueError:
            raise TokenUnavailable(f"{self.path} holds no token") from None
        ends_s = _ends_s(value)
        if ends_s is None:
            return Token(value, _UNKNOWN_LIFE_S)
        if ends_s <= self.now_s():
            raise TokenUnavailable(f"the token in {self.path} has ended: whoever writes it there has stopped")
        return Token(value, ends_s - self.now_s())


def _text(value: Any) -> str:
    """Raises `ValueError` for what is no token."""
    text = value.strip() if isinstance(value, str) else ""
    if not text or not text.isascii() or any(one.isspace() or not one.isprintable() for one in text):
        raise ValueError
    return text


def _life_s(value: Any) -> float:
    """Raises `ValueError`, `TypeError` for what is no time: a token must end, to be asked for again."""
    life_s = float(value)
    if not math.isfinite(life_s):
        raise ValueError
    return life_s


def _ends_s(token: str) -> float | None:
    """When a JWT ends, in seconds of Unix time. Its signature is for the broker to look at."""
    try:
        _, body, _ = token.split(".")
        return float(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"])
    except (ValueError, KeyError, TypeError):
        return None


def _why(answer: httpx.Response) -> str:
    """The error code of RFC 6749, 5.2: a word that holds no secret."""
    try:
        word = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        return ""
    return (
        f" ({word})" if isinstance(word, str) and word.replace("_", "").isalpha() and len(word) < 40 else ""
    )
