"""What is observed, from Kafka: every twin reads all of it, whichever changes it decides about.

Telemetry and changes have different partition counts, so a group would hand an asset's parts and its changes
to different members. The state is small, and old parts say nothing: reading begins some time ago.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import InvalidFrame, decode_frame
from twinloop.contracts.topics import GENEALOGY, TELEMETRY_FACTORY
from twinloop.runtime.clock import Clock
from twinloop.twin.calibration import Joints
from twinloop.twin.metrics import Metrics
from twinloop.twin.observe import Observations

OBSERVED = (TELEMETRY_FACTORY, GENEALOGY)
_POLL_MS = 100


class Observers:
    """Follows both topics on a consumer without a group."""

    def __init__(
        self,
        client: AIOKafkaConsumer,
        prefix: str,
        observations: Observations,
        joints: Joints,
        metrics: Metrics,
    ) -> None:
        self._client = client
        self._telemetry = TELEMETRY_FACTORY.named(prefix)
        self._observations = observations
        self._joints = joints
        self._metrics = metrics
        self._caught_up = False

    def problem(self) -> str | None:
        """Health check: whether what was there at the start has been read."""
        return None if self._caught_up else "reading what was observed lately"

    async def run(self, look_back_s: float, clock: Clock, stopping: asyncio.Event) -> None:
        """Read from `look_back_s` ago on, until told to stop."""
        since_ms = int((clock.now() - timedelta(seconds=look_back_s)).timestamp() * 1000)
        partitions = self._client.assignment()
        begin = await self._client.offsets_for_times(dict.fromkeys(partitions, since_ms))
        ends = await self._client.end_offsets(partitions)
        for one in partitions:
            place = begin.get(one)
            self._client.seek(one, ends[one] if place is None else place.offset)
        while not stopping.is_set():
            for records in (await self._client.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    self._take(record)
            if not self._caught_up:
                at = [await self._client.position(one) >= end for one, end in ends.items()]
                self._caught_up = all(at)

    def _take(self, record: ConsumerRecord) -> None:
        # What is no frame or no joint was refused by those who own the topic: here it is only counted.
        try:
            if record.topic == self._telemetry:
                self._observations.show(decode_frame(record.value or b""))
            else:
                made = decode(GENEALOGY, record.value or b"")
                if isinstance(made, JointWelded):  # vehicles are built of joints, and say nothing about now
                    self._observations.made(made)
                    self._joints.made(made)
        except (InvalidFrame, Undecodable):
            self._metrics.unreadable.inc()
