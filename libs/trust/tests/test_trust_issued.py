"""Tokens of an issuer: those that it made for us are believed, and no others, however they were made."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from twinloop.trust import issued
from twinloop.trust.errors import NotAuthenticated, PeopleUnusable
from twinloop.trust.issued import Issuer
from twinloop.trust.people import Person, Role

ISSUER, AUDIENCE = "https://id.example", "twinloop"


@cache
def private(kid: str) -> Any:
    match kid:
        case "rsa" | "stranger":
            return rsa.generate_private_key(65537, 2048)
        case "short":
            return rsa.generate_private_key(65537, 1024)
        case "ec":
            return ec.generate_private_key(ec.SECP256R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


ALGORITHM = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA", "short": "RS256", "stranger": "RS256"}
_WRITE = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def key_set(*kids: str) -> str:
    keys = []
    for kid in kids:
        public = _WRITE[ALGORITHM[kid]].to_jwk(private(kid).public_key(), as_dict=True)
        keys.append({**public, "kid": kid, "use": "sig"})
    return json.dumps({"keys": keys})


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    path = tmp_path / "jwks.json"
    path.write_text(key_set("rsa", "ec", "ed", "short"))
    return Issuer(str(path), ISSUER, AUDIENCE)


def claims(**other: Any) -> dict[str, Any]:
    all_of_them = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "exp": int(time.time()) + 600,
        "twinloop_role": "operator",
        **other,
    }
    return {name: value for name, value in all_of_them.items() if value is not None}


def token(kid: str = "rsa", *, key: str | None = None, named: str | None = None, **other: Any) -> str:
    """Signed by `key`, said to be signed by `named`; both are `kid` by default."""
    key = key or kid
    return jwt.encode(claims(**other), private(key), algorithm=ALGORITHM[key], headers={"kid": named or kid})


def by_hand(header: dict[str, Any], secret: bytes | None) -> str:
    """What no library would make."""
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, claims())]
    body = b".".join(parts)
    mac = hmac.digest(secret, body, hashlib.sha256) if secret is not None else b""
    return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
def test_what_the_issuer_made_for_us_is_believed(issuer: Issuer, kid: str) -> None:
    assert issuer.person_of(token(kid)) == Person("ada", Role.OPERATOR)
    assert issuer.person_of(token(kid, aud=["others", AUDIENCE])).name == "ada"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"exp": 1}, "expired"),
        ({"exp": None}, "exp"),
        ({"nbf": 4_000_000_000}, "not yet valid"),
        ({"iss": "https://id.other"}, "issuer"),
        ({"iss": None}, "iss"),
        ({"aud": "others"}, "[Aa]udience"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
        ({"sub": " "}, "does not name a person"),
        ({"sub": "a\nb"}, "does not name a person"),
        ({"sub": "a" * 129}, "does not name a person"),
        ({"twinloop_role": None}, "gives no role"),
        ({"twinloop_role": "admin"}, "gives no role"),
        ({"twinloop_role": [["engineer"], 1, None]}, "gives no role"),
        ({"twinloop_role": []}, "gives no role"),
        ({"twinloop_role": {"engineer": True}}, "gives no role"),
        ({"twinloop_role": ["engineer", "data_scientist"]}, "cannot have: data_scientist, engineer"),
    ],
)
def test_what_a_token_must_say(issuer: Issuer, other: dict[str, Any], said: str) -> None:
    with pytest.raises(NotAuthenticated, match=said):
        issuer.person_of(token(**other))


def test_a_token_without_a_signature_is_not_believed(issuer: Issuer) -> None:
    for name in ("none", "None", "NONE", ""):
        with pytest.raises(NotAuthenticated):
            issuer.person_of(by_hand({"alg": name, "kid": "rsa", "typ": "JWT"}, None))
    head, body, _ = token().split(".")
    with pytest.raises(NotAuthenticated):
        issuer.person_of(f"{head}.{body}.")


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
def test_a_public_key_is_no_secret(issuer: Issuer, kid: str) -> None:
    """HS256 with what everybody can read as its key."""
    pem = private(kid).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, pem.strip()):
        with pytest.raises(NotAuthenticated, match="HS256"):
            issuer.person_of(by_hand({"alg": "HS256", "kid": kid, "typ": "JWT"}, secret))


def test_a_shared_secret_among_the_keys_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    secret = base64.urlsafe_b64encode(b"s" * 32).decode().rstrip("=")
    path.write_text(json.dumps({"keys": [{"kty": "oct", "k": secret, "kid": "shared"}]}))
    forged = by_hand({"alg": "HS256", "kid": "shared", "typ": "JWT"}, b"s" * 32)
    with pytest.raises(NotAuthenticated, match="HS256"):
        Issuer(str(path), ISSUER, AUDIENCE).person_of(forged)


def test_another_ones_signature_is_not_believed(issuer: Issuer) -> None:
    with pytest.raises(NotAuthenticated, match="no key 'stranger'"):
        issuer.person_of(token("stranger"))
    with pytest.raises(NotAuthenticated, match=r"[Ss]ignature"):
        issuer.person_of(token(key="stranger", named="rsa"))
    with pytest.raises(NotAuthenticated, match="another algorithm"):
        issuer.person_of(token(key="ed", named="rsa"))


def test_a_key_that_is_too_short_is_not_believed(issuer: Issuer) -> None:
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        weak = token("short")
    with pytest.raises(NotAuthenticated, match="below the minimum"):
        issuer.person_of(weak)


def test_a_token_says_which_key_signed_it(issuer: Issuer) -> None:
    bare = jwt.encode(claims(), private("rsa"), algorithm="RS256")
    with pytest.raises(NotAuthenticated, match="kid"):
        issuer.person_of(bare)


@pytest.mark.parametrize("what", ["", "..", "a.b.c", "é.é.é", "e30.e30.e30"])
def test_what_is_no_token_is_not_believed(issuer: Issuer, what: str) -> None:
    with pytest.raises(NotAuthenticated):
        issuer.person_of(what)


def test_a_key_that_was_taken_out_of_the_file_is_no_longer_believed(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(key_set("rsa"))
    issuer = Issuer(str(path), ISSUER, AUDIENCE)
    assert issuer.person_of(token()).name == "ada"
    path.write_text(key_set("ec"))
    with pytest.raises(NotAuthenticated, match="no key"):
        issuer.person_of(token())


@pytest.mark.parametrize("text", [None, "{", "[]", "{}", '{"keys": []}'])
def test_a_file_without_keys_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "jwks.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PeopleUnusable, match=r"jwks\.json"):
        Issuer(str(path), ISSUER, AUDIENCE).person_of(token())


@contextmanager
def served(text: str | list[str]) -> Iterator[tuple[str, list[str]]]:
    """A list is served as it is then: its first."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write((text if isinstance(text, str) else text[0]).encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/keys", asked
        finally:
            server.shutdown()
            thread.join()


