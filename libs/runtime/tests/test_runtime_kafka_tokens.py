"""Tokens for Kafka: kept while they are good, asked for again before they end, and never told of."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from twinloop.runtime.kafka.tokens import ClientCredentials, Token, TokenFile, TokenProvider, TokenUnavailable

SECRET = "canary-51c2"


@dataclass
class Server:
    """An authorization server that answers what it is told to."""

    status: int = 200
    answer: bytes = b'{"access_token": "t1", "expires_in": 100}'
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def served() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told.asked.append((self.headers["Authorization"], body))
            self.send_response(told.status)
            self.end_headers()
            self.wfile.write(told.answer)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        told.url = f"http://127.0.0.1:{server.server_port}/token"
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


def jwt_that_ends(at_s: float) -> str:
    parts = [{"alg": "RS256"}, {"exp": at_s}]
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in parts), "sig"]
    )


async def test_a_token_is_kept_until_most_of_its_life_has_passed() -> None:
    now_s, got = 0.0, []

    async def fetch() -> Token:
        got.append(now_s)
        return Token(f"t{len(got)}", 100.0)

    provider = TokenProvider(fetch, lambda: now_s)
    assert await asyncio.gather(*(provider.token() for _ in range(5))) == ["t1"] * 5
    now_s = 79.0
    assert await provider.token() == "t1"
    now_s = 80.0
    assert await provider.token() == "t2"
    assert got == [0.0, 80.0]


async def test_one_provider_serves_clients_of_two_event_loops(secret: Path) -> None:
    provider = TokenProvider(TokenFile(secret))
    assert await provider.token() == SECRET
    assert await asyncio.to_thread(lambda: asyncio.run(provider.token())) == SECRET


async def test_the_grant_is_asked_with_the_secret_as_it_is_now(secret: Path) -> None:
    with served() as server:
        grant = ClientCredentials(server.url, "line", secret, "kafka")
        token = await grant()
        assert (token.value, token.life_s) == ("t1", 100.0)
        secret.write_text("another")
        await grant()
    expected = [f"Basic {base64.b64encode(f'line:{one}'.encode()).decode()}" for one in (SECRET, "another")]
    assert [who for who, _ in server.asked] == expected
    assert server.asked[0][1] == "grant_type=client_credentials&scope=kafka"


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, b'{"error": "invalid_client", "secret": "x"}', r"401 \(invalid_client\)"),
        (500, SECRET.encode(), "answers 500$"),
        (400, json.dumps({"error": SECRET}).encode(), "answers 400$"),
        (200, b"{}", "no access_token"),
        (200, b'{"access_token": ""}', "no access_token"),
        (200, b'{"access_token": null}', "no access_token"),
        (200, b"no json", "no access_token"),
        (200, b'{"access_token": "t", "expires_in": NaN}', "no access_token"),
        (200, b'{"access_token": "t", "expires_in": "soon"}', "no access_token"),
    ],
)
async def test_what_is_no_token_is_an_outage_that_tells_no_secret(
    secret: Path, status: int, answer: bytes, said: str
) -> None:
    with served() as server:
        server.status, server.answer = status, answer
        with pytest.raises(TokenUnavailable, match=said) as caught:
            await ClientCredentials(server.url, "line", secret)()
    assert SECRET not in repr(caught.value) + str(caught.value)
    assert caught.value.retriable


async def test_a_server_or_secret_that_is_away_is_an_outage(secret: Path) -> None:
    with served() as server:
        pass
    with pytest.raises(TokenUnavailable, match="does not answer"):
        await ClientCredentials(server.url, "line", secret)()
    secret.unlink()
    with pytest.raises(TokenUnavailable, match="cannot be read"):
        await ClientCredentials(server.url, "line", secret)()


async def test_a_token_of_a_file_is_read_again_before_it_ends(tmp_path: Path) -> None:
    path, now_s = tmp_path / "token", time.time()
    provider = TokenProvider(TokenFile(path, lambda: now_s), lambda: now_s)
    path.write_text(first := jwt_that_ends(now_s + 100))
    assert await provider.token() == first
    path.write_text(second := jwt_that_ends(now_s + 200))
    assert await provider.token() == first
    now_s += 81
    assert await provider.token() == second


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read"), ("", "holds no token"), ("a b", "holds no token"), ("ended", "has ended")],
)
async def test_a_file_without_a_token_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_text(jwt_that_ends(time.time() - 1) if text == "ended" else text)
    with pytest.raises(TokenUnavailable, match=said):
        await TokenFile(path)()


def test_tokens_are_not_printed() -> None:
    assert SECRET not in repr(Token(SECRET, 1.0))
