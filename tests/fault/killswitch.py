"""How long the kill switch takes, at the PLC itself: `python -m fault.killswitch`.

Measured from just before the request until the PLC, read over OPC UA by another client than `line`, no longer
obeys remote commands. Between two times the asset is led up to AUTO again, so that there is a hold of control
to be ended. With Kafka away nobody can be promoted again: there the asset is led up first, then Kafka is
killed, the switch is set, and Kafka started again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from support.waiting import until

from twinloop.contracts.modes import Mode
from twinloop.local.demo.commissioning import commission
from twinloop.local.demo.operator import ENGINEER, People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.report import latency
from twinloop.local.demo.scenarios import CLOSED, asset
from twinloop.local.plan import OPERATOR
from twinloop.local.services import SERVICES
from twinloop.local.stack import Stack

ASSET = asset(CLOSED)
LIMIT_S = 1.0
_NAMESPACE = "urn:twinloop:reference-plant"


@contextlib.asynccontextmanager
async def control_source(stack: Stack) -> AsyncIterator[Node]:
    """The PLC's own word on whom it obeys, on a session beside that of `line`."""
    folder = stack.state.certs / "opcua"
    client = Client(stack.endpoints.opcua, timeout=2.0)
    client.application_uri = "urn:twinloop:line"
    await client.set_security(
        SecurityPolicyBasic256Sha256,
        certificate=str(folder / "line.cert.der"),
        private_key=str(folder / "line.key.pem"),
        server_certificate=str(folder / "plc.cert.der"),
        mode=ua.MessageSecurityMode.SignAndEncrypt,
    )
    async with client:
        index = await client.get_namespace_index(_NAMESPACE)
        yield await client.nodes.objects.get_child(
            [f"{index}:Stations", f"{index}:{CLOSED}", f"{index}:ControlSource"]
        )


async def obeys(source: Node, whom: str) -> bool:
    """Whether the PLC obeys `whom`: "Remote" or "Local"."""
    return bool(await source.read_value() == whom)


async def set_and_measure(people: People, source: Node) -> float:
    """Set the switch; seconds until the PLC obeys nobody from afar."""
    begun = time.monotonic()
    await people.post(OPERATOR, "/kill", {"asset": ASSET, "reason": "measured"})
    while not await obeys(source, "Local"):
        if time.monotonic() - begun > 10 * LIMIT_S:
            raise TimeoutError("the PLC still obeys ten seconds after the kill switch was set")
    return time.monotonic() - begun


async def measure(stack: Stack, times: int, without_kafka: int) -> tuple[list[float], list[float]]:
    """Seconds, with Kafka and without."""
    where = stack.endpoints
    tokens = stack.state.certs / "tokens"
    usual: list[float] = []
    away: list[float] = []
    async with (
        People(where.health["twin"], tokens) as twin,
        People(where.health["line"], tokens) as line,
        control_source(stack) as source,
    ):
        for n in range(times + without_kafka):
            if n:
                await until(lambda: _cleared(line), 60, "the kill switch cannot be cleared")
            await twin.lead_up(ASSET, Mode.AUTO, "measured again", within_s=60)
            await until(lambda: obeys(source, "Remote"), 20, "line did not take control")
            if n < times:
                usual.append(await set_and_measure(line, source))
                continue
            await stack.kill("kafka")
            away.append(await set_and_measure(line, source))
            await stack.start("kafka")
    return usual, away


async def _cleared(line: People) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        await line.post(ENGINEER, "/kill/clear", {"asset": ASSET, "reason": "measured"})
        return True
    return False


def told(name: str, seconds: list[float]) -> str:
    """One line."""
    found = latency(seconds)
    if found is None:
        return f"{name}: not measured"
    return (
        f"{name}: {found.count} times, p50 {1000 * found.p50_s:.0f} ms, p99 {1000 * found.p99_s:.0f} ms, "
        f"longest {1000 * max(seconds):.0f} ms"
    )


async def main(folder: Path, times: int, without_kafka: int) -> int:
    """Commission a stack, measure, tell; status 1 when one took longer than the limit."""
    async with Stack(folder, services=SERVICES) as stack:
        async with Panel(stack.endpoints.health["simulator"]) as panel:
            await commission(stack, panel, lambda _: None)
        usual, away = await measure(stack, times, without_kafka)
    sys.stdout.write(told("kill switch", usual) + "\n" + told("with Kafka away", away) + "\n")
    return 0 if max([*usual, *away]) < LIMIT_S else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m fault.killswitch", description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--without-kafka", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinloop-kill-") as scratch:
        sys.exit(asyncio.run(main(Path(scratch) / "stack", given.times, given.without_kafka)))