def test_roles_are_where_the_issuer_puts_them(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(key_set("rsa"))
    nested = Issuer(str(path), ISSUER, AUDIENCE, "realm_access.roles")
    roles = {"roles": ["offline_access", "viewer", "engineer"]}
    assert nested.person_of(token(realm_access=roles)) == Person("ada", Role.ENGINEER)
    assert nested.person_of(token(**{"realm_access.roles": "viewer"})) == Person("ada", Role.VIEWER)
    for other in ({"roles": ["admin"]}, ["engineer"], "engineer", None):
        with pytest.raises(NotAuthenticated, match=r"gives no role \(realm_access\.roles\)"):
            nested.person_of(token(realm_access=other))
    url = Issuer(str(path), ISSUER, AUDIENCE, "https://id.example/roles")
    assert url.person_of(token(**{"https://id.example/roles": ["operator"]})).role is Role.OPERATOR


def test_a_token_is_believed_a_little_longer_because_clocks_differ(issuer: Issuer) -> None:
    assert issuer.person_of(token(exp=int(time.time()) - 5)).name == "ada"
    with pytest.raises(NotAuthenticated, match="expired"):
        issuer.person_of(token(exp=int(time.time()) - 15))


def test_keys_that_are_rotated_are_fetched_and_the_old_one_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issued, "_COOLDOWN_S", 0.0)
    keys = [key_set("rsa")]
    with served(keys) as (url, asked):
        issuer = Issuer(url, ISSUER, AUDIENCE)
        assert issuer.person_of(token("rsa")).name == "ada"
        keys[0] = key_set("ec")
        assert issuer.person_of(token("ec")).name == "ada"
        with pytest.raises(NotAuthenticated):
            issuer.person_of(token("rsa"))
    assert len(asked) == 3


def test_keys_come_from_a_url_and_are_not_asked_for_each_time() -> None:
    with served(key_set("rsa", "ec")) as (url, asked):
        issuer = Issuer(url, ISSUER, AUDIENCE)
        for kid in ("rsa", "ec", "rsa"):
            assert issuer.person_of(token(kid)).name == "ada"
        for number in range(5):
            with pytest.raises(NotAuthenticated):
                issuer.person_of(token("rsa", named=f"made up {number}"))
        assert asked == ["/keys"]


def test_an_issuer_that_does_not_answer_is_not_the_persons_fault() -> None:
    with served("") as (url, _):
        pass
    with pytest.raises(PeopleUnusable, match="cannot be fetched"):
        Issuer(url, ISSUER, AUDIENCE).person_of(token())


@pytest.mark.parametrize(
    "answer", ["<html>Log in first</html>", "", '{"keys": ', "[]", "7", '{"keys": []}', "{}"]
)
def test_an_issuer_that_answers_with_something_else_is_not_the_persons_fault(answer: str) -> None:
    """Nor a defect of ours: who asks is told to come again (503), and not that nobody knows him (401)."""
    with served(answer) as (url, _), pytest.raises(PeopleUnusable, match="holds no keys"):
        Issuer(url, ISSUER, AUDIENCE).person_of(token())
