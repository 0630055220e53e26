"""The keys of a trial in a cluster: made once, kept, removed."""

from __future__ import annotations

import base64
import json
import tomllib
from datetime import UTC, datetime

import httpx
import pytest

from twinloop.local.keys.cluster_keys import PSEUDONYM_KEY, NotTaken, made, make, remove

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class ApiServer:
    """Secrets of one namespace, as an API server answers for them."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, object]] = {}
        self.refuses = False

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url="https://api/api/v1/namespaces/trial/", transport=httpx.MockTransport(self._answer)
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rpartition("/")[2]
        if self.refuses:
            return httpx.Response(403, text="the account may not")
        if request.method == "POST":
            body = json.loads(request.content)
            if body["metadata"]["name"] in self.secrets:
                return httpx.Response(409)
            self.secrets[body["metadata"]["name"]] = body
            return httpx.Response(201)
        if name not in self.secrets:
            return httpx.Response(404)
        if request.method == "DELETE":
            del self.secrets[name]
        return httpx.Response(200)


def test_what_is_made_is_all_that_a_release_mounts() -> None:
    keys = made(NOW)
    assert keys.keys() == {
        *("people.toml", "twin.key.pem", "twin.pem", PSEUDONYM_KEY),
        *("line.cert.der", "line.key.pem", "plc.cert.der", "plc.key.pem"),
        *(f"{name}.token" for name in ("vera", "olga", "otto", "enzo", "dana", "plant")),
    }
    assert len(tomllib.loads(keys["people.toml"].decode())["people"]) == 6
    assert len(keys[PSEUDONYM_KEY]) >= 16


async def test_keys_are_made_once() -> None:
    server = ApiServer()
    async with server.client() as api:
        assert await make(api, "keys", NOW) == "made keys"
        first = server.secrets["keys"]
        assert await make(api, "keys", NOW) == "keys is there already"
        assert server.secrets["keys"] is first
        assert base64.b64decode(first["data"]["people.toml"]).startswith(b"[[people]]")  # type: ignore[index]
        assert await remove(api, "keys") == "removed keys"
        assert await remove(api, "keys") == "keys was not there"
    assert not server.secrets


async def test_a_right_that_lacks_is_said() -> None:
    server = ApiServer()
    server.refuses = True
    async with server.client() as api:
        with pytest.raises(NotTaken, match="403 the account may not"):
            await make(api, "keys", NOW)
        with pytest.raises(NotTaken, match="403"):
            await remove(api, "keys")
