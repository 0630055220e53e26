"""What `helm test` runs: `python -m twinloop.local.chart_check --loop | --look`.

`--loop` plays a scenario on a simulated plant and judges it: produce, score, change, read back. The first
time it commissions the plant, as the demo does. `--look` touches nothing: is everybody ready, are the topics
there? Addresses are those of the environment, in the words of endpoints.env.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import httpx
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from rich.console import Console

from twinloop.contracts.topics import ALL
from twinloop.local.demo import display
from twinloop.local.demo.commissioning import PROCESS, commission, modelops
from twinloop.local.demo.operator import ModeNotEntered, People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.play import PlayError, play_led, set_up_again
from twinloop.local.demo.read_back import Reader
from twinloop.local.demo.scenarios import CLOSED, SCENARIOS, Scenario, asset
from twinloop.local.demo.stage import Elsewhere
from twinloop.local.errors import LocalError
from twinloop.local.interrupts import run_command
from twinloop.local.plan import OPERATOR
from twinloop.runtime.kafka.access import client_of
from twinloop.runtime.kafka.provision import partitions
from twinloop.runtime.settings import ServiceSettings, load

_ASK = "A pod says what it waits for: kubectl exec POD -- python -m twinloop.runtime.healthcheck ready"
_LOOK_EVERY_S = 1.0
_SUFFIX = "_URL"


class NotThere(LocalError):
    """Raised when something of a release is not ready, or missing.

    Operator action: look at the pod or topic that the text names.
    """


def services(environ: Mapping[str, str]) -> dict[str, str]:
    """Base URL of each service, by its variable's name."""
    return {
        name.removeprefix("TWINLOOP_").removesuffix(_SUFFIX).lower().replace("_", "-"): url
        for name, url in environ.items()
        if name.startswith("TWINLOOP_") and name.endswith(_SUFFIX) and "KAFKA" not in name
    }


async def everybody_ready(urls: Mapping[str, str], within_s: float) -> None:
    """Wait for every service. Raises `NotThere` with what each says that is not ready."""

    async def problem(client: httpx.AsyncClient, url: str) -> str | None:
        try:
            answer = await client.get(f"{url}/health/ready")
        except httpx.HTTPError as error:
            return f"does not answer at {url}: {error or type(error).__name__}"
        return None if answer.status_code == 200 else answer.text

    end = asyncio.get_running_loop().time() + within_s
    async with httpx.AsyncClient(timeout=5) as client:
        while True:
            said = {name: await problem(client, url) for name, url in urls.items()}
            late = {name: text for name, text in said.items() if text is not None}
            if not late:
                return
            if asyncio.get_running_loop().time() > end:
                lines = "".join(f"\n  {name}: {text}" for name, text in late.items())
                raise NotThere(f"not ready after {within_s:.0f} s:{lines}\n{_ASK}")
            await asyncio.sleep(_LOOK_EVERY_S)


async def topics_there(settings: ServiceSettings) -> None:
    """Whether every topic has its partitions. Raises `NotThere`, `KafkaError`."""
    admin = AIOKafkaAdminClient(**client_of(settings.kafka_access))
    await admin.start()
    try:
        wanted = {topic.named(settings.topic_prefix): topic.partitions for topic in ALL}
        there = await partitions(admin, wanted)
    finally:
        await admin.close()
    wrong = [
        f"{name} has {there.get(name, 0)} partitions, not {count}"
        for name, count in wanted.items()
        if there.get(name) != count
    ]
    if wrong:
        raise NotThere("; ".join(wrong))


async def commissioned(stage: Elsewhere) -> bool:
    """Whether the plant was: its process is known, and a model serves its welds."""
    if not any((stage.state.root / "processes" / PROCESS).glob("*")):
        return False
    async with modelops(stage) as people:
        return any(one["serving"] for one in (await people.get(OPERATOR, "/models"))["routes"])


async def loop(stage: Elsewhere, scenario: Scenario, console: Console) -> bool:
    """Play `scenario`, and print what came of it; whether the loop closed. Raises `PlayError`."""
    where, say = stage.endpoints, partial(console.print, highlight=False, soft_wrap=True)
    async with (
        Panel(where.health["simulator"]) as panel,
        Reader(where.kafka_access, where.topic_prefix) as reader,
    ):
        again = await commissioned(stage)
        if not again:
            await commission(stage, panel, say)
        async with People(where.health["twin"], stage.state.certs / "tokens") as people:
            if again:
                await set_up_again(panel, people, asset(CLOSED))
            await reader.forget()
            console.print(f"{scenario.name}: {scenario.story}")
            report, _ = await play_led(scenario, panel, people, reader, say, lambda _: None)
    console.print(display.final(scenario, report))
    console.print(display.verdict(report), soft_wrap=True)
    return report.closed


async def main(options: argparse.Namespace, environ: Mapping[str, str], console: Console) -> int:
    """The test; its exit status."""
    settings = load(ServiceSettings)
    try:
        async with asyncio.timeout(options.within):
            await everybody_ready(services(environ), options.within / 2)
            await topics_there(settings)
            console.print(f"{len(services(environ))} services are ready, {len(ALL)} topics are there")
            if not options.loop:
                return 0
            stage = Elsewhere.of(options.state, environ)
            return 0 if await loop(stage, SCENARIOS[options.scenario], console) else 1
    except TimeoutError:
        raise NotThere(f"it took more than {options.within:.0f} s") from None
    except (ModeNotEntered, httpx.HTTPError, KafkaError) as error:
        raise PlayError(f"VERDICT: loop NOT closed: {error or type(error).__name__}") from error


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m twinloop.local.chart_check", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--loop", action="store_true", help="play a scenario on the simulated plant")
    what.add_argument("--look", action="store_true", help="look, and touch nothing")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="defocus")
    parser.add_argument("--within", type=float, default=300.0, help="seconds (%(default)s)")
    parser.add_argument("--state", type=Path, default=Path(os.environ.get("TWINLOOP_STATE", ".twinloop")))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_command(main(_parse(), os.environ, Console(width=120, highlight=False))))
