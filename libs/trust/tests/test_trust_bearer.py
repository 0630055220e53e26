"""An API behind tokens: who is let in, and what the others are told."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from pydantic import BaseModel, ValidationError
from pydantic_settings import SettingsConfigDict
from starlette.applications import Starlette
from starlette.routing import Mount

from twinloop.trust.bearer import Access, AccessSettings, guarded, protect
from twinloop.trust.errors import NotAuthenticated, PeopleUnusable
from twinloop.trust.people import Person, Role, token_sha256

PEOPLE = {"ada": "engineer", "oli": "operator", "vic": "viewer"}


class Settings(AccessSettings):
    model_config = SettingsConfigDict(env_prefix="TWINLOOP_EXAMPLE_", frozen=True, extra="ignore")

    other: int = 1


class Why(BaseModel):
    reason: str


def write(path: Path, people: dict[str, str]) -> None:
    """Each has his name as his token."""
    path.write_text(
        "".join(
            f'[[people]]\nname = "{name}"\nrole = "{role}"\ntoken_sha256 = "{token_sha256(name)}"\n'
            for name, role in people.items()
        )
    )


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "people.toml"
    write(path, PEOPLE)
    monkeypatch.setenv("TWINLOOP_ACCESS_PEOPLE", str(path))
    return path


def api_of(access: Access) -> Starlette:
    """Mounted, as a service mounts it."""
    api = FastAPI()
    protect(api, access)

    @api.get("/who")
    async def who(person: Annotated[Person, guarded(Role.VIEWER)]) -> str:
        return person.who

    @api.post("/stop")
    async def stop(why: Why, person: Annotated[Person, guarded(Role.OPERATOR)]) -> str:
        if not why.reason.strip():
            raise HTTPException(422, "say why")
        return f"{person.who}: {why.reason}"

    @api.websocket("/stream")
    async def stream(socket: WebSocket, person: Annotated[Person, guarded(Role.VIEWER)]) -> None:
        await socket.accept()
        await socket.send_text(person.who)
        await socket.close()

    return Starlette(routes=[Mount("/", api)])


def client_of(people: Path) -> httpx.AsyncClient:
    assert people.exists()
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(api_of(Access.of(Settings()))), base_url="http://line"
    )


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_who_is_known_and_whose_role_reaches_is_let_in(people: Path) -> None:
    async with client_of(people) as client:
        for name in PEOPLE:
            assert (await client.get("/who", headers=bearer(name))).json() == f"person:{name}"
        for name in ("ada", "oli"):
            done = await client.post("/stop", json={"reason": "smoke"}, headers=bearer(name))
            assert done.json() == f"person:{name}: smoke"
        assert (await client.get("/who", headers={"authorization": "bearer  vic "})).status_code == 200


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic ada", "ada", "Bearer nobody", "Bearer a.b.c"]
)
async def test_who_is_not_known_is_told_how_to_say_it(people: Path, header: str | None) -> None:
    async with client_of(people) as client:
        answer = await client.get("/who", headers={} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert set(answer.json()) == {"problem"}


async def test_every_other_error_is_a_problem_too(people: Path) -> None:
    async with client_of(people) as client:
        answers = {
            403: await client.post("/stop", json={"reason": "smoke"}, headers=bearer("vic")),
            404: await client.get("/nothing", headers=bearer("ada")),
            405: await client.get("/stop", headers=bearer("ada")),
        }
        unreadable = [
            await client.post("/stop", json={}, headers=bearer("ada")),
            await client.post("/stop", json={"reason": " "}, headers=bearer("ada")),
            await client.post("/stop", content=b"{", headers=bearer("ada")),
        ]
    for status, answer in answers.items():
        assert answer.status_code == status
        assert set(answer.json()) == {"problem"}
    assert "vic is viewer, and this needs operator" in answers[403].json()["problem"]
    assert [one.status_code for one in unreadable] == [422, 422, 422]
    assert unreadable[0].json() == {"problem": "reason: Field required"}
    assert unreadable[1].json() == {"problem": "say why"}


async def test_whose_token_was_taken_away_is_not_let_in_any_more(people: Path) -> None:
    async with client_of(people) as client:
        assert (await client.get("/who", headers=bearer("oli"))).status_code == 200
        write(people, {"ada": "engineer"})
        assert (await client.get("/who", headers=bearer("oli"))).status_code == 401
        people.write_text("[[people")
        answer = await client.get("/who", headers=bearer("ada"))
        assert answer.status_code == 503
        assert "people.toml" in answer.json()["problem"]
        people.unlink()
        assert (await client.get("/who", headers=bearer("ada"))).status_code == 503


async def said_to_a_websocket(api: Starlette, headers: dict[str, str]) -> list[dict[str, Any]]:
    """All that the server sends to one that connects and waits."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    scope = {
        "type": "websocket",
        "path": "/stream",
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "subprotocols": [],
    }
    await api(scope, receive, send)
    return sent


