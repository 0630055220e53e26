"""How long from a frame to its anomaly: at a given rate, as a reader of committed records sees it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from support.watch import Watch

from bench.measure import Twinloop
from bench.workload import Frames, Sender, announce
from twinloop.contracts.topics import ANOMALIES, TELEMETRY_FACTORY
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.provision import provision

TICK_S = 0.01
SETTLE_S = 8.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds; `rate` is what was really sent, frames a second; `count` anomalies."""

    rate: float
    p50_ms: float
    p99_ms: float
    count: int


async def measure(stack: Stack, folder: Path, rate: float, assets: int, seconds: float = 20.0) -> Latency:
    """Send at `rate` for `seconds`, after as much warming up as `SETTLE_S` allows."""
    prefix = f"latency{time.time_ns() % 10**6}."
    kafka = stack.endpoints.kafka
    await provision(kafka, prefix)
    await announce(kafka, prefix)
    one = Twinloop(TWINLOOP_DETECTOR_SCORE_EVERY="0")
    one.start(stack, prefix, "latency", folder)
    watch = Watch(kafka, ANOMALIES.named(prefix), ANOMALIES.partitions)
    watching = asyncio.create_task(watch.run())
    try:
        source, sent = Frames(assets), 0
        async with Sender(kafka, TELEMETRY_FACTORY.named(prefix)) as sender:
            begun = time.monotonic()
            measured = 0
            while (now := time.monotonic() - begun) < SETTLE_S + seconds:
                if now < SETTLE_S:
                    measured = len(watch.waited_s)
                due = int(now * rate) - sent
                if due:
                    await sender.send(source.take(due))
                sent += due
                await asyncio.sleep(max(0.0, TICK_S - (time.monotonic() - begun - now)))
        waited = np.array(watch.waited_s[measured:]) * 1000
        return Latency(
            sent / (SETTLE_S + seconds),
            float(np.percentile(waited, 50)),
            float(np.percentile(waited, 99)),
            len(waited),
        )
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await asyncio.to_thread(one.stop)
