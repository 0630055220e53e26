"""Follows the verdicts that decide, and tells when what a model sees has drifted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from twinloop.contracts.codec import Undecodable, decode, message
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.topics import ALARMS, SCORES
from twinloop.modelops.drift import Drift, Drifted, decides
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.routes import Routes
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

SOURCE = "modelops"
SHOWN = 100
"""Assets in the metrics: those that have shifted most."""
_POLL_MS = 500


class DriftWatch:
    """Looks every `look_s`."""

    def __init__(
        self,
        drift: Drift,
        routes: Routes,
        out: Publisher,
        clock: Clock,
        metrics: Metrics,
        look_s: float,
    ) -> None:
        self._drift = drift
        self._routes = routes
        self._out = out
        self._clock = clock
        self._metrics = metrics
        self._look_s = look_s

    async def run(self, client: AIOKafkaConsumer, stopping: asyncio.Event) -> None:
        """Read from now on, until told to stop."""
        await client.seek_to_end()
        now = asyncio.get_running_loop().time
        due_s = now() + self._look_s
        while not stopping.is_set():
            for batch in (await client.getmany(timeout_ms=_POLL_MS)).values():
                self.take(batch)
            if now() >= due_s:
                due_s = now() + self._look_s
                await self.look()

    def take(self, batch: Iterable[ConsumerRecord]) -> None:
        """Verdicts; what is none is counted by whoever judges trials."""
        at = self._clock.now()
        for record in batch:
            try:
                self._drift.take(decode(SCORES, record.value or b""), at)
            except Undecodable:
                continue

    async def look(self) -> None:
        """Show what has shifted most, and tell what has drifted."""
        self._drift.forget(lambda at: decides(at, self._routes.known))
        shifts = await asyncio.to_thread(self._drift.shifts)
        self._metrics.drift.clear()
        for at, some in sorted(shifts.items(), key=lambda one: -one[1][0].psi)[:SHOWN]:
            self._metrics.drift.labels(at.asset, at.model).set(some[0].psi)
        self._metrics.drift_left_out.set(self._drift.left_out)
        for one in self._drift.drifted(shifts):
            log.warning("drift", asset=one.at.asset, model=one.at.model, feature=one.worst.name)
            try:
                await self._out.publish([message(ALARMS, self._alarm(one), source=SOURCE)])
            except KafkaError as error:
                log.error("an alarm is lost", asset=one.at.asset, text=one.text, problem=repr(error))

    def _alarm(self, one: Drifted) -> Alarm:
        now, at = self._clock.now(), one.at
        what = (at.asset, at.model, at.version, now.isoformat())
        return Alarm(
            event_id=event_id("model_drift", *what),
            asset=at.asset,
            at=now,
            observed_at=now,
            trace_id=trace_id("model_drift", *what),
            code=AlarmCode.MODEL_DRIFT,
            text=one.text,
        )
