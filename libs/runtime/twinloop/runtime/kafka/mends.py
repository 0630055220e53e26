"""aiokafka 0.14, mended where an outage of Kafka would end a service. Imported for its effect by `kafka`.

- On uvloop, writing to a connection that has just been closed raises RuntimeError, which no code of aiokafka
  expects (aio-libs/aiokafka#1038). Here it is the `KafkaConnectionError` that asyncio's own loop leads to.
- A connection that Kafka refuses (SASL) is still open when the error is raised, and a program that ends then
  leaves its socket behind. Here it is closed.
- A group's positions are taken for none when the coordinator answers that it is still loading them: the error
  of the answer as a whole is not looked at, and everything is read again (as IBM/sarama#3574).
- While Kafka is away, a producer that is quick to try again asks for metadata as often: two dozen of them
  keep a processor busy. Here it is five times a second.
- It logs what is no news, many times a second: the broker's usual answer to a produce that follows a commit,
  and a topic that is not there, which is told when the transaction fails.
- A fetch that names everything its consumer has at a broker holds up nothing but a question about offsets,
  and is answered by the first record. It may wait longer than one that was sent while records were not yet
  taken, which holds up their partitions: see `_Fetcher`.
- Stopping a consumer that waits to fetch again after an error ends in its own CancelledError: see `stop`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiokafka import AIOKafkaConsumer, conn
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import consumer
from aiokafka.errors import KafkaConnectionError, KafkaError, NotCoordinatorForGroupError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

AWAY_S = 0.2
IDLE_MS = 500
"""How long a fetch waits that holds up no partition."""
_CLOSING_S = 1.0


class _Connection(conn.AIOKafkaConnection):  # type: ignore[misc]  # aiokafka is untyped
    async def connect(self) -> Any:
        try:
            return await super().connect()
        except KafkaError:
            await asyncio.wait({self._closed_fut}, timeout=_CLOSING_S)
            raise

    def send(self, request: Any, expect_response: bool = True) -> Any:
        if self._writer is not None and self._writer.is_closing():
            self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self._host}:{self._port} was closed")
        return super().send(request, expect_response)


conn.AIOKafkaConnection = _Connection


_metadata_update = AIOKafkaClient._metadata_update


async def _metadata_update_at_leisure(self: AIOKafkaClient, cluster: Any, topics: Any) -> bool:
    updated = bool(await _metadata_update(self, cluster, topics))
    if not updated:
        await asyncio.sleep(AWAY_S)
    return updated


AIOKafkaClient._metadata_update = _metadata_update_at_leisure


class _Coordinator(consumer.GroupCoordinator):  # type: ignore[misc]  # aiokafka is untyped
    async def _send_req(self, request: Any) -> Any:
        response = await super()._send_req(request)
        if code := getattr(response, "error_code", 0) if isinstance(request, OffsetFetchRequest) else 0:
            if for_code(code) is NotCoordinatorForGroupError:
                self.coordinator_dead()
            raise for_code(code)(f"positions of {self.group_id} cannot be told")
        return response


consumer.GroupCoordinator = _Coordinator


class _Fetcher(consumer.Fetcher):  # type: ignore[misc]
    """Asks a quiet topic twice a second, whatever the consumer's `fetch_max_wait_ms`."""

    def _get_actions_per_node(self, assignment: Any) -> Any:
        actions = super()._get_actions_per_node(assignment)
        for node, request in actions[0]:
            asked = sum(len(partitions) for _, partitions in request.topics)
            if asked == sum(self._select_read_replica(one) == node for one in assignment.tps):
                request._max_wait_ms = max(request._max_wait_ms, IDLE_MS)
        return actions


consumer.Fetcher = _Fetcher


def _is_news(record: logging.LogRecord) -> bool:
    said = record.getMessage()
    return "NotEnoughReplicas" not in said and "not found in cluster metadata" not in said


for _name in ("aiokafka.producer.sender", "aiokafka.cluster"):
    logging.getLogger(_name).addFilter(_is_news)


async def stop(client: AIOKafkaConsumer) -> None:
    """Stop it, whatever it is waiting for; its connections are closed in any case. Raises `KafkaError`."""
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait({stopping})
    if stopping.cancelled() or stopping.exception() is not None:
        await client._client.close()
    if not stopping.cancelled():
        stopping.result()
