"""Wiring: nine topics, read committed, into one folder."""

from __future__ import annotations

import asyncio
import contextlib

from twinloop.contracts.topics import (
    ALARMS,
    ANOMALIES,
    AUDIT,
    CHANGES,
    DEAD_LETTERS,
    FIELD_EVIDENCE,
    GENEALOGY,
    TELEMETRY_FACTORY,
    TELEMETRY_VEHICLE,
)
from twinloop.historian.archive import Archive
from twinloop.historian.errors import Unwritable
from twinloop.historian.metrics import Metrics
from twinloop.historian.parquet import ParquetFolder
from twinloop.historian.reconciler import Reconciler
from twinloop.historian.settings import HistorianSettings
from twinloop.runtime.kafka.clients import UNHURRIED, consumer
from twinloop.runtime.observability import logging
from twinloop.runtime.observability.metrics import ConsumerMetrics
from twinloop.runtime.service import Context

log = logging.logger(__name__)

KEPT = (
    TELEMETRY_FACTORY,
    TELEMETRY_VEHICLE,
    GENEALOGY,
    ANOMALIES,
    FIELD_EVIDENCE,
    CHANGES,
    ALARMS,
    AUDIT,
    DEAD_LETTERS,
)
GROUP = "historian"

_POLL_MS = 100
_POLL_RECORDS = 5_000
_AGAIN_S = 1.0


async def main(settings: HistorianSettings, context: Context) -> None:
    """Poll, accept, roll files; on the way out write what waits."""
    metrics = Metrics(context.registry)
    archive = Archive(
        ParquetFolder(settings.folder),
        {topic.named(settings.topic_prefix): topic for topic in KEPT},
        settings.limits,
        context.clock,
        metrics,
    )
    unwritable: str | None = None
    context.health.add("partitions", archive.unassigned)
    context.health.add("folder", lambda: unwritable)
    client = await context.stack.enter_async_context(
        consumer(
            settings.kafka_access,
            KEPT,
            settings.topic_prefix,
            context.stopping,
            group=GROUP,
            metrics=ConsumerMetrics(context.registry, context.name),
            listener=archive,
            max_poll_records=_POLL_RECORDS,
            session_timeout_s=settings.session_timeout_s,
            fetch=UNHURRIED,
        )
    )
    archive.attach(client)
    async with asyncio.TaskGroup() as group:
        if settings.reconcile:
            reconciler = Reconciler(
                settings.kafka_access, settings.topic_prefix, settings.reconcile_patience_s, metrics
            )
            group.create_task(reconciler.run(context.stopping))
        while not context.stopping.is_set():
            archive.check()
            try:
                if unwritable is None:
                    archive.accept(await client.getmany(timeout_ms=_POLL_MS))
                await archive.roll()
                unwritable = None
            except Unwritable as error:
                # Polling stops until it works again, so that memory stays bounded; Kafka keeps the records.
                unwritable = str(error)
                log.error("cannot write", problem=unwritable, again_in_s=_AGAIN_S)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(context.stopping.wait(), _AGAIN_S)
    await archive.close()
