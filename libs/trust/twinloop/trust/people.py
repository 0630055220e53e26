"""People and what they may do, and the file of those who are known without an issuer of tokens.

[[people]]
name = "ada"
role = "engineer"
token_sha256 = "..."        # hexadecimal; the token itself is nowhere but with ada
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from twinloop.trust.errors import NotAllowed, PeopleUnusable

_TOKEN_BYTES: Final = 32


class Role(StrEnum):
    """What somebody may do. An engineer is an operator, too, and everybody but a sender is a viewer."""

    VIEWER = "viewer"
    """Read."""
    OPERATOR = "operator"
    """Approve, veto, demote, hand back, stop."""
    ENGINEER = "engineer"
    """Promote, and clear what was stopped."""
    DATA_SCIENTIST = "data_scientist"
    """Stage, try, promote, take back and retire models; nothing at a machine."""
    SENDER = "sender"
    """Tell ingest telemetry, and of vehicles that were built. Of programs, and so it reads nothing."""

    def includes(self, other: Role) -> bool:
        """Whether who has this role may do what `other` may."""
        return other is self or other in _INCLUDES[self]


_INCLUDES: Final = {
    Role.VIEWER: frozenset[Role](),
    Role.OPERATOR: frozenset({Role.VIEWER}),
    Role.ENGINEER: frozenset({Role.VIEWER, Role.OPERATOR}),
    Role.DATA_SCIENTIST: frozenset({Role.VIEWER}),
    Role.SENDER: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who was believed."""

    name: str
    role: Role

    @property
    def who(self) -> str:
        """As approvers and audit entries name a person."""
        return f"person:{self.name}"


def require(person: Person, *roles: Role) -> None:
    """Raises `NotAllowed` unless `person` has one of `roles`, or one that includes it."""
    if not any(person.role.includes(one) for one in roles):
        raise NotAllowed(f"{person.name} is {person.role}, and this needs {' or '.join(roles)}")


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def token_sha256(token: str) -> str:
    """What `people.toml` has of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")
    role: Role
    token_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    people: list[_Entry] = Field(min_length=1)


class People:
    """Those of a file, by their tokens."""

    def __init__(self, people: Iterable[tuple[Person, str]]) -> None:
        """Each with the SHA-256 of the token."""
        self._people = list(people)

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a file. Raises `PeopleUnusable`, also when a name or a token is there twice."""
        try:
            found = _File.model_validate(tomllib.loads(path.read_text())).people
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise PeopleUnusable(f"{path} cannot be read: {error}") from error
        except ValidationError as error:
            said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise PeopleUnusable(f"{path} does not say who people are: {said}") from error
        for what in ("name", "token_sha256"):
            values = [getattr(one, what) for one in found]
            if len(set(values)) < len(values):
                raise PeopleUnusable(f"{path} has the same {what} twice")
        return cls((Person(one.name, one.role), one.token_sha256) for one in found)

    def of(self, token: str) -> Person | None:
        """Whose token it is. How long this takes does not depend on whose."""
        digest, found = token_sha256(token), None
        for person, expected in self._people:
            if hmac.compare_digest(digest, expected):
                found = person
        return found
