"""The kill switch from HTTP through the line to a real PLC: how long it takes, and what it needs to work."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.line import ASSET, names, power
from support.line_scene import Scene, bearer, kill, new_line
from support.plant import new_plant, serving
from support.ports import free_endpoint
from support.processes import ServiceProcess
from support.waiting import TIMEOUT_S, until

from twinloop.contracts.controls import KillSwitchCleared, KillSwitchSet
from twinloop.runtime.kafka.clients import publisher
from twinloop.runtime.kafka.provision import provision
from twinloop.simulator.plant import Plant
from twinloop.simulator.plc_state import ControlSource, LocalReason, to_local

TIMES = 20
WATCHDOG_S = 60.0
DEADLINE_S = 10.0
"""Far longer than it takes on any machine, and shorter than all that it must not wait for: a Kafka that never
comes, and the PLC's own watchdog."""
NOBODY = "127.0.0.1:1"
"""Where no Kafka is."""


def patient_line(kafka: str, prefix: str, folder: Path, certs: Path) -> ServiceProcess:
    """A line that waits as long as these tests for the PLC's answer that it has control."""
    line = new_line(kafka, prefix, folder, certs)
    line.settings["TWINLOOP_LINE_CALL_TIMEOUT_S"] = f"{DEADLINE_S:g}"
    return line


@asynccontextmanager
async def running(
    kafka: str, prefix: str, folder: Path, certs: Path, plant: Plant
) -> AsyncIterator[ServiceProcess]:
    """A line and its PLC."""
    endpoint, line = free_endpoint(), patient_line(kafka, prefix, folder, certs)
    line.settings["TWINLOOP_OPCUA"] = endpoint
    async with serving(endpoint, plant, certs):
        line.start()
        try:
            yield line
        finally:
            if line.running:
                await asyncio.to_thread(line.kill)


def is_local(plant: Plant) -> bool:
    return plant.plc("weld1").control is ControlSource.LOCAL


def take(plant: Plant) -> None:
    """The PLC is Remote, as if somebody had just taken control."""
    plant.operate("weld1", _taken)


def _taken(state: Any) -> Any:
    return replace(
        to_local(state, LocalReason.NONE), control=ControlSource.REMOTE, heard_s=state.uptime_s, counter=None
    )


async def time_to_local(client: httpx.AsyncClient, line: ServiceProcess, certs: Path, plant: Plant) -> float:
    """Seconds from the request until the PLC is Local."""
    assert not is_local(plant)
    begun = time.perf_counter()
    asked = asyncio.create_task(kill(client, line, certs, reason="smoke", asset=ASSET))
    async with asyncio.timeout(DEADLINE_S):
        while not is_local(plant):
            await asyncio.sleep(0.001)
    took_s = time.perf_counter() - begun
    answer = await asked
    assert answer.status_code == 200, answer.text
    assert answer.json()["released"] == {ASSET: True}
    assert plant.plc("weld1").local_reason is LocalReason.RELEASED
    return took_s


def show(what: str, times_s: list[float]) -> None:
    times_s = sorted(times_s)
    middle, longest = times_s[len(times_s) // 2], times_s[-1]
    print(f"\n{what}: {len(times_s)} times, median {middle * 1e3:.1f} ms, longest {longest * 1e3:.1f} ms")  # noqa: T201


async def test_it_works_without_kafka_every_time(certs: Path, tmp_path: Path) -> None:
    """HTTP, line, OPC UA, and nothing else."""
    plant, times_s = new_plant(watchdog_s=WATCHDOG_S), []
    async with (
        running(NOBODY, "", tmp_path, certs, plant) as line,
        httpx.AsyncClient(timeout=TIMEOUT_S) as client,
    ):
        await until(lambda: line.metric("plc_connected") == 1.0)
        for _ in range(TIMES):
            take(plant)
            times_s.append(await time_to_local(client, line, certs, plant))
        show("from POST /kill to Local, Kafka unreachable", times_s)
        saved = json.loads((tmp_path / "line-audit" / "kill.json").read_text())
        assert saved["assets"][ASSET]["by"] == "person:olga"
        # It is in force for whoever takes control by another way, too.
        take(plant)
        await until(lambda: is_local(plant))
        assert await asyncio.to_thread(line.stop) == 0


@pytest.fixture
async def scene(kafka: str, topic_prefix: str, tmp_path: Path, certs: Path) -> AsyncIterator[Scene]:
    endpoint = free_endpoint()
    plant = new_plant(watchdog_s=WATCHDOG_S)  # what it does is not the switch's work
    line = patient_line(kafka, topic_prefix, tmp_path, certs)
    line.settings["TWINLOOP_OPCUA"] = endpoint
    await provision(kafka, topic_prefix)
    async with AsyncExitStack() as stack:
        server = AsyncExitStack()
        one = await server.enter_async_context(serving(endpoint, plant, certs))
        stack.push_async_callback(server.aclose)
        out = await stack.enter_async_context(publisher(kafka, topic_prefix, asyncio.Event()))
        yield Scene(kafka, topic_prefix, line, certs, endpoint, plant, one, server.aclose, out)
        if line.running:
            await asyncio.to_thread(line.stop)


async def cleared(scene: Scene) -> bool:
    return (await scene.station())["kill_switch"] is None


async def test_it_takes_control_from_a_line_that_acts_and_clearing_leads_to_shadow(scene: Scene) -> None:
    times_s = []
    scene.line.start()
    await until(scene.ready)
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        for _ in range(TIMES):
            await scene.promote()
            times_s.append(await time_to_local(client, scene.line, scene.certs, scene.plant))
            answer = await client.post(
                f"{scene.line.url}/kill/clear",
                json={"reason": "it was a drill"},
                headers=bearer(scene.certs, "olga"),
            )
            assert answer.status_code == 403
            answer = await client.post(
                f"{scene.line.url}/kill/clear",
                json={"reason": "it was a drill", "asset": ASSET},
                headers=bearer(scene.certs, "enzo"),
            )
            assert answer.json() == {"assets": [ASSET]}
            await until(partial(cleared, scene))
            assert (await scene.station())["actual"] == "shadow"
    show("from POST /kill to Local, in AUTO", times_s)
    told = await scene.controls()
    assert [type(one) for one in told] == [KillSwitchSet, KillSwitchCleared] * TIMES


async def test_it_survives_a_process_that_is_killed(scene: Scene) -> None:
    await scene.start()
    assert (await scene.post("/kill", "olga", reason="smoke")).status_code == 200
    await asyncio.to_thread(scene.line.kill)
    scene.line.start()
    await until(scene.ready, timeout_s=60)
    assert "smoke" in (await scene.station())["kill_switch"]
    await scene.release("c1", power(1020.0))
    told = await scene.ended("c1")
    assert names(told) == ["failed"]
    assert told[0].guard in ("mode", "kill_switch")
    assert scene.plant.plc("weld1").last_sequence == 0
    assert (await scene.post("/kill/clear", "enzo", reason="repaired")).status_code == 200
    await until(partial(cleared, scene))
    await scene.promote()
    await scene.release("c2", power(1020.0))
    assert names(await scene.ended("c2")) == ["issued", "applied"]
