"""What a read-committed reader of the verdicts sees, and when."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError


class _Read(msgspec.Struct):
    observed_at: datetime
    model: str = ""
    model_version: int = 0
    decides: bool = True


_DECODER = msgspec.json.Decoder(_Read)


@dataclass(slots=True)
class Watch:
    """Reads a topic from its end on, the verdicts of `model` if one is named. `seen`: of each batch, when it
    came, when the frame behind its newest verdict was sent, and how many verdicts it held; Unix seconds. Of
    each verdict: `came_s`, when, and `waited_s`, how long after its frame. `deciders`: by partition, the
    version that has decided last."""

    kafka: str
    topic: str
    partitions: int
    model: str = ""
    seen: list[tuple[float, float, int]] = field(default_factory=list)
    came_s: list[float] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)
    deciders: dict[int, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Until cancelled."""
        client = AIOKafkaConsumer(
            bootstrap_servers=self.kafka,
            isolation_level="read_committed",
            fetch_max_wait_ms=50,
            metadata_max_age_ms=1000,
            request_timeout_ms=5000,
            auto_offset_reset="earliest",
        )
        await client.start()
        try:
            client.assign([TopicPartition(self.topic, n) for n in range(self.partitions)])
            while True:
                try:
                    batches = await client.getmany(timeout_ms=100)
                except (KafkaError, OSError):
                    await asyncio.sleep(0.1)
                    continue
                read = list[_Read]()
                for at, records in batches.items():
                    its = [_DECODER.decode(record.value) for record in records]
                    its = [one for one in its if self.model in ("", one.model)]
                    self.deciders.update((at.partition, one.model_version) for one in its if one.decides)
                    read += its
                if read:
                    now = time.time()
                    sent = [one.observed_at.timestamp() for one in read]
                    self.seen.append((now, max(sent), len(read)))
                    self.came_s += [now] * len(sent)
                    self.waited_s += [now - one for one in sent]
        finally:
            await client.stop()

    @property
    def count(self) -> int:
        """Verdicts so far."""
        return sum(n for _, _, n in self.seen)

    def back_after_s(self, harmed_at: float) -> float | None:
        """How long after the harm the first verdict on a frame came that was sent later; `None` so far."""
        return next((at - harmed_at for at, sent, _ in self.seen if sent > harmed_at), None)

    def longest_gap_s(self, begin: float, end: float) -> float:
        """The longest time without a verdict between two moments."""
        times = [begin, *(at for at, _, _ in self.seen if begin <= at <= end), end]
        return max(b - a for a, b in pairwise(times))
