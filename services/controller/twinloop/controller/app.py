"""The composition root: audit store, Kafka, Faust, the agent, and the ticks, while the service runs."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from twinloop.audit.log import audit_log
from twinloop.audit.metrics import AuditMetrics
from twinloop.controller.agents import Agent
from twinloop.controller.errors import StreamEnded, TooManyDeadLetters
from twinloop.controller.field.api import make_api
from twinloop.controller.field.office import Office
from twinloop.controller.field.rules import FieldRules
from twinloop.controller.metrics import Metrics
from twinloop.controller.policy import ControllerPolicy
from twinloop.controller.settings import ControllerSettings
from twinloop.controller.streams import SOURCES, Streams
from twinloop.runtime.kafka import clients
from twinloop.runtime.kafka.provision import partitions
from twinloop.runtime.observability import logging
from twinloop.runtime.observability.metrics import ConsumerMetrics
from twinloop.runtime.service import Context
from twinloop.trust.bearer import Access

log = logging.logger(__name__)


async def main(
    settings: ControllerSettings,
    context: Context,
    *,
    policy: ControllerPolicy,
    field: tuple[FieldRules, Access] | None = None,
) -> None:
    """Run until told to stop; with `field` also as a field worker. Raises `StreamEnded` or
    `TooManyDeadLetters`, and what ended the field worker."""
    missing = ["starting"]
    context.health.add("streams", lambda: "; ".join(missing) or None)
    measured = AuditMetrics(context.registry, context.name)
    audit = await context.stack.enter_async_context(
        audit_log(settings.audit, settings.audit_chain, context.clock, metrics=measured)
    )
    context.health.add("audit", audit.problem)
    if not await _topics_there(settings, context.stopping, missing):
        return
    publisher = await context.stack.enter_async_context(
        clients.publisher(settings.kafka_access, settings.topic_prefix, context.stopping)
    )
    await context.stack.enter_async_context(audit.published(publisher))
    streams = Streams(
        kafka=settings.kafka_access,
        prefix=settings.topic_prefix,
        data=settings.data,
        commit_interval_s=settings.commit_interval_s,
        session_timeout_s=settings.session_timeout_s,
        replication=settings.replication,
        metrics=ConsumerMetrics(context.registry, context.name),
    )
    agent = Agent(
        policy=policy,
        table=streams.table,
        publisher=publisher,
        auditor=audit,
        clock=context.clock,
        metrics=Metrics(context.registry),
        stopping=context.stopping,
        dead_letter_limit=settings.dead_letter_limit,
    )
    streams.feed(agent.handle)
    await streams.start()
    context.stack.push_async_callback(streams.stop)
    missing.clear()
    context.health.add("table", lambda: None if streams.restored else "the table is being restored")
    async with asyncio.TaskGroup() as group:
        if field is not None:
            rules, access = field
            office = Office(settings, rules, publisher, context.clock, context.registry, context.stopping)
            context.health.add("field", office.problem)
            context.api = make_api(access, office.known, audit, context.clock)
            group.create_task(office.run(), name="field")
        await _run(streams, agent, context.stopping, settings.tick_s)


async def _topics_there(settings: ControllerSettings, stopping: asyncio.Event, missing: list[str]) -> bool:
    """Wait for Kafka, and for the topics: Faust would make them its own way. False: told to stop."""
    wanted = {topic.named(settings.topic_prefix) for topic in SOURCES}
    delay_s = 0.2
    while not stopping.is_set():
        admin = AIOKafkaAdminClient(**settings.kafka_access.client())
        try:
            await admin.start()
            absent = wanted - (await partitions(admin, wanted)).keys()
            if not absent:
                return True
            missing[:] = [f"topics are not made yet: {', '.join(sorted(absent))}"]
        except KafkaError as error:
            missing[:] = [f"Kafka does not answer: {error!r}"]
        finally:
            await admin.close()
        log.info("waiting", problem=missing[0])
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), delay_s)
        delay_s = min(2 * delay_s, 2.0)
    return False


async def _run(streams: Streams, agent: Agent, stopping: asyncio.Event, tick_s: float) -> None:
    stop = asyncio.create_task(stopping.wait(), name="stop")
    try:
        while not stop.done():
            ends: set[asyncio.Future[Any]] = {stop, streams.failed}
            await asyncio.wait(ends, timeout=tick_s, return_when=asyncio.FIRST_COMPLETED)
            if streams.failed.done():
                error = streams.failed.exception()
                if isinstance(error, TooManyDeadLetters):
                    raise error
                raise StreamEnded(f"the streams ended: {error!r}") from error
            if streams.restored and not stop.done():
                await agent.tick()
    finally:
        stop.cancel()
