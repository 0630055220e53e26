"""Wires the detector: the table of routes, Triton, a consumer of telemetry, a publisher, the loop.

models ---------------------------> Routes ----.
telemetry.* -> Partition (windows) ----------> Scorer (Triton) -> judge -> anomalies, scores, dead-letters
"""

from __future__ import annotations

import asyncio

from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient

from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.topics import MODELS, TELEMETRY_FACTORY, TELEMETRY_VEHICLE
from twinloop.detector.loop import Loop
from twinloop.detector.membership import Membership
from twinloop.detector.metrics import Metrics
from twinloop.detector.routes import Routes
from twinloop.detector.settings import DetectorSettings
from twinloop.detector.watch import Watch
from twinloop.runtime import logging
from twinloop.runtime.events import first_of
from twinloop.runtime.kafka import consumer, follow, publisher
from twinloop.runtime.service import Context
from twinloop.tritonio.client import triton

log = logging.logger(__name__)

SOURCES = (TELEMETRY_FACTORY, TELEMETRY_VEHICLE)
GROUP = "detector"


async def main(settings: DetectorSettings, context: Context) -> None:
    """Read the routes, then telemetry, until told to stop."""
    metrics = Metrics(context.registry)
    stack, stopping = context.stack, context.stopping
    server = await stack.enter_async_context(triton(settings.triton, deadline_s=settings.infer_timeout_s))
    out = await stack.enter_async_context(publisher(settings.kafka, settings.topic_prefix, stopping))
    models = await stack.enter_async_context(
        consumer(settings.kafka, [MODELS], settings.topic_prefix, stopping, group=None)
    )
    routes, known, watch = Routes(), asyncio.Event(), Watch(server)
    context.health.add("routes", lambda: None if known.is_set() else "reading the topic of models")
    context.health.add("triton", watch.problem)
    async with asyncio.TaskGroup() as group:
        group.create_task(follow(models, stopping, lambda record: apply(record, routes, metrics), known))
        group.create_task(watch.run(routes, stopping))
        await first_of(known, stopping)
        admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
        await admin.start()
        stack.push_async_callback(admin.close)
        membership = Membership(settings.topic_prefix + GROUP, admin, metrics)
        context.health.add("partitions", membership.problem)
        client = await stack.enter_async_context(
            consumer(
                settings.kafka,
                SOURCES,
                settings.topic_prefix,
                stopping,
                group=GROUP,
                listener=membership,
                session_timeout_s=settings.session_timeout_s,
            )
        )
        membership.attach(client)
        loop = Loop(client, membership, routes, server, out, context.clock, stopping, settings, metrics)
        context.health.add("batch", loop.problem)
        await loop.run()


def apply(record: ConsumerRecord, routes: Routes, metrics: Metrics) -> None:
    """Bring the table up to a record of `models`. One that is no route is logged: the old one stays."""
    scope = (record.key or b"").decode(errors="replace")
    try:
        routes.set(scope, None if record.value is None else decode(MODELS, record.value))
    except Undecodable as error:
        log.error("a route cannot be read; the one before it stays", scope=scope, problem=str(error))
    metrics.routes.set(len(routes))
