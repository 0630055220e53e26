"""What is mended in aiokafka, where it can be seen without Kafka."""

from __future__ import annotations

import asyncio

from aiokafka.client import AIOKafkaClient

from twinloop.runtime.kafka.mends import AWAY_S


async def test_a_client_asks_for_metadata_at_leisure_while_kafka_is_away() -> None:
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1", retry_backoff_ms=5)
    now = asyncio.get_running_loop().time
    begun = now()
    assert not await client._metadata_update(client.cluster, [])
    assert now() - begun >= AWAY_S
