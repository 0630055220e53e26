"""Tokens of an issuer (OpenID Connect and the like): JWT, RFC 7519, with asymmetric signatures only."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import jwt

from twinloop.trust.errors import NotAuthenticated, PeopleUnusable
from twinloop.trust.people import Person, Role

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
ROLES_CLAIM: Final = "twinloop_role"
_ROLES: Final = frozenset(one.value for one in Role)
_LEEWAY_S: Final = 10.0
_LIFESPAN_S: Final = 300.0
_COOLDOWN_S: Final = 30.0
"""Tokens with made-up key ids do not make us ask the issuer more often than this."""
_TIMEOUT_S: Final = 5.0
_NO_KEYS: Final = "what the issuer answers holds no keys (JWKS)"
_NAME_LENGTH: Final = 128


class Issuer:
    """Believes tokens that the issuer made for us. Reads files and URLs: call it in a thread."""

    def __init__(self, jwks: str, issuer: str, audience: str, roles_claim: str = ROLES_CLAIM) -> None:
        """`jwks` is the URL or the file of the issuer's public keys (RFC 7517). `roles_claim` leads to the
        role, or to several; its dots lead into objects, unless a claim has just that name."""
        self._roles_claim = roles_claim
        self._issuer = issuer
        self._audience = audience
        self._file = None if jwks.startswith(("http://", "https://")) else Path(jwks)
        self._client = (
            None
            if self._file is not None
            else jwt.PyJWKClient(
                jwks, lifespan=_LIFESPAN_S, timeout=_TIMEOUT_S, cooldown_duration=_COOLDOWN_S
            )
        )

    def person_of(self, token: str) -> Person:
        """Who it says they are. Raises `NotAuthenticated`, or `PeopleUnusable` when keys are away."""
        try:
            header = jwt.get_unverified_header(token)
            algorithm, kid = header.get("alg"), header.get("kid")
            if algorithm not in ALGORITHMS:
                raise NotAuthenticated(f"the token is signed by {algorithm!r}, not by one of {ALGORITHMS}")
            key = self._key(kid)
            if key.algorithm_name != algorithm:
                raise NotAuthenticated(
                    f"the token is signed by {algorithm}, its key is for another algorithm"
                )
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            raise NotAuthenticated(f"the token is not believed: {error}") from error
        return _person(claims.get("sub"), self._roles(claims))

    def _roles(self, claims: Mapping[str, Any]) -> set[Role]:
        """Those of ours among what the token says; others are somebody else's."""
        found: Any = claims.get(self._roles_claim)
        if found is None:
            found = claims
            for name in self._roles_claim.split("."):
                found = found.get(name) if isinstance(found, dict) else None
        words = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        roles = {Role(one) for one in words if isinstance(one, str) and one in _ROLES}
        if not roles:
            raise NotAuthenticated(
                f"the token gives no role ({self._roles_claim}): one of {', '.join(Role)} is needed"
            )
        return roles

    def _key(self, kid: object) -> jwt.PyJWK:
        if not isinstance(kid, str) or not kid:
            raise NotAuthenticated("the token does not say which key signed it (kid)")
        if self._client is not None:
            try:
                self._client.get_jwk_set()
                return self._client.get_signing_key(kid)
            except (jwt.PyJWKClientConnectionError, OSError) as error:
                raise PeopleUnusable("the issuer's keys cannot be fetched") from error
            except jwt.PyJWKClientError:
                if self._client.jwk_set_cache is not None and self._client.jwk_set_cache.get() is not None:
                    raise  # there are keys, and none of that id
                raise PeopleUnusable(_NO_KEYS) from None
            except (ValueError, jwt.PyJWKSetError) as error:  # the page of a proxy, say
                raise PeopleUnusable(_NO_KEYS) from error
        for key in self._keys_of_file():
            if key.key_id == kid:
                return key
        raise NotAuthenticated(f"the issuer has no key {kid!r}")

    def _keys_of_file(self) -> list[jwt.PyJWK]:
        assert self._file is not None
        try:  # read each time: a mounted file changes when keys are rotated
            return jwt.PyJWKSet.from_dict(json.loads(self._file.read_text())).keys
        except (OSError, ValueError, AttributeError, jwt.PyJWTError) as error:
            raise PeopleUnusable(f"{self._file} holds no keys of an issuer (JWKS): {error}") from error


def _person(name: object, roles: Collection[Role]) -> Person:
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _NAME_LENGTH:
        raise NotAuthenticated("the token does not name a person (sub)")
    for role in roles:
        if all(role.includes(other) for other in roles):
            return Person(name, role)
    raise NotAuthenticated(f"the token gives roles that one person cannot have: {', '.join(sorted(roles))}")
