"""How the service is put together: MQTT and HTTP in, one path, Kafka out.

    mqtt.group -> intake (sparkplug.decode -> normalize -> age -> order) -> path.publish -> mqtt.acknowledge
    http       -> intake (telemetry_json   -> normalize -> age -> order) -> path.publish -> 202

An outage of MQTT or Kafka is waited out: not ready, but alive.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from twinloop.contracts.times import unix_ns
from twinloop.ingest import http
from twinloop.ingest.intake import Intake
from twinloop.ingest.metrics import Metrics
from twinloop.ingest.mqtt import MqttSource
from twinloop.ingest.path import Path
from twinloop.ingest.rebirths import Rebirths
from twinloop.ingest.settings import IngestSettings
from twinloop.ingest.signal_sets import SignalSets
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka import clients
from twinloop.runtime.observability import logging
from twinloop.runtime.service import Context
from twinloop.sparkplug import MessageType, Topic, encode_rebirth_command
from twinloop.trust.bearer import Access

log = logging.logger(__name__)

_REBIRTH_TICK_S = 0.1


async def main(settings: IngestSettings, context: Context, sets: SignalSets) -> None:
    """Take in what comes until `context.stopping`; then what has come is published and acknowledged."""
    metrics = Metrics(context.registry)
    source = MqttSource(settings.broker, context.clock, metrics)
    rebirths = Rebirths(settings.rebirth_interval_s)
    key = settings.key()
    access = Access.of(settings) if settings.asks_who else None
    if settings.asks_who and not settings.lets_somebody_in:
        log.warning("nobody may send over http", set="TWINLOOP_ACCESS_PEOPLE, or _JWKS_URL or _JWKS_FILE")
    intake = Intake(sets, settings.ages, key, rebirths)
    context.health.add("mqtt", source.problem)
    context.health.add("kafka", lambda: "no connection to Kafka yet")

    publisher = await context.stack.enter_async_context(
        clients.publisher(settings.kafka_access, settings.topic_prefix, context.stopping)
    )
    async with asyncio.TaskGroup() as tasks:
        path = Path(publisher, context.clock, metrics, tasks.create_task)
        context.health.add("kafka", path.problem)
        context.api = http.api(
            intake,
            path,
            context.stopping,
            timeout_s=settings.http_timeout_s,
            max_bytes=settings.http_max_bytes,
            access=access,
        )
        tasks.create_task(source.run(context.stopping))
        tasks.create_task(ask_for_births(rebirths, source, context.clock, metrics, context.stopping))
        await pump(source, intake, path, settings.group_messages)


async def pump(source: MqttSource, intake: Intake, path: Path, most: int) -> None:
    """Publish what comes over MQTT, group by group; acknowledge a group when Kafka has it."""
    while group := await source.group(most):
        await path.take("mqtt", [partial(intake.mqtt, one.topic, one.payload) for one in group])
        source.acknowledge(group)


async def ask_for_births(
    rebirths: Rebirths, source: MqttSource, clock: Clock, metrics: Metrics, stopping: asyncio.Event
) -> None:
    """Send the rebirth commands that are due."""
    while not stopping.is_set():
        for node in rebirths.due(clock.now()):
            command = encode_rebirth_command(at_ms=unix_ns(clock.now()) // 1_000_000)
            if await source.send(str(Topic(node, MessageType.NCMD)), command):
                metrics.rebirth_requests.inc()
                log.info("birth requested", node=str(node))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _REBIRTH_TICK_S)
