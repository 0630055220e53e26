"""Telemetry of many assets at a steady rate, and records that are none, written as ingest does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import numpy as np
from aiokafka import AIOKafkaProducer
from support.artefacts import SIGNAL_SET

from twinloop.contracts.codec import frame_message
from twinloop.contracts.frames import Frame
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.topics import TELEMETRY_FACTORY

ASSETS = tuple(f"acme.berlin.packs.line2.tank{n}" for n in range(24))
"""As many as it takes to have some in nearly every partition."""


class Traffic:
    """Each asset speaks `hz` times a second; `poison_hz` records a second are no frames."""

    def __init__(self, producer: AIOKafkaProducer, hz: float) -> None:
        self._producer = producer
        self._hz = hz
        self._sequence = 0
        self.poison_hz = 0.0

    async def run(self) -> None:
        """For ever."""
        while True:
            began_s = time.monotonic()
            self._sequence += 1
            for asset in ASSETS:
                message = frame_message(TELEMETRY_FACTORY, self._frame(asset), source="test")
                await self._producer.send(
                    TELEMETRY_FACTORY.name, message.value, message.key, headers=list(message.headers)
                )
            for n in range(round(self.poison_hz / self._hz)):
                await self._producer.send(TELEMETRY_FACTORY.name, b"\xff none", f"x{n}".encode())
            await asyncio.sleep(max(0.0, 1 / self._hz - (time.monotonic() - began_s)))

    def _frame(self, asset: str) -> Frame:
        now_ns = time.time_ns()
        return Frame(
            asset=asset,
            signal_set=SIGNAL_SET,
            sequence=self._sequence,
            first_at_ns=now_ns - 4_000_000,
            period_ns=1_000_000,
            samples=np.full((4, 2), 0.1, np.float32),
            observed_at_ns=now_ns,
            event_id=event_id("telemetry_frame", asset, self._sequence),
            trace_id=trace_id(asset, self._sequence),
        )


@contextlib.asynccontextmanager
async def traffic(kafka: str, hz: float) -> AsyncIterator[Traffic]:
    """Under way for the time of the context."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True) as producer:
        flowing = Traffic(producer, hz)
        task = asyncio.create_task(flowing.run())
        try:
            yield flowing
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
