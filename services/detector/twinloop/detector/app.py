"""Wires the detector: the table of routes, Triton, and the stream engine with a membership of the group.

models ---------------------------> Routes ----.
telemetry.* -> Engine -> Partition (windows) -> Scorer -> Circuit -> Triton
                                                 `-> judge -> anomalies, scores, dead-letters
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import ConsumerRecord

from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.models import EVERY_MODEL, ModelNamespace, ModelRoute
from twinloop.contracts.topics import MODEL_MEMORY, MODELS
from twinloop.detector.circuit import Circuit
from twinloop.detector.detection import SOURCE, Detection
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Memory
from twinloop.detector.routes import Routes
from twinloop.detector.score import Scorer
from twinloop.detector.settings import DetectorSettings
from twinloop.detector.taken import Taken
from twinloop.runtime.events import first_of
from twinloop.runtime.kafka.clients import consumer, follow
from twinloop.runtime.observability import logging
from twinloop.runtime.observability.metrics import ConsumerMetrics
from twinloop.runtime.service import Context
from twinloop.runtime.stream.engine import Engine
from twinloop.runtime.stream.kafka import kafka_cluster, membership
from twinloop.runtime.stream.metrics import StreamMetrics
from twinloop.runtime.stream.pace import Pace
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.runtime.stream.receipts import Receipts
from twinloop.tritonio.client import triton

log = logging.logger(__name__)


async def main(settings: DetectorSettings, context: Context) -> None:
    """Read the routes, then telemetry, until told to stop."""
    metrics = Metrics(context.registry)
    kafka, prefix = settings.kafka_access, settings.topic_prefix
    stack, stopping = context.stack, context.stopping
    server = await stack.enter_async_context(
        triton(settings.triton, deadline_s=settings.infer_timeout_s, share=settings.shared_memory)
    )
    models = await stack.enter_async_context(consumer(kafka, [MODELS], prefix, stopping, group=None))
    routes, known, circuit = Routes(), asyncio.Event(), Circuit(server, metrics)
    context.health.add("models", lambda: None if known.is_set() else "reading the topic of models")
    context.health.add("routes", routes.problem)
    context.health.add("triton", circuit.problem)
    memory = Memory(settings.memory_records, settings.dead_letter_limit)
    scorer = Scorer(circuit, metrics, deadline_s=settings.infer_timeout_s)
    names = settings.model_names
    async with asyncio.TaskGroup() as group:
        group.create_task(
            follow(models, stopping, lambda record: apply(record, routes, metrics, names), known)
        )
        group.create_task(circuit.run(routes, stopping))
        await first_of(known, stopping)
        cluster = await stack.enter_async_context(kafka_cluster(kafka, prefix, stopping))

        async def kept(partition: TopicPartition) -> Mapping[bytes, bytes]:
            return await cluster.newest(TopicPartition(MODEL_MEMORY.named(prefix), partition.partition))

        detection = Detection(
            routes, scorer, kept, context.clock, memory, settings.score_every, metrics, settings.share
        )
        engine: Engine[Taken] = Engine(
            cluster,
            detection,
            group=prefix + settings.group,
            metrics=StreamMetrics(context.registry, SOURCE),
            stopping=stopping,
            pace=Pace(poll_records=settings.max_poll_records, retry_s=settings.retry_s),
            receipts=Receipts(SOURCE, prefix, context.clock),
        )
        context.health.add("stream", engine.problem)
        await stack.enter_async_context(
            membership(
                kafka,
                settings.sources,
                prefix,
                stopping,
                group=settings.group,
                metrics=ConsumerMetrics(context.registry, SOURCE),
                rebalances=engine,
                session_timeout_s=settings.session_timeout_s,
                poll_records=settings.max_poll_records,
            )
        )
        await engine.run()


def apply(
    record: ConsumerRecord, routes: Routes, metrics: Metrics, names: ModelNamespace = EVERY_MODEL
) -> None:
    """Bring the table up to a record of `models`. What cannot be followed is logged and told: it stays as it
    was."""
    scope = (record.key or b"").decode(errors="replace")
    try:
        route: ModelRoute | None = None if record.value is None else decode(MODELS, record.value)
        foreign = None if route is None else names.foreign(route)
    except Undecodable as error:
        routes.refuse(scope, str(error))
    else:
        if foreign is not None:
            routes.refuse(scope, f"{foreign} is no model of this site")
        else:
            routes.set(scope, route)
    if (why := routes.problems.get(scope)) is not None:
        log.error("a route cannot be followed", scope=scope, problem=why)
    metrics.routes.set(len(routes))
    metrics.routes_refused.set(len(routes.problems))
