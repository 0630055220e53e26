"""Who may send over HTTP: senders who are known; on loopback alone, whoever is on this machine."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path as File

import httpx
import pytest
from prometheus_client import CollectorRegistry

from twinloop.ingest import signal_sets
from twinloop.ingest.http import api
from twinloop.ingest.intake import Intake
from twinloop.ingest.metrics import Metrics
from twinloop.ingest.normalize import Ages
from twinloop.ingest.path import Path
from twinloop.ingest.rebirths import Rebirths
from twinloop.ingest.settings import IngestSettings
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka.clients import MemoryPublisher
from twinloop.runtime.settings import load
from twinloop.trust.bearer import Access
from twinloop.trust.people import Role, token_sha256

ROUTES = ("/v1/telemetry", "/genealogy/vehicles")
ELSEWHERE = {"TWINLOOP_HEALTH_HOST": "0.0.0.0"}


def settings(patch: pytest.MonkeyPatch, **told: str) -> IngestSettings:
    needed = {"TWINLOOP_KAFKA": "127.0.0.1:1", "TWINLOOP_MQTT": "127.0.0.1:1"}
    for name, value in {**needed, "TWINLOOP_INGEST_PSEUDONYM_KEY": "0123456789abcdef", **told}.items():
        patch.setenv(name, value)
    return load(IngestSettings)


@pytest.fixture
def people(tmp_path: File) -> File:
    """One of each role, with it as his token."""
    entries = [
        f'[[people]]\nname = "{one}"\nrole = "{one}"\ntoken_sha256 = "{token_sha256(one)}"\n' for one in Role
    ]
    file = tmp_path / "people.toml"
    file.write_text("".join(entries))
    return file


async def answers(access: Access | None, token: str | None) -> set[int]:
    """Of all routes; what is sent is no batch, so who is let in is answered with 400."""
    clock, out = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), MemoryPublisher()
    path = Path(out, clock, Metrics(CollectorRegistry()), asyncio.create_task)
    intake = Intake(signal_sets.load(None), Ages(3600, 60), b"0123456789abcdef", Rebirths(1.0))
    app = api(intake, path, asyncio.Event(), timeout_s=5, max_bytes=1000, access=access)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as client:
        posted = {route: await client.post(route, content=b"{}", headers=headers) for route in ROUTES}
    told = {one.status_code for one in posted.values()}
    assert bool(out.messages) is (told == {400})  # of others nothing is kept, not even as a dead letter
    return told


async def test_senders_are_let_in_and_nobody_else(monkeypatch: pytest.MonkeyPatch, people: File) -> None:
    access = Access.of(settings(monkeypatch, TWINLOOP_ACCESS_PEOPLE=str(people)))
    assert await answers(access, None) == {401}
    assert await answers(access, "made up") == {401}
    assert {one: await answers(access, one) for one in Role} == {
        **{one: {403} for one in Role},
        Role.SENDER: {400},
    }


async def test_where_others_reach_it_and_nobody_is_known_nobody_is_let_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = settings(monkeypatch, **ELSEWHERE)
    assert told.asks_who
    assert await answers(Access.of(told), "anything") == {401}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_on_this_machine_alone_nobody_is_asked_unless_it_is_said_who_may(
    host: str, monkeypatch: pytest.MonkeyPatch, people: File
) -> None:
    assert not settings(monkeypatch, TWINLOOP_HEALTH_HOST=host).asks_who
    assert await answers(None, None) == {400}
    assert settings(monkeypatch, TWINLOOP_HEALTH_HOST=host, TWINLOOP_ACCESS_PEOPLE=str(people)).asks_who


def test_routes_are_no_more_than_those() -> None:
    """Whoever adds one is to say who may use it."""
    app = api(None, None, asyncio.Event(), timeout_s=5, max_bytes=1000, access=None)  # type: ignore[arg-type]
    posts = {one.path for one in app.routes if "POST" in getattr(one, "methods", ())}  # type: ignore[attr-defined]
    assert posts == set(ROUTES)
