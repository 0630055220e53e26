"""Harm to containers under load; what is committed must be exactly what an oracle computes from the input."""

from __future__ import annotations

import asyncio
import os
import time

import docker
import pytest
from fault.scene import SESSION_TIMEOUT_S, loaded
from support.contained import Contained, contained, in_charge
from support.images import image
from support.yard import Running, Yard

pytestmark = pytest.mark.timeout(300)


async def harmed(one: Contained, away_s: float) -> None:
    """Let what was done last for a while, under load."""
    await asyncio.sleep(away_s)  # a fault lasts so long; nothing is waited for


async def test_a_detector_that_is_killed(ground: Yard) -> None:
    async with contained(ground) as one:
        async with loaded(one.run):
            detector = one.detector("detector")
            await one.run.flowing()
            for _ in range(3):
                await one.run.some_time(0.5, 2)
                detector.kill()
                at = time.time()
                detector.start()
                await one.run.back(at)
        assert "exact" in await one.exact()


async def test_a_detector_that_stands_still_comes_back_as_a_zombie(ground: Yard) -> None:
    async with contained(ground) as one:
        async with loaded(one.run):
            first = one.detector("detector-1")
            await one.run.flowing()
            first.pause()
            at = time.time()
            second = one.detector("detector-2")
            await in_charge([second])
            await one.run.back(at)
            await harmed(one, SESSION_TIMEOUT_S)
            first.go_on()
            await in_charge([first, second])
        assert "exact" in await one.exact()


async def test_a_detector_that_is_cut_off_from_the_network(ground: Yard) -> None:
    async with contained(ground) as one:
        async with loaded(one.run):
            first, second = one.detector("detector-1"), one.detector("detector-2")
            await in_charge([first, second])
            await one.run.flowing()
            ground.cut_off(first)
            at = time.time()
            await one.run.back(at)
            await harmed(one, SESSION_TIMEOUT_S + 2)
            ground.rejoin(first)
            await in_charge([second])
        assert "exact" in await one.exact()


async def test_kafka_restarts_under_load(ground: Yard) -> None:
    async with contained(ground) as one:
        async with loaded(one.run):
            detector = one.detector("detector")
            await one.run.flowing()
            for harm in (one.kafka.kill, one.kafka.stop):
                await one.run.some_time(1, 2)
                await asyncio.to_thread(harm)
                at = time.time()
                one.kafka.start()
                await one.run.back(at, timeout_s=90)
            await in_charge([detector])
        assert "exact" in await one.exact()


async def test_triton_is_killed_and_detectors_wait_for_it_without_being_restarted(ground: Yard) -> None:
    async with contained(ground) as one:
        async with loaded(one.run):
            detector = one.detector("detector")
            await one.run.flowing()
            one.triton.kill()
            await one.run.some_time(4, 6)
            live = detector.get("/health/live")
            assert live is not None
            assert live.status_code == 200
            at = time.time()
            one.triton.start()
            await one.run.back(at)
            await in_charge([detector])
        assert "exact" in await one.exact()


@pytest.fixture
def previous() -> str:
    """The image before this one: the tag TWINLOOP_PREVIOUS, else the same program as another version."""
    named = os.environ.get("TWINLOOP_PREVIOUS")
    if named:
        return f"twinloop/detector:{named}"
    client = docker.from_env()
    try:
        made = client.containers.create(image("detector"))
        try:
            made.commit(
                "twinloop/detector",
                "test-previous",
                changes='LABEL org.opencontainers.image.version="previous"',
            )
        finally:
            made.remove()
    finally:
        client.close()
    return "twinloop/detector:test-previous"


async def test_a_rolling_upgrade_with_traffic(ground: Yard, previous: str) -> None:
    """One more of the new, one less of the old, until all are new: each of the old drains and ends well."""
    async with contained(ground) as one:
        async with loaded(one.run):
            old = [one.detector(f"old-{n}", previous) for n in range(2)]
            await in_charge(old)
            await one.run.flowing()
            new: list[Running] = []
            for n, leaving in enumerate(old):
                new.append(one.detector(f"new-{n}"))
                await in_charge([new[-1]])
                status, took_s = await asyncio.to_thread(leaving.stop)
                assert status == 0, leaving.log()
                assert took_s < 20
                await one.run.back(time.time())
            assert {x.raw.image.labels["org.opencontainers.image.version"] for x in new} != {"previous"}
        assert "exact" in await one.exact()
