"""The whole loop on a secured stack: TLS, a user for each program, and no right that is not declared."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from rich.console import Console

from twinloop.contracts.topics import CHANGES
from twinloop.local.demo.__main__ import run_scenario
from twinloop.local.demo.scenarios import SCENARIOS
from twinloop.local.secured import Secure
from twinloop.local.services import SERVICES
from twinloop.local.stack import Stack

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(420)]

SITE = "acme."


async def test_the_loop_closes_under_least_privilege(tmp_path: Path) -> None:
    printed = io.StringIO()
    scenario = replace(SCENARIOS["defocus"], welds=250)
    async with Stack(
        tmp_path / "state",
        services=SERVICES,
        env={"TWINLOOP_LOG_FORMAT": "json", "TWINLOOP_TOPIC_PREFIX": SITE},
        secure=Secure(sites=(SITE,)),
    ) as stack:
        report = await stack.guard(run_scenario(stack, scenario, Console(file=printed, width=220)))
        said = printed.getvalue()
        assert report.closed, said
        assert any("applied" in map(str, (step.state for step in one.steps)) for one in report.changes), said
        # Nobody asked for anything that is not declared.
        logs = {one.stem: one.read_text(errors="replace") for one in stack.state.logs.glob("*.log")}
        refused = {
            name for name, text in logs.items() if "not authorized" in text or "AuthorizationFailed" in text
        }
        assert refused == set()
        # And nobody gets it who does: the detector's own user, on this very stack.
        detector = stack.kafka_as(f"{SITE}detector")
        async with AIOKafkaProducer(**detector.client()) as producer:
            with pytest.raises(TopicAuthorizationFailedError):
                await producer.send_and_wait(CHANGES.named(SITE), b"{}", key=b"acme.berlin.packs.line1.weld1")
