"""Sends telemetry at a pace: to Kafka as the benchmark does, or over HTTP to ingest."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import httpx
import numpy as np
from bench.workload import Frames, Sender, Shape

from twinloop.contracts.topics import TELEMETRY_FACTORY

TICK_S = 0.1
BATCH = 100
"""Frames in a request."""


async def paced(send: Callable[[int], Awaitable[None]], per_s: float, seconds: float) -> int:
    """Call `send` with so many at a time that there are `per_s` a second; returns how many. What cannot be
    sent in time is sent later: as many as were meant, whatever the machine does."""
    total, done, begun = round(per_s * seconds), 0, time.monotonic()
    while done < total:
        due = min(total, round(per_s * (time.monotonic() - begun + TICK_S)))
        if due > done:
            await send(due - done)
            done = due
        await asyncio.sleep(TICK_S)
    return total


async def to_kafka(
    kafka: str,
    shape: Shape,
    area: str,
    assets: int,
    per_s: float | None,
    total: int,
    seconds: float,
    prefix: str = "",
) -> int:
    """Frames into the topic; `per_s` of `None`: `total` of them, as fast as it goes."""
    source = Frames(assets, shape, area)
    async with Sender(kafka, TELEMETRY_FACTORY.named(prefix)) as sender:
        if per_s is not None:
            return await paced(lambda count: sender.send(source.take(count)), per_s, seconds)
        for done in range(0, total, 10_000):
            await sender.send(source.take(min(10_000, total - done)))
    return total


class Http:
    """Frames as JSON with packed samples: the assets in turn, sequences from 1 on."""

    def __init__(self, url: str, shape: Shape, area: str, assets: int) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(keepalive_expiry=1))
        self._shape, self._area, self._assets = shape, area, assets
        samples = np.random.default_rng(2).normal(size=(32, shape.rows, shape.signals)).astype("<f4")
        self._packed = [base64.b64encode(one.tobytes()).decode() for one in samples]
        self._made = 0

    async def __aenter__(self) -> Http:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def send(self, count: int) -> None:
        """Send; returns when ingest has said that all of it is kept. Raises RuntimeError when it is not."""
        while count > 0:
            some = min(count, BATCH)
            body = f'{{"frames":[{",".join(self._frame() for _ in range(some))}]}}'
            answer = await self._client.post("/v1/telemetry", content=body)
            if answer.status_code != 202:
                raise RuntimeError(f"ingest answers {answer.status_code}: {answer.text[:500]}")
            count -= some

    def _frame(self) -> str:
        number, self._made = self._made, self._made + 1
        sequence, asset = divmod(number, self._assets)
        return (
            f'{{"asset":"acme.berlin.{self._area}.station{asset:06d}","signal_set":"{self._shape.signal_set}",'
            f'"sequence":{sequence + 1},"first_at":"{datetime.now(UTC).isoformat()}","period_us":1000,'
            f'"samples":"{self._packed[number % len(self._packed)]}"}}'
        )