async def test_a_websocket_is_for_people_too(people: Path) -> None:
    api = api_of(Access.of(Settings()))
    accepted, said, closed = await said_to_a_websocket(api, bearer("vic"))
    assert accepted["type"] == "websocket.accept"
    assert said["text"] == "person:vic"
    assert closed["type"] == "websocket.close"
    start, body = await said_to_a_websocket(api, {})
    assert start["type"] == "websocket.http.response.start"
    assert start["status"] == 401
    assert b"send a token" in body["body"]


async def test_a_token_as_long_as_a_book_is_none(people: Path) -> None:
    with pytest.raises(NotAuthenticated, match="too long"):
        await Access.of(Settings()).person_of("Bearer " + "x" * 100_000)


def test_settings_without_anybody_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in os.environ if one.startswith("TWINLOOP_ACCESS_")]:
        monkeypatch.delenv(name)
    with pytest.raises(ValidationError, match="nobody could use the API"):
        Settings()
    monkeypatch.setenv("TWINLOOP_ACCESS_PEOPLE", "")  # as charts and Compose files leave a variable out
    with pytest.raises(ValidationError, match="nobody could use the API"):
        Settings()
    monkeypatch.setenv("TWINLOOP_ACCESS_ISSUER", "https://id.example")
    with pytest.raises(ValidationError, match="TWINLOOP_ACCESS_ISSUER would not be believed"):
        Settings()
    monkeypatch.delenv("TWINLOOP_ACCESS_ISSUER")
    monkeypatch.setenv("TWINLOOP_ACCESS_JWKS_URL", "https://id.example/keys")
    with pytest.raises(ValidationError, match="TWINLOOP_ACCESS_AUDIENCE"):
        Settings()
    monkeypatch.setenv("TWINLOOP_ACCESS_ISSUER", "https://id.example")
    monkeypatch.setenv("TWINLOOP_ACCESS_AUDIENCE", "twinloop")
    assert Settings().access_people is None
    monkeypatch.setenv("TWINLOOP_ACCESS_JWKS_FILE", "keys.json")
    with pytest.raises(ValidationError, match="two sources"):
        Settings()
    monkeypatch.delenv("TWINLOOP_ACCESS_JWKS_FILE")
    monkeypatch.setenv("TWINLOOP_ACCESS_JWKS_URL", "http://id.example/keys")
    with pytest.raises(ValidationError, match="must begin with https://"):
        Settings()
    monkeypatch.delenv("TWINLOOP_ACCESS_JWKS_URL")
    monkeypatch.setenv("TWINLOOP_ACCESS_PEOPLE", "people.toml")
    with pytest.raises(ValidationError, match="TWINLOOP_ACCESS_ISSUER would not be believed"):
        Settings()


def test_a_missing_file_is_told_at_start(people: Path) -> None:
    people.unlink()
    with pytest.raises(PeopleUnusable, match=r"people\.toml"):
        Access.of(Settings())
