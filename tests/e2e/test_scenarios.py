"""Every scenario of the demo, played on the whole loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from twinloop.local.demo.commissioning import commission
from twinloop.local.demo.display import verdict
from twinloop.local.demo.operator import People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.play import play_led, set_up_again
from twinloop.local.demo.read_back import Reader
from twinloop.local.demo.report import Report
from twinloop.local.demo.scenarios import CLOSED, SCENARIOS, Scenario, asset
from twinloop.local.services import SERVICES
from twinloop.local.stack import Stack

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(420)]


@dataclass
class Commissioned:
    """A line whose models have been learnt once, and the loop that it lives in."""

    stack: Stack
    runner: asyncio.Runner

    def play(self, scenario: Scenario) -> Report:
        """As if it were the first: what an earlier one corrected is set back, and its record forgotten."""
        return self.runner.run(self.stack.guard(self._played(scenario)))

    async def _played(self, scenario: Scenario) -> Report:
        where = self.stack.endpoints
        async with (
            Panel(where.health["simulator"]) as panel,
            People(where.health["twin"], self.stack.state.certs / "tokens") as people,
            Reader(where.kafka_access, where.topic_prefix) as reader,
        ):
            await set_up_again(panel, people, asset(CLOSED))
            for one in scenario.left_out:
                await self.stack.stop(one)
            await reader.forget()
            report, _ = await play_led(scenario, panel, people, reader, print, lambda _: None)
            return report

    async def commission(self) -> None:
        async with Panel(self.stack.endpoints.health["simulator"]) as panel:
            await commission(self.stack, panel, print)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commissioned]:
    """Everything on, and commissioned."""
    stack = Stack(tmp_path_factory.mktemp("scenarios") / "state", services=SERVICES)
    with asyncio.Runner() as runner:
        runner.run(stack.__aenter__())
        try:
            line = Commissioned(stack, runner)
            runner.run(stack.guard(line.commission()))
            yield line
        finally:
            runner.run(stack.__aexit__(None, None, None))


@pytest.mark.parametrize("scenario", ["healthy", "gap", "defocus", "plc-refuses"])
def test_it_ends_as_it_must(scenario: str, line: Commissioned) -> None:
    report = line.play(SCENARIOS[scenario])
    assert report.problems == ()


def test_without_the_line_the_verdict_fails(line: Commissioned) -> None:
    """The proof that the verdict can fail. The last one: the line stays away."""
    report = line.play(SCENARIOS["line-off"])
    assert verdict(report).startswith("VERDICT: loop NOT closed: ")
    assert not report.closed
    assert "no change was verified" in report.problems


def test_vehicles_in_the_field_change_the_line_that_built_them(tmp_path: Path) -> None:
    """As a user plays it, with a fifth of the vehicles: enough to name the station and its spell."""
    state = str(tmp_path / "state")
    played = subprocess.run(
        [sys.executable, "-m", "twinloop.local.demo", "--scenario=field", "--vehicles=400", "--state", state],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert "VERDICT: loop closed" in played.stdout
    assert "person:" in played.stdout
