"""The way of every input into Kafka: decide, publish, and only then say that it is kept.

One batch at a time, whatever its source: what a decision about order rests on is in Kafka before the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

from twinloop.contracts.times import unix_ns
from twinloop.ingest.intake import Fate, Outcome
from twinloop.ingest.metrics import Metrics
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_SLOW_S = 5.0

Input = Callable[[datetime], Outcome]
Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Path:
    """Decides and publishes. `spawn` makes a task whose failure ends the service.

    When Kafka is away, `take` waits: the producer tries again for ever, and nothing is decided meanwhile.
    """

    def __init__(self, publisher: Publisher, clock: Clock, metrics: Metrics, spawn: Spawn) -> None:
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._spawn = spawn
        self._turn = asyncio.Lock()
        self._publishing_since: float | None = None

    def problem(self) -> str | None:
        """Readiness: says so when Kafka has acknowledged nothing for seconds though there was something."""
        since = self._publishing_since
        if since is None or (waited_s := asyncio.get_running_loop().time() - since) < _SLOW_S:
            return None
        return f"Kafka has acknowledged nothing for {waited_s:.0f} s"

    async def take(
        self, source: str, inputs: Sequence[Input], timeout_s: float | None = None
    ) -> list[Outcome]:
        """Decide about each input in order, and return when Kafka has what came of all of them.

        Raises what publishing raised: nothing of the batch may be called kept then, and the service ends.
        Raises `TimeoutError` when that takes longer. What had been decided by then is still published, and
        until it is, no other batch has its turn: the same input again is answered only after the first.
        """
        outcomes: list[Outcome] = []
        async with asyncio.timeout(timeout_s):
            await self._turn.acquire()
            work = self._spawn(self._turn_of(source, inputs, outcomes))
            await asyncio.wait({work})
            work.result()
        return outcomes

    async def _turn_of(self, source: str, inputs: Sequence[Input], outcomes: list[Outcome]) -> None:
        try:
            now = self._clock.now()
            outcomes.extend(decide(now) for decide in inputs)
            await self._publish(outcomes)
            self._count(source, outcomes)
        finally:
            self._turn.release()

    async def _publish(self, outcomes: Sequence[Outcome]) -> None:
        messages = [one for outcome in outcomes for one in outcome.messages]
        if not messages:
            return
        loop = asyncio.get_running_loop()
        self._publishing_since = since = loop.time()
        try:
            await self._publisher.publish(messages)
        finally:
            self._publishing_since = None
        self._metrics.publish_seconds.observe(loop.time() - since)

    def _count(self, source: str, outcomes: Sequence[Outcome]) -> None:
        now_ns = unix_ns(self._clock.now())
        for outcome in outcomes:
            self._metrics.inputs.labels(source, outcome.fate).inc()
            if outcome.fate is Fate.FRAME:
                self._metrics.delay_seconds.observe(max(0, now_ns - outcome.observed_at_ns) / 1e9)
                log.debug("frame", source=source, event_id=outcome.event_id, trace_id=outcome.trace_id)
            if outcome.refused is not None:
                why = outcome.refused
                log.warning("dead letter", source=source, reason=str(why.reason), detail=why.detail)
                self._metrics.dead_letters.labels(outcome.refused.reason).inc()
