"""Who makes a request: bearer tokens (RFC 6750), and what an API in FastAPI does with them.

access = Access.of(settings)              # settings include AccessSettings
protect(api, access)                      # errors become {"problem": ...}

@api.post("/kill")
async def kill(person: Annotated[Person, guarded(Role.OPERATOR)]) -> ...
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from twinloop.trust.errors import NotAllowed, NotAuthenticated, PeopleUnusable
from twinloop.trust.issued import ROLES_CLAIM, Issuer
from twinloop.trust.people import People, Person, Role, require

_LONGEST_TOKEN: Final = 16 * 1024
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class AnyAccessSettings(BaseSettings):
    """Who may use an API, if anybody: a file, an issuer, or both. Empty variables are none."""

    access_people: Path | None = Field(
        default=None,
        validation_alias="TWINLOOP_ACCESS_PEOPLE",
        description="TOML file of people, their roles and the SHA-256 of their tokens",
    )
    access_jwks_file: Path | None = Field(
        default=None,
        validation_alias="TWINLOOP_ACCESS_JWKS_FILE",
        description="file of the public keys of an issuer of JWTs",
    )
    access_jwks_url: str | None = Field(
        default=None,
        validation_alias="TWINLOOP_ACCESS_JWKS_URL",
        description="or where they are fetched from",
    )
    access_issuer: str | None = Field(
        default=None, validation_alias="TWINLOOP_ACCESS_ISSUER", description="the `iss` of its tokens"
    )
    access_audience: str | None = Field(
        default=None, validation_alias="TWINLOOP_ACCESS_AUDIENCE", description="the `aud` that means us"
    )
    access_roles_claim: str = Field(
        default=ROLES_CLAIM,
        min_length=1,
        validation_alias="TWINLOOP_ACCESS_ROLES_CLAIM",
        description="claim of a token with the role, or several; dots lead into it, as in realm_access.roles",
    )

    @field_validator(
        "access_people",
        "access_jwks_file",
        "access_jwks_url",
        "access_issuer",
        "access_audience",
        mode="before",
    )
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        keys = self.access_jwks_file or self.access_jwks_url
        if self.access_jwks_file and self.access_jwks_url:
            raise ValueError(
                "TWINLOOP_ACCESS_JWKS_FILE and TWINLOOP_ACCESS_JWKS_URL are two sources of keys: unset one"
            )
        if keys and not (self.access_issuer and self.access_audience):
            raise ValueError(
                "TWINLOOP_ACCESS_JWKS_FILE and _URL need TWINLOOP_ACCESS_ISSUER and TWINLOOP_ACCESS_AUDIENCE:"
                " a token for somebody else must not open this"
            )
        if not keys and (self.access_issuer or self.access_audience):
            raise ValueError(
                "TWINLOOP_ACCESS_ISSUER would not be believed: set TWINLOOP_ACCESS_JWKS_URL or _FILE, too"
            )
        if self.access_jwks_url and not _is_safe(self.access_jwks_url):
            raise ValueError(
                "TWINLOOP_ACCESS_JWKS_URL must begin with https://: who could change the keys could be"
                " anybody"
            )
        return self

    @property
    def lets_somebody_in(self) -> bool:
        """Whether there is a file or an issuer."""
        return bool(self.access_people or self.access_jwks_file or self.access_jwks_url)


class AccessSettings(AnyAccessSettings):
    """The same of an API that is of no use without: a service's settings inherit from this, too."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.lets_somebody_in:
            raise ValueError(
                "nobody could use the API: set TWINLOOP_ACCESS_PEOPLE, or TWINLOOP_ACCESS_JWKS_URL or _FILE"
                " of an issuer"
            )
        return self


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


class Access:
    """Tells people by their tokens. Use `of`."""

    def __init__(self, people: Path | None, issuer: Issuer | None) -> None:
        self._file = people
        self._issuer = issuer
        self._seen: tuple[int, int, int] | None = None
        self._people = People([])
        if people is not None:
            self._read(people)

    @classmethod
    def of(cls, settings: AnyAccessSettings) -> Self:
        """Raises `PeopleUnusable` when the file of people is none. Settings that let nobody in make one that
        knows nobody."""
        keys = settings.access_jwks_url or settings.access_jwks_file
        issuer = (
            Issuer(str(keys), settings.access_issuer, settings.access_audience, settings.access_roles_claim)
            if keys and settings.access_issuer and settings.access_audience
            else None
        )
        return cls(settings.access_people, issuer)

    async def person_of(self, authorization: str | None) -> Person:
        """Whose request it is, by its `Authorization` header.

        Raises `NotAuthenticated`; `PeopleUnusable` when that cannot be told. The file of people is read
        again when it has changed: a token that was taken out of it is no longer believed.
        """
        scheme, _, token = (authorization or "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise NotAuthenticated("say who you are: send a token as `Authorization: Bearer <token>`")
        if len(token) > _LONGEST_TOKEN:
            raise NotAuthenticated("that is no token: it is too long")
        if self._file is None and self._issuer is None:
            raise NotAuthenticated("nobody is known here: TWINLOOP_ACCESS_* of this service are not set")
        if self._file is not None:
            self._read(self._file)
        person = self._people.of(token)
        if person is None and self._issuer is not None and token.count(".") == 2:
            person = await asyncio.to_thread(self._issuer.person_of, token)
        if person is None:
            raise NotAuthenticated("nobody known has that token")
        return person

    def _read(self, path: Path) -> None:
        try:
            status = path.stat()
        except OSError as error:
            raise PeopleUnusable(f"{path} cannot be read: {error.strerror}") from error
        seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        if seen != self._seen:
            self._people = People.load(path)
            self._seen = seen


def guarded(*roles: Role) -> Any:
    """A dependency of routes and WebSockets of a `protect`ed API: who asks, provided they have one of
    `roles`."""

    async def person(connection: HTTPConnection) -> Person:
        access: Access = connection.app.state.access
        found = await access.person_of(connection.headers.get("authorization"))
        require(found, *roles)
        return found

    return Depends(person)


def protect(api: FastAPI, access: Access) -> None:
    """Let `guarded` ask `access`, and say every error as `{"problem": "..."}`.

    401 (with `WWW-Authenticate: Bearer`) who is not known, 403 whose role does not reach, 503 when it cannot
    be told, 422 what cannot be read. A WebSocket is answered the same instead of being accepted.
    """
    api.state.access = access
    api.add_exception_handler(NotAuthenticated, _answer(401, {"WWW-Authenticate": "Bearer"}))
    api.add_exception_handler(NotAllowed, _answer(403))
    api.add_exception_handler(PeopleUnusable, _answer(503))
    api.add_exception_handler(RequestValidationError, _unreadable)
    api.add_exception_handler(HTTPException, _refused)


def problem(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer of every error."""
    return JSONResponse({"problem": text}, status_code=status, headers=headers)


def _answer(
    status: int, headers: dict[str, str] | None = None
) -> Callable[[Any, Exception], Awaitable[Response]]:
    async def answer(_: HTTPConnection, error: Exception) -> Response:
        return problem(status, str(error), headers)

    return answer


async def _unreadable(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    said = [f"{'.'.join(map(str, one['loc'][1:])) or one['loc'][0]}: {one['msg']}" for one in error.errors()]
    return problem(422, "; ".join(said))


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), dict(error.headers or {}))
