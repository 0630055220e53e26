"""Publishes until Kafka has acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from aiokafka.errors import KafkaError
from prometheus_client import Counter

from twinloop.contracts.codec import Message
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_RETRY_S: Final = 0.2
_RETRY_MAX_S: Final = 5.0


async def acknowledged(
    publisher: Publisher, messages: Sequence[Message], stopping: asyncio.Event, retries: Counter
) -> None:
    """Returns when Kafka has all `messages`. Ids stay the same, so a repeat is harmless.

    Raises `KafkaError` when stopping while nothing can be published. `retries` counts attempts that failed.
    """
    delay_s = _RETRY_S
    while messages:
        try:
            await publisher.publish(messages)
        except KafkaError as error:
            if stopping.is_set():
                raise
            retries.inc()
            log.warning("kafka does not acknowledge", problem=repr(error), again_in_s=delay_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), delay_s)
            delay_s = min(2 * delay_s, _RETRY_MAX_S)
        else:
            return
