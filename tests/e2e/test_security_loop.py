"""The loop on a secured stack: TLS, a user for each program, and no right that is not declared."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from support.secrets import secrets_of

from twinloop.contracts.changes import Applied
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import CHANGES
from twinloop.local.demo.commissioning import commission
from twinloop.local.demo.operator import ModeNotEntered, People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.read_back import Reader
from twinloop.local.demo.scenarios import CLOSED, SCENARIOS, asset
from twinloop.local.keys.secured import Secure
from twinloop.local.services import SERVICES
from twinloop.local.stack import Stack

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(420)]

SITE = "acme."
APPLIED_S = 180.0


async def until_applied(stack: Stack) -> None:
    """Welds with a fault, until a change of it is in force; the engineer leads up again what a busy machine
    has shed."""
    where = stack.endpoints
    async with (
        Panel(where.health["simulator"]) as panel,
        Reader(where.kafka_access, where.topic_prefix) as reader,
        People(where.health["twin"], stack.state.certs / "tokens") as people,
    ):
        await commission(stack, panel, lambda _: None)
        async with asyncio.timeout(APPLIED_S):
            while not any(isinstance(one, Applied) for one in (await reader.read()).changes):
                with suppress(ModeNotEntered, httpx.HTTPError):
                    if (await people.modes(asset(CLOSED))).get("actual") != Mode.AUTO:
                        await people.promote(asset(CLOSED), Mode.AUTO, "commissioned")
                if (await panel.progress()).finished:
                    await panel.start(SCENARIOS["defocus"].campaign())
                await asyncio.sleep(0.5)


async def test_the_loop_closes_under_least_privilege(tmp_path: Path) -> None:
    async with Stack(
        tmp_path / "state",
        services=SERVICES,
        env={"TWINLOOP_LOG_FORMAT": "json", "TWINLOOP_TOPIC_PREFIX": SITE},
        secure=Secure(sites=(SITE,)),
    ) as stack:
        await stack.guard(until_applied(stack))
        # Nobody asked for anything that is not declared.
        logs = {one.stem: one.read_text(errors="replace") for one in stack.state.logs.glob("*.log")}
        assert len(logs) > len(SERVICES)
        refused = {
            name for name, text in logs.items() if "not authorized" in text or "AuthorizationFailed" in text
        }
        assert refused == set()
        # Nor did anybody tell a secret, of programs, plants or people.
        secrets = secrets_of(stack.state.certs)
        assert {name: n for name, text in logs.items() if (n := sum(one in text for one in secrets))} == {}
        # And nobody gets it who does: the detector's own user, on this very stack.
        detector = stack.kafka_as(f"{SITE}detector")
        async with AIOKafkaProducer(**detector.client()) as producer:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(CHANGES.named(SITE), b"{}", key=b"acme.berlin.packs.line1.weld1")
