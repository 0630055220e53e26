"""Reading the topic, and nothing else: what a consumer pays, with the client that Twinloop has."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer
from common import GROUP, KAFKA, TOPIC, Progress


async def main() -> None:
    progress = Progress()
    consumer = AIOKafkaConsumer(
        TOPIC, bootstrap_servers=KAFKA, group_id=GROUP, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    while True:
        batches = await consumer.getmany(timeout_ms=100)
        progress.add(sum(map(len, batches.values())))


asyncio.run(main())
