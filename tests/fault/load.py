"""Telemetry of known content, at a steady rate: mostly sound, with every kind of trouble that a line has.

What is sent is drawn from a seed. What counts is what Kafka holds afterwards: the oracle reads it from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import struct
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer

from twinloop.contracts.telemetry_pb2 import TelemetryFrame

SIGNAL_SET = "level.v1"
SIGNALS = 4
POISON = ("garbage", "ragged", "signals", "non_finite", "stale")
"""What ends in dead letters: bytes that are no frame; samples that are no whole rows; a signal too many; a
NaN that is not marked bad; a sequence number from long ago."""

_TICK_S = 0.02
_STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Mix:
    """How often each kind of trouble comes, per frame."""

    poison: float = 0.01
    duplicate: float = 0.01
    gap: float = 0.005
    marked_bad: float = 0.003
    unrouted: float = 0.002


@dataclass(slots=True)
class _Source:
    """One asset."""

    name: str
    rows: int
    per_part: int
    sequence: int = 0
    sent: deque[bytes] = field(default_factory=lambda: deque(maxlen=20))
    skipped: bytes = b""

    @property
    def part_id(self) -> str:
        return f"{self.name}-{self.sequence // self.per_part}" if self.per_part else ""


class Content:
    """An endless iterator of records, `(key, value)`. Half of the assets carry part ids; frames have 1 to 8
    samples; some assets speak a hundred times less often than the others. Values are multiples of 1/256, so
    sums of a window are exact in float32 in whatever order they are taken."""

    def __init__(
        self, seed: int, assets: int = 200, mix: Mix | None = None, signal_set: str = SIGNAL_SET
    ) -> None:
        self._rng = random.Random(seed)
        self._signal_set = signal_set
        self._mix = mix or Mix()
        self.injected: Counter[str] = Counter()
        rng = self._rng
        self._sources = [
            _Source(f"acme.berlin.packs.line{n % 7}.station{n:04d}", rng.choice((1, 3, 4, 8)), n % 2 * 40)
            for n in range(assets)
        ]
        self._weights = [0.01 if n % 20 == 19 else 1.0 for n in range(assets)]
        self._number = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        while True:
            for source in self._rng.choices(self._sources, self._weights, k=256):
                kind, value = self._next(source)
                self.injected[kind] += 1
                yield source.name.encode(), value

    def _next(self, source: _Source) -> tuple[str, bytes]:
        rng, mix = self._rng, self._mix
        at = rng.random()
        for kind, share in (
            ("poison", mix.poison),
            ("duplicate", mix.duplicate),
            ("gap", mix.gap),
            ("marked_bad", mix.marked_bad),
            ("unrouted", mix.unrouted),
        ):
            if at < share:
                return self._trouble(source, kind)
            at -= share
        if source.skipped:
            late, source.skipped = source.skipped, b""
            return "late", late
        return "sound", self._frame(source)

    def _trouble(self, source: _Source, kind: str) -> tuple[str, bytes]:
        rng = self._rng
        if kind == "poison":
            kind = rng.choice(POISON)
            if kind != "stale":
                return kind, self._poison(source, kind)
            if source.sequence > 100:
                return kind, self._frame(source, sequence=source.sequence - rng.randint(33, 90))
        elif kind == "duplicate" and source.sent:
            return kind, rng.choice(source.sent)
        elif kind == "gap":
            skipped = [self._frame(source) for _ in range(rng.randint(1, 40))]
            for _ in skipped[:20]:
                source.sent.pop()
            source.skipped = rng.choice([b"", skipped[-1]])
            return kind, self._frame(source)
        elif kind == "marked_bad":
            return kind, self._frame(source, non_finite=True, marked=True)
        elif kind == "unrouted":
            return kind, self._frame(source, signal_set="nobody.v1")
        return "sound", self._frame(source)

    def _poison(self, source: _Source, kind: str) -> bytes:
        rng = self._rng
        if kind == "garbage":
            return b"\x0a\xff" + rng.randbytes(rng.randint(1, 60))
        if kind == "signals":
            return self._frame(source, signals=SIGNALS + 1)
        if kind == "non_finite":
            return self._frame(source, non_finite=True)
        frame = TelemetryFrame.FromString(self._frame(source))
        frame.samples = frame.samples[:-3]
        return frame.SerializeToString()

    def _frame(
        self,
        source: _Source,
        *,
        sequence: int | None = None,
        signal_set: str = "",
        signals: int = SIGNALS,
        non_finite: bool = False,
        marked: bool = False,
    ) -> bytes:
        rng = self._rng
        self._number += 1
        if sequence is None:
            source.sequence += 1
        level = 256 if rng.random() < 0.05 else 0
        values = [rng.randint(level, level + 255) / 256 for _ in range(source.rows * signals)]
        if non_finite:
            values[rng.randrange(len(values))] = rng.choice((float("nan"), float("inf")))
        frame = TelemetryFrame(
            asset=source.name,
            signal_set=signal_set or self._signal_set,
            sequence=source.sequence if sequence is None else sequence,
            first_at_ns=10**18 + self._number * 10**6,
            period_ns=10**5,
            signal_count=signals,
            samples=struct.pack(f"<{len(values)}f", *values),
            part_id=source.part_id,
            event_id=f"{self._signal_set}-{self._number}",
            trace_id=f"{self._number:032x}",
            observed_at_ns=time.time_ns(),
        )
        if marked:
            frame.bad = b"\xff" * ((len(values) + 7) // 8)
        value = frame.SerializeToString()
        if sequence is None and not signal_set:
            source.sent.append(value)
        return value


class Load:
    """Sends `content` to a topic, `rate` frames a second, until stopped."""

    def __init__(self, kafka: str, topic: str, content: Content, rate: float) -> None:
        self._kafka = kafka
        self._topic = topic
        self._content = iter(content)
        self.rate = rate
        self._stopping = asyncio.Event()
        self.sent = 0

    async def run(self, at_least: int) -> None:
        """Send until `stop`, then in a hurry what is short of `at_least`. What is sent is acknowledged."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka,
            enable_idempotence=True,
            linger_ms=5,
            request_timeout_ms=120_000,
            retry_backoff_ms=50,
        )
        await producer.start()
        try:
            while not self._stopping.is_set():
                due = time.monotonic() + _TICK_S
                for _ in range(round(self.rate * _TICK_S)):
                    await self._send(producer)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            while self.sent < at_least:
                await self._send(producer)
            await producer.flush()
        finally:
            with contextlib.suppress(TimeoutError):  # Kafka may be gone for good
                async with asyncio.timeout(_STOP_S):
                    await producer.stop()

    async def _send(self, producer: AIOKafkaProducer) -> None:
        key, value = next(self._content)
        await producer.send(self._topic, value=value, key=key)
        self.sent += 1

    def stop(self) -> None:
        """Let `run` end."""
        self._stopping.set()
