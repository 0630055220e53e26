"""What Kafka did not take is never called kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from prometheus_client import CollectorRegistry

from twinloop.contracts.codec import Message
from twinloop.contracts.topics import TELEMETRY_FACTORY
from twinloop.ingest.intake import Fate, Outcome
from twinloop.ingest.metrics import Metrics
from twinloop.ingest.path import Path
from twinloop.runtime.clock import ManualClock


class Refusing:
    """A publisher whose cluster refuses every record."""

    async def publish(self, messages: Iterable[Message]) -> None:
        raise MessageSizeTooLargeError


async def test_a_batch_that_kafka_refused_has_no_outcome() -> None:
    clock = ManualClock(datetime(2030, 1, 1, tzinfo=UTC))
    path = Path(Refusing(), clock, Metrics(CollectorRegistry()), asyncio.create_task)
    kept = Outcome(Fate.FRAME, [Message(TELEMETRY_FACTORY, b"a", b"v", ())])
    with pytest.raises(MessageSizeTooLargeError):
        await path.take("http", [lambda _: kept])
