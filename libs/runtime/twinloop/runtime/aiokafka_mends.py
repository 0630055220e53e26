"""aiokafka 0.14, mended where an outage of Kafka would end a service. Imported for its effect by `kafka`.

- On uvloop, writing to a connection that has just been closed raises RuntimeError, which no code of aiokafka
  expects (aio-libs/aiokafka#1038). Here it is the `KafkaConnectionError` that asyncio's own loop leads to.
- It logs what is no news, many times a second: the broker's usual answer to a produce that follows a commit,
  and a topic that is not there, which is told when the transaction fails.
- Stopping a consumer that waits to fetch again after an error ends in its own CancelledError: see `stop`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, conn
from aiokafka.errors import KafkaConnectionError


class _Connection(conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka is untyped
    def send(self, request: Any, expect_response: bool = True) -> Any:
        if self._writer is not None and self._writer.is_closing():
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self._host}:{self._port} was closed")
        return super().send(request, expect_response)


conn.AIOKafkaConnection = _Connection


def _is_news(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    return "NotEnoughReplicas" not in said and "not found in cluster metadata" not in said


for _name in ("aiokafka.producer.sender", "aiokafka.cluster"):
    logging.getLogger(_name).addFilter(_is_news)


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Stop it, whatever it is waiting for."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait({stopping})
    if stopping.cancelled():
        await consumer._client.close()
    else:
        stopping.result()
